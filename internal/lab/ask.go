package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
)

// The questions of the ask stage. They need neither ping(8) nor curl(1), which a fresh
// machine may lack.
const (
	askPing    = "ping"    // an address -> PingAnswer
	askGet     = "get"     // a URL -> GetAnswer
	askObserve = "observe" // -> model.Namespace
)

// PingAnswer is what became of an echo request.
type PingAnswer struct {
	MS float64 `json:"ms"` // round trip, the best of three
}

// GetAnswer is a web page.
type GetAnswer struct {
	Code int    `json:"code"`
	Body string `json:"body"`
}

// ask is the stage that answers one question about the network, from inside a
// namespace, as JSON on its standard output.
func ask(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	var answer any
	var err error
	switch {
	case len(args) == 2 && args[0] == askPing:
		answer, err = ping(ctx, args[1])
	case len(args) == 2 && args[0] == askGet:
		answer, err = get(ctx, args[1])
	case len(args) == 1 && args[0] == askObserve:
		answer, err = observe(ctx)
	default:
		return errors.New("an inner command, see: drawbridge lab exec --help")
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

func observe(ctx context.Context) (any, error) {
	k, err := kernel.Open()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	return k.Observe(ctx)
}

func get(ctx context.Context, url string) (GetAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return GetAnswer{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return GetAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return GetAnswer{resp.StatusCode, string(body)}, err
}

// ping sends three echo requests, one after another, over a raw socket: the lab's root
// may open one in the lab's namespaces.
func ping(ctx context.Context, target string) (PingAnswer, error) {
	to, err := netip.ParseAddr(target)
	if err != nil {
		return PingAnswer{}, err
	}
	network, listen := "ip4:icmp", "0.0.0.0"
	kind := icmp.Type(ipv4.ICMPTypeEcho)
	if to.Is6() {
		network, listen, kind = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest
	}
	conn, err := icmp.ListenPacket(network, listen)
	if err != nil {
		return PingAnswer{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	best := time.Duration(0)
	for seq := range 3 {
		rtt, err := echoOnce(conn, to, kind, seq)
		if err != nil {
			return PingAnswer{}, fmt.Errorf("ping %s: %w", to, err)
		}
		if best == 0 || rtt < best {
			best = rtt
		}
	}
	return PingAnswer{float64(best.Microseconds()) / 1000}, nil
}

func echoOnce(conn *icmp.PacketConn, to netip.Addr, kind icmp.Type, seq int) (time.Duration, error) {
	id := os.Getpid() & 0xffff
	request, err := (&icmp.Message{Type: kind, Body: &icmp.Echo{ID: id, Seq: seq, Data: []byte("drawbridge lab")}}).Marshal(nil)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	if _, err := conn.WriteTo(request, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return 0, err
	}
	if err := conn.SetReadDeadline(sent.Add(3 * time.Second)); err != nil {
		return 0, err
	}
	protocol := 1 // ICMP
	if to.Is6() {
		protocol = 58
	}
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return 0, err
		}
		m, err := icmp.ParseMessage(protocol, buf[:n])
		if err != nil {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == id && e.Seq == seq && from.String() == to.String() && m.Type != kind {
			return time.Since(sent), nil
		}
	}
}

// Ping pings an address from inside a namespace.
func (c *Client) Ping(ctx context.Context, namespace string, to netip.Addr) (PingAnswer, error) {
	var a PingAnswer
	return a, c.ask(ctx, namespace, &a, askPing, to.String())
}

// Get fetches a page from inside a namespace.
func (c *Client) Get(ctx context.Context, namespace, url string) (GetAnswer, error) {
	var a GetAnswer
	return a, c.ask(ctx, namespace, &a, askGet, url)
}

// Observe observes a namespace; answer is a *model.Namespace.
func (c *Client) Observe(ctx context.Context, namespace string, answer any) error {
	return c.ask(ctx, namespace, answer, askObserve)
}

func (c *Client) ask(ctx context.Context, namespace string, answer any, question ...string) error {
	out, err := c.Output(ctx, namespace, internalArgs(stageAsk, question...)...)
	if err != nil {
		return fmt.Errorf("from %s: %w", namespace, err)
	}
	return json.Unmarshal(out, answer)
}

// Output runs a command and returns its standard output. What it wrote to standard
// error is in the error, if there is one.
func (c *Client) Output(ctx context.Context, namespace string, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	code, err := c.Capture(ctx, namespace, args, &out, &errs)
	switch {
	case err != nil:
		return nil, err
	case code != 0:
		words := strings.TrimSpace(errs.String())
		return nil, fmt.Errorf("%s: %s", commandWords(args), orCode(words, code))
	}
	return out.Bytes(), nil
}

// Capture runs a command with its output and errors copied to writers.
func (c *Client) Capture(ctx context.Context, namespace string, args []string, out, errs io.Writer) (int, error) {
	outW, finishOut, err := pipeTo(out)
	if err != nil {
		return 0, err
	}
	defer finishOut()
	errW, finishErrs, err := pipeTo(errs)
	if err != nil {
		return 0, err
	}
	defer finishErrs()
	return c.Run(ctx, Command{Namespace: namespace, Args: args, Stdout: outW, Stderr: errW})
}

// pipeTo is a file whose contents are copied to a writer. finish closes it and waits
// for the rest, but not for what the command left in the background with it.
func pipeTo(w io.Writer) (f *os.File, finish func(), err error) {
	r, f, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(w, r)
	}()
	return f, func() {
		_ = f.Close()
		_ = r.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		<-done
		_ = r.Close()
	}, nil
}

func orCode(words string, code int) string {
	if words == "" {
		return fmt.Sprintf("ended with code %d", code)
	}
	return words
}

func commandWords(args []string) string {
	if len(args) > 3 && args[1] == "lab" && args[2] == stageAsk {
		return strings.Join(args[3:], " ")
	}
	return strings.Join(args, " ")
}
