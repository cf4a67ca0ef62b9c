package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The ways of making taps, by their names in the figures.
const (
	wayDrawbridge = "drawbridge"
	wayBatch      = "ip -batch"
	wayLoop       = "ip, a process each"
	wayClassic    = "tunctl + brctl, a process each"
	wayRaw        = "raw netlink, the same messages"
	wayUnsettled  = "raw netlink, carriers not settled"
)

// loopLimit is from where on a loop of processes is not worth waiting for, and from
// where on deleting one by one is done once only: it takes some 16 ms each.
const loopLimit = 100

// tapFigures are the seconds of one size, by the way.
type tapFigures struct {
	Taps     int
	Up, Down map[string]series
	PeakKB   series // of drawbridge up and down
	Again    series // drawbridge up when all is there already
}

// quiesce lets the kernel finish what a deletion left it to do (RCU callbacks).
const quiesce = 250 * time.Millisecond

func insideTaps(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("inside-taps", flag.ContinueOnError)
	sizes := flags.String("sizes", "1,100,1000", "how many taps")
	repeat := flags.Int("repeat", 5, "repetitions")
	drawbridge := flags.String("drawbridge", "", "binary")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var all []tapFigures
	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		b := tapBench{dir: dir, drawbridge: *drawbridge, tapFigures: tapFigures{Taps: n, Up: map[string]series{}, Down: map[string]series{}}}
		if err := b.files(); err != nil {
			return err
		}
		for i := range *repeat {
			if err := b.once(ctx, i); err != nil {
				return fmt.Errorf("%d taps: %w", n, err)
			}
		}
		all = append(all, b.tapFigures)
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

type tapBench struct {
	tapFigures
	dir, drawbridge string
}

func (b *tapBench) path(name string) string { return filepath.Join(b.dir, name) }

// files writes the same wish in each tool's words.
func (b *tapBench) files() error {
	var yaml, up, down, loop, classic strings.Builder
	yaml.WriteString("networks:\n  lan: {mode: host-only, bridge: br0, subnet: 198.18.7.0/24}\ntaps:\n")
	up.WriteString("link add br0 up type bridge stp_state 0 forward_delay 0\naddr add 198.18.7.1/24 dev br0\n")
	loop.WriteString("set -e\nip link add br0 up type bridge stp_state 0 forward_delay 0\nip addr add 198.18.7.1/24 dev br0\n")
	classic.WriteString("set -e\nbrctl addbr br0\nbrctl stp br0 off\nbrctl setfd br0 0\nip addr add 198.18.7.1/24 dev br0\nip link set br0 up\n")
	for i := range b.Taps {
		t := tapName(i)
		fmt.Fprintf(&yaml, "  %s: {network: lan, owner: root}\n", t)
		fmt.Fprintf(&up, "tuntap add dev %s mode tap user root\nlink set %s master br0 up\n", t, t)
		fmt.Fprintf(&down, "link del %s\n", t)
		fmt.Fprintf(&loop, "ip tuntap add dev %s mode tap user root\nip link set %s master br0 up\n", t, t)
		fmt.Fprintf(&classic, "tunctl -u root -t %s >/dev/null\nbrctl addif br0 %s\nip link set %s up\n", t, t, t)
	}
	down.WriteString("link del br0\n")
	for name, text := range map[string]string{"file.yaml": yaml.String(), "up": up.String(), "down": down.String(), "loop": loop.String(), "classic": classic.String()} {
		if err := os.WriteFile(b.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// once measures every way one time.
func (b *tapBench) once(ctx context.Context, repetition int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	n := strconv.Itoa(b.Taps)
	rawUp, rawDown := []string{self, "raw", "up", n}, []string{self, "raw", "down", n}
	loops := b.Taps <= loopLimit
	for _, w := range []struct {
		name     string
		up, down []string
		skip     bool
	}{
		{name: wayRaw, up: rawUp, down: rawDown},
		{name: wayDrawbridge, up: []string{b.drawbridge, "up", b.path("file.yaml"), "--yes"}, down: []string{b.drawbridge, "down", "--yes"}},
		{name: wayUnsettled, up: []string{self, "raw", "up-unsettled", n}},
		{name: wayBatch, up: []string{"ip", "-batch", b.path("up")}, down: []string{"ip", "-batch", b.path("down")}},
		{name: wayLoop, up: []string{"sh", b.path("loop")}, skip: !loops},
		{name: wayClassic, up: []string{"sh", b.path("classic")}, skip: !loops || !installed("tunctl", "brctl")},
	} {
		if w.skip {
			continue
		}
		if err := b.step(ctx, b.Up, w.name, w.up); err != nil {
			return err
		}
		if w.name == wayDrawbridge {
			t, err := timed(func() error { return quiet(ctx, w.up...) })
			if err != nil {
				return err
			}
			b.Again = append(b.Again, t)
		}
		switch {
		case w.down == nil, w.name == wayBatch && repetition > 0 && !loops:
			err = quiet(ctx, rawDown...)
		default:
			err = b.step(ctx, b.Down, w.name, w.down)
		}
		if err != nil {
			return err
		}
		time.Sleep(quiesce)
	}
	return nil
}

// step runs one command and notes how long it took.
func (b *tapBench) step(ctx context.Context, to map[string]series, way string, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out strings.Builder
	cmd.Stderr = &out
	t, err := timed(cmd.Run)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", way, err, out.String())
	}
	to[way] = append(to[way], t)
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && way == wayDrawbridge {
		b.PeakKB = append(b.PeakKB, float64(usage.Maxrss)) // KiB on Linux, getrusage(2)
	}
	return nil
}

func installed(names ...string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { _, err := exec.LookPath(n); return err != nil })
}

func measureTaps(ctx context.Context, o options) (section, error) {
	sizes, repeat := "1,100,1000", 7
	if o.quick {
		sizes, repeat = "1,6", 1
	}
	l, err := o.lab(ctx)
	if err != nil {
		return section{}, err
	}
	defer l.down()
	var all []tapFigures
	if err := l.inner(ctx, "host", &all, "inside-taps", "-sizes", sizes, "-repeat", strconv.Itoa(repeat), "-drawbridge", o.drawbridge); err != nil {
		return section{}, err
	}
	var b strings.Builder
	b.WriteString("A bridge with an address, and owned persistent taps in it, all up. drawbridge: process, plan, journal, guard, group, MAC addresses and verification included. " +
		"Raw: the same messages without any of that (`internal/tools/bench/raw.go`).\n\n")
	up := table{head: []string{"taps", "way", "up", "ratio to `ip -batch`", "ratio to raw"}}
	down := table{head: []string{"taps", "way", "down", "ratio to one by one", "ratio to raw"}}
	other := table{head: []string{"taps", "`up` again: nothing to do", "peak memory of up and down"}}
	for _, f := range all {
		for _, way := range []string{wayDrawbridge, wayRaw, wayUnsettled, wayBatch, wayLoop, wayClassic} {
			if s := f.Up[way]; len(s) > 0 {
				up.row(whole(float64(f.Taps)), way, s.spread(seconds), ratios(s, f.Up[wayBatch]).spread(times), ratios(s, f.Up[wayRaw]).spread(times))
			}
			if s := f.Down[way]; len(s) > 0 {
				name := way
				if way == wayBatch {
					name = "`ip -batch`, one by one"
				}
				down.row(whole(float64(f.Taps)), name, s.spread(seconds), f.toOneByOne(s).spread(times), ratios(s, f.Down[wayRaw]).spread(times))
			}
		}
		other.row(whole(float64(f.Taps)), f.Again.spread(seconds), f.PeakKB.spread(func(kb float64) string { return fmt.Sprintf("%.1f MB", kb*1024/1e6) }))
	}
	b.WriteString(up.String() + "\n" + down.String() + "\n" + other.String())
	if !installed("tunctl", "brctl") {
		b.WriteString("\nLeft out: `tunctl` and `brctl`, which are not installed here (packages uml-utilities and bridge-utils).\n")
	}
	return section{"Making and deleting taps", b.String()}, nil
}

// toOneByOne compares with the median of deleting one by one: that is not repeated
// where it takes half a minute.
func (f tapFigures) toOneByOne(s series) series {
	var out series
	for _, v := range s {
		out = append(out, v/f.Down[wayBatch].median())
	}
	return out
}
