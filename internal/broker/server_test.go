package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/kernel/fake"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// fakeHost is a host in memory. A tap's descriptor is a pipe: closed, the tap is gone.
type fakeHost struct {
	*fake.Kernel
	t *testing.T

	mu    sync.Mutex
	owned plan.Owned
	ends  []*os.File // what the taps' holders have at the other end
	begin error
}

func newFakeHost(t *testing.T) *fakeHost {
	t.Helper()
	own, here := site()
	h := &fakeHost{Kernel: fake.New(*here), t: t, owned: own}
	t.Cleanup(func() {
		for _, f := range h.ends {
			f.Close()
		}
	})
	return h
}

func (h *fakeHost) ObserveLinks(ctx context.Context) (model.Namespace, error) {
	return h.Kernel.Observe(ctx)
}

func (h *fakeHost) MakeTransientTap(o model.CreateTap) (*os.File, int, error) {
	made, err := h.Do(context.Background(), o)
	if err != nil {
		return nil, 0, err
	}
	h.Change(func(n *model.Namespace) { n.Link(o.Name).Tap.Persistent = false })
	r, w, err := os.Pipe()
	if err != nil {
		return nil, 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends = append(h.ends, r)
	return w, made[o.Name], nil
}

// opened are the other ends of all taps so far.
func (h *fakeHost) opened() []*os.File {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ends)
}

// letGo tells whether nobody has a tap's descriptor open any more, in the end.
func letGo(end *os.File) bool {
	_ = end.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := end.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// snapshot is the namespace as it is.
func (h *fakeHost) snapshot() *model.Namespace {
	n, _ := h.Kernel.Observe(context.Background())
	return &n
}

func (h *fakeHost) Begin(context.Context) (func(), error) { return func() {}, h.begin }

func (h *fakeHost) Owned() (plan.Owned, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.owned, nil
}

func (h *fakeHost) SaveOwned(o plan.Owned) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.owned = o
	return nil
}

func (h *fakeHost) Observe(ctx context.Context) (model.Snapshot, error) {
	n, err := h.Kernel.Observe(ctx)
	return model.Snapshot{Namespaces: []model.Namespace{n}}, err
}

func (h *fakeHost) Run(ctx context.Context, p plan.Plan) error {
	made := model.Made{}
	for _, st := range p.Steps {
		m, err := h.Do(ctx, st.Do)
		if err != nil {
			return err
		}
		for name, index := range m {
			made[name] = index
		}
	}
	return h.SaveOwned(p.Owned.WithIndexes(made))
}

// serving starts a server for this process's own user, with a policy for it.
func serving(t *testing.T, h *fakeHost, rule Rule, options ...func(*Server)) (s *Server, socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "broker") // short: a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	var inode uint64
	if st, err := os.Stat("/proc/self/ns/net"); err == nil {
		inode = inodeOf(st)
	}
	s = &Server{Host: h, State: h, Seed: "seed", Namespace: inode, Log: t.Logf}
	s.SetPolicy(Policy{Rules: []Rule{rule}})
	for _, set := range options {
		set(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, socket
}

func mine(taps int) Rule { return Rule{Everybody: true, AllNetworks: true, Taps: taps} }

func dial(t *testing.T, socket string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix(network, nil, &net.UnixAddr{Name: socket, Net: network})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAskedAndAnswered(t *testing.T) {
	h := newFakeHost(t)
	_, socket := serving(t, h, mine(1))
	reply, tap, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: KindDescriptor, Machine: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if reply.Tap != "dbtap0" || reply.Bridge != "br0" || reply.MTU != 1400 || !reply.MAC.Unicast() {
		t.Errorf("%+v", reply)
	}
	here, _ := h.Kernel.Observe(t.Context())
	if l := here.Link("dbtap0"); l == nil || l.Master != "br0" || !l.Up || l.MTU != 1400 {
		t.Errorf("%+v", l)
	}
	if _, _, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: KindDescriptor}); err == nil || !strings.Contains(err.Error(), "1 of 1 taps already") {
		t.Errorf("a second one: %v", err)
	}
	tap.Close()
	if !letGo(h.opened()[0]) {
		t.Error("somebody still has the descriptor: the broker kept it")
	}
}

func TestNamed(t *testing.T) {
	h := newFakeHost(t)
	_, socket := serving(t, h, mine(1))
	reply, tap, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: KindNamed})
	if err != nil || tap != nil {
		t.Fatal(err, tap)
	}
	owned, _ := h.Owned()
	b := owned.Brokered()
	if len(b) != 1 || b[0].Name != reply.Tap || b[0].Index == 0 || !b[0].Added.Holder.Named || b[0].Added.Holder.PID != os.Getpid() || b[0].Added.PortMAC == "" {
		t.Errorf("%+v", b)
	}
	// This process lives: nothing is over.
	if told, _, err := Reap(t.Context(), h, h); err != nil || len(told) != 0 {
		t.Errorf("%v %v", told, err)
	}
}

