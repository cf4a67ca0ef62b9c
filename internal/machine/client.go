package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"drawbridge/internal/child"
	"drawbridge/internal/machine/agent"
	"drawbridge/internal/model"
)

// detachKey is Ctrl-], as telnet has it.
const detachKey = 0x1d

// dial connects to a machine's shim.
func (m *Manager) dial(name string) (*net.UnixConn, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	conn, err := child.Dial(m.folder(name))
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, child.ErrGone):
		return nil, fmt.Errorf("machine %s is not running: %w", name, err)
	case errors.Is(err, model.ErrNotFound):
		return nil, fmt.Errorf("machine %s: %w", name, err)
	default:
		return nil, fmt.Errorf("machine %s: its shim: %w", name, err)
	}
}

// call asks a machine's shim for one thing.
func (m *Manager) call(ctx context.Context, name string, c call) (reply, error) {
	conn, err := m.dial(name)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	var r reply
	_, err = child.Exchange(conn, c, &r)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return reply{}, fmt.Errorf("machine %s: its shim: %w", name, err)
	}
	return r, r.Err()
}

// Ping lets a machine ping an address or name, and returns the round trip time.
func (m *Manager) Ping(ctx context.Context, name, target string) (time.Duration, error) {
	a, err := m.askAgent(ctx, name, agent.Request{Do: agent.Ping, Target: target})
	return a.RTT, err
}

// Get lets a machine fetch a URL: the HTTP status and the first 32 KiB of the page.
func (m *Manager) Get(ctx context.Context, name, url string) (status int, body string, err error) {
	a, err := m.askAgent(ctx, name, agent.Request{Do: agent.Get, Target: url})
	return a.Code, a.Body, err
}

// SendEcho has a machine send one echo request with some data in it.
func (m *Manager) SendEcho(ctx context.Context, name, target string, data []byte) error {
	_, err := m.askAgent(ctx, name, agent.Request{Do: agent.Send, Target: target, Data: data})
	return err
}

func (m *Manager) askAgent(ctx context.Context, name string, r agent.Request) (agent.Response, error) {
	if end, ok := ctx.Deadline(); ok {
		r.Timeout = time.Until(end)
	}
	answer, err := m.call(ctx, name, call{Do: callAgent, Agent: &r})
	if answer.Agent == nil {
		return agent.Response{}, err
	}
	return *answer.Agent, err
}

// Console connects in and out with a machine's console until Ctrl-] is typed, in ends,
// the machine ends, or ctx does. What it said last comes first. A terminal is to be in
// raw mode already.
func (m *Manager) Console(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	conn, err := m.dial(name)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var r reply
	from, err := child.Exchange(conn, call{Do: callConsole}, &r)
	if err != nil {
		return fmt.Errorf("machine %s: its shim: %w", name, err)
	}
	if err := r.Err(); err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 256)
		for {
			n, err := in.Read(buf)
			typed := buf[:n]
			detach := false
			for i, b := range typed {
				if b == detachKey {
					typed, detach = typed[:i], true
					break
				}
			}
			if len(typed) > 0 {
				if _, werr := conn.Write(typed); werr != nil {
					return
				}
			}
			if detach {
				_ = conn.Close()
				return
			}
			if err != nil {
				// What was asked is still being answered: give it a moment.
				time.AfterFunc(500*time.Millisecond, func() { _ = conn.Close() })
				return
			}
		}
	}()
	_, err = io.Copy(out, from)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
		return ctx.Err()
	}
	return err
}
