package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// errTruncated: a message whose lengths lead out of its buffer.
var errTruncated = errors.New("truncated netlink message")

const attrTypeMask = 1<<14 - 1 // NLA_TYPE_MASK: less nested and byte order

var native = binary.NativeEndian

func align4(n int) int { return (n + 3) &^ 3 }

// message builds one netlink message: header, family header, attributes
// (include/uapi/linux/netlink.h).
type message struct{ b []byte }

func newMessage(typ, flags uint16) *message {
	m := &message{b: make([]byte, unix.SizeofNlMsghdr, 256)}
	native.PutUint16(m.b[4:], typ)
	native.PutUint16(m.b[6:], flags|unix.NLM_F_REQUEST)
	return m
}

// raw appends a family header, or what stands instead of one.
func (m *message) raw(b []byte) *message {
	m.b = append(m.b, b...)
	m.pad()
	return m
}

func (m *message) pad() {
	for len(m.b)%4 != 0 {
		m.b = append(m.b, 0)
	}
}

func (m *message) attr(typ uint16, v []byte) {
	m.b = native.AppendUint16(m.b, uint16(4+len(v)))
	m.b = native.AppendUint16(m.b, typ)
	m.b = append(m.b, v...)
	m.pad()
}

func (m *message) u8(typ uint16, v uint8)   { m.attr(typ, []byte{v}) }
func (m *message) u32(typ uint16, v uint32) { m.attr(typ, native.AppendUint32(nil, v)) }
func (m *message) str(typ uint16, v string) { m.attr(typ, append([]byte(v), 0)) }

// addr appends an IP address; an invalid one is left out.
func (m *message) addr(typ uint16, a netip.Addr) {
	if a.IsValid() {
		m.attr(typ, a.AsSlice())
	}
}

// nest appends an attribute whose value is what fn appends.
func (m *message) nest(typ uint16, fn func()) {
	start := len(m.b)
	m.b = append(m.b, 0, 0, 0, 0)
	fn()
	native.PutUint16(m.b[start:], uint16(len(m.b)-start))
	native.PutUint16(m.b[start+2:], typ)
}

// finish fills in length and sequence number.
func (m *message) finish(seq uint32, flags uint16) []byte {
	native.PutUint32(m.b, uint32(len(m.b)))
	native.PutUint16(m.b[6:], native.Uint16(m.b[6:])|flags)
	native.PutUint32(m.b[8:], seq)
	return m.b
}

// walk calls fn with each attribute of b.
func walk(b []byte, fn func(typ uint16, v []byte)) error {
	for len(b) >= 4 {
		n := int(native.Uint16(b))
		if n < 4 || n > len(b) {
			return errTruncated
		}
		fn(native.Uint16(b[2:])&attrTypeMask, b[4:n])
		b = b[min(align4(n), len(b)):]
	}
	return nil
}

// The readers below give 0 for a value that is too short: the kernel writes none,
// and a stranger's bytes must not panic.

func getU8(v []byte) uint8 {
	if len(v) < 1 {
		return 0
	}
	return v[0]
}

func getU16(v []byte) uint16 {
	if len(v) < 2 {
		return 0
	}
	return native.Uint16(v)
}

func getU32(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return native.Uint32(v)
}

func getString(v []byte) string {
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}

func getAddr(v []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(v)
	return a
}

// getPrefix pairs an address with a length; nil stands for the family's zero address.
func getPrefix(family uint8, v []byte, bits int) netip.Prefix {
	a := getAddr(v)
	if !a.IsValid() {
		a = zeroAddr(family)
	}
	return netip.PrefixFrom(a, bits)
}

func zeroAddr(family uint8) netip.Addr {
	if family == unix.AF_INET {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
