package kernel

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// field is something of a packet, in nft(8)'s words, and how many bytes it has.
type field struct {
	key  string
	size int
	// swapped: a number of the host's byte order that was put into the network's.
	swapped bool
}

func (f field) known() bool { return f.key != "" && !strings.HasPrefix(f.key, model.MatchUnknown) }

// loaded is what an instruction has put into registers: fields that lie side by side in the
// packet (nft(8) makes one load of "ip saddr A ip daddr B"), or a value.
type loaded struct {
	fields    []field
	data      []byte // of a value that the rule itself has
	mask, xor []byte // that were laid over it
}

func (l loaded) size() (n int) {
	for _, f := range l.fields {
		n += f.size
	}
	return n
}

// one is the load's only field.
func (l loaded) one() (field, bool) {
	if len(l.fields) != 1 || !l.fields[0].known() {
		return field{}, false
	}
	return l.fields[0], true
}

// cells are what the registers consist of: NFT_REG_1 to 4 are four of them each.
const cells = 16

// registers hold loads, each from a cell of its own.
type registers struct {
	at [cells]int // 1 + index of the load that a cell belongs to, 0 for none
	of []loaded
	on []int // first cell of each load
}

func cellOf(reg uint32) (int, bool) {
	switch {
	case reg >= unix.NFT_REG_1 && reg <= unix.NFT_REG_4:
		return int(reg-unix.NFT_REG_1) * 4, true
	case reg >= unix.NFT_REG32_00 && reg < unix.NFT_REG32_00+cells:
		return int(reg - unix.NFT_REG32_00), true
	}
	return 0, false
}

func cellsOf(size int) int { return (size + 3) / 4 }

// put puts a load into registers; what it overlaps is no longer there.
func (r *registers) put(reg uint32, l loaded) {
	cell, ok := cellOf(reg)
	if !ok {
		return
	}
	end := min(cells, cell+max(1, cellsOf(l.size())))
	for i := cell; i < end; i++ {
		if old := r.at[i]; old != 0 {
			for j := range r.at {
				if r.at[j] == old {
					r.at[j] = 0
				}
			}
		}
	}
	// Not in place: a rule that a map has split shares what was there before.
	r.of, r.on = append(slices.Clip(r.of), l), append(slices.Clip(r.on), cell)
	for i := cell; i < end; i++ {
		r.at[i] = len(r.of)
	}
}

func (r *registers) load(reg uint32, f field) { r.put(reg, loaded{fields: []field{f}}) }

// forget is for an instruction that may have written anything.
func (r *registers) forget() { *r = registers{} }

// get is the load that begins at a register.
func (r *registers) get(reg uint32) (loaded, bool) {
	cell, ok := cellOf(reg)
	if !ok {
		return loaded{}, false
	}
	return r.atCell(cell)
}

func (r *registers) atCell(cell int) (loaded, bool) {
	if cell >= cells || r.at[cell] == 0 || r.on[r.at[cell]-1] != cell {
		return loaded{}, false
	}
	return r.of[r.at[cell]-1], true
}

// fields are those in the registers from one on, for a key of a number of bytes: of one
// load, or of several that begin at cells of their own (a concatenation). masked is the
// load where it is one with a mask.
func (r *registers) fields(reg uint32, size int) (fields []field, masked *loaded, ok bool) {
	cell, ok := cellOf(reg)
	if !ok || size <= 0 {
		return nil, nil, false
	}
	if l, is := r.atCell(cell); is && l.size() == size && l.data == nil {
		if l.mask != nil {
			masked = &l
		}
		return l.fields, masked, true
	}
	for left := size; left > 0; {
		l, is := r.atCell(cell)
		if !is || l.mask != nil || l.data != nil || len(l.fields) != 1 || l.size() == 0 {
			return nil, nil, false
		}
		fields = append(fields, l.fields[0])
		cell += cellsOf(l.size())
		left -= 4 * cellsOf(l.size())
	}
	return fields, nil, len(fields) > 1
}

// bytes are those of a value, from a register on; nil where they are not known.
func (r *registers) bytes(reg uint32, size int) []byte {
	cell, ok := cellOf(reg)
	if !ok || r.at[cell] == 0 {
		return nil
	}
	l := r.of[r.at[cell]-1]
	from := 4 * (cell - r.on[r.at[cell]-1])
	if l.data == nil || from+size > len(l.data) {
		return nil
	}
	return l.data[from : from+size]
}

