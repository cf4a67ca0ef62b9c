package kernel

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

const filterSkipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS

// rawLink is one RTM_NEWLINK as the kernel wrote it: other links are still indexes.
type rawLink struct {
	model.Link
	arphrd uint16
	flags  uint32 // IFF_UP and others
	master int
	active int // of a bond: the index of the member in use
	// lower is IFLA_LINK: the peer of a veth, the parent of a VLAN. It counts in the
	// namespace lowerNS, or in the link's own when lowerNS is -1.
	lower   int
	lowerNS int
	conf4   []byte // IFLA_INET_CONF, see settings.go
	conf6   []byte // IFLA_INET6_CONF
	// querier is IFLA_BR_MCAST_QUERIER_STATE of a bridge, nil where the kernel has none.
	querier []byte
}

// linkHeader is struct ifinfomsg.
func linkHeader(family uint8, index int, flags, change uint32) []byte {
	b := []byte{family, 0, 0, 0}
	b = native.AppendUint32(b, uint32(index))
	b = native.AppendUint32(b, flags)
	return native.AppendUint32(b, change)
}

func linkMessage(typ, msgFlags uint16, index int, flags, change uint32) *message {
	return newMessage(typ, msgFlags).raw(linkHeader(unix.AF_UNSPEC, index, flags, change))
}

// links dumps every link. Statistics are left out: they are half of the bytes.
func (k *Kernel) links(ctx context.Context) ([]rawLink, error) {
	var out []rawLink
	request := func() *message {
		m := linkMessage(unix.RTM_GETLINK, 0, 0, 0, 0)
		m.u32(unix.IFLA_EXT_MASK, filterSkipStats)
		return m
	}
	err := k.rt.dump(ctx, request, func(body []byte) error {
		l, err := parseLink(body)
		if err != nil {
			return err
		}
		out = append(out, l)
		return nil
	})
	if err != nil {
		return nil, refusal("links", err)
	}
	return out, nil
}

// Index looks up the index of a link; [model.ErrNotFound] where there is none of that name.
func (k *Kernel) Index(name string) (int, error) {
	l, err := k.linkByName(name)
	return l.Index, err
}

// linkByName looks a link up at the moment of use.
func (k *Kernel) linkByName(name string) (rawLink, error) {
	if err := model.CheckLinkName(name); err != nil {
		return rawLink{}, err
	}
	m := linkMessage(unix.RTM_GETLINK, 0, 0, 0, 0)
	m.str(unix.IFLA_IFNAME, name)
	m.u32(unix.IFLA_EXT_MASK, filterSkipStats)
	b, err := k.rt.get(m)
	if isErrno(err, unix.ENODEV) {
		return rawLink{}, fmt.Errorf("%s: %w", name, model.ErrNotFound)
	}
	if err != nil {
		return rawLink{}, refusal(name, err)
	}
	l, err := parseLink(b)
	if err == nil && l.Name != name {
		return l, fmt.Errorf("%s: the kernel answers with %s: %w", name, l.Name, model.ErrNotFound)
	}
	return l, err
}

func parseLink(b []byte) (rawLink, error) {
	l := rawLink{lowerNS: -1}
	if len(b) < unix.SizeofIfInfomsg {
		return l, errTruncated
	}
	l.arphrd = native.Uint16(b[2:])
	l.Index = int(int32(native.Uint32(b[4:])))
	l.flags = native.Uint32(b[8:])
	l.Up, l.Carrier = l.flags&unix.IFF_UP != 0, l.flags&unix.IFF_LOWER_UP != 0
	var info linkInfo
	var nested error
	err := walk(b[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = getString(v)
		case unix.IFLA_ADDRESS:
			l.MAC = formatMAC(v)
		case unix.IFLA_MTU:
			l.MTU = int(getU32(v))
		case unix.IFLA_OPERSTATE:
			l.OperState = operStates.word(uint32(getU8(v)))
		case unix.IFLA_GROUP:
			l.Group = getU32(v)
		case unix.IFLA_QDISC:
			l.Qdisc = getString(v)
		case unix.IFLA_IFALIAS:
			l.Alias = getString(v)
		case unix.IFLA_MASTER:
			l.master = int(getU32(v))
		case unix.IFLA_LINK:
			l.lower = int(getU32(v))
		case unix.IFLA_LINK_NETNSID:
			l.lowerNS = int(int32(getU32(v)))
		case unix.IFLA_LINKINFO:
			info, nested = parseLinkInfo(v)
		case unix.IFLA_AF_SPEC:
			l.parseConf(v)
		}
	})
	if err == nil {
		err = nested
	}
	l.setKind(info)
	return l, err
}

