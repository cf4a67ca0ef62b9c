package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"drawbridge/internal/nft"
)

// The messages of nf_tables (include/uapi/linux/netfilter/nf_tables.h). Numbers in them
// are in network byte order, unlike rtnetlink's.

const (
	nftPolicyDrop   = 0 // NF_DROP
	nftPolicyAccept = 1 // NF_ACCEPT
	// NF_NETDEV_INGRESS, NF_NETDEV_EGRESS (include/uapi/linux/netfilter.h).
	hookIngress, hookEgress = 0, 1
	// The types of keys, as nft(8) numbers them: they are for its listing only.
	typeIPv4Addr, typeIPv6Addr = 7, 8
	exthdrFragment             = 44
	hookDevices                = 4 // NFTA_HOOK_DEVS
)

func (m *message) be32(typ uint16, v uint32) { m.attr(typ, binary.BigEndian.AppendUint32(nil, v)) }
func (m *message) be64(typ uint16, v uint64) { m.attr(typ, binary.BigEndian.AppendUint64(nil, v)) }

// nested is nest with the flag that tells so, as nf_tables itself writes it.
func (m *message) nested(typ uint16, fn func()) { m.nest(typ|unix.NLA_F_NESTED, fn) }

// nftTable is one of our tables, by its family: all have one name.
type nftTable byte

const (
	portTable    nftTable = unix.NFPROTO_NETDEV // what ports may send: internal/portsec
	forwardTable nftTable = unix.NFPROTO_INET   // what is forwarded: internal/forward
)

// message is a message about the table: struct nfgenmsg, and the table's name, which
// is attribute 1 of all of them (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE ...).
func (t nftTable) message(typ, flags uint16) *message {
	m := newMessage(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags).raw([]byte{byte(t), unix.NFNETLINK_V0, 0, 0})
	m.str(unix.NFTA_TABLE_NAME, nft.Table)
	return m
}

func batchMark(typ uint16) *message {
	return newMessage(typ, 0).raw([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES})
}

func (t nftTable) add() *message    { return t.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE) }
func (t nftTable) remove() *message { return t.message(unix.NFT_MSG_DELTABLE, 0) }

func (t nftTable) delChain(name string) *message {
	m := t.message(unix.NFT_MSG_DELCHAIN, 0)
	m.str(unix.NFTA_CHAIN_NAME, name)
	return m
}

// hookNumbers of the tables' families: NF_NETDEV_*, NF_INET_* (include/uapi/linux/netfilter.h).
var hookNumbers = map[string]uint32{
	nft.Ingress: hookIngress, nft.Egress: hookEgress,
	nft.Prerouting: 0, nft.Input: 1, nft.Forward: 2, nft.Output: 3, nft.Postrouting: 4,
}

// newChain makes a chain; device is for the hooks of one.
func (t nftTable) newChain(c nft.Chain, device string) *message {
	m := t.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	m.str(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Hook == "" {
		return m
	}
	policy, typ := uint32(nftPolicyAccept), "filter"
	if c.Drop {
		policy = nftPolicyDrop
	}
	if c.NAT {
		typ = "nat"
	}
	priority := int32(c.Priority)
	m.nested(unix.NFTA_CHAIN_HOOK, func() {
		m.be32(unix.NFTA_HOOK_HOOKNUM, hookNumbers[c.Hook])
		m.be32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
		if device != "" {
			m.str(unix.NFTA_HOOK_DEV, device)
		}
	})
	m.be32(unix.NFTA_CHAIN_POLICY, policy)
	m.str(unix.NFTA_CHAIN_TYPE, typ)
	return m
}

func (t nftTable) newSet(s nft.Set, id uint32) *message {
	m := t.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE)
	m.str(unix.NFTA_SET_NAME, s.Name)
	flags, typ, size := uint32(unix.NFT_SET_EVAL), uint32(typeIPv4Addr), uint32(4)
	if s.IPv6 {
		typ, size = typeIPv6Addr, 16
	}
	if s.Timeout > 0 {
		flags |= unix.NFT_SET_TIMEOUT
	}
	m.be32(unix.NFTA_SET_FLAGS, flags)
	m.be32(unix.NFTA_SET_KEY_TYPE, typ)
	m.be32(unix.NFTA_SET_KEY_LEN, size)
	m.nested(unix.NFTA_SET_DESC, func() { m.be32(unix.NFTA_SET_DESC_SIZE, uint32(s.Size)) })
	m.be32(unix.NFTA_SET_ID, id)
	if s.Timeout > 0 {
		m.be64(unix.NFTA_SET_TIMEOUT, uint64(s.Timeout)*1000)
	}
	return m
}

func (t nftTable) delSet(name string) *message {
	m := t.message(unix.NFT_MSG_DELSET, 0)
	m.str(unix.NFTA_SET_NAME, name)
	return m
}

