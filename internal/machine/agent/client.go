package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"drawbridge/internal/model"
)

// ErrGone says that the channel has ended: the guest is no more.
var ErrGone = errors.New("the guest's agent is gone")

// maxLine is the longest answer that is read, so that a guest cannot fill our memory.
const maxLine = 4 << 20

// Client asks a guest. Its methods may be called from several goroutines.
type Client struct {
	rw    io.ReadWriteCloser
	hello chan Response // closed after the first
	gone  chan struct{}

	write sync.Mutex // one request on the line at a time
	mu    sync.Mutex
	next  uint64
	wait  map[uint64]chan Response
}

// NewClient reads answers from rw until it ends or Close is called.
func NewClient(rw io.ReadWriteCloser) *Client {
	c := &Client{rw: rw, hello: make(chan Response, 1), gone: make(chan struct{}), wait: map[uint64]chan Response{}}
	go c.read()
	return c
}

// Close ends the channel.
func (c *Client) Close() error { return c.rw.Close() }

// Gone is closed when the channel has ended.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// WaitHello waits until the guest has said that it is up.
func (c *Client) WaitHello(ctx context.Context) (Response, error) {
	select {
	case r := <-c.hello:
		return r, nil
	case <-c.gone:
		return Response{}, ErrGone
	case <-ctx.Done():
		return Response{}, fmt.Errorf("no word from the guest's agent: %w", ctx.Err())
	}
}

// Do asks, and waits for the answer. A refusal of the guest is a [*RemoteError].
func (c *Client) Do(ctx context.Context, r Request) (Response, error) {
	answer := make(chan Response, 1)
	c.mu.Lock()
	c.next++
	r.ID = c.next
	c.wait[r.ID] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.wait, r.ID)
		c.mu.Unlock()
	}()
	if err := c.send(r); err != nil {
		return Response{}, err
	}
	select {
	case a := <-answer:
		if a.Error != "" {
			return a, &RemoteError{a.Error}
		}
		return a, nil
	case <-c.gone:
		return Response{}, ErrGone
	case <-ctx.Done():
		return Response{}, fmt.Errorf("the guest's agent did not answer %q: %w", r.Do, ctx.Err())
	}
}

func (c *Client) send(r Request) error {
	line, err := encode(r)
	if err != nil {
		return fmt.Errorf("request to the guest: %w", err)
	}
	if len(line) > MaxRequest {
		return fmt.Errorf("request to the guest: %w: %d bytes, more than the %d that its line takes (hint: fewer addresses)", model.ErrInvalid, len(line), MaxRequest)
	}
	c.write.Lock()
	defer c.write.Unlock()
	if _, err := c.rw.Write(line); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return nil
}

func (c *Client) read() {
	defer close(c.gone)
	in := bufio.NewScanner(c.rw)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	for in.Scan() {
		var a Response
		if json.Unmarshal(in.Bytes(), &a) != nil {
			continue
		}
		if a.Do == Hello {
			select {
			case c.hello <- a:
			default:
			}
			continue
		}
		c.mu.Lock()
		answer := c.wait[a.ID]
		c.mu.Unlock()
		if answer != nil {
			select {
			case answer <- a:
			default: // a second answer to one question
			}
		}
	}
}
