package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

// bus is a connection to the system's D-Bus with one deadline for all of it.
type bus struct {
	conn *dbus.Conn
	ctx  context.Context
	// patience is how long one answer is waited for.
	patience time.Duration
}

// callTime is how long a manager may take for one answer, where much is asked of it.
const callTime = 5 * time.Second

var errNoBus = errors.New("there is no D-Bus here")

// bus connects. The deadline is the socket's own as well: godbus waits for the greeting
// of a bus that hangs without looking at a context.
func (s System) bus(ctx context.Context) (*bus, error) {
	if s.Dial == nil {
		return nil, errNoBus
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(AskTime)
	}
	for _, path := range busSockets {
		if !s.exists(path) {
			continue
		}
		socket, err := s.Dial(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("D-Bus: %w", err)
		}
		if err := socket.SetDeadline(deadline); err != nil {
			socket.Close()
			return nil, err
		}
		conn, err := dbus.NewConn(socket, dbus.WithContext(ctx))
		if err != nil {
			socket.Close()
			return nil, fmt.Errorf("D-Bus: %w", err)
		}
		err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
		if err == nil {
			err = conn.Hello()
		}
		if err != nil {
			conn.Close()
			return nil, fmt.Errorf("D-Bus: %w", err)
		}
		return &bus{conn, ctx, min(callTime, time.Until(deadline).Round(100*time.Millisecond))}, nil
	}
	return nil, errNoBus
}

func (b *bus) close() { _ = b.conn.Close() }

// call asks a service. One that does not run is not started by the question.
func (b *bus) call(service, path, method string, result any, args ...any) error {
	var results []any
	if result != nil {
		results = []any{result}
	}
	return b.callAll(service, path, method, results, args...)
}

// callAll is call with several results, or none.
func (b *bus) callAll(service, path, method string, results []any, args ...any) error {
	ctx, cancel := context.WithTimeout(b.ctx, callTime)
	defer cancel()
	call := b.conn.Object(service, dbus.ObjectPath(path)).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	switch {
	case errors.Is(call.Err, context.DeadlineExceeded), errors.Is(call.Err, dbus.ErrClosed):
		return fmt.Errorf("no answer within %v", b.patience)
	case call.Err != nil:
		return call.Err
	case results == nil:
		return nil
	}
	return call.Store(results...)
}

// pid is the process that has a name on the bus.
func (b *bus) pid(name string) (int, error) {
	var pid uint32
	err := b.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.GetConnectionUnixProcessID", &pid, name)
	return int(pid), err
}
