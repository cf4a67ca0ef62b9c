package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Marked is a packet that is known again wherever it passes: an echo request and a datagram by a
// token in them, a SYN by its sequence number. Routers, bridges and address translation leave both
// as they are.
type Marked struct {
	Source, Destination netip.Addr
	Protocol            string // icmp, tcp, udp
	Port                uint16 // of the destination
	Size                int    // bytes, the IP header included; of a SYN there is no choice
	token               [8]byte
	sport               uint16
}

// NewMarked makes one with a token of its own.
func NewMarked(src, dst netip.Addr, protocol string, port uint16, size int) *Marked {
	m := &Marked{Source: src, Destination: dst, Protocol: protocol, Port: port, Size: size}
	_, _ = rand.Read(m.token[:]) // never fails (crypto/rand)
	m.sport = 32768 + binary.BigEndian.Uint16(m.token[6:])%28000
	return m
}

func (m *Marked) sequence() uint32 { return binary.BigEndian.Uint32(m.token[:]) }

// header is how many bytes there are before the data.
func (m *Marked) header() int {
	if m.Source.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// Data is what the echo request or the datagram carries.
func (m *Marked) Data() []byte {
	return append(slices.Clip(m.token[:]), bytes.Repeat([]byte{0}, max(16, m.Size-m.header()-len(m.token)))...)
}

// Send sends it, once. It must run in the sender's namespace, and needs CAP_NET_RAW but for UDP.
func (m *Marked) Send(ctx context.Context) error {
	switch m.Protocol {
	case "udp":
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: m.Source.AsSlice(), Port: int(m.sport)}, Control: m.whole}
		c, err := d.DialContext(ctx, "udp", netip.AddrPortFrom(m.Destination, m.Port).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(m.Data())
		return err
	case "tcp":
		return m.sendRaw(ctx, "tcp", m.syn())
	}
	echo := slices.Concat([]byte{8, 0, 0, 0}, m.token[6:8], []byte{0, 1}, m.Data())
	if m.Source.Is4() {
		binary.BigEndian.PutUint16(echo[2:], onesSum(echo))
		return m.sendRaw(ctx, "icmp", echo)
	}
	echo[0] = 128 // its checksum is the kernel's business (RFC 3542, 3.1)
	return m.sendRaw(ctx, "ipv6-icmp", echo)
}

func (m *Marked) sendRaw(ctx context.Context, protocol string, b []byte) error {
	network := "ip4:"
	if m.Source.Is6() {
		network = "ip6:"
	}
	l := net.ListenConfig{Control: m.whole}
	c, err := l.ListenPacket(ctx, network+protocol, m.Source.String())
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WriteTo(b, &net.IPAddr{IP: m.Destination.AsSlice()})
	return err
}

// whole: it arrives in one piece, or not.
func (m *Marked) whole(_, _ string, c syscall.RawConn) (err error) {
	level, option, value := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO
	if m.Source.Is6() {
		level, option, value = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO
	}
	cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) })
	return errors.Join(cerr, err)
}

// syn opens a connection, which the answer's receiver, who knows of none, ends at once.
func (m *Marked) syn() []byte {
	be := binary.BigEndian
	b := make([]byte, 20)
	be.PutUint16(b, m.sport)
	be.PutUint16(b[2:], m.Port)
	be.PutUint32(b[4:], m.sequence())
	b[12], b[13] = 5<<4, 2 // five words; SYN
	be.PutUint16(b[14:], 1024)
	pseudo := slices.Concat(m.Source.AsSlice(), m.Destination.AsSlice(), []byte{0, unix.IPPROTO_TCP, 0, 20}, b)
	be.PutUint16(b[16:], onesSum(pseudo))
	return b
}

// onesSum is the internet checksum (RFC 1071) of bytes, a pseudo header among them.
func onesSum(b []byte) uint16 {
	n := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		n += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		n += uint32(b[len(b)-1]) << 8
	}
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}

