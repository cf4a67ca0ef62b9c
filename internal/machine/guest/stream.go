package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// streamTime is how long a stream lasts where the asker names no time.
const streamTime = 5 * time.Second

// sendPiece is what one write takes, in bytes. In a User-Mode Linux a system call costs
// several switches between processes of the host, and a sender that fills its socket's
// buffer by small pieces is woken for each: with 64 KiB it sent a third.
const sendPiece = 1 << 20

// Streamed is what came through a TCP connection, as its receiver counted it.
type Streamed struct {
	Bytes int64
	Took  time.Duration
}

func (s Streamed) String() string {
	return fmt.Sprintf("%d bytes in %.3f s, %.2f Mbit/s", s.Bytes, s.Took.Seconds(), float64(s.Bytes)*8/1e6/s.Took.Seconds())
}

// Send sends zeros to address for some time, and then waits for the receiver's count: a
// line of bytes and nanoseconds.
func Send(ctx context.Context, address string, length time.Duration) (Streamed, error) {
	c, err := dialStream(ctx, address, length)
	if err != nil {
		return Streamed{}, err
	}
	defer c.Close()
	b := make([]byte, sendPiece)
	for end := time.Now().Add(length); time.Now().Before(end); {
		if _, err := c.Write(b); err != nil {
			return Streamed{}, err
		}
	}
	if err := c.CloseWrite(); err != nil {
		return Streamed{}, err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return Streamed{}, fmt.Errorf("the receiver's count: %w", err)
	}
	var bytes, took int64
	if _, err := fmt.Sscan(line, &bytes, &took); err != nil {
		return Streamed{}, fmt.Errorf("the receiver's count: %w", err)
	}
	return Streamed{bytes, time.Duration(took)}, nil
}

// Receive reads from address for some time.
func Receive(ctx context.Context, address string, length time.Duration) (Streamed, error) {
	c, err := dialStream(ctx, address, length)
	if err != nil {
		return Streamed{}, err
	}
	defer c.Close()
	return Count(c, length)
}

// Count reads a connection until it ends, or for length where that is not 0.
func Count(c *net.TCPConn, length time.Duration) (Streamed, error) {
	var s Streamed
	begin := time.Now()
	if length > 0 {
		_ = c.SetReadDeadline(begin.Add(length))
	}
	b := make([]byte, 256<<10)
	for {
		n, err := c.Read(b)
		s.Bytes += int64(n)
		if err != nil {
			s.Took = time.Since(begin)
			if s.Bytes == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
				return s, errors.New("nothing came")
			}
			return s, nil
		}
	}
}

func dialStream(ctx context.Context, address string, length time.Duration) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(length + getTimeout)) // a stream that hangs is no reason to wait for ever
	return c.(*net.TCPConn), nil
}