// parseConf finds the sysctls in IFLA_AF_SPEC (inet_fill_link_af, inet6_fill_link_af).
func (l *rawLink) parseConf(v []byte) {
	_ = walk(v, func(family uint16, v []byte) {
		_ = walk(v, func(typ uint16, v []byte) {
			switch {
			case family == unix.AF_INET && typ == unix.IFLA_INET_CONF:
				l.conf4 = v
			case family == unix.AF_INET6 && typ == unix.IFLA_INET6_CONF:
				l.conf6 = v
			case family == unix.AF_INET6 && typ == unix.IFLA_INET6_TOKEN:
				if a := getAddr(v); a.IsValid() && !a.IsUnspecified() {
					l.Token = a.String()
				}
			}
		})
	})
}

// linkInfo is IFLA_LINKINFO.
type linkInfo struct {
	kind, slaveKind string
	data, slaveData []byte
}

func parseLinkInfo(b []byte) (linkInfo, error) {
	var i linkInfo
	err := walk(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_INFO_KIND:
			i.kind = getString(v)
		case unix.IFLA_INFO_DATA:
			i.data = v
		case unix.IFLA_INFO_SLAVE_KIND:
			i.slaveKind = getString(v)
		case unix.IFLA_INFO_SLAVE_DATA:
			i.slaveData = v
		}
	})
	return i, err
}

const (
	arphrdEther    = unix.ARPHRD_ETHER
	arphrdLoopback = unix.ARPHRD_LOOPBACK
)

// setKind names the kind, and reads what that kind adds.
func (l *rawLink) setKind(i linkInfo) {
	switch {
	case i.kind != "":
		l.Kind = model.Kind(i.kind)
	case l.arphrd == arphrdLoopback:
		l.Kind = model.Loopback
	case l.arphrd == arphrdEther:
		l.Kind = model.Physical
	default:
		l.Kind = model.Kind("arphrd-" + strconv.Itoa(int(l.arphrd))) // include/uapi/linux/if_arp.h
	}
	switch l.Kind {
	case model.Bridged:
		l.Bridge = parseBridge(i.data)
		l.querier = findAttr(i.data, brMcastQuerierState)
	case "tun":
		l.Kind, l.Tap = parseTun(i.data)
	case model.VLANKind:
		l.VLAN = parseVLAN(i.data)
	case model.Macvlan, model.Macvtap:
		l.Mode = macvlanModes.word(attrU32(i.data, unix.IFLA_MACVLAN_MODE))
	case model.IPvlan, "ipvtap":
		l.Mode = ipvlanModes.word(uint32(getU16(findAttr(i.data, unix.IFLA_IPVLAN_MODE))))
	case model.Bond:
		l.Mode = bondModes.word(uint32(getU8(findAttr(i.data, unix.IFLA_BOND_MODE))))
		l.active = int(attrU32(i.data, unix.IFLA_BOND_ACTIVE_SLAVE))
	case model.VRF:
		l.VRFTable = attrU32(i.data, unix.IFLA_VRF_TABLE)
	case model.VXLAN, model.Geneve, model.GRE, model.Gretap, model.IPIP, model.SIT:
		l.Tunnel = parseTunnel(l.Kind, i.data)
		if l.lower == 0 && l.Kind == model.VXLAN {
			l.lower = int(attrU32(i.data, unix.IFLA_VXLAN_LINK))
		}
	}
	if i.slaveKind == "bridge" {
		l.Port = parsePort(i.slaveData)
	}
}

