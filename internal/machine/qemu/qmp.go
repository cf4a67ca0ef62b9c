package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// maxMessage is the longest line that is read from a monitor, in bytes: a QEMU that its
// guest has taken over shall not fill our memory.
const maxMessage = 1 << 20

// errGone says that the monitor has ended: so has the QEMU.
var errGone = errors.New("the QEMU's monitor is gone")

// message is one line of a monitor: its greeting, the answer to a command, or an event
// (QEMU, docs/interop/qmp-spec).
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *qmpError       `json:"error"`
	ID       *uint64         `json:"id"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
}

// qmpError is the QEMU's own refusal.
type qmpError struct {
	command string
	Class   string `json:"class"`
	Words   string `json:"desc"`
}

func (e *qmpError) Error() string { return fmt.Sprintf("QEMU refuses %s: %s", e.command, e.Words) }

// decode reads a line of a monitor.
func decode(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("QMP: %w: %w", model.ErrInvalid, err)
	}
	kinds := 0
	for _, is := range []bool{m.Greeting != nil, m.Return != nil, m.Error != nil, m.Event != ""} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return m, fmt.Errorf("QMP: %w: a line that is no greeting, answer or event", model.ErrInvalid)
	}
	return m, nil
}

// encode writes a command.
func encode(id uint64, command string, arguments any) ([]byte, error) {
	b, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, arguments, id})
	if err != nil {
		return nil, fmt.Errorf("QMP: %s: %w", command, err)
	}
	return append(b, '\n'), nil
}

// monitor talks to a QEMU. Its methods may be called from several goroutines.
type monitor struct {
	conn    *net.UnixConn
	onEvent func(name string, data json.RawMessage)
	greeted chan struct{}
	gone    chan struct{}
	err     error // why it has ended; after gone

	write sync.Mutex
	mu    sync.Mutex
	last  uint64
	wait  map[uint64]chan message
}

// newMonitor reads from conn until it ends. onEvent is called for each event, in order.
func newMonitor(conn *net.UnixConn, onEvent func(string, json.RawMessage)) *monitor {
	m := &monitor{conn: conn, onEvent: onEvent, greeted: make(chan struct{}), gone: make(chan struct{}), wait: map[uint64]chan message{}}
	go m.read()
	return m
}

func (m *monitor) read() {
	defer close(m.gone)
	greeted := false
	in := bufio.NewScanner(m.conn)
	in.Buffer(make([]byte, 0, 4096), maxMessage)
	for in.Scan() {
		msg, err := decode(in.Bytes())
		if err != nil {
			m.err = err
			return
		}
		switch {
		case msg.Greeting != nil:
			if !greeted {
				greeted = true
				close(m.greeted)
			}
		case msg.Event != "":
			m.onEvent(msg.Event, msg.Data)
		case msg.ID != nil:
			m.answer(*msg.ID, msg)
		}
	}
	m.err = in.Err()
}

func (m *monitor) answer(id uint64, msg message) {
	m.mu.Lock()
	answer := m.wait[id]
	delete(m.wait, id)
	m.mu.Unlock()
	if answer != nil {
		answer <- msg
	}
}

// open waits for the greeting, and leaves the mode in which nothing but that is allowed.
func (m *monitor) open(ctx context.Context) error {
	select {
	case <-m.greeted:
	case <-m.gone:
		return m.ended()
	case <-ctx.Done():
		return fmt.Errorf("QMP: no greeting: %w", ctx.Err())
	}
	_, err := m.do(ctx, "qmp_capabilities", nil)
	return err
}

func (m *monitor) ended() error { return errors.Join(errGone, m.err) }

// do carries out a command, and returns what it returns. A refusal is a [*qmpError].
func (m *monitor) do(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	return m.send(ctx, command, arguments, nil)
}

// give hands a descriptor to the QEMU, under a name that a netdev_add uses. It takes
// the descriptor that came with the bytes of this very command (SCM_RIGHTS, unix(7)).
func (m *monitor) give(ctx context.Context, name string, f *os.File) error {
	_, err := m.send(ctx, "getfd", map[string]string{"fdname": name}, unix.UnixRights(int(f.Fd())))
	return err
}

func (m *monitor) send(ctx context.Context, command string, arguments any, rights []byte) (json.RawMessage, error) {
	answer := make(chan message, 1)
	m.mu.Lock()
	m.last++
	id := m.last
	m.wait[id] = answer
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.wait, id)
		m.mu.Unlock()
	}()
	line, err := encode(id, command, arguments)
	if err != nil {
		return nil, err
	}
	m.write.Lock()
	_, _, err = m.conn.WriteMsgUnix(line, rights, nil)
	m.write.Unlock()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errGone, err)
	}
	select {
	case a := <-answer:
		return a.result(command)
	case <-m.gone:
		select {
		case a := <-answer: // its last word
			return a.result(command)
		default:
			return nil, m.ended()
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("QMP: no answer to %s: %w", command, ctx.Err())
	}
}

func (a message) result(command string) (json.RawMessage, error) {
	if a.Error != nil {
		a.Error.command = command
		return nil, a.Error
	}
	return a.Return, nil
}

func (m *monitor) close() error { return m.conn.Close() }
