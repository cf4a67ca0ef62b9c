package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// floodPort is any that is free in a lab.
const floodPort = 7070

// flooded is what one end of a flood saw.
type flooded struct {
	Sent, Received int
	Seconds        float64 // that it took to send
}

// insideFlood sends to the other end at a rate and counts what comes from there.
func insideFlood(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("flood", flag.ContinueOnError)
	to := flags.String("to", "", "address of the other end")
	rate := flags.Int("rate", 50000, "packets a second")
	length := flags.Duration("for", time.Second, "how long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := net.DialUDP("udp4", &net.UDPAddr{Port: floodPort}, &net.UDPAddr{IP: net.ParseIP(*to), Port: floodPort})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := roomy(conn); err != nil {
		return err
	}
	seen := make(chan int, 1)
	go func() { seen <- countFlood(conn) }()
	if err := meet(conn); err != nil {
		return err
	}
	f := flooded{}
	begin := time.Now()
	f.Sent = sendFlood(conn, *rate, *length)
	f.Seconds = time.Since(begin).Seconds()
	// The other end may have begun later, and have more to send.
	time.Sleep(1500 * time.Millisecond)
	_ = conn.SetReadDeadline(time.Now())
	f.Received = <-seen
	return json.NewEncoder(os.Stdout).Encode(f)
}

// roomy gives the socket room for a second of the flood: what a slow reader drops is
// not the network's loss.
func roomy(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soRcvBufForce, 256<<20); failed != nil {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 256<<20)
		}
	})
	return errors.Join(err, failed)
}

// meet sends greetings for a while, so that address resolution is over, and the other
// end is there, before anything is counted.
func meet(conn *net.UDPConn) error {
	for range 20 {
		if _, err := conn.Write(make([]byte, 8)); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// sendFlood sends in bursts of a millisecond's worth, numbered from 1.
func sendFlood(conn *net.UDPConn, rate int, length time.Duration) int {
	burst := max(rate/1000, 1)
	batch := make([]ipv4.Message, burst)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, 56)}
	}
	out := ipv4.NewPacketConn(conn)
	sent := 0
	begin := time.Now()
	for time.Since(begin) < length {
		// What the scheduler made us miss is made up for, a burst at a time.
		due := int(time.Since(begin).Seconds() * float64(rate))
		if due-sent < burst {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		for i := range batch {
			binary.BigEndian.PutUint64(batch[i].Buffers[0], uint64(sent+i+1))
		}
		for done := 0; done < burst; {
			n, err := out.WriteBatch(batch[done:], 0)
			if err != nil || n <= 0 {
				done++ // no route just now: a packet that is lost
				continue
			}
			done += n
		}
		sent += burst
	}
	return sent
}

// countFlood counts the numbers that came, each once.
func countFlood(conn *net.UDPConn) int {
	in := ipv4.NewPacketConn(conn)
	batch := make([]ipv4.Message, 256)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, 64)}
	}
	seen := map[uint64]bool{}
	for {
		n, err := in.ReadBatch(batch, 0)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, net.ErrClosed) {
			return len(seen)
		}
		for _, m := range batch[:max(n, 0)] {
			if seq := binary.BigEndian.Uint64(m.Buffers[0]); seq != 0 {
				seen[seq] = true
			}
		}
	}
}
