package agent

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/model"
)

func pair(t *testing.T, handle Handler) *Client {
	t.Helper()
	host, guest := net.Pipe()
	go func() {
		_, _ = guest.Write([]byte("Linux version 6.1, not JSON\n{\"broken\n"))
		_ = Serve(t.Context(), guest, Response{Release: "6.1"}, handle)
		_ = guest.Close()
	}()
	c := NewClient(host)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestHelloAndAnswers(t *testing.T) {
	c := pair(t, func(_ context.Context, r Request) (Response, error) {
		switch r.Do {
		case Status:
			return Response{Namespace: &model.Namespace{Name: strings.Repeat("x", 100_000)}}, nil
		case Ping:
			time.Sleep(50 * time.Millisecond)
			return Response{RTT: time.Millisecond}, nil
		}
		return Response{}, errors.New("no route to host")
	})
	hello, err := c.WaitHello(t.Context())
	if err != nil || hello.Release != "6.1" {
		t.Fatalf("hello %+v, %v", hello, err)
	}
	slow := make(chan error, 1)
	go func() { _, err := c.Do(t.Context(), Request{Do: Ping, Target: "198.18.0.1"}); slow <- err }()
	a, err := c.Do(t.Context(), Request{Do: Status})
	if err != nil || len(a.Namespace.Name) != 100_000 {
		t.Fatalf("status: %v", err)
	}
	if err := <-slow; err != nil {
		t.Fatalf("ping: %v", err)
	}
	var remote *RemoteError
	if _, err := c.Do(t.Context(), Request{Do: Get}); !errors.As(err, &remote) || remote.Message != "no route to host" {
		t.Fatalf("the guest's refusal came as %v", err)
	}
}

func TestSilentAndDeadGuest(t *testing.T) {
	c := pair(t, func(ctx context.Context, _ Request) (Response, error) { <-ctx.Done(); return Response{}, ctx.Err() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, Request{Do: Status}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a silent guest: %v", err)
	}
	_ = c.Close()
	if _, err := c.Do(t.Context(), Request{Do: Status}); !errors.Is(err, ErrGone) {
		t.Fatalf("a dead guest: %v", err)
	}
}

func TestRequestTooLong(t *testing.T) {
	c := pair(t, func(context.Context, Request) (Response, error) { return Response{}, nil })
	nic := model.NICConfig{Name: "eth1"}
	for i := range 200 {
		nic.Addresses = append(nic.Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, 1, byte(i)}), 24))
	}
	if _, err := c.Do(t.Context(), Request{Do: Configure, NIC: &nic}); !errors.Is(err, model.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
}

// half is a line that is only read from.
type half struct{ *bytes.Reader }

func (half) Write(b []byte) (int, error) { return len(b), nil }

// FuzzServe: whatever comes over the line, the guest's agent lives on.
func FuzzServe(f *testing.F) {
	f.Add([]byte("{\"id\":1,\"do\":\"status\"}\n"))
	f.Add([]byte("{\"id\":1,\"nic\":{\"addresses\":[\"::/0\"]}}\n\x00\xff\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = Serve(t.Context(), half{bytes.NewReader(b)}, Response{}, func(context.Context, Request) (Response, error) { return Response{}, nil })
	})
}