// written is what a rule writes from a register, as in [model.FirewallRule].To.
func (r *registers) written(reg uint32) string {
	if v := r.bytes(reg, 4); v != nil {
		return fmt.Sprintf("%#x", native.Uint32(v))
	}
	l, ok := r.get(reg)
	if !ok {
		return ""
	}
	f, ok := l.one()
	if !ok || f.swapped || f.key != "mark" && f.key != "ct mark" {
		return ""
	}
	if l.mask == nil {
		return f.key
	}
	return fmt.Sprintf("%s & %#x ^ %#x", f.key, getU32(l.mask), getU32(l.xor))
}

// payload loads bytes of the packet, or writes some.
func (d *decoder) payload(b []byte) {
	const sreg = 5 // NFTA_PAYLOAD_SREG
	fields := d.payloadFields(getBE32(findAttr(b, unix.NFTA_PAYLOAD_BASE)), int(getBE32(findAttr(b, unix.NFTA_PAYLOAD_OFFSET))), int(getBE32(findAttr(b, unix.NFTA_PAYLOAD_LEN))))
	if findAttr(b, sreg) == nil {
		d.regs.put(getBE32(findAttr(b, unix.NFTA_PAYLOAD_DREG)), loaded{fields: fields})
		return
	}
	for _, f := range fields {
		if f.key != model.MatchUnknown+"tos" {
			d.sets(f.key, "")
		}
	}
}

// fieldPlace is where a field of a packet is.
type fieldPlace struct {
	offset, size int
	key          string
}

var (
	linkPlaces   = []fieldPlace{{0, 6, "ether daddr"}, {6, 6, "ether saddr"}, {12, 2, "ether type"}}
	places4      = []fieldPlace{{0, 2, model.MatchUnknown + "tos"}, {9, 1, "ip protocol"}, {12, 4, "ip saddr"}, {16, 4, "ip daddr"}}
	places6      = []fieldPlace{{0, 2, model.MatchUnknown + "tos"}, {6, 1, "ip6 nexthdr"}, {8, 16, "ip6 saddr"}, {24, 16, "ip6 daddr"}}
	portPlaces   = []fieldPlace{{0, 2, "th sport"}, {2, 2, "th dport"}}
	tcpPlaces    = []fieldPlace{{0, 2, "tcp sport"}, {2, 2, "tcp dport"}, {13, 1, "tcp flags"}}
	udpPlaces    = []fieldPlace{{0, 2, "udp sport"}, {2, 2, "udp dport"}}
	icmpPlaces   = []fieldPlace{{0, 1, "icmp type"}, {1, 1, "icmp code"}}
	icmpv6Places = []fieldPlace{{0, 1, "icmpv6 type"}, {1, 1, "icmpv6 code"}}
)

func (d *decoder) places(base uint32) []fieldPlace {
	switch base {
	case unix.NFT_PAYLOAD_LL_HEADER:
		return linkPlaces
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		return map[int][]fieldPlace{4: places4, 6: places6}[d.layer3]
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		switch d.layer4 {
		case "tcp":
			return tcpPlaces
		case "udp":
			return udpPlaces
		case "icmp":
			return icmpPlaces
		case "ipv6-icmp":
			return icmpv6Places
		case "": // of several: the rule has asked for a set of them, or for none
			return portPlaces
		}
	}
	return nil
}

// payloadFields names the fields of some bytes of a packet, side by side; of an address the
// bytes may be the first only.
func (d *decoder) payloadFields(base uint32, offset, size int) (out []field) {
	if size <= 0 || size > 4*cells {
		return []field{{key: model.MatchUnknown + "payload"}}
	}
	for size > 0 {
		i := slices.IndexFunc(d.places(base), func(p fieldPlace) bool { return p.offset == offset })
		if i < 0 {
			return append(out, field{key: model.MatchUnknown + "payload", size: size})
		}
		p := d.places(base)[i]
		if p.size > size && !isAddressKey(p.key) {
			return append(out, field{key: model.MatchUnknown + "payload", size: size})
		}
		n := min(p.size, size)
		out = append(out, field{key: p.key, size: n})
		offset, size = offset+n, size-n
	}
	return out
}

func isAddressKey(key string) bool {
	return strings.HasSuffix(key, " saddr") || strings.HasSuffix(key, " daddr")
}