// Sighting is what a frame is of a marked packet's.
type Sighting int

// What a frame may be.
const (
	Stranger Sighting = iota
	Request           // the packet itself
	Answer            // the answer to it
	Refusal           // an ICMP error about it
)

// In tells what a frame is; of a refusal, in words what it says.
func (m *Marked) In(frame []byte) (s Sighting, says string) {
	ip := network(frame)
	if ip == nil {
		return Stranger, ""
	}
	protocol, size := int(ip[6]), 40
	from, _ := netip.AddrFromSlice(ip[8:24])
	if ip[0]>>4 == 4 {
		protocol, size = int(ip[9]), int(ip[0]&0xf)*4
		from, _ = netip.AddrFromSlice(ip[12:16])
	}
	if size < 20 || len(ip) < size+8 {
		return Stranger, ""
	}
	body := ip[size:]
	switch protocol {
	case unix.IPPROTO_TCP:
		return m.inTCP(body), ""
	case unix.IPPROTO_UDP:
		switch {
		case m.Protocol != "udp":
		case bytes.HasPrefix(body[8:], m.token[:]):
			return Request, ""
		case binary.BigEndian.Uint16(body[2:]) == m.sport:
			return Answer, ""
		}
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		switch kind := body[0]; {
		case m.Protocol == "icmp" && (kind == 8 || kind == 128) && bytes.HasPrefix(body[8:], m.token[:]):
			return Request, ""
		case m.Protocol == "icmp" && (kind == 0 || kind == 129) && bytes.HasPrefix(body[8:], m.token[:]):
			return Answer, ""
		case m.quoted(body):
			return Refusal, fmt.Sprintf("%s says: %s", from, icmpError(protocol == unix.IPPROTO_ICMP, kind, body[1]))
		}
	}
	return Stranger, ""
}

func (m *Marked) inTCP(b []byte) Sighting {
	switch {
	case m.Protocol != "tcp" || len(b) < 20:
	case binary.BigEndian.Uint32(b[4:]) == m.sequence() && b[13]&2 != 0:
		return Request
	case binary.BigEndian.Uint32(b[8:]) == m.sequence()+1 && b[13]&0x10 != 0:
		return Answer
	}
	return Stranger
}

// quoted tells whether an ICMP error is about it: those begin with what they are about.
func (m *Marked) quoted(body []byte) bool {
	inner := body[8:]
	size := 40
	if len(inner) > 0 && inner[0]>>4 == 4 {
		size = int(inner[0]&0xf) * 4
	}
	switch {
	case len(inner) < size+8:
		return false
	case m.Protocol == "tcp":
		return binary.BigEndian.Uint32(inner[size+4:]) == m.sequence()
	}
	return bytes.HasPrefix(inner[size+8:], m.token[:])
}

// network is the packet in a frame: of an Ethernet, with or without a tag, or of a link that has
// packets only.
func network(f []byte) []byte {
	at := -1
	switch {
	case len(f) < 40:
		return nil
	case binary.BigEndian.Uint16(f[12:]) == 0x0800, binary.BigEndian.Uint16(f[12:]) == 0x86dd:
		at = 14
	case binary.BigEndian.Uint16(f[12:]) == 0x8100:
		at = 18
	case f[0]>>4 == 4 || f[0]>>4 == 6:
		at = 0
	}
	if at < 0 || len(f) < at+28 || f[at]>>4 == 6 && len(f) < at+48 || f[at]>>4 != 4 && f[at]>>4 != 6 {
		return nil
	}
	return f[at:]
}

// What a router says of a packet that is too large for its next link, and may not be fragmented.
const (
	TooBig4 = "fragmentation needed"
	TooBig6 = "packet too big"
)

