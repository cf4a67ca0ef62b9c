package guest

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// TestStreams: both directions are counted by their receiver, and a silent peer is told.
func TestStreams(t *testing.T) {
	serve := func(fn func(c *net.TCPConn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			if c, err := l.Accept(); err == nil {
				defer c.Close()
				fn(c.(*net.TCPConn))
			}
		}()
		return l.Addr().String()
	}
	counted := make(chan int64, 1)
	sink := serve(func(c *net.TCPConn) {
		s, _ := Count(c, 0)
		counted <- s.Bytes
		fmt.Fprintln(c, s.Bytes, s.Took.Nanoseconds())
	})
	s, err := Send(t.Context(), sink, 50*time.Millisecond)
	if err != nil || s.Bytes == 0 || s.Bytes != <-counted || s.Took < 40*time.Millisecond {
		t.Errorf("sent %v, %v", s, err)
	}
	source := serve(func(c *net.TCPConn) {
		for _, err := c.Write(make([]byte, 1<<16)); err == nil; _, err = c.Write(make([]byte, 1<<16)) {
			continue
		}
	})
	if s, err := Receive(t.Context(), source, 50*time.Millisecond); err != nil || s.Bytes == 0 {
		t.Errorf("received %v, %v", s, err)
	}
	silent := serve(func(c *net.TCPConn) { time.Sleep(time.Second) })
	if s, err := Receive(t.Context(), silent, 50*time.Millisecond); err == nil {
		t.Errorf("a silent peer: %v", s)
	}
	rude := serve(func(c *net.TCPConn) { _, _ = Count(c, 0) })
	if s, err := Send(t.Context(), rude, 20*time.Millisecond); err == nil {
		t.Errorf("a receiver that does not count: %v", s)
	}
}
