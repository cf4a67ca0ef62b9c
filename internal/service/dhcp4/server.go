package dhcp4

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
	"drawbridge/internal/service/lease"
)

const (
	// probeTime is how long an address is asked for, and probeAgain when the question is
	// repeated: a VM's answer takes a millisecond, a busy emulated one's some hundred.
	probeTime  = 400 * time.Millisecond
	probeAgain = 150 * time.Millisecond
	// batch is how many messages are answered after one write of the leases.
	batch = 256
	// saveAgain is how soon a write that did not work is tried again.
	saveAgain = 2 * time.Second
)

// Server serves one network.
type Server struct {
	Config model.DHCP4Config
	Link   string
	// Names that no client gets, beside those of the static leases.
	Names []string
	// Leases is the folder that they are kept in.
	Leases *os.Root
	// Port tells behind which port of the link a hardware address is, "" if nobody knows.
	Port func(mac model.MAC) string
	// Leased is told of the leases whenever they have changed; may be nil.
	Leased func([]model.Lease)
	Log    func(format string, args ...any)

	trouble atomic.Pointer[string]
	denied  atomic.Pointer[denial]
	mu      sync.Mutex
	leases  []model.Lease
}

// denial is that a client got no address.
type denial struct {
	words string
	at    time.Time
}

// deniedFor is how long it is told of a client that got no address.
const deniedFor = 5 * time.Minute

// heard is a message, or what an ARP answer tells, as the readers give it to the loop.
type heard struct {
	message *dhcpv4.DHCPv4
	from    [6]byte
	has     netip.Addr // ARP: from has it
	silent  netip.Addr // nobody answered for it
}

// Trouble says what does not work just now, "" for nothing.
func (s *Server) Trouble() string {
	if t := s.trouble.Load(); t != nil {
		return *t
	}
	return ""
}

// Denied tells of the last client that got no address a while ago, "" for none: the pool is
// used up, or its port has as many as one may have.
func (s *Server) Denied() string {
	if d := s.denied.Load(); d != nil && time.Since(d.at) < deniedFor {
		return d.words
	}
	return ""
}

// Current are the leases in force.
func (s *Server) Current() []model.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	out := make([]model.Lease, 0, len(s.leases))
	for _, l := range s.leases {
		if now.Before(l.Ends()) {
			out = append(out, l)
		}
	}
	return out
}

func (s *Server) note(err error) {
	text := ""
	if err != nil {
		text = err.Error()
		s.Log("dhcp: %v", err)
	}
	s.trouble.Store(&text)
}

// Run serves on the sockets of [Open] until ctx ends.
func (s *Server) Run(ctx context.Context, sockets []*os.File) error {
	ifi, err := net.InterfaceByName(s.Link)
	if err != nil || len(sockets) != Sockets || len(ifi.HardwareAddr) != 6 {
		return fmt.Errorf("DHCP on %s: %d sockets: %w", s.Link, len(sockets), errors.Join(err, model.ErrInvalid))
	}
	udp, err := newWire(sockets[0], etherIPv4, ifi.Index)
	if err != nil {
		return err
	}
	arp, err := newWire(sockets[1], etherARP, ifi.Index)
	if err != nil {
		return err
	}
	l := &loop{Server: s, udp: udp, arp: arp, mac: [6]byte(ifi.HardwareAddr), in: make(chan heard, 4*batch)}
	l.table = lease.NewTable(s.Config, s.Names, time.Now)
	records, err := lease.Load(s.Leases)
	if err != nil {
		s.note(err)
	}
	l.table.Restore(records)
	l.core = newCore(s.Config, l.table, func(format string, args ...any) { s.Log("dhcp: "+format, args...) })
	l.core.denied = func(words string) { s.denied.Store(&denial{words, time.Now()}) }
	l.tell()

	stop := context.AfterFunc(ctx, func() {
		for _, f := range sockets {
			_ = f.SetReadDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	var readers sync.WaitGroup
	readers.Go(func() { l.readUDP(ctx) })
	readers.Go(func() { l.readARP(ctx) })
	err = l.run(ctx)
	readers.Wait()
	return errors.Join(err, l.save())
}

// loop is where everything is decided, one thing after the other.
type loop struct {
	*Server
	core     *core
	table    *lease.Table
	udp, arp *wire
	mac      [6]byte
	in       chan heard
	out      []*answer
	unsaved  bool
	waiting  sync.Map // addresses that ARP answers are wanted for
	draining sync.Mutex
}

func (l *loop) readUDP(ctx context.Context) {
	buf := make([]byte, 2048)
	for ctx.Err() == nil {
		n, from, err := l.udp.read(buf)
		if err != nil {
			l.failed(ctx, err)
			continue
		}
		_, payload, err := parseUDP(buf[:n])
		if err != nil {
			continue
		}
		m, err := dhcpv4.FromBytes(payload)
		if err != nil {
			continue // noise, or somebody who tries what happens
		}
		l.give(ctx, heard{message: m, from: from})
	}
}

func (l *loop) readARP(ctx context.Context) {
	for ctx.Err() == nil {
		var failed error
		err := l.arp.conn.Read(func(fd uintptr) bool {
			failed = l.drainARP(ctx, int(fd))
			return failed != nil // else it waits for more
		})
		if err = errors.Join(err, failed); err != nil {
			l.failed(ctx, err)
		}
	}
}

// drainARP gives on what has come in. It is called by the reader and before a silence is
// believed: on a busy host the time may be over before the answer is read.
func (l *loop) drainARP(ctx context.Context, fd int) error {
	l.draining.Lock()
	defer l.draining.Unlock()
	buf := make([]byte, 256)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		mac, has, ok := parseARP(buf[:n])
		if _, wanted := l.waiting.Load(has); ok && wanted && mac != l.mac {
			l.give(ctx, heard{from: mac, has: has})
		}
	}
}

// failed waits a moment after a socket's error: a link that is down comes again.
func (l *loop) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	l.note(fmt.Errorf("%s cannot be heard: %w", l.Link, err))
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
		l.note(nil)
	}
}

