package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drawbridge/internal/model"
)

// drawWays are the pictures that are drawn of a saved host.
var drawWays = []struct {
	name string
	args []string
}{
	{"svg", []string{"--format", "svg"}},
	{"svg, every port drawn (`--expand all`)", []string{"--format", "svg", "--expand", "all"}},
	{"png", []string{"--format", "png"}},
	{"html", []string{"--format", "html"}},
	{"terminal", []string{"--format", "terminal"}},
	{"text", []string{"--format", "text"}},
	{"mermaid", []string{"--format", "mermaid"}},
	{"dot", []string{"--format", "dot"}},
	{"drawio", []string{"--format", "drawio"}},
	{"json", []string{"--format", "json"}},
}

// dotPatience is how long Graphviz may take for one picture.
const dotPatience = time.Minute

// cost is what processes took: seconds passed, seconds of the processor, kilobytes at most.
type cost struct{ Passed, CPU, PeakKB series }

// spend runs a command and adds what it took.
func (c *cost) spend(cmd *exec.Cmd) error {
	var said strings.Builder
	cmd.Stderr = &said
	passed, err := timed(cmd.Run)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Args[0], err, said.String())
	}
	c.Passed = append(c.Passed, passed)
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.CPU = append(c.CPU, float64(u.Utime.Nano()+u.Stime.Nano())/1e9)
		c.PeakKB = append(c.PeakKB, float64(u.Maxrss)) // KiB on Linux, getrusage(2)
	}
	return nil
}

func measureDraw(ctx context.Context, o options) (section, error) {
	saved, err := o.drawSaved(ctx)
	if err != nil {
		return section{}, err
	}
	live, err := o.drawLive(ctx)
	return section{"Draw: 10 to 10,000 links", saved + "\n" + live}, err
}

// drawSaved draws hosts of which a file tells: parsing, wiring, layout and writing, as whole
// processes, and lets Graphviz draw our own DOT of the same.
func (o options) drawSaved(ctx context.Context) (string, error) {
	sizes, repeat := []int{10, 100, 1000, 10000}, 5
	if o.quick {
		sizes, repeat = []int{10, 20}, 1
	}
	dir, err := os.MkdirTemp("", "drawbridge-bench-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	costs := make([]map[int]*cost, len(drawWays))
	graphviz := map[int]string{}
	for _, n := range sizes {
		file := filepath.Join(dir, fmt.Sprintf("%d.json", n))
		if err := saveHost(file, n); err != nil {
			return "", err
		}
		for range repeat {
			for w, way := range drawWays {
				if costs[w] == nil {
					costs[w] = map[int]*cost{}
				}
				if costs[w][n] == nil {
					costs[w][n] = &cost{}
				}
				if err := costs[w][n].spend(exec.CommandContext(ctx, o.drawbridge, append([]string{"draw", "--from", file}, way.args...)...)); err != nil {
					return "", err
				}
			}
		}
		if graphviz[n], err = o.graphviz(ctx, file); err != nil {
			return "", err
		}
	}
	return drawTable(sizes, costs, graphviz), nil
}

func drawTable(sizes []int, costs []map[int]*cost, graphviz map[int]string) string {
	least, most := sizes[0], sizes[len(sizes)-1]
	middle := sizes[len(sizes)-2]
	head := []string{"links, from a saved host"}
	for _, n := range sizes {
		head = append(head, strconv.Itoa(n))
	}
	t := table{head: append(head, fmt.Sprintf("growth, %d to %d", middle, most), fmt.Sprintf("most memory, %d", most))}
	for w, way := range drawWays {
		row := []string{way.name}
		for _, n := range sizes {
			row = append(row, seconds(costs[w][n].Passed.median()))
		}
		beyond := func(n int) float64 { return costs[w][n].CPU.median() - costs[w][least].CPU.median() }
		growth := "–"
		if beyond(middle) > 0 {
			growth = oneDecimal(beyond(most) / beyond(middle))
		}
		t.row(append(row, growth, oneDecimal(costs[w][most].PeakKB.median()/1024)+" MB")...)
	}
	row := []string{"`dot -Tsvg` over our dot"}
	for _, n := range sizes {
		row = append(row, graphviz[n])
	}
	t.row(append(row, "–", "–")...)
	return "Each a whole process: reading, wiring, layout, writing. Growth is of the processor's time beyond what " + strconv.Itoa(least) +
		" links take; n·log n would be 13.3 for ten times as many from 1,000 on.\n\n" + t.String()
}

// graphviz is how long dot takes for our DOT, in words.
func (o options) graphviz(ctx context.Context, file string) (string, error) {
	if !installed("dot") {
		return "–", nil
	}
	graph := file + ".dot"
	if err := quiet(ctx, o.drawbridge, "draw", "--from", file, "-o", graph); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, dotPatience)
	defer cancel()
	passed, err := timed(func() error { return quiet(ctx, "dot", "-Tsvg", "-o", file+".svg", graph) })
	if ctx.Err() != nil {
		return "over " + seconds(dotPatience.Seconds()), nil
	}
	return seconds(passed), err
}

