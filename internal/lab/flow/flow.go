package flow

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// EchoPort is where [Serve] answers, UDP and TCP: the echo service's (RFC 862).
const EchoPort = 7

const (
	// rate is how many probes a second each flow sends.
	rate     = 1000
	interval = time.Second / rate
	// stragglers is how long answers are waited for after the last probe: an answer
	// that is late was not lost. One lost ARP request costs a second (RFC 1122).
	stragglers = 1500 * time.Millisecond
	// warmUp is how long a flow may take to its first answer (ARP, NDP, a handshake).
	warmUp = 5 * time.Second
)

// Target is a flow to measure.
type Target struct {
	Name string `json:"name"`
	// Namespace is where the probes come from.
	Namespace string `json:"namespace"`
	// Network is udp or tcp. With tcp, one probe is in flight at a time.
	Network string     `json:"network"`
	Address netip.Addr `json:"address"`
}

// Result is what became of a flow's probes.
type Result struct {
	Name      string     `json:"name"`
	Namespace string     `json:"namespace"`
	Network   string     `json:"network"`
	Address   netip.Addr `json:"address"`
	Sent      int        `json:"sent"`
	Lost      int        `json:"lost"` // sent, and not answered within 1.5 s of the last one
	// LongestGapMS is the longest time without an answer, in ms; 1 where all is well.
	// It holds what the measuring machine's own scheduler adds, see SenderPauseMS.
	LongestGapMS float64 `json:"longest_gap_ms"`
	GapAtMS      float64 `json:"gap_at_ms"` // when it began, since the flow's start
	// SenderPauseMS is the longest time in which this program itself did not get to
	// send, in ms: a gap that is not longer says nothing about the network.
	SenderPauseMS float64 `json:"sender_pause_ms"`
	MedianRTTMS   float64 `json:"median_rtt_ms"`
	Seconds       float64 `json:"seconds"`
	Error         string  `json:"error,omitempty"` // why the flow ended early or never began
}

// Standard are the four flows by which a cutover of the host's uplink is judged.
func Standard(onLink, behind string, host4, host6 netip.Addr) []Target {
	return []Target{
		{Name: "IPv4 on the link", Namespace: onLink, Network: "udp", Address: host4},
		{Name: "IPv4 routed", Namespace: behind, Network: "udp", Address: host4},
		{Name: "IPv6 routed", Namespace: behind, Network: "udp", Address: host6},
		{Name: "TCP on the link", Namespace: onLink, Network: "tcp", Address: host4},
	}
}

// Inside runs fn on a thread that is in a network namespace.
type Inside func(namespace string, fn func() error) error

// Run measures all targets at once until ctx ends. It calls ready once every flow had
// an answer or has given up: what happens from then on is measured.
func Run(ctx context.Context, targets []Target, inside Inside, ready func()) []Result {
	results := make([]Result, len(targets))
	var warm, all sync.WaitGroup
	begin := make(chan struct{})
	for i, t := range targets {
		warm.Add(1)
		all.Go(func() { results[i] = t.run(ctx, inside, warm.Done, begin) })
	}
	warm.Wait()
	ready()
	close(begin)
	all.Wait()
	return results
}

func (t Target) run(ctx context.Context, inside Inside, warmed func(), begin <-chan struct{}) Result {
	r := Result{Name: t.Name, Namespace: t.Namespace, Network: t.Network, Address: t.Address}
	var once sync.Once
	defer once.Do(warmed)
	conn, err := t.dial(ctx, inside)
	if err == nil {
		defer conn.Close()
		err = greet(conn)
	}
	if err != nil {
		r.Error = err.Error()
		return r
	}
	once.Do(warmed)
	<-begin
	if t.Network == "tcp" {
		err = pingPong(ctx, conn, &r)
	} else {
		stream(ctx, conn, &r)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// dial tries for a while: who answers may only just be starting.
func (t Target) dial(ctx context.Context, inside Inside) (conn net.Conn, err error) {
	to := netip.AddrPortFrom(t.Address, EchoPort).String()
	for end := time.Now().Add(warmUp); ; time.Sleep(20 * time.Millisecond) {
		err = inside(t.Namespace, func() (err error) {
			d := net.Dialer{Deadline: end, Control: roomy}
			conn, err = d.DialContext(ctx, t.Network, to)
			return err
		})
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return conn, err
		}
	}
}

// greet sends probes until the first answer, so that address resolution is over
// before anything is counted.
func greet(conn net.Conn) error {
	buf := make([]byte, probeSize)
	var err error
	for end := time.Now().Add(warmUp); time.Now().Before(end); {
		// A refused probe (nobody listens there yet) is reported by the next call.
		if _, err = conn.Write(probe{seq: greeting}.bytes()); err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err = conn.Read(buf); err == nil {
				return conn.SetReadDeadline(time.Time{})
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("no answer from %s within %v: %w", conn.RemoteAddr(), warmUp, err)
}