// newRule appends a rule to a chain. Note is kept with it, and read by us alone.
func (t nftTable) newRule(chain string, r nft.Rule, note []byte) *message {
	m := t.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	m.str(unix.NFTA_RULE_CHAIN, chain)
	m.nested(unix.NFTA_RULE_EXPRESSIONS, func() { m.expressions(r) })
	if data := ruleData(r.Reason, note); len(data) > 0 {
		m.attr(unix.NFTA_RULE_USERDATA, data)
	}
	return m
}

func (m *message) expression(name string, fn func()) {
	m.nested(unix.NFTA_LIST_ELEM, func() {
		m.str(unix.NFTA_EXPR_NAME, name)
		m.nested(unix.NFTA_EXPR_DATA, fn)
	})
}

// expressions are the register machine's instructions for a rule: load, compare, decide.
func (m *message) expressions(r nft.Rule) {
	for _, match := range r.Matches {
		switch x := match.(type) {
		case nft.Payload:
			m.load(x.Base, x.Offset, len(x.Value))
			if x.Mask != nil {
				m.mask(x.Mask)
			}
			m.compare(x.Not, x.Value)
		case nft.L4:
			m.meta(unix.NFT_META_L4PROTO)
			m.compare(x.Not, []byte{x.Protocol})
		case nft.Layer:
			if x.EtherType == 0 {
				m.meta(unix.NFT_META_IIFTYPE)
				m.compare(false, native.AppendUint16(nil, unix.ARPHRD_ETHER))
			} else {
				m.meta(unix.NFT_META_PROTOCOL)
				m.compare(false, binary.BigEndian.AppendUint16(nil, x.EtherType))
			}
		case nft.Later:
			m.expression("exthdr", func() {
				m.be32(unix.NFTA_EXTHDR_DREG, unix.NFT_REG_1)
				m.attr(unix.NFTA_EXTHDR_TYPE, []byte{exthdrFragment})
				m.be32(unix.NFTA_EXTHDR_OFFSET, 2)
				m.be32(unix.NFTA_EXTHDR_LEN, 2)
			})
			m.mask([]byte{0xff, 0xf8})
			m.compare(true, []byte{0, 0})
		case nft.Over:
			m.limit(x)
		case nft.InSet:
			m.load(x.Base, x.Offset, x.Len)
			m.expression("lookup", func() {
				m.str(unix.NFTA_LOOKUP_SET, x.Set)
				m.be32(unix.NFTA_LOOKUP_SREG, unix.NFT_REG_1)
			})
		case nft.Family, nft.Interface, nft.Connection, nft.ToHost:
			m.matchForwarded(x)
		case nft.AddTo:
			m.load(x.Base, x.Offset, x.Len)
			op := uint32(unix.NFT_DYNSET_OP_ADD)
			if x.Renew {
				op = unix.NFT_DYNSET_OP_UPDATE
			}
			m.expression("dynset", func() {
				m.str(unix.NFTA_DYNSET_SET_NAME, x.Set)
				m.be32(unix.NFTA_DYNSET_OP, op)
				m.be32(unix.NFTA_DYNSET_SREG_KEY, unix.NFT_REG_1)
			})
		}
	}
	if r.Reason != "" {
		m.expression("counter", func() {})
	}
	m.verdict(r.Verdict)
}

func (m *message) meta(key uint32) {
	m.expression("meta", func() {
		m.be32(unix.NFTA_META_DREG, unix.NFT_REG_1)
		m.be32(unix.NFTA_META_KEY, key)
	})
}

func (m *message) load(base nft.Base, offset, size int) {
	m.expression("payload", func() {
		m.be32(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1)
		m.be32(unix.NFTA_PAYLOAD_BASE, uint32(base))
		m.be32(unix.NFTA_PAYLOAD_OFFSET, uint32(offset))
		m.be32(unix.NFTA_PAYLOAD_LEN, uint32(size))
	})
}

func (m *message) value(typ uint16, v []byte) {
	m.nested(typ, func() { m.attr(unix.NFTA_DATA_VALUE, v) })
}

func (m *message) mask(mask []byte) {
	m.expression("bitwise", func() {
		m.be32(unix.NFTA_BITWISE_SREG, unix.NFT_REG_1)
		m.be32(unix.NFTA_BITWISE_DREG, unix.NFT_REG_1)
		m.be32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		m.value(unix.NFTA_BITWISE_MASK, mask)
		m.value(unix.NFTA_BITWISE_XOR, make([]byte, len(mask)))
	})
}

func (m *message) compare(not bool, v []byte) {
	op := uint32(unix.NFT_CMP_EQ)
	if not {
		op = unix.NFT_CMP_NEQ
	}
	m.expression("cmp", func() {
		m.be32(unix.NFTA_CMP_SREG, unix.NFT_REG_1)
		m.be32(unix.NFTA_CMP_OP, op)
		m.value(unix.NFTA_CMP_DATA, v)
	})
}