// saveHost writes a host of n links: bridges with an uplink and taps, every other with a VM.
func saveHost(file string, n int) error {
	s := model.Snapshot{Host: "host", Namespaces: make([]model.Namespace, 1)}
	ns := s.Here()
	add := func(l model.Link) {
		l.Up, l.MTU = true, 1500
		ns.Links = append(ns.Links, l)
	}
	for k := 0; len(ns.Links) < n; k++ {
		bridge := fmt.Sprintf("br%d", k)
		add(model.Link{Name: bridge, Kind: model.Bridged, Carrier: true, Bridge: &model.Bridge{}})
		add(model.Link{Name: fmt.Sprintf("eth%d", k), Kind: model.Physical, Carrier: true, Master: bridge})
		for i := 0; i < 1000 && len(ns.Links) < n; i++ { // a bridge takes 1,023 ports
			tap := fmt.Sprintf("tap%d", len(ns.Links))
			add(model.Link{Name: tap, Kind: model.TapKind, Master: bridge, Tap: &model.Tap{}})
			if i%2 == 0 {
				s.Machines = append(s.Machines, model.Machine{Name: "vm" + tap, VMM: "qemu", State: "running", NICs: []model.MachineNIC{{Name: "eth0", Link: model.Ref{Name: tap}}}})
			}
		}
	}
	data, err := json.Marshal(map[string]any{"version": model.WiringVersion, "snapshot": s})
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// liveFigures are those of a live host.
type liveFigures struct{ Drawbridge, Plotnetcfg cost }

// drawLive draws a live namespace, beside plotnetcfg, the one that does the same.
func (o options) drawLive(ctx context.Context) (string, error) {
	sizes, repeat := []int{10, 100, 1000}, 5
	if o.quick {
		sizes, repeat = []int{10}, 1
	}
	t := table{head: []string{"taps in one bridge, live", "`drawbridge draw -o a.svg`", "`plotnetcfg \\| dot -Tsvg`", "ratio"}}
	for _, n := range sizes {
		f, err := o.drawLiveOf(ctx, n, repeat)
		if err != nil {
			return "", err
		}
		t.row(strconv.Itoa(n), f.Drawbridge.Passed.spread(seconds), f.Plotnetcfg.Passed.spread(seconds), ratios(f.Drawbridge.Passed, f.Plotnetcfg.Passed).spread(times))
	}
	return t.String(), nil
}

func (o options) drawLiveOf(ctx context.Context, n, repeat int) (f liveFigures, err error) {
	l, err := o.lab(ctx)
	if err != nil {
		return f, err
	}
	defer l.down()
	err = l.inner(ctx, "host", &f, "inside-draw", "-taps", strconv.Itoa(n), "-repeat", strconv.Itoa(repeat), "-drawbridge", o.drawbridge)
	return f, err
}

func insideDraw(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("inside-draw", flag.ContinueOnError)
	taps := flags.Int("taps", 10, "how many")
	repeat := flags.Int("repeat", 5, "repetitions")
	drawbridge := flags.String("drawbridge", "", "binary")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := rawUp(*taps, "up"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var f liveFigures
	for range *repeat {
		if err := f.Drawbridge.spend(exec.CommandContext(ctx, *drawbridge, "draw", "-o", dir+"/a.svg")); err != nil {
			return err
		}
		if !installed("plotnetcfg", "dot") {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, dotPatience)
		err := f.Plotnetcfg.spend(exec.CommandContext(limited, "sh", "-c", "plotnetcfg | dot -Tsvg > "+dir+"/b.svg"))
		cancel()
		if err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}
