package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// client is one who waits for a server's answer.
type client struct {
	mac       mac
	port      string
	broadcast bool // it asked for its answer to be sent to everybody
	since     time.Time
}

const maxHops = 16 // RFC 1542, 4.1.1

// dhcpFromMachine takes a client's broadcast to the LAN, as a relay agent (RFC 1542) whose
// own address is the host's: a server answers that by unicast, and gives an address of the
// same subnet. The flag that asks for a broadcast is set as well: a server that knows no
// relay agents answers by one, where it would else send to the machine's MAC address, which
// no access point takes. What is sent to a server itself is routed, not relayed; but for that
// of a client whose address is of another LAN, which no answer finds: the servers of this one
// refuse it, and it asks anew.
func (r *Relay) dhcpFromMachine(to, from mac, b []byte) {
	own, ok := r.facts.own(false)
	_, payload, dport := udp(b)
	if !ok || dport != serverPort {
		return
	}
	m, err := dhcpv4.FromBytes(payload)
	// What speaks for another's card is a lie: it would have that one's address.
	if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest || m.HopCount >= maxHops || len(m.ClientHWAddr) != 6 || mac(m.ClientHWAddr) != from || !isUnset(m.GatewayIPAddr) {
		return
	}
	if has, _ := netip.AddrFromSlice(m.ClientIPAddr.To4()); to != everybody && (isUnset(m.ClientIPAddr) || r.facts.onLAN(has)) {
		return
	}
	port := r.portOf(from)
	id := binary.BigEndian.Uint32(m.TransactionID[:])
	if c, known := r.waiting[id]; !r.mayAsk(from, port) || known && c.mac != from || !known && len(r.waiting) >= maxPending {
		return
	}
	if t := m.MessageType(); t == dhcpv4.MessageTypeDiscover || t == dhcpv4.MessageTypeRequest {
		r.asks(from)
	}
	r.waiting[id] = client{from, port, m.IsBroadcast(), time.Now()}
	m.GatewayIPAddr = own.AsSlice()
	m.HopCount++
	m.SetBroadcast()
	r.far.write(datagram(everybody, r.up, own, broadcast4, serverPort, serverPort, m.ToBytes()))
}

func isUnset(ip net.IP) bool { return ip == nil || ip.IsUnspecified() }

// dhcpFromLAN takes a server's answer to the client that waits for it.
func (r *Relay) dhcpFromLAN(b []byte) {
	own, _ := r.facts.own(false)
	server, payload, dport := udp(b)
	if dport != serverPort && dport != clientPort {
		return
	}
	m, err := dhcpv4.FromBytes(payload)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootReply {
		return
	}
	id := binary.BigEndian.Uint32(m.TransactionID[:])
	c, waits := r.waiting[id]
	if !waits || len(m.ClientHWAddr) != 6 || mac(m.ClientHWAddr) != c.mac {
		return
	}
	r.answered(c.mac)
	if id := m.ServerIdentifier(); id != nil {
		if a, ok := netip.AddrFromSlice(id.To4()); ok {
			server = a
		}
	}
	m.GatewayIPAddr = net.IPv4zero
	if !c.broadcast {
		m.SetUnicast()
	}
	yours, _ := netip.AddrFromSlice(m.YourIPAddr.To4())
	to, destination := c.mac, yours
	if c.broadcast || m.MessageType() == dhcpv4.MessageTypeNak || !yours.IsValid() || yours.IsUnspecified() {
		to, destination = everybody, broadcast4
	}
	if !server.IsValid() {
		server = own
	}
	if m.MessageType() == dhcpv4.MessageTypeAck && yours.IsValid() && !yours.IsUnspecified() {
		r.learn(yours, c.mac, true)
	}
	r.near.write(datagram(to, r.link, server, destination, serverPort, clientPort, m.ToBytes()))
}

// udp reads a datagram that is no fragment; port 0 where there is none.
func udp(b []byte) (source netip.Addr, payload []byte, dport uint16) {
	if len(b) < ip4Len || b[0]>>4 != 4 || b[9] != protoUDP || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return source, nil, 0
	}
	size, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if size < ip4Len || total > len(b) || total < size+udpLen {
		return source, nil, 0
	}
	u := b[size:total]
	return netip.AddrFrom4([4]byte(b[12:16])), u[udpLen:], binary.BigEndian.Uint16(u[2:])
}
