package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/draw/term"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
)

// observeFigures are seconds, a repetition each.
type observeFigures struct {
	Iproute, Observe, SVG, Terminal series
	// The same as whole processes, start and output included.
	DrawText, DrawSVG, DrawJSON series
	Start, StartIP              series
}

// iprouteReads is what one types to see a namespace.
const iprouteReads = "ip -d -j link; ip -j addr; ip -j route; bridge -j fdb"

func insideObserve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("inside-observe", flag.ContinueOnError)
	taps := flags.Int("taps", 1000, "how many")
	repeat := flags.Int("repeat", 5, "repetitions")
	drawbridge := flags.String("drawbridge", "", "binary")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := rawUp(*taps, "up"); err != nil {
		return err
	}
	k, err := kernel.Open()
	if err != nil {
		return err
	}
	defer k.Close()
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var f observeFigures
	process := func(to *series, args ...string) error {
		t, err := timed(func() error { return quiet(ctx, args...) })
		*to = append(*to, t)
		return err
	}
	for range *repeat {
		if err := observeOnce(ctx, k, &f); err != nil {
			return err
		}
		for _, p := range []struct {
			to   *series
			args []string
		}{
			{&f.Iproute, []string{"sh", "-c", iprouteReads}},
			{&f.DrawText, []string{*drawbridge, "draw"}},
			{&f.DrawSVG, []string{*drawbridge, "draw", "-o", dir + "/a.svg"}},
			{&f.DrawJSON, []string{*drawbridge, "draw", "--format", "json"}},
			{&f.Start, []string{*drawbridge, "version"}},
			{&f.StartIP, []string{"ip", "-V"}},
		} {
			if err := process(p.to, p.args...); err != nil {
				return err
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

func observeOnce(ctx context.Context, k *kernel.Kernel, f *observeFigures) error {
	snap := model.Snapshot{Namespaces: make([]model.Namespace, 1)}
	t, err := timed(func() (err error) {
		snap.Namespaces[0], err = k.Observe(ctx)
		return err
	})
	if err != nil {
		return err
	}
	f.Observe = append(f.Observe, t)
	t, _ = timed(func() error {
		svg.Render(draw.Draw(draw.Options{}, draw.Frame{Title: "bench", Now: model.Wire(snap)}), svg.Options{})
		return nil
	})
	f.SVG = append(f.SVG, t)
	t, _ = timed(func() error {
		term.Render(term.Options{Width: 80}, draw.Frame{Now: model.Wire(snap)})
		return nil
	})
	f.Terminal = append(f.Terminal, t)
	return nil
}

// quiet runs a command and throws away what it prints.
func quiet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return nil
}

func measureObserve(ctx context.Context, o options) (section, error) {
	taps, repeat := 1000, 9
	if o.quick {
		taps, repeat = 10, 1
	}
	l, err := o.lab(ctx)
	if err != nil {
		return section{}, err
	}
	defer l.down()
	var f observeFigures
	if err := l.inner(ctx, "host", &f, "inside-observe", "-taps", fmt.Sprint(taps), "-repeat", fmt.Sprint(repeat), "-drawbridge", o.drawbridge); err != nil {
		return section{}, err
	}
	t := table{head: []string{"what", "time", fmt.Sprintf("ratio to `%s`", iprouteReads)}}
	row := func(what string, s series) { t.row(what, s.spread(seconds), ratios(s, f.Iproute).spread(times)) }
	row("`"+iprouteReads+"`", f.Iproute)
	row("observe (links, addresses, routes, rules, neighbours, FDB, settings, tap holders)", f.Observe)
	row("wiring and SVG, beside observing", f.SVG)
	row("wiring and terminal picture, beside observing", f.Terminal)
	row("`drawbridge draw`, the whole process", f.DrawText)
	row("`drawbridge draw -o a.svg`, the whole process", f.DrawSVG)
	row("`drawbridge draw --format json`, the whole process", f.DrawJSON)
	row("start alone: `drawbridge version`", f.Start)
	row("start alone: `ip -V`", f.StartIP)
	return section{fmt.Sprintf("Observe and draw: %d taps in one bridge", taps), t.String()}, nil
}