// What is wrong with a client, the next one does not notice.
func TestClientsThatMisbehave(t *testing.T) {
	h := newFakeHost(t)
	_, socket := serving(t, h, mine(5))
	silent := dial(t, socket)
	rubbish := dial(t, socket)
	if _, err := rubbish.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	expectRefusal(t, rubbish, KindInvalid)
	huge := dial(t, socket)
	if _, err := huge.Write(slices.Repeat([]byte(" "), 3*MaxMessage)); err != nil {
		t.Fatal(err)
	}
	expectRefusal(t, huge, KindInvalid)
	// One that leaves before the answer: its tap is gone with the descriptor.
	leaver := dial(t, socket)
	if _, err := leaver.Write([]byte(`{"version":1,"network":"lan","kind":"descriptor"}`)); err != nil {
		t.Fatal(err)
	}
	leaver.Close()
	// One that sends descriptors: they are closed.
	generous := dial(t, socket)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := send(generous, []byte(`{"version":1,"network":"nothing","kind":"descriptor"}`), w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	expectRefusal(t, generous, KindDenied)
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the broker kept a client's descriptor: %v", err)
	}
	r.Close()
	_, tap, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: KindDescriptor})
	if err != nil {
		t.Fatal(err)
	}
	tap.Close()
	for i, end := range h.opened() {
		if !letGo(end) {
			t.Errorf("descriptor %d is still open", i)
		}
	}
	// The silent one is sent away in the end.
	_ = silent.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := silent.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the silent one is still served: %d %v", n, err)
	}
}

func expectRefusal(t *testing.T, c *net.UnixConn, kind string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, MaxMessage)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	var r Reply
	if err := json.Unmarshal(buf[:n], &r); err != nil || r.Kind != kind || r.Error == "" {
		t.Errorf("%s %v", buf[:n], err)
	}
}

func TestTooManyConnectionsOfOneUser(t *testing.T) {
	h := newFakeHost(t)
	s, socket := serving(t, h, mine(5))
	for range perUser {
		dial(t, socket)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		n := s.total
		s.mu.Unlock()
		if n == perUser {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are served", n)
		}
	}
	_, _, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: KindDescriptor})
	var no *Refusal
	if !errors.As(err, &no) || no.Kind != KindBusy {
		t.Errorf("one more: %v", err)
	}
}

// A thousand at once: the quota is kept to the last tap, and each has its answer.
func TestAThousandAtOnce(t *testing.T) {
	h := newFakeHost(t)
	const quota = 7
	_, socket := serving(t, h, mine(quota))
	var mu sync.Mutex
	count := map[string]int{}
	var taps []*os.File
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			_, tap, err := Ask(context.Background(), socket, Request{Network: "lan", Kind: KindDescriptor})
			mu.Lock()
			defer mu.Unlock()
			var no *Refusal
			switch {
			case err == nil:
				count["granted"]++
				taps = append(taps, tap)
			case errors.As(err, &no):
				count[no.Kind]++
			default:
				count[err.Error()]++
			}
		})
	}
	all.Wait()
	if count["granted"] != quota || count["granted"]+count[KindQuota]+count[KindBusy] != 1000 {
		t.Errorf("%v", count)
	}
	for _, tap := range taps {
		tap.Close()
	}
	if _, tap, err := Ask(t.Context(), socket, Request{Network: "none", Kind: KindDescriptor}); err == nil || tap != nil {
		t.Errorf("%v", err)
	}
}

func TestWhatFailsOnTheWayLeavesNothing(t *testing.T) {
	for n := range 3 { // the tap, its master, up
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newFakeHost(t)
			h.Fail = func(i int, _ model.Operation) error {
				if i == 2*n {
					return model.ErrDenied
				}
				return nil
			}
			_, socket := serving(t, h, mine(5))
			_, _, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: KindDescriptor})
			var no *Refusal
			if !errors.As(err, &no) || no.Kind != KindFailed {
				t.Errorf("%v", err)
			}
			for _, end := range h.opened() {
				if !letGo(end) {
					t.Error("the descriptor is still open")
				}
			}
			if owned, _ := h.Owned(); len(owned.Brokered()) != 0 {
				t.Errorf("%+v", owned)
			}
		})
	}
}

func TestSomebodyElseIsAtWork(t *testing.T) {
	h := newFakeHost(t)
	h.begin = errors.New("another drawbridge is at work here (process 7)")
	_, socket := serving(t, h, mine(5))
	_, _, err := Ask(t.Context(), socket, Request{Network: "lan", Kind: KindDescriptor})
	var no *Refusal
	if !errors.As(err, &no) || no.Kind != KindBusy || !strings.Contains(err.Error(), "process 7") {
		t.Errorf("%v", err)
	}
}

func TestSockets(t *testing.T) {
	h := newFakeHost(t)
	_, socket := serving(t, h, mine(5))
	if _, err := Listen(socket); err == nil || !strings.Contains(err.Error(), "another one answers") {
		t.Errorf("a second broker: %v", err)
	}
	_, _, err := Ask(t.Context(), socket+"x", Request{Network: "lan", Kind: KindDescriptor})
	var none *NoBroker
	if !errors.As(err, &none) || !strings.Contains(err.Error(), "drawbridge serve --broker") {
		t.Errorf("no broker: %v", err)
	}
	// What a killed broker left behind is taken over.
	left := socket + "l"
	l, err := Listen(left)
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, _, err := Ask(t.Context(), left, Request{Network: "lan", Kind: KindDescriptor}); !errors.As(err, &none) {
		t.Errorf("a dead one's socket: %v", err)
	}
	if l, err = Listen(left); err != nil {
		t.Fatal(err)
	}
	// One that is passed on, as systemd does.
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Inherited(f)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := os.Stat(left); err != nil {
		t.Errorf("the service manager's socket was removed: %v", err)
	}
	l.Close()
	stream, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket + "s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if f, err = stream.File(); err != nil {
		t.Fatal(err)
	}
	if _, err := Inherited(f); err == nil || !strings.Contains(err.Error(), "ListenSequentialPacket") {
		t.Errorf("a stream socket: %v", err)
	}
}

func inodeOf(st os.FileInfo) uint64 { return st.Sys().(*syscall.Stat_t).Ino }
