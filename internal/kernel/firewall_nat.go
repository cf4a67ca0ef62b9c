package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// nat is a translation; to what, an earlier instruction has put into registers.
func (d *decoder) nat(b []byte) bool {
	verdict, size := "snat", 4
	if getBE32(findAttr(b, unix.NFTA_NAT_TYPE)) == unix.NFT_NAT_DNAT {
		verdict = "dnat"
	}
	if getBE32(findAttr(b, unix.NFTA_NAT_FAMILY)) == unix.NFPROTO_IPV6 {
		size = 16
	}
	const netmap = 1 << 6 // NF_NAT_RANGE_NETMAP: a prefix becomes another one
	min4, max4 := findAttr(b, unix.NFTA_NAT_REG_ADDR_MIN), findAttr(b, unix.NFTA_NAT_REG_ADDR_MAX)
	if getBE32(findAttr(b, unix.NFTA_NAT_FLAGS))&netmap != 0 {
		return d.ends(verdict, "")
	}
	var first, last netip.Addr
	if min4 != nil {
		if first = getAddr(d.regs.bytes(getBE32(min4), size)); !first.IsValid() {
			return d.ends(verdict, "")
		}
		last = first
	}
	if max4 != nil {
		if last = getAddr(d.regs.bytes(getBE32(max4), size)); !last.IsValid() {
			return d.ends(verdict, "")
		}
	}
	port, ok := d.portOf(findAttr(b, unix.NFTA_NAT_REG_PROTO_MIN), findAttr(b, unix.NFTA_NAT_REG_PROTO_MAX))
	if !ok {
		return d.ends(verdict, "")
	}
	return d.ends(verdict, natTarget(first, last, port))
}

// portOf is a port of a translation, 0 for none; not ok where it is one of several, or not
// known.
func (d *decoder) portOf(low, high []byte) (port uint16, ok bool) {
	if low == nil {
		return 0, true
	}
	port = d.regs.immediatePort(low)
	return port, port != 0 && (high == nil || d.regs.immediatePort(high) == port)
}

func (d *decoder) redirect(b []byte) bool {
	port, ok := d.portOf(findAttr(b, unix.NFTA_REDIR_REG_PROTO_MIN), findAttr(b, unix.NFTA_REDIR_REG_PROTO_MAX))
	if !ok {
		return d.ends("?redirect", "")
	}
	return d.ends("redirect", natTarget(netip.Addr{}, netip.Addr{}, port))
}

// natTarget writes ADDRESS, ADDRESS:PORT or :PORT; "" for one of several addresses.
func natTarget(first, last netip.Addr, port uint16) string {
	switch {
	case first != last:
		return ""
	case !first.IsValid() && port == 0:
		return ""
	case !first.IsValid():
		return ":" + strconv.Itoa(int(port))
	case port == 0:
		return first.String()
	}
	return netip.AddrPortFrom(first, port).String()
}

// xtRange reads struct nf_nat_range(2): flags, the first and the last address, the first and
// last port; or struct nf_nat_ipv4_multi_range_compat: their number, and then flags, two
// addresses and two ports.
func xtRange(name string, info []byte) (target string, ok bool) {
	const mapIPs, mapPorts = 1, 2 // NF_NAT_RANGE_MAP_IPS, _PROTO_SPECIFIED
	var flags uint32
	var first, last, low, high []byte
	switch {
	case len(info) >= 40: // nf_nat_range
		flags, first, last, low, high = getU32(info), info[4:20], info[20:36], info[36:38], info[38:40]
		if bytes.Equal(info[8:20], make([]byte, 12)) && bytes.Equal(info[24:36], make([]byte, 12)) { // union nf_inet_addr
			first, last = info[4:8], info[20:24]
		}
	case len(info) >= 20 && getU32(info) == 1: // nf_nat_ipv4_multi_range_compat
		flags, first, last, low, high = getU32(info[4:]), info[8:12], info[12:16], info[16:18], info[18:20]
	default:
		return "", false
	}
	port := uint16(0)
	if flags&mapPorts != 0 {
		if port = binary.BigEndian.Uint16(low); !bytes.Equal(low, high) {
			return "", false
		}
	}
	var a netip.Addr
	if flags&mapIPs != 0 && name != "REDIRECT" && name != "MASQUERADE" {
		if a = getAddr(first); !bytes.Equal(first, last) {
			return "", false
		}
	}
	if flags&^(mapIPs|mapPorts) != 0 && name != "MASQUERADE" { // random, persistent, a netmap
		const harmless = 1<<2 | 1<<3 | 1<<4 // PROTO_RANDOM, PERSISTENT, PROTO_RANDOM_FULLY
		if flags&^(mapIPs|mapPorts|harmless) != 0 {
			return "", false
		}
	}
	return natTarget(a, a, port), true
}
