package machine

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"drawbridge/internal/child"
)

const (
	consoleLogMax = 1 << 20 // bytes; then the older half is dropped
	consoleRecent = 8 << 10 // bytes that a new watcher sees first
	// Input goes in small pieces: a UML's line that has once throttled (n_tty keeps
	// 4096 bytes) is never read again by its kernel.
	inputPiece = 256
	inputPause = 10 * time.Millisecond
)

// console keeps the log of a machine's console, and passes it on to who watches.
type console struct {
	mu       sync.Mutex
	file     *os.File
	size     int
	recent   []byte
	watchers map[chan []byte]struct{}
	ended    bool
	in       io.Writer
	input    sync.Mutex
}

func openConsole(path string) (*console, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &console{file: f, watchers: map[chan []byte]struct{}{}}, nil
}

// follow copies the machine's console until it ends.
func (c *console) follow(rw io.ReadWriter) {
	c.mu.Lock()
	c.in, c.ended = rw, false
	c.mu.Unlock()
	buf := make([]byte, 4096)
	for {
		n, err := rw.Read(buf)
		if n > 0 {
			c.add(bytes.Clone(buf[:n]))
		}
		if err != nil {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for w := range c.watchers {
		delete(c.watchers, w)
		close(w)
	}
}

// say adds a line of our own.
func (c *console) say(line string) { c.add([]byte(line + "\r\n")) }

func (c *console) add(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent = append(c.recent, b...)
	if len(c.recent) > 2*consoleRecent {
		c.recent = bytes.Clone(c.recent[len(c.recent)-consoleRecent:])
	}
	// A full disk must not stop the machine: the log is then short.
	n, _ := c.file.Write(b)
	if c.size += n; c.size > consoleLogMax {
		c.halve()
	}
	for w := range c.watchers {
		select {
		case w <- b:
		default: // who does not read misses some
		}
	}
}

// halve drops the older half of the log.
func (c *console) halve() {
	tail := make([]byte, consoleLogMax/2)
	n, err := c.file.ReadAt(tail, int64(c.size-len(tail)))
	if err != nil && err != io.EOF {
		return
	}
	if c.file.Truncate(0) != nil {
		return
	}
	_, _ = c.file.Seek(0, io.SeekStart)
	c.size, _ = c.file.Write(tail[:n])
}

// tail is the last lines of the log, for an error; of a panic, the first.
func (c *console) tail(lines int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := string(c.recent)
	// What a kernel says of its own end begins with the reason.
	if _, why, found := strings.Cut(text, "Kernel panic"); found {
		return firstLines("Kernel panic"+why, lines)
	}
	return child.LastLines(text, lines)
}

func firstLines(text string, n int) string {
	all := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n"), "\n")
	return strings.Join(all[:min(n, len(all))], "\n")
}

// attach gives a connection the console, until either ends.
func (c *console) attach(conn net.Conn) {
	w := make(chan []byte, 256)
	c.mu.Lock()
	w <- bytes.Clone(c.recent)
	if c.ended {
		close(w)
	} else {
		c.watchers[w] = struct{}{}
	}
	c.mu.Unlock()
	go func() {
		c.passInput(conn)
		c.mu.Lock()
		defer c.mu.Unlock()
		if _, ok := c.watchers[w]; ok {
			delete(c.watchers, w)
			close(w)
		}
	}()
	for b := range w {
		_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write(b); err != nil {
			break
		}
	}
	_ = conn.Close()
}

// passInput passes on what a watcher types.
func (c *console) passInput(conn net.Conn) {
	buf := make([]byte, inputPiece)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		c.input.Lock()
		_, err = c.in.Write(buf[:n])
		time.Sleep(inputPause)
		c.input.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *console) close() { _ = c.file.Close() }
