package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"drawbridge/internal/machine/guest"
	"drawbridge/internal/machine/initrd"
	"drawbridge/internal/machine/uml"
	"drawbridge/internal/model"
)

// startFile: the network is there before anything is measured, and the machine has a MAC
// address that the one who asks can know before it is up.
const startFile = `networks:
  lan: {mode: bridged, bridge: br0}
machines:
  ours: {memory: 128M, nics: {eth1: {network: lan, address: ` + startAddress + `/24, mac: "` + startMAC + `"}}}
`

const (
	startAddress = "198.18.0.211"
	startMAC     = "02:db:00:00:02:00"
	startTap     = "hand"
	// startPatience is for a machine to answer or to end, on a busy host.
	startPatience = time.Minute
	// askEvery is between two echo requests: how exact the figures can be.
	askEvery = 2 * time.Millisecond
)

// startBench measures how long a machine takes until it answers.
type startBench struct {
	*pretend
	file, self, archive string
}

func measureStart(ctx context.Context, o options) (section, error) {
	repeat := 11
	if o.quick {
		repeat = 1
	}
	const title = "Start of a User-Mode Linux"
	if !installed("linux.uml") {
		return section{title, "Left out: linux.uml is not here (package user-mode-linux).\n"}, nil
	}
	l, err := o.lab(ctx)
	if err != nil {
		return section{}, err
	}
	defer l.down()
	b := startBench{pretend: l, file: filepath.Join(l.dir, "start.yaml"), archive: filepath.Join(l.dir, "start.initrd")}
	if b.self, err = os.Executable(); err != nil {
		return section{}, err
	}
	if err := b.prepare(ctx); err != nil {
		return section{}, err
	}
	var ours, hand series
	sides := []struct {
		to  *series
		run func(context.Context) (float64, error)
	}{{&ours, b.ours}, {&hand, b.byHand}}
	for i := range repeat {
		for k := range sides {
			s := sides[(i+k)%len(sides)] // neither is always the first
			took, err := s.run(ctx)
			if err != nil {
				return section{}, err
			}
			*s.to = append(*s.to, took)
		}
	}
	t := table{head: []string{"started by", "until the first ping is answered", "ratio to by hand"}}
	t.row("**`drawbridge machine start`**", ours.spread(seconds), ratios(ours, hand).spread(times))
	t.row("`linux.uml`, by hand", hand.spread(seconds), ratios(hand, hand).spread(times))
	text := fmt.Sprintf("From the start of the command until a neighbour on the lab's LAN, which asks every %s, has its first answer; the network is there. "+
		"The same kernel (%s), command line and initrd in both. By hand its tap (`ip tuntap add %s mode tap vnet_hdr`, plugged into the same bridge) and its initrd are made before; "+
		"drawbridge plans, and makes the initrd and the process that looks after the machine, within the time.\n\n", askEvery, output("linux.uml", "--version"), startTap)
	return section{title, text + t.String()}, nil
}

// prepare brings the network up, and makes the initrd and the tap of the machine that is started by hand.
func (b *startBench) prepare(ctx context.Context) error {
	if err := os.WriteFile(b.file, []byte(startFile), 0o600); err != nil {
		return err
	}
	if err := b.exec(ctx, "host", b.drawbridge, "up", b.file, "--yes"); err != nil {
		return err
	}
	m, err := b.machine(ctx, "ours")
	if err != nil {
		return err
	}
	if err := b.initrdOf(ctx, m.Config); err != nil {
		return err
	}
	for _, args := range [][]string{
		{b.drawbridge, "machine", "stop", "ours"},
		{"ip", "tuntap", "add", startTap, "mode", "tap", "vnet_hdr"},
		{"ip", "link", "set", startTap, "master", "br0", "up"},
	} {
		if err := b.exec(ctx, "host", args...); err != nil {
			return err
		}
	}
	// One that had to be asked for again would count whole seconds (neigh/retrans_time_ms).
	return b.exec(ctx, "neighbour", "ip", "neigh", "replace", startAddress, "lladdr", startMAC, "dev", "eth0", "nud", "permanent")
}

// listed is what "machine list --json" tells of a machine; PID is as the lab counts.
type listed struct {
	Name   string              `json:"name"`
	PID    int                 `json:"pid"`
	Config model.MachineConfig `json:"config"`
}

