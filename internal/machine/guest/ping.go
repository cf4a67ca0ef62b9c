package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The patience of ping and get where the asker names none.
const (
	pingTimeout = 3 * time.Second
	getTimeout  = 10 * time.Second
	maxBody     = 32 << 10
)

// ping sends echo requests, twice a second, until one is answered, and returns its
// round trip time.
func ping(ctx context.Context, target string) (time.Duration, error) {
	ctx, cancel := withDefault(ctx, pingTimeout)
	defer cancel()
	to, err := net.ResolveIPAddr("ip", target)
	if err != nil {
		return 0, err
	}
	network, listen, kind, protocol := "ip4:icmp", "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho), 1
	if to.IP.To4() == nil {
		network, listen, kind, protocol = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest, 58
	}
	c, err := icmp.ListenPacket(network, listen)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	id := os.Getpid()&0xffff ^ int(time.Now().UnixNano()&0xffff)
	var last error
	for seq := 1; ctx.Err() == nil; seq++ {
		m := icmp.Message{Type: kind, Body: &icmp.Echo{ID: id, Seq: seq, Data: []byte("drawbridge")}}
		b, err := m.Marshal(nil)
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		if _, last = c.WriteTo(b, to); last == nil {
			if waitEcho(ctx, c, protocol, id, seq, begin.Add(500*time.Millisecond)) {
				return time.Since(begin), nil
			}
			continue
		}
		wait(ctx, 200*time.Millisecond, nil) // no route yet: an address may be on its way
	}
	if last != nil {
		return 0, fmt.Errorf("ping %s: %w", target, last)
	}
	return 0, fmt.Errorf("ping %s: no answer", target)
}

// send sends one echo request with some data, and waits for no answer.
func send(target string, data []byte) error {
	to, err := net.ResolveIPAddr("ip", target)
	if err != nil {
		return err
	}
	network, listen, kind := "ip4:icmp", "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho)
	if to.IP.To4() == nil {
		network, listen, kind = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest
	}
	c, err := icmp.ListenPacket(network, listen)
	if err != nil {
		return err
	}
	defer c.Close()
	m := icmp.Message{Type: kind, Body: &icmp.Echo{ID: int(time.Now().UnixNano() & 0xffff), Seq: 1, Data: data}}
	b, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(b, to)
	return err
}

// waitEcho reads until the answer to one echo request has come.
func waitEcho(ctx context.Context, c *icmp.PacketConn, protocol, id, seq int, until time.Time) bool {
	if end, ok := ctx.Deadline(); ok && end.Before(until) {
		until = end
	}
	_ = c.SetReadDeadline(until)
	b := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return false
		}
		m, err := icmp.ParseMessage(protocol, b[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == id && e.Seq == seq {
			return true
		}
	}
}

// get fetches a page: its HTTP status and the first 32 KiB of its body.
func get(ctx context.Context, url string) (int, string, error) {
	ctx, cancel := withDefault(ctx, getTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, maxBody))
	if err != nil && !errors.Is(err, io.EOF) {
		return a.StatusCode, string(body), err
	}
	return a.StatusCode, string(body), nil
}

func withDefault(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
