package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

func TestDecode(t *testing.T) {
	for line, ok := range map[string]bool{
		`{"QMP": {"version": {}, "capabilities": ["oob"]}}`:                           true,
		`{"return": {}, "id": 1}`:                                                     true,
		`{"error": {"class": "GenericError", "desc": "no"}, "id": 2}`:                 true,
		`{"event": "SHUTDOWN", "data": {"guest": true}, "timestamp": {"seconds": 1}}`: true,
		`{}`:                            false,
		`{"return": {}, "event": "X"}`:  false,
		`{"return": {}, "id": "one"}`:   false,
		`qemu-system-x86_64: no memory`: false,
		``:                              false,
	} {
		if _, err := decode([]byte(line)); (err == nil) != ok {
			t.Errorf("%s: %v", line, err)
		} else if err != nil && !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%s: %v is no ErrInvalid", line, err)
		}
	}
}

func TestEncode(t *testing.T) {
	b, err := encode(7, "netdev_add", object(nic{port: 2, fds: make([]int, 1)}.netdevArguments([]string{"tap2-0"}, nil)))
	if err != nil || string(b) != `{"execute":"netdev_add","arguments":{"fd":"tap2-0","id":"net2","type":"tap"},"id":7}`+"\n" {
		t.Errorf("%s, %v", b, err)
	}
	if b, err := encode(1, "quit", nil); err != nil || string(b) != `{"execute":"quit","id":1}`+"\n" {
		t.Errorf("%s, %v", b, err)
	}
}

// peer is the other end of a monitor, as a QEMU would be.
type peer struct {
	*net.UnixConn
	t *testing.T
}

func newPeer(t *testing.T, onEvent func(string, json.RawMessage)) (*monitor, peer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	m := newMonitor(ours, onEvent)
	t.Cleanup(func() {
		_ = m.close()
		_ = theirs.Close()
		<-m.gone
	})
	return m, peer{theirs, t}
}

func (p peer) say(line string) {
	p.t.Helper()
	if _, err := p.Write([]byte(line + "\n")); err != nil {
		p.t.Error(err)
	}
}

// hear reads a command, and the descriptor that came with it.
func (p peer) hear() (command string, id uint64, fd int) {
	p.t.Helper()
	b, oob := make([]byte, 4096), make([]byte, 64)
	n, oobn, _, _, err := p.ReadMsgUnix(b, oob)
	if err != nil {
		p.t.Error(err)
		return
	}
	fd = -1
	if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			fd = fds[0]
		}
	}
	var c struct {
		Execute string
		ID      uint64
	}
	if err := json.Unmarshal(b[:n], &c); err != nil {
		p.t.Errorf("%v: %s", err, b[:n])
	}
	return c.Execute, c.ID, fd
}

func TestMonitor(t *testing.T) {
	events := make(chan string, 4)
	m, p := newPeer(t, func(name string, _ json.RawMessage) { events <- name })
	go func() {
		p.say(`{"QMP": {"version": {}, "capabilities": []}}`)
		for range 3 {
			command, id, fd := p.hear()
			switch command {
			case "qmp_capabilities":
				p.say(`{"event": "RESUME"}`)
				p.say(fmt.Sprintf(`{"return": {}, "id": %d}`, id+100)) // nobody asked that
				p.say(fmt.Sprintf(`{"return": {}, "id": %d}`, id))
			case "getfd":
				var st unix.Stat_t
				if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
					p.t.Errorf("descriptor %d is not the pipe that was given", fd)
				}
				_ = unix.Close(fd)
				p.say(fmt.Sprintf(`{"return": {}, "id": %d}`, id))
			default:
				p.say(fmt.Sprintf(`{"error": {"class": "DeviceNotFound", "desc": "no nic9"}, "id": %d}`, id))
			}
		}
		_ = p.Close()
	}()
	if err := m.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e != "RESUME" {
		t.Errorf("event %s", e)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := m.give(t.Context(), "tap1-0", r); err != nil {
		t.Error(err)
	}
	var refused *qmpError
	if _, err := m.do(t.Context(), "device_del", map[string]string{"id": "nic9"}); !errors.As(err, &refused) || refused.Class != "DeviceNotFound" || !strings.Contains(err.Error(), "device_del: no nic9") {
		t.Errorf("a refusal: %v", err)
	}
	<-m.gone
	if _, err := m.do(t.Context(), "quit", nil); !errors.Is(err, errGone) {
		t.Errorf("after its end: %v", err)
	}
}

// TestMonitorOfNoQEMU: what answers nothing, or something else, is waited for no longer
// than the caller wants.
func TestMonitorOfNoQEMU(t *testing.T) {
	m, p := newPeer(t, func(string, json.RawMessage) {})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := m.open(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
	p.say("HTTP/1.1 400 Bad Request")
	if err := m.open(t.Context()); !errors.Is(err, errGone) || !errors.Is(err, model.ErrInvalid) {
		t.Errorf("rubbish: %v", err)
	}
	m, p = newPeer(t, func(string, json.RawMessage) {})
	go p.say(strings.Repeat("x", maxMessage+1))
	if err := m.open(t.Context()); !errors.Is(err, bufio.ErrTooLong) {
		t.Errorf("a line without an end: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"QMP": {}}`))
	f.Add([]byte(`{"return": {}, "id": 1}`))
	f.Add([]byte(`{"error": {"class": "GenericError", "desc": "no"}, "id": 2}`))
	f.Add([]byte(`{"event": "DEVICE_DELETED", "data": {"device": "nic1", "path": "/machine"}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decode(line)
		if err != nil {
			return
		}
		vm := &VM{deleted: map[string]chan struct{}{"nic1": make(chan struct{})}}
		vm.event(m.Event, m.Data)
		vm.event(m.Event, m.Data) // twice: a channel is closed once
		if m.Error != nil && m.Error.Error() == "" {
			t.Error("a refusal without words")
		}
	})
}
