package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"drawbridge/internal/machine/guest"
)

// natFile is the network as drawbridge makes it. Nothing is served, for nothing is by hand.
const natFile = `networks:
  private: {mode: nat, bridge: br1, subnet: 198.18.7.0/24, subnet6: none, dhcp: none}
machines:
  machine:
    vmm: namespace
    nics: {eth1: {network: private, address: 198.18.7.10/24, security: %s}}
`

// natRules are what one writes by hand for the same: who is in the network may go
// anywhere, by this host's addresses; to it comes what belongs to that.
const natRules = `table inet byhand {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname "br1" ip saddr 198.18.7.0/24 accept
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 198.18.7.0/24 oifname != "br1" masquerade
	}
}
`

// natByHand is the wiring that drawbridge makes: a bridge, a veth pair into a namespace,
// forwarding for the two links alone. %s is the file of the rules.
const natByHand = `set -e
ip link add br1 up type bridge stp_state 0 forward_delay 0
ip addr add 198.18.7.1/24 dev br1
ip netns add machine
ip link add port type veth peer name eth1 netns machine
ip link set port master br1 up
ip -n machine link set lo up
ip -n machine addr add 198.18.7.10/24 dev eth1
ip -n machine link set eth1 up
ip -n machine route add default via 198.18.7.1
nft -f '%s'
sysctl -qw net.ipv4.conf.br1.forwarding=1
sysctl -qw net.ipv4.conf.eth0.forwarding=1
`

const (
	callPort = "5003"
	// callers call at the same time: one alone waits for the other end most of the time.
	callers = 4
)

// natSide is one way to the LAN, in a lab of its own: rules in one host would see each
// other's packets.
type natSide struct {
	*pretend
	title, net   string // net: the file of the machine's namespace
	out, in, new series // Gbit/s, Gbit/s, connections/s
}

func measureNAT(ctx context.Context, o options) (section, error) {
	repeat, length := 15, time.Second
	if o.quick {
		repeat, length = 1, 100*time.Millisecond
	}
	const title = "Through mode: nat"
	if !installed("nft", "nsenter") {
		return section{title, "Left out: nft or nsenter is not here (packages nftables and util-linux).\n"}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sides []*natSide
	for _, s := range []struct{ title, security string }{
		{"nft, by hand", ""}, {"**drawbridge**", "strict"}, {"drawbridge, `security: off`", "off"},
	} {
		l, err := o.lab(ctx)
		if err != nil {
			return section{}, err
		}
		defer l.down()
		side := &natSide{pretend: l, title: s.title}
		if err := side.make(ctx, s.security); err != nil {
			return section{}, fmt.Errorf("%s: %w", s.title, err)
		}
		sides = append(sides, side)
	}
	for i := range repeat {
		for k := range sides {
			s := sides[(i+k)%len(sides)] // none is always the first
			if err := s.once(ctx, length); err != nil {
				return section{}, fmt.Errorf("%s: %w", s.title, err)
			}
		}
	}
	hand := sides[0]
	t := table{head: []string{"rules", "to the LAN, Gbit/s", "ratio to by hand", "from the LAN, Gbit/s", "ratio to by hand", "new connections/s", "ratio to by hand"}}
	for _, s := range sides {
		t.row(s.title, s.out.spread(gigabits), ratios(s.out, hand.out).spread(times), s.in.spread(gigabits), ratios(s.in, hand.in).spread(times),
			s.new.spread(whole), ratios(s.new, hand.new).spread(times))
	}
	text := fmt.Sprintf("From a namespace behind a veth pair in a bridge, through the host, to a neighbour on the lab's LAN: one TCP connection, %s each way in turn, counted by the receiver; then %d callers that connect and hang up as fast as it goes. "+
		"Each in a lab of its own. By hand:\n\n```\n%s```\n\ndrawbridge has rules for each pair of links beside these, and, but with `security: off`, checks each frame at the machine's port.\n\n", length, callers, natRules)
	return section{title, text + t.String()}, nil
}

// make makes the network; by hand where there is no word for what the port checks.
func (s *natSide) make(ctx context.Context, security string) error {
	if security == "" {
		rules := filepath.Join(s.dir, "rules")
		if err := os.WriteFile(rules, []byte(natRules), 0o600); err != nil {
			return err
		}
		if err := s.exec(ctx, "host", "sh", "-c", fmt.Sprintf(natByHand, rules)); err != nil {
			return err
		}
		s.net = "/run/netns/machine"
	} else {
		file := filepath.Join(s.dir, "nat.yaml")
		if err := os.WriteFile(file, fmt.Appendf(nil, natFile, security), 0o600); err != nil {
			return err
		}
		if err := s.exec(ctx, "host", s.drawbridge, "up", file, "--yes"); err != nil {
			return err
		}
		m, err := s.machine(ctx, "machine")
		if err != nil {
			return err
		}
		s.net = "/proc/" + strconv.Itoa(m.PID) + "/ns/net"
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	_, err = s.speak(ctx, "neighbour", "streams are served", self, "inside-streams")
	return err
}

// natFigures are one turn of one side.
type natFigures struct{ Out, In, New float64 }

func (s *natSide) once(ctx context.Context, length time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := s.command(ctx, "host", "nsenter", "--net="+s.net, self, "inside-nat", "-for", length.String())
	cmd.Stderr = s.log
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("inside-nat: %w", err)
	}
	var f natFigures
	if err := json.Unmarshal(out, &f); err != nil {
		return err
	}
	s.out, s.in, s.new = append(s.out, f.Out), append(s.in, f.In), append(s.new, f.New)
	return nil
}

// insideNAT is what runs in the machine.
func insideNAT(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("inside-nat", flag.ContinueOnError)
	length := flags.Duration("for", time.Second, "each way")
	if err := flags.Parse(args); err != nil {
		return err
	}
	sent, err := guest.Send(ctx, net.JoinHostPort(peerAddress, sinkPort), *length)
	if err != nil {
		return err
	}
	received, err := guest.Receive(ctx, net.JoinHostPort(peerAddress, sourcePort), *length)
	if err != nil {
		return err
	}
	rate, err := call(ctx, net.JoinHostPort(peerAddress, callPort), *length)
	if err != nil {
		return err
	}
	perSecond := func(s guest.Streamed) float64 { return float64(s.Bytes) * 8 / 1e9 / s.Took.Seconds() }
	return json.NewEncoder(os.Stdout).Encode(natFigures{Out: perSecond(sent), In: perSecond(received), New: rate})
}

// call makes connections for some time, and returns how many a second.
func call(ctx context.Context, address string, length time.Duration) (float64, error) {
	var made atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, callers)
	begin := time.Now()
	for range callers {
		group.Go(func() {
			for time.Since(begin) < length {
				c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp4", address)
				if err != nil {
					failed <- err
					return
				}
				hangUp(c.(*net.TCPConn))
				made.Add(1)
			}
		})
	}
	group.Wait()
	took := time.Since(begin).Seconds()
	close(failed)
	var all []error
	for err := range failed {
		all = append(all, err)
	}
	return float64(made.Load()) / took, errors.Join(all...)
}

// pickUp waits until the caller hangs up: an end that hung up first would reset connections
// that are not yet known to be made.
func pickUp(c *net.TCPConn) {
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
}

// hangUp resets a connection: its port is free again at once, where one that is closed in
// peace keeps it for a minute (TIME_WAIT), and a turn would run out of ports.
func hangUp(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