func (l *pretend) machine(ctx context.Context, name string) (listed, error) {
	out, err := l.command(ctx, "host", l.drawbridge, "machine", "list", "--json").Output()
	if err != nil {
		return listed{}, fmt.Errorf("machine list: %w", err)
	}
	var all []listed
	if err := json.Unmarshal(out, &all); err != nil {
		return listed{}, err
	}
	for _, m := range all {
		if m.Name == name && m.PID != 0 {
			return m, nil
		}
	}
	return listed{}, fmt.Errorf("%s does not run", name)
}

// initrdOf writes what drawbridge boots a machine from, its modules included.
func (b *startBench) initrdOf(ctx context.Context, m model.MachineConfig) error {
	config, err := guest.NewConfig(m, "/dev/ttyS0").Encode()
	if err != nil {
		return err
	}
	i := initrd.Initrd{Init: b.drawbridge, Config: config}
	k, err := uml.Find(ctx, "")
	if err != nil {
		return err
	}
	if k.IPv6Module {
		modules, err := initrd.ReadModules("/usr/lib/uml/modules/" + k.Release)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		i.Modules, _ = modules.InOrder("ipv6")
	}
	f, err := os.OpenFile(b.archive, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(i.Write(f), f.Close())
}

func (b *startBench) ours(ctx context.Context) (float64, error) {
	took, err := b.untilAnswer(ctx, func(ctx context.Context) (func() error, error) {
		done := make(chan error, 1)
		go func() { done <- b.exec(ctx, "host", b.drawbridge, "machine", "start", "ours", "--file", b.file) }()
		return func() error { return <-done }, nil
	})
	return took, errors.Join(err, b.exec(ctx, "host", b.drawbridge, "machine", "stop", "ours"))
}

func (b *startBench) byHand(ctx context.Context) (float64, error) {
	return b.untilAnswer(ctx, func(ctx context.Context) (func() error, error) {
		cmd := b.command(ctx, "host", b.self, "inside-uml", "mem=131072K", "initrd="+b.archive, "uml_dir="+b.dir, "umid="+startTap,
			"con=null", "ssl=null", "ssl0=fd:3,fd:3", "initcall_blacklist=raid6_select_algo,init_zswap", "panic=1", "quiet", "hostfs=void",
			"con0=fd:0,fd:1", "vec1:transport=tap,ifname="+startTap+",depth=128,gro=1,mac="+startMAC)
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return func() error {
			if _, err := io.WriteString(in, "halt\n"); err != nil {
				return err
			}
			return cmd.Wait()
		}, nil
	})
}

// untilAnswer is how long after start the first answer came; what start returned is then
// waited for.
func (b *startBench) untilAnswer(ctx context.Context, start func(context.Context) (end func() error, err error)) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	asker, err := b.speak(ctx, "neighbour", "asking", b.self, "inside-ask", startAddress)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	end, err := start(ctx)
	if err != nil {
		return 0, err
	}
	_, err = asker.hear(regexp.MustCompile("answered"))
	took := time.Since(begin).Seconds()
	return took, errors.Join(err, end())
}

// insideAsk sends echo requests until one is answered.
func insideAsk(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("inside-ask ADDRESS")
	}
	to := &net.IPAddr{IP: net.ParseIP(args[0])}
	c, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return err
	}
	defer c.Close()
	id := os.Getpid() & 0xffff
	fmt.Println("asking")
	b := make([]byte, 1500)
	for seq := 1; ctx.Err() == nil; seq++ {
		request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq & 0xffff}}).Marshal(nil)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(request, to); err != nil {
			return err
		}
		for until := time.Now().Add(askEvery); ; {
			_ = c.SetReadDeadline(until)
			n, from, err := c.ReadFrom(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			m, err := icmp.ParseMessage(1, b[:n])
			if err != nil || m.Type != ipv4.ICMPTypeEchoReply || from.String() != args[0] {
				continue
			}
			if e, ok := m.Body.(*icmp.Echo); ok && e.ID == id {
				fmt.Println("answered by request " + strconv.Itoa(seq))
				return nil
			}
		}
	}
	return ctx.Err()
}
