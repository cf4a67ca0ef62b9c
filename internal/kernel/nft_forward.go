package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"drawbridge/internal/nft"
)

// Bits of what connection tracking knows (include/uapi/linux/netfilter/nf_conntrack_common.h):
// NF_CT_STATE_BIT of IP_CT_ESTABLISHED and IP_CT_RELATED, and IPS_DST_NAT.
const (
	ctEstablished = 1<<1 | 1<<2
	ctRedirected  = 1 << 5
)

// Of NFT_FIB_RESULT_ADDRTYPE and NFTA_FIB_F_DADDR (include/uapi/linux/netfilter/nf_tables.h),
// and of expression nat.
const (
	fibAddressType   = 3
	fibOfDestination = 1 << 1
	natDestination   = 1 // NFT_NAT_DNAT
)

// matchForwarded are the conditions that only packets have which the stack handles.
// Numbers in registers are in the host's byte order, but for those of packets.
func (m *message) matchForwarded(match nft.Match) {
	switch x := match.(type) {
	case nft.Family:
		family := byte(unix.NFPROTO_IPV4)
		if x.IPv6 {
			family = unix.NFPROTO_IPV6
		}
		m.meta(unix.NFT_META_NFPROTO)
		m.compare(false, []byte{family})
	case nft.Interface:
		key := uint32(unix.NFT_META_IIFNAME)
		if x.Out {
			key = unix.NFT_META_OIFNAME
		}
		m.meta(key)
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, x.Name)
		m.compare(x.Not, name)
	case nft.Connection:
		key, bits := uint32(unix.NFT_CT_STATUS), uint32(ctRedirected)
		if x.Established {
			key, bits = unix.NFT_CT_STATE, ctEstablished
		}
		m.expression("ct", func() {
			m.be32(unix.NFTA_CT_DREG, unix.NFT_REG_1)
			m.be32(unix.NFTA_CT_KEY, key)
		})
		m.mask(native.AppendUint32(nil, bits))
		m.compare(true, make([]byte, 4))
	case nft.ToHost:
		m.expression("fib", func() {
			m.be32(unix.NFTA_FIB_DREG, unix.NFT_REG_1)
			m.be32(unix.NFTA_FIB_RESULT, fibAddressType)
			m.be32(unix.NFTA_FIB_FLAGS, fibOfDestination)
		})
		m.compare(false, native.AppendUint32(nil, unix.RTN_LOCAL))
	}
}

// redirect gives a packet another destination.
func (m *message) redirect(to netip.AddrPort) {
	family := uint32(unix.NFPROTO_IPV4)
	if to.Addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	m.constant(unix.NFT_REG_1, to.Addr().AsSlice())
	m.constant(unix.NFT_REG_2, binary.BigEndian.AppendUint16(nil, to.Port()))
	m.expression("nat", func() {
		m.be32(unix.NFTA_NAT_TYPE, natDestination)
		m.be32(unix.NFTA_NAT_FAMILY, family)
		m.be32(unix.NFTA_NAT_REG_ADDR_MIN, unix.NFT_REG_1)
		m.be32(unix.NFTA_NAT_REG_PROTO_MIN, unix.NFT_REG_2)
	})
}

// constant puts bytes into a register.
func (m *message) constant(register uint32, v []byte) {
	m.expression("immediate", func() {
		m.be32(unix.NFTA_IMMEDIATE_DREG, register)
		m.value(unix.NFTA_IMMEDIATE_DATA, v)
	})
}