func findAttr(b []byte, want uint16) []byte {
	var found []byte
	_ = walk(b, func(typ uint16, v []byte) {
		if typ == want {
			found = v
		}
	})
	return found
}

func attrU32(b []byte, want uint16) uint32 { return getU32(findAttr(b, want)) }

func parseVLAN(b []byte) *model.VLAN {
	v := &model.VLAN{Protocol: "802.1q"}
	_ = walk(b, func(typ uint16, a []byte) {
		switch typ {
		case unix.IFLA_VLAN_ID:
			v.ID = getU16(a)
		case unix.IFLA_VLAN_PROTOCOL:
			if len(a) == 2 && uint16(a[0])<<8|uint16(a[1]) == unix.ETH_P_8021AD {
				v.Protocol = "802.1ad"
			}
		}
	})
	return v
}

// IFLA_IPTUN_* and IFLA_GRE_*, include/uapi/linux/if_tunnel.h.
const (
	iptunLocal, iptunRemote      = 2, 3
	greIKey, greLocal, greRemote = 4, 6, 7
	vxlanRemote, vxlanRemote6    = unix.IFLA_VXLAN_GROUP, unix.IFLA_VXLAN_GROUP6
	geneveRemote, geneveRemote6  = unix.IFLA_GENEVE_REMOTE, unix.IFLA_GENEVE_REMOTE6
	vxlanLocal, vxlanLocal6      = unix.IFLA_VXLAN_LOCAL, unix.IFLA_VXLAN_LOCAL6
)

func parseTunnel(kind model.Kind, b []byte) *model.Tunnel {
	t := &model.Tunnel{}
	address := func(types ...uint16) string {
		for _, typ := range types {
			if a := getAddr(findAttr(b, typ)); a.IsValid() && !a.IsUnspecified() {
				return a.String()
			}
		}
		return ""
	}
	bigEndian := func(v []byte) (n uint32) {
		for _, c := range v[:min(len(v), 4)] {
			n = n<<8 | uint32(c)
		}
		return n
	}
	switch kind {
	case model.VXLAN:
		t.ID, t.Port = attrU32(b, unix.IFLA_VXLAN_ID), uint16(bigEndian(findAttr(b, unix.IFLA_VXLAN_PORT)))
		t.Local, t.Remote = address(vxlanLocal, vxlanLocal6), address(vxlanRemote, vxlanRemote6)
	case model.Geneve:
		t.ID, t.Port = attrU32(b, unix.IFLA_GENEVE_ID), uint16(bigEndian(findAttr(b, unix.IFLA_GENEVE_PORT)))
		t.Remote = address(geneveRemote, geneveRemote6)
	case model.GRE, model.Gretap:
		t.ID = bigEndian(findAttr(b, greIKey))
		t.Local, t.Remote = address(greLocal), address(greRemote)
	default:
		t.Local, t.Remote = address(iptunLocal), address(iptunRemote)
	}
	return t
}

const hexDigits = "0123456789abcdef"

// formatMAC writes 6 bytes in colon form. Other lengths are kept where they are
// hardware addresses (InfiniBand has 20), and dropped for tunnels, whose "address" is IP.
func formatMAC(v []byte) model.MAC {
	if len(v) != 6 && len(v) != 8 && len(v) != 20 {
		return ""
	}
	out := make([]byte, 0, 3*len(v))
	for i, c := range v {
		if i > 0 {
			out = append(out, ':')
		}
		out = append(out, hexDigits[c>>4], hexDigits[c&15])
	}
	return model.MAC(out)
}

// parseMAC reads the colon form of 6 bytes.
func parseMAC(m model.MAC) ([]byte, error) {
	b, err := net.ParseMAC(string(m))
	if err != nil || len(b) != 6 || m[2] != ':' {
		return nil, fmt.Errorf("hardware address %q: %w: six pairs of hexadecimal digits with colons are wanted", m, model.ErrInvalid)
	}
	return b, nil
}