func (l *loop) give(ctx context.Context, h heard) {
	select {
	case l.in <- h:
	case <-ctx.Done():
	}
}

func (l *loop) run(ctx context.Context) error {
	tick := time.NewTicker(saveAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if l.unsaved {
				l.note(l.save())
			}
			continue
		case h := <-l.in:
			l.handle(ctx, h)
		}
		// Whatever else is here already shares the write.
		for n := 1; n < batch; n++ {
			select {
			case h := <-l.in:
				l.handle(ctx, h)
				continue
			default:
			}
			break
		}
		l.flush()
	}
}

func (l *loop) handle(ctx context.Context, h heard) {
	var n next
	switch {
	case h.silent.IsValid():
		l.waiting.Delete(h.silent)
		n = l.core.silent(h.silent)
	case h.has.IsValid():
		if n = l.core.inUse(h.has, h.from); n.ask.IsValid() || l.core.probing[h.has] == nil {
			l.waiting.Delete(h.has)
		}
	default:
		n = l.core.hear(h.message, h.from, l.port(h.from))
	}
	if n.answer != nil {
		l.out = append(l.out, n.answer)
	}
	if n.ask.IsValid() {
		l.ask(ctx, n.ask)
	}
}

func (l *loop) port(mac [6]byte) string {
	if l.Port == nil {
		return ""
	}
	return l.Port(macWord(mac))
}

// ask asks by ARP whether somebody has an address, and gives the silence back.
func (l *loop) ask(ctx context.Context, a netip.Addr) {
	l.waiting.Store(a, nil)
	question, all := askARP(l.mac, a), [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	_ = l.arp.write(question, all) // a link that is down has nobody who could answer
	time.AfterFunc(probeAgain, func() {
		if _, still := l.waiting.Load(a); still && ctx.Err() == nil {
			_ = l.arp.write(question, all)
		}
	})
	time.AfterFunc(probeTime, func() {
		_ = l.arp.conn.Control(func(fd uintptr) { _ = l.drainARP(ctx, int(fd)) })
		l.give(ctx, heard{silent: a})
	})
}

// flush writes the leases down, then sends the answers.
func (l *loop) flush() {
	if l.table.Changed() {
		l.note(l.save())
		l.tell()
	}
	for _, a := range l.out {
		if err := l.udp.write(a.packet(l.Config.Server.Addr()), a.mac); err != nil {
			l.Log("dhcp: %s to %s: %v", a.message.MessageType(), macWord(a.mac), err)
		}
	}
	l.out = l.out[:0]
}

func (l *loop) save() error {
	err := lease.Save(l.Leases, l.table.Records())
	l.unsaved = err != nil
	if err != nil {
		return fmt.Errorf("%w; they are kept in memory, and tried again", err)
	}
	return nil
}

func (l *loop) tell() {
	leases := l.table.Leases()
	l.mu.Lock()
	l.leases = leases
	l.mu.Unlock()
	if l.Leased != nil {
		l.Leased(leases)
	}
}