// icmpError is an ICMP error in words (RFC 792, RFC 1812, RFC 4443).
func icmpError(is4 bool, kind, code byte) string {
	type word struct{ kind, code byte }
	words := map[word]string{
		{1, 0}: "no route", {1, 1}: "administratively prohibited", {1, 3}: "address unreachable", {1, 4}: "port unreachable", {1, 5}: "source address failed policy", {1, 6}: "reject route",
		{2, 0}: TooBig6, {3, 0}: "hop limit exceeded",
	}
	if is4 {
		words = map[word]string{
			{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 2}: "protocol unreachable", {3, 3}: "port unreachable", {3, 4}: TooBig4,
			{3, 9}: "network prohibited", {3, 10}: "host prohibited", {3, 13}: "administratively prohibited", {11, 0}: "time to live exceeded",
		}
	}
	if w, ok := words[word{kind, code}]; ok {
		return w
	}
	return fmt.Sprintf("ICMP error %d, code %d", kind, code)
}

// filter is what the kernel lets through to us: bytes at the places where they are, in the order
// of those, for a load beyond a frame's end is the end of the program.
func (m *Marked) filter() ([]bpf.RawInstruction, error) {
	type probe struct {
		at, size uint32
		value    uint32
	}
	var list []probe
	head, token := uint32(m.header()-8), binary.BigEndian.Uint32(m.token[:])
	for _, base := range []uint32{0, 14, 18} {
		l4 := base + head
		switch m.Protocol {
		case "tcp":
			list = append(list, probe{l4 + 4, 4, m.sequence()}, probe{l4 + 8, 4, m.sequence() + 1}, probe{l4 + 8 + head + 4, 4, m.sequence()})
		case "udp":
			list = append(list, probe{l4 + 2, 2, uint32(m.sport)}, probe{l4 + 8, 4, token}, probe{l4 + 8 + head + 8, 4, token})
		default:
			list = append(list, probe{l4 + 8, 4, token}, probe{l4 + 8 + head + 8, 4, token})
		}
	}
	slices.SortFunc(list, func(a, b probe) int { return int(a.at) - int(b.at) })
	var out []bpf.Instruction
	for _, p := range list {
		out = append(out, bpf.LoadAbsolute{Off: p.at, Size: int(p.size)}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: p.value, SkipTrue: 1}, bpf.RetConstant{Val: 1 << 16})
	}
	return bpf.Assemble(append(out, bpf.RetConstant{Val: 0}))
}

// Watcher counts how often a marked packet and its answer pass an interface, in and out.
type Watcher struct {
	conn    *packet.Conn
	closing chan struct{}
	done    chan struct{}
	mu      sync.Mutex
	request int
	answer  int
	says    string
}

// Watch begins to look at what passes a link. It must run in the namespace of the link; nothing is
// changed there, and the kernel ends it with this process.
func (m *Marked) Watch(link string) (*Watcher, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	filter, err := m.filter()
	if err != nil {
		return nil, err
	}
	c, err := packet.Listen(ifi, packet.Raw, etherTypeAll, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	w := &Watcher{conn: c, closing: make(chan struct{}), done: make(chan struct{})}
	go w.read(m)
	return w, nil
}

func (w *Watcher) read(m *Marked) {
	defer close(w.done)
	buf := make([]byte, 1<<16)
	for {
		n, _, err := w.conn.ReadFrom(buf)
		if err != nil {
			select {
			case <-w.closing:
				return
			case <-time.After(10 * time.Millisecond): // the link is down, for now
			}
			continue
		}
		s, says := m.In(buf[:n])
		w.mu.Lock()
		switch s {
		case Request:
			w.request++
		case Answer:
			w.answer++
		case Refusal:
			w.says = says
		}
		w.mu.Unlock()
	}
}

// Seen is how often the packet and its answer have passed so far, and what an ICMP error said.
func (w *Watcher) Seen() (request, answer int, says string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.request, w.answer, w.says
}

// Close ends the watching.
func (w *Watcher) Close() error {
	close(w.closing)
	err := w.conn.Close()
	<-w.done
	return err
}
