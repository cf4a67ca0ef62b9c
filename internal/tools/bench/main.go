// Command bench measures drawbridge beside what does the same by other means, side by
// side in one run, and writes the tables of docs/benchmarks.md.
//
// In: a drawbridge binary. Out: Markdown. Everything happens in the namespaces of labs
// of its own ("drawbridge lab"), never on the machine's own interfaces. It asserts
// nothing: a table that disappoints is still a table.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"drawbridge/internal/lab/booted"
)

// options are what a run is told.
type options struct {
	drawbridge string // path of the binary
	output     string // "" for standard output
	quick      bool
	only       string // one part: observe, draw, taps, cutover, uml, start, nat, dhcp, thefts or managers
	dir        string // of the source tree, which has what scripts/packages.sh fetched
	log        *os.File
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		if inner, ok := inners[args[0]]; ok {
			return inner(ctx, args[1:])
		}
	}
	o := options{log: os.Stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.drawbridge, "drawbridge", "bin/drawbridge", "the `binary` to measure")
	flags.StringVar(&o.output, "o", "", "write the tables to `file` instead of standard output")
	flags.BoolVar(&o.quick, "quick", false, "tiny numbers: does it run at all?")
	flags.StringVar(&o.only, "only", "", "measure one `part`: observe, draw, taps, cutover, uml, start, nat, dhcp, thefts or managers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if o.drawbridge, err = filepath.Abs(o.drawbridge); err != nil {
		return err
	}
	if o.dir, err = os.Getwd(); err != nil {
		return err
	}
	if err := fetched(o.dir); err != nil {
		return err
	}
	if _, err := os.Stat(o.drawbridge); err != nil {
		return fmt.Errorf("%w (hint: make build)", err)
	}
	return measure(ctx, o)
}

// fetched puts the classic tools that scripts/packages.sh has fetched on the path.
func fetched(dir string) error {
	search := os.Getenv("PATH")
	for _, p := range []struct{ name, program string }{{"bridge-utils", "brctl"}, {"uml-utilities", "tunctl"}} {
		if folder, err := booted.Package(dir, p.name, p.program); err == nil && folder != "" {
			search += ":" + filepath.Join(folder, "sbin") + ":" + filepath.Join(folder, "usr/sbin") + ":" + filepath.Join(folder, "usr/bin")
		}
	}
	return os.Setenv("PATH", search)
}

// inners are the parts that run inside a lab, by the first argument.
var inners = map[string]func(context.Context, []string) error{
	"inside-observe": insideObserve,
	"inside-draw":    insideDraw,
	"inside-taps":    insideTaps,
	"inside-manager": insideManager,
	"raw":            insideRaw,
	"flood":          insideFlood,
	"inside-streams": insideStreams,
	"inside-uml":     insideUML,
	"inside-ask":     insideAsk,
	"inside-nat":     insideNAT,
	"inside-dhcp":    insideDHCP,
	"inside-thefts":  insideThefts,
}

// measure runs all parts. What could be measured is written even if another part failed.
func measure(ctx context.Context, o options) error {
	r := report{options: o, began: time.Now()}
	r.loadBefore = loadAverage()
	var failed []error
	for _, p := range []struct {
		name string
		run  func(context.Context, options) (section, error)
	}{{"observe", measureObserve}, {"draw", measureDraw}, {"taps", measureTaps}, {"cutover", measureCutover}, {"uml", measureUML}, {"start", measureStart}, {"nat", measureNAT}, {"dhcp", measureDHCP}, {"thefts", measureThefts}, {"managers", measureManaged}} {
		if o.only != "" && o.only != p.name || ctx.Err() != nil {
			continue
		}
		s, err := p.run(ctx, o)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
			continue
		}
		r.sections = append(r.sections, s)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if len(r.sections) == 0 && len(failed) == 0 {
		return fmt.Errorf("no part %q (hint: observe, draw, taps, cutover, uml, start, nat, dhcp, thefts or managers)", o.only)
	}
	text := r.markdown()
	if o.output == "" {
		fmt.Print(text)
	} else if err := os.WriteFile(o.output, []byte(text), 0o644); err != nil {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
