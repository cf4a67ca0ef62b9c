package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drawbridge/internal/machine/guest"
	"drawbridge/internal/machine/initrd"
	"drawbridge/internal/model"
)

// umlFile: one machine as drawbridge starts it, and a tap for each that is started by hand.
const umlFile = `networks:
  lan: {mode: bridged, bridge: br0}
machines:
  ours: {memory: 128M, nics: {eth1: {network: lan, address: 198.18.0.211/24}}}
taps:
  best: {network: lan}
  page: {network: lan}
`

// byHandUML are the machines that are started by hand, with the same kernel and guest.
var byHandUML = []struct{ name, title, nic, address string }{
	{"best", "by hand, the best options", "vec1:transport=tap,ifname=best,depth=128,gro=1,mac=02:db:00:00:02:01", "198.18.0.212/24"},
	{"page", "by hand, the page's `eth1=tuntap,tap0`", "eth1=tuntap,page,02:db:00:00:02:02", "198.18.0.213/24"},
}

const (
	peerAddress = "198.18.0.20" // the lab's neighbour
	sinkPort    = "5001"
	sourcePort  = "5002"
)

// speaker is a machine's console.
type speaker struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func measureUML(ctx context.Context, o options) (section, error) {
	repeat, length := 15, "1"
	if o.quick {
		repeat, length = 1, "0.2"
	}
	const title = "TCP of a User-Mode Linux"
	if !installed("linux.uml") {
		return section{title, "Left out: linux.uml is not here (package user-mode-linux).\n"}, nil
	}
	l, err := o.lab(ctx)
	if err != nil {
		return section{}, err
	}
	defer l.down()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	file := filepath.Join(l.dir, "uml.yaml")
	if err := os.WriteFile(file, []byte(umlFile), 0o600); err != nil {
		return section{}, err
	}
	if err := l.exec(ctx, "host", o.drawbridge, "up", file, "--yes"); err != nil {
		return section{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return section{}, err
	}
	if _, err := l.speak(ctx, "neighbour", "streams are served", self, "inside-streams"); err != nil {
		return section{}, err
	}
	names, titles := []string{"ours"}, map[string]string{"ours": "**as drawbridge starts it**"}
	speakers := map[string]*speaker{}
	if speakers["ours"], err = l.speak(ctx, "host", "> ", o.drawbridge, "machine", "console", "ours"); err != nil {
		return section{}, err
	}
	for _, m := range byHandUML {
		names, titles[m.name] = append(names, m.name), m.title
		archive, err := l.initrd(m.name, m.address, m.nic)
		if err != nil {
			return section{}, err
		}
		if speakers[m.name], err = l.speak(ctx, "host", "> ", self, "inside-uml", "mem=128M", "initrd="+archive,
			"con=null", "con0=fd:0,fd:1", "ssl=null", "ssl0=fd:3,fd:3", "uml_dir="+l.dir, "umid="+m.name, "quiet", m.nic); err != nil {
			return section{}, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	out, in := map[string]series{}, map[string]series{}
	for i := range repeat {
		for k := range names {
			name := names[(i+k)%len(names)] // none is always the first
			sent, err := speakers[name].ask("send " + net.JoinHostPort(peerAddress, sinkPort) + " " + length)
			if err != nil {
				return section{}, fmt.Errorf("%s: %w", name, err)
			}
			received, err := speakers[name].ask("receive " + net.JoinHostPort(peerAddress, sourcePort) + " " + length)
			if err != nil {
				return section{}, fmt.Errorf("%s: %w", name, err)
			}
			out[name], in[name] = append(out[name], sent), append(in[name], received)
		}
	}
	t := table{head: []string{"User-Mode Linux", "to the LAN, Gbit/s", "ratio to the best", "ratio to the page's", "from the LAN, Gbit/s", "ratio to the best", "ratio to the page's"}}
	for _, name := range names {
		row := []string{titles[name]}
		for _, s := range []map[string]series{out, in} {
			row = append(row, s[name].spread(gigabits), ratios(s[name], s["best"]).spread(times), ratios(s[name], s["page"]).spread(times))
		}
		t.row(row...)
	}
	text := fmt.Sprintf("One TCP connection between the machine and a neighbour on the lab's LAN, through the bridge, %s s each way in turn, counted by the receiver. The same kernel (%s) and the same guest in all three.\n\n",
		length, output("linux.uml", "--version"))
	return section{title, text + t.String()}, nil
}

func gigabits(v float64) string { return fmt.Sprintf("%.2f", v) }

// initrd writes what a machine that is started by hand boots from: drawbridge's own guest.
func (l *pretend) initrd(name, address, nic string) (string, error) {
	mac := nic[len(nic)-17:]
	config, err := guest.Config{Name: name, VMM: "uml", Line: "/dev/ttyS0", NICs: []model.NICConfig{{
		Name: "eth1", MAC: model.MAC(mac), Link: name, Addresses: []netip.Prefix{netip.MustParsePrefix(address)},
	}}}.Encode()
	if err != nil {
		return "", err
	}
	path := filepath.Join(l.dir, name+".initrd")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	return path, errors.Join(initrd.Initrd{Init: l.drawbridge, Config: config}.Write(f), f.Close())
}

// speak starts a command inside and waits until it has said something.
func (l *pretend) speak(ctx context.Context, namespace, until string, args ...string) (*speaker, error) {
	cmd := l.command(ctx, namespace, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // it ends with ctx
	s := &speaker{in: in, out: bufio.NewReader(out)}
	_, err = s.hear(regexp.MustCompile(regexp.QuoteMeta(until)))
	return s, err
}

// hear reads until the last line that was begun matches.
func (s *speaker) hear(what *regexp.Regexp) ([]string, error) {
	var line []byte
	var said []string
	for {
		b, err := s.out.ReadByte()
		if err != nil {
			said = append(said, string(line))
			return nil, fmt.Errorf("%w after\n%s", err, strings.Join(said[max(0, len(said)-20):], "\n"))
		}
		if b == '\n' {
			said = append(said, string(line))
			line = line[:0]
			continue
		}
		line = append(line, b)
		if m := what.FindSubmatch(line); m != nil {
			var words []string
			for _, w := range m {
				words = append(words, string(w))
			}
			return words, nil
		}
	}
}

var measured = regexp.MustCompile(`(?:send|receive) \S+: [0-9]+ bytes in [0-9.]+ s, ([0-9.]+) Mbit/s`)

// ask types a command, and returns the Gbit/s of the answer.
func (s *speaker) ask(command string) (float64, error) {
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		return 0, err
	}
	words, err := s.hear(measured)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", command, err)
	}
	v, err := strconv.ParseFloat(words[1], 64)
	return v / 1000, err
}

// insideUML runs a User-Mode Linux whose console is this process's own streams. Console
// and agent's line are socket pairs, as under drawbridge; our guest ends when the agent's
// line does.
func insideUML(ctx context.Context, args []string) error {
	console, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	line, theirLine, err := socketPair()
	if err != nil {
		return err
	}
	defer line.Close()
	defer theirLine.Close()
	// Without -R (no address space randomisation) its page tables take a random amount of
	// the guest's memory, and one boot in some panics.
	cmd := exec.CommandContext(ctx, "setarch", append([]string{"-R", "linux.uml"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.ExtraFiles = []*os.File{theirLine}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(console, os.Stdin) }()
	go func() { _, _ = io.Copy(os.Stdout, console) }()
	return cmd.Wait()
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs"), nil
}

// insideStreams serves a sink, a source and one who is called, by TCP, until it is ended.
func insideStreams(ctx context.Context, _ []string) error {
	for port, serve := range map[string]func(*net.TCPConn){sinkPort: sink, sourcePort: source, callPort: pickUp} {
		listen, err := net.Listen("tcp4", net.JoinHostPort("", port))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := listen.Accept()
				if err != nil {
					return
				}
				go serve(c.(*net.TCPConn))
			}
		}()
	}
	fmt.Println("streams are served")
	<-ctx.Done()
	return nil
}

func sink(c *net.TCPConn) {
	defer c.Close()
	if s, err := guest.Count(c, 0); err == nil {
		fmt.Fprintln(c, s.Bytes, s.Took.Nanoseconds())
	}
}

func source(c *net.TCPConn) {
	defer c.Close()
	b := []byte(strings.Repeat("\x00", 256<<10))
	for {
		_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}