func metaField(key uint32) field {
	switch key {
	case unix.NFT_META_IIFNAME:
		return field{key: "iifname", size: unix.IFNAMSIZ}
	case unix.NFT_META_OIFNAME:
		return field{key: "oifname", size: unix.IFNAMSIZ}
	case unix.NFT_META_BRI_IIFNAME:
		return field{key: "ibrname", size: unix.IFNAMSIZ}
	case unix.NFT_META_BRI_OIFNAME:
		return field{key: "obrname", size: unix.IFNAMSIZ}
	case unix.NFT_META_IIFTYPE:
		return field{key: "iiftype", size: 2}
	case unix.NFT_META_OIFTYPE:
		return field{key: "oiftype", size: 2}
	case unix.NFT_META_IIF:
		return field{key: "iif", size: 4}
	case unix.NFT_META_OIF:
		return field{key: "oif", size: 4}
	case unix.NFT_META_NFPROTO:
		return field{key: "nfproto", size: 1}
	case unix.NFT_META_L4PROTO:
		return field{key: "l4proto", size: 1}
	case unix.NFT_META_PROTOCOL:
		return field{key: "protocol", size: 2}
	case unix.NFT_META_MARK:
		return field{key: "mark", size: 4}
	case unix.NFT_META_PKTTYPE:
		return field{key: "pkttype", size: 1}
	}
	return field{key: model.MatchUnknown + fmt.Sprintf("meta %d", key), size: 4}
}

func ctField(key uint32) field {
	switch key {
	case unix.NFT_CT_STATE:
		return field{key: "ct state", size: 4}
	case unix.NFT_CT_STATUS:
		return field{key: "ct status", size: 4}
	case unix.NFT_CT_MARK:
		return field{key: "ct mark", size: 4}
	case unix.NFT_CT_DIRECTION:
		return field{key: "ct direction", size: 1}
	}
	return field{key: model.MatchUnknown + fmt.Sprintf("ct %d", key), size: 4}
}

// fibSourceKey asks whether the source would be answered by the link that it came in by.
const fibSourceKey = "fib saddr iif oif"

// fibField is a question to the routes: of what type an address is, or whether the source
// would be answered by the link that it came in by.
func fibField(b []byte) field {
	flags := getBE32(findAttr(b, unix.NFTA_FIB_FLAGS))
	switch result := getBE32(findAttr(b, unix.NFTA_FIB_RESULT)); {
	case result == unix.NFT_FIB_RESULT_ADDRTYPE && flags == unix.NFTA_FIB_F_DADDR:
		return field{key: "fib daddr type", size: 4}
	case result == unix.NFT_FIB_RESULT_ADDRTYPE && flags == unix.NFTA_FIB_F_SADDR:
		return field{key: "fib saddr type", size: 4}
	case result == unix.NFT_FIB_RESULT_OIF && flags&^(unix.NFTA_FIB_F_MARK|unix.NFTA_FIB_F_PRESENT) == unix.NFTA_FIB_F_SADDR|unix.NFTA_FIB_F_IIF:
		return field{key: fibSourceKey, size: 4}
	}
	return field{key: model.MatchUnknown + "fib", size: 4}
}

// bitwise lays a mask over a load, and turns bits of it.
func (d *decoder) bitwise(b []byte) {
	const operation, mask, xor = 6, unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR // 6: NFTA_BITWISE_OP
	from, to := getBE32(findAttr(b, unix.NFTA_BITWISE_SREG)), getBE32(findAttr(b, unix.NFTA_BITWISE_DREG))
	l, ok := d.regs.get(from)
	m, x := findAttr(findAttr(b, mask), unix.NFTA_DATA_VALUE), findAttr(findAttr(b, xor), unix.NFTA_DATA_VALUE)
	if !ok || getBE32(findAttr(b, operation)) != 0 || l.mask != nil || l.data != nil || len(m) != l.size() || len(x) != len(m) {
		d.regs.put(to, loaded{fields: []field{{key: model.MatchUnknown + "bitwise", size: int(min(getBE32(findAttr(b, unix.NFTA_BITWISE_LEN)), 4*cells))}}})
		return
	}
	l.mask, l.xor = m, x
	d.regs.put(to, l)
}

// byteorder turns a number of the host's byte order into one of the network's.
func (d *decoder) byteorder(b []byte) {
	l, ok := d.regs.get(getBE32(findAttr(b, unix.NFTA_BYTEORDER_SREG)))
	f, single := l.one()
	if !ok || !single || l.mask != nil || getBE32(findAttr(b, unix.NFTA_BYTEORDER_LEN)) != uint32(f.size) || getBE32(findAttr(b, unix.NFTA_BYTEORDER_SIZE)) != uint32(f.size) {
		f = field{key: model.MatchUnknown + "byteorder", size: max(1, f.size)}
	}
	f.swapped = !f.swapped
	d.regs.load(getBE32(findAttr(b, unix.NFTA_BYTEORDER_DREG)), f)
}

// immediatePort is a port in a register, 0 where it is not known.
func (r *registers) immediatePort(reg []byte) uint16 {
	if v := r.bytes(getBE32(reg), 2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}