func (m *message) limit(o nft.Over) {
	typ := uint32(unix.NFT_LIMIT_PKTS)
	if o.Bytes {
		typ = unix.NFT_LIMIT_PKT_BYTES
	}
	m.expression("limit", func() {
		m.be64(unix.NFTA_LIMIT_RATE, o.Rate)
		m.be64(unix.NFTA_LIMIT_UNIT, 1)
		m.be32(unix.NFTA_LIMIT_BURST, o.Burst)
		m.be32(unix.NFTA_LIMIT_TYPE, typ)
		m.be32(unix.NFTA_LIMIT_FLAGS, unix.NFT_LIMIT_F_INV)
	})
}

func (m *message) verdict(v nft.Verdict) {
	code, chain := uint32(nftPolicyAccept), v.Goto
	switch {
	case v.Drop:
		code = nftPolicyDrop
	case v.Accept:
	case v.Masquerade:
		m.expression("masq", func() {})
		return
	case v.To.IsValid():
		m.redirect(v.To)
		return
	case chain != "":
		code = ^uint32(-unix.NFT_GOTO) + 1
	default:
		return
	}
	m.expression("immediate", func() {
		m.be32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		m.nested(unix.NFTA_IMMEDIATE_DATA, func() {
			m.nested(unix.NFTA_DATA_VERDICT, func() {
				m.be32(unix.NFTA_VERDICT_CODE, code)
				if chain != "" {
					m.str(unix.NFTA_VERDICT_CHAIN, chain)
				}
			})
		})
	})
}

// What we keep with a rule are pieces of type, length and value, as nft(8) does: a
// comment has type 0, and what it does not know it leaves alone.
const (
	dataComment = 0
	dataNote    = 0xdb
	// noteSize of what one rule keeps; all of it is at most 256 bytes (NFT_USERDATA_MAXLEN).
	noteSize = 160
)

func ruleData(comment string, note []byte) []byte {
	var b []byte
	if comment != "" {
		b = append(b, dataComment, byte(len(comment)+1))
		b = append(append(b, comment...), 0)
	}
	if len(note) > 0 {
		b = append(b, dataNote, byte(len(note)))
		b = append(b, note...)
	}
	return b
}

func parseRuleData(b []byte) (comment string, note []byte) {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		v := b[2 : 2+int(b[1])]
		switch b[0] {
		case dataComment:
			comment = getString(v)
		case dataNote:
			note = v
		}
		b = b[2+len(v):]
	}
	return comment, note
}

// errNoNFT: the kernel has no nftables.
var errNoNFT = errors.New("this kernel has no nftables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_NETDEV)")

// netfilter opens the socket to nf_tables when it is first needed.
func (k *Kernel) netfilter() (*conn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nf != nil {
		return k.nf, nil
	}
	err := k.inside(func() (err error) {
		k.nf, err = openConn(unix.NETLINK_NETFILTER)
		return err
	})
	if isErrno(err, unix.EPROTONOSUPPORT) {
		return nil, errNoNFT
	}
	return k.nf, err
}

// transact sends messages as one transaction: all of them or none. Without commit the
// kernel tries them and forgets them (nfnetlink_rcv_batch: a batch without its end).
func (c *conn) transact(ms []*message, commit bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.seq + 1
	all := append([]*message{batchMark(unix.NFNL_MSG_BATCH_BEGIN)}, ms...)
	if commit {
		all = append(all, batchMark(unix.NFNL_MSG_BATCH_END))
	}
	var b []byte
	for i, m := range all {
		flags := uint16(0)
		if i == len(ms) { // refusals come anyway; this tells that all of them were looked at
			flags = unix.NLM_F_ACK
		}
		c.seq++
		b = append(b, m.finish(c.seq, flags)...)
	}
	if len(b) > sendLimit { // a transaction cannot be divided
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(b)); err != nil {
			return fmt.Errorf("a transaction of %d bytes: %w", len(b), err)
		}
	}
	if err := c.send(b); err != nil {
		return fmt.Errorf("netlink send: %w", err)
	}
	last := first + uint32(len(ms))
	var refused error
	for done := false; !done; {
		b, err := c.receive()
		if err != nil {
			return errors.Join(refused, err)
		}
		err = eachMessage(b, func(h header, body []byte) error {
			if h.typ != unix.NLMSG_ERROR || h.seq < first || h.seq > first+uint32(len(all)) {
				return nil
			}
			if err := parseAck(h, body); err != nil && refused == nil {
				refused = err
			}
			// Refused as a whole, before any of them was looked at: nothing else comes.
			done = done || h.seq == last || h.seq == first
			return nil
		})
		if err != nil {
			return err
		}
	}
	return refused
}

// nftDump reads what a GET message tells of a table of ours.
func (k *Kernel) nftDump(ctx context.Context, request func() *message, fn func(body []byte) error) error {
	c, err := k.netfilter()
	if err != nil {
		return err
	}
	return c.dump(ctx, request, func(body []byte) error {
		if len(body) < 4 {
			return errTruncated
		}
		return fn(body[4:]) // struct nfgenmsg
	})
}
