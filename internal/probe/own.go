package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"drawbridge/internal/model"
)

// The kinds of a user's own probes.
const (
	Ping    = "ping"    // an address or name answers an ICMP echo
	TCP     = "tcp"     // a connection to host:port is accepted
	HTTP    = "http"    // a URL is answered with a status below 400
	Command = "command" // a shell command ends with status 0
)

// Own is a probe of the user's own.
type Own struct {
	Name string
	// Kind is [Ping], [TCP], [HTTP] or [Command].
	Kind string
	// Target is the address, host:port, URL or command.
	Target string
	// Timeout of one try.
	Timeout time.Duration
}

type ownProbe struct {
	set *Set
	own Own
}

func (p ownProbe) name() string {
	return fmt.Sprintf("%s (%s %s)", p.own.Name, p.own.Kind, p.own.Target)
}
func (p ownProbe) patience() time.Duration { return p.own.Timeout }

func (p ownProbe) ask(ctx context.Context, _ *model.Namespace) error {
	var err error
	switch p.own.Kind {
	case Ping:
		err = p.set.ping(ctx, p.own.Target)
	case TCP:
		var conn net.Conn
		if conn, err = p.set.dial(ctx, "tcp", p.own.Target); err == nil {
			err = conn.Close()
		}
	case HTTP:
		err = p.set.get(ctx, p.own.Target)
	case Command:
		err = p.set.command(ctx, p.own.Target)
	default:
		return fmt.Errorf("unknown kind of probe: %s", p.own.Kind)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w within %s", ErrNoAnswer, p.own.Timeout)
	}
	return err
}

func (s *Set) ping(ctx context.Context, host string) error {
	addrs, err := s.lookup(ctx, host)
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range addrs {
		err := s.echo(ctx, a)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", a, err))
	}
	return errors.Join(errs...)
}

// echo asks by ICMP (RFC 792, RFC 4443) over a raw socket, which needs CAP_NET_RAW.
func (s *Set) echo(ctx context.Context, to netip.Addr) error {
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	var conn net.PacketConn
	err := s.inside(func() (err error) {
		conn, err = net.ListenPacket(network, "")
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	id := uint16(time.Now().UnixNano() >> 10)
	buf := make([]byte, 1500)
	for seq := uint16(1); ctx.Err() == nil; seq++ {
		if _, err := conn.WriteTo(echoRequest(request, id, seq), &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(soonest(ctx, wait)); err != nil {
			return err
		}
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				break // time to ask again
			}
			if ip, ok := from.(*net.IPAddr); ok && ip.IP.Equal(to.AsSlice()) && isEchoReply(buf[:n], reply, id) {
				return nil
			}
		}
	}
	return ErrNoAnswer
}

// get asks for a page, without following the environment's proxies: the question is
// whether this host reaches it.
func (s *Set) get(ctx context.Context, url string) error {
	transport := &http.Transport{DialContext: s.dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("answered with status %s", resp.Status)
	}
	return nil
}

// command runs a shell command inside the namespace, in a process group of its own: what
// it starts ends with it.
func (s *Set) command(ctx context.Context, line string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	// A child is in the namespace of the thread that forks it.
	if err := s.inside(cmd.Start); err != nil {
		return err
	}
	err := cmd.Wait()
	if last := out.lastLine(); err != nil && last != "" {
		return fmt.Errorf("%w: %s", err, last)
	}
	return err
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if len(t.b) > tailSize {
		t.b = append([]byte(nil), t.b[len(t.b)-tailSize:]...)
	}
	return len(b), nil
}

func (t *tail) lastLine() string {
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
