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

	"drawbridge/internal/lab/booted"
)

// The ways of making taps, by their names in the figures.
const (
	wayDrawbridge = "drawbridge"
	wayBatch      = "ip -batch"
	wayLoop       = "ip, a process each"
	wayClassic    = "tunctl + brctl, a process each"
	wayCNI        = "CNI bridge plugin, a process each (veths)"
	wayRaw        = "raw netlink, the same messages"
	wayUnsettled  = "raw netlink, carriers not settled"
	wayAlone      = "raw: the taps alone, not plugged in, down"
)

// loopLimit is from where on a loop of processes is not worth waiting for, and from
// where on deleting one by one is done once only: it takes some 16 ms each.
const loopLimit = 100

// tapFigures are the seconds of one size, by the way.
type tapFigures struct {
	Taps     int
	Up, Down map[string]series
	CPU      map[string]series // of up: the processor's time, user and system
	PeakKB   series            // of drawbridge up and down
	Again    series            // drawbridge up when all is there already
}

// quiesce lets the kernel finish what a deletion left it to do (RCU callbacks).
const quiesce = 250 * time.Millisecond

func insideTaps(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("inside-taps", flag.ContinueOnError)
	sizes := flags.String("sizes", "1,100,1000", "how many taps")
	repeat := flags.Int("repeat", 5, "repetitions")
	drawbridge := flags.String("drawbridge", "", "binary")
	cni := flags.String("cni", "", "CNI's bridge plugin")
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
		b := tapBench{dir: dir, drawbridge: *drawbridge, cni: *cni, tapFigures: tapFigures{Taps: n, Up: map[string]series{}, Down: map[string]series{}, CPU: map[string]series{}}}
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
	cni             string // "" where it is not to be had
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
	cniUp, cniDown := b.cniScripts()
	for name, text := range map[string]string{"cni-up": cniUp, "cni-down": cniDown, "file.yaml": yaml.String(), "up": up.String(), "down": down.String(), "loop": loop.String(), "classic": classic.String()} {
		if err := os.WriteFile(b.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// cniScripts call the plugin as a container runtime does, once for each port: a veth, its
// other half in a namespace. One namespace for all of them: making those is not the
// plugin's work.
func (b *tapBench) cniScripts() (up, down string) {
	const config = `{"cniVersion": "0.4.0", "name": "lan", "type": "bridge", "bridge": "br0", "ipam": {}}`
	call := func(command string) string {
		return fmt.Sprintf("i=0\nwhile [ $i -lt %d ]; do\n\tCNI_COMMAND=%s CNI_CONTAINERID=c$i CNI_NETNS=/run/netns/pods CNI_IFNAME=eth$i CNI_PATH=%s %s <<'END' >/dev/null\n%s\nEND\n\ti=$((i + 1))\ndone\n",
			b.Taps, command, filepath.Dir(b.cni), b.cni, config)
	}
	up = "set -e\nip netns add pods\n" + call("ADD") + "ip addr add 198.18.7.1/24 dev br0\n"
	return up, "set -e\n" + call("DEL") + "ip netns del pods\nip link del br0\n"
}

// cniPlugin finds CNI's bridge plugin, here or fetched; "" for none.
func cniPlugin(dir string) string {
	const program = "usr/lib/cni/bridge"
	candidates := []string{"/" + program, "/opt/cni/bin/bridge"}
	if folder, err := booted.Package(dir, "containernetworking-plugins", "no program of it is on the path"); err == nil {
		candidates = append(candidates, filepath.Join(folder, program))
	}
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return path
		}
	}
	return ""
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
		{name: wayBatch, up: []string{"ip", "-batch", b.path("up")}, down: []string{"ip", "-batch", b.path("down")}},
		{name: wayUnsettled, up: []string{self, "raw", "up-unsettled", n}},
		{name: wayAlone, up: []string{self, "raw", "up-alone", n}},
		{name: wayLoop, up: []string{"sh", b.path("loop")}, skip: !loops},
		{name: wayClassic, up: []string{"sh", b.path("classic")}, skip: !loops || !installed("tunctl", "brctl")},
		{name: wayCNI, up: []string{"sh", b.path("cni-up")}, down: []string{"sh", b.path("cni-down")}, skip: !loops || b.cni == ""},
	} {
		if w.skip {
			continue
		}
		used, err := b.step(ctx, b.Up, w.name, w.up)
		if err != nil {
			return err
		}
		b.CPU[w.name] = append(b.CPU[w.name], used.Seconds())
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
			_, err = b.step(ctx, b.Down, w.name, w.down)
		}
		if err != nil {
			return err
		}
		time.Sleep(quiesce)
	}
	return nil
}

// step runs one command and notes how long it took; used is the processor's time.
func (b *tapBench) step(ctx context.Context, to map[string]series, way string, args []string) (used time.Duration, err error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out strings.Builder
	cmd.Stderr = &out
	t, err := timed(cmd.Run)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", way, err, out.String())
	}
	to[way] = append(to[way], t)
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && way == wayDrawbridge {
		b.PeakKB = append(b.PeakKB, float64(usage.Maxrss)) // KiB on Linux, getrusage(2)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
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
	cni := cniPlugin(o.dir)
	var all []tapFigures
	if err := l.inner(ctx, "host", &all, "inside-taps", "-sizes", sizes, "-repeat", strconv.Itoa(repeat), "-drawbridge", o.drawbridge, "-cni", cni); err != nil {
		return section{}, err
	}
	var b strings.Builder
	b.WriteString("A bridge with an address, and owned persistent taps in it, all up. drawbridge: process, plan, journal, guard, group, MAC addresses and verification included. " +
		"Raw: the same messages without any of that (`internal/tools/bench/raw.go`). " +
		"Processor time is the process's own, the kernel's work for it included; the rest is waiting: for rtnl, and at each close of a tap's descriptor (`__tun_detach`, synchronize_net), which every way has. " +
		"What the kernel takes for the taps alone is the floor for whoever makes them (decision 0015).\n\n")
	up := table{head: []string{"taps", "way", "up", "ratio to `ip -batch`", "ratio to raw", "processor time", "its ratio to `ip -batch`"}}
	down := table{head: []string{"taps", "way", "down", "ratio to one by one", "ratio to raw"}}
	other := table{head: []string{"taps", "`up` again: nothing to do", "peak memory of up and down"}}
	for _, f := range all {
		for _, way := range []string{wayDrawbridge, wayRaw, wayUnsettled, wayAlone, wayBatch, wayLoop, wayClassic, wayCNI} {
			if s := f.Up[way]; len(s) > 0 {
				up.row(whole(float64(f.Taps)), way, s.spread(seconds), ratios(s, f.Up[wayBatch]).spread(times), ratios(s, f.Up[wayRaw]).spread(times), f.CPU[way].spread(seconds), ratios(f.CPU[way], f.CPU[wayBatch]).spread(times))
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
		b.WriteString("\nLeft out: `tunctl` and `brctl`, which are neither here nor fetched (scripts/packages.sh uml-utilities bridge-utils).\n")
	}
	if cni == "" {
		b.WriteString("\nLeft out: CNI's bridge plugin, which is neither here nor fetched (scripts/packages.sh containernetworking-plugins).\n")
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
