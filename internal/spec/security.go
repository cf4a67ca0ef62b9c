package spec

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"

	"go.yaml.in/yaml/v4"
)

// Security is what the wire end of a tap may send; see model.PortSecurity.
type Security struct {
	// Level is model.SecurityStrict, SecurityMAC or SecurityOff.
	Level string
	// Allow are words of the model, MACs and Sources what else may be sent from.
	Allow   []string
	MACs    []model.MAC
	Sources []netip.Prefix
	// Isolated from every other isolated port of the network.
	Isolated bool
	Rate     int64 // bits/s, 0: no limit
	Storm    int64 // frames/s, 0: no limit
	// Asked: the file has a word about it. Where the kernel cannot do what is only the
	// default, that is told and no more.
	Asked bool
}

// Limits tells whether a port may not send just anything.
func (s Security) Limits() bool {
	return s.Level != "" && s.Level != model.SecurityOff || s.Rate != 0 || s.Storm != 0
}

// Secures tells whether nftables are needed: for a port that is limited in what it may
// send, or a network that is to be kept apart.
func (d Desired) Secures() bool {
	nic := func(n NIC) bool { return n.Security.Limits() || len(n.Host) > 0 }
	return slices.ContainsFunc(d.Networks, func(n Network) bool { return n.Mode != Bridged }) ||
		slices.ContainsFunc(d.Taps, func(t Tap) bool { return t.Security.Limits() || len(t.Host) > 0 }) ||
		slices.ContainsFunc(d.Machines, func(m Machine) bool { return slices.ContainsFunc(m.NICs, nic) })
}

// maxAllowed is how many addresses one port may be allowed: what is kept with its rules
// in the kernel has room for more.
const maxAllowed = 32

// security reads the keys of a NIC's or tap's security. def is the level without a word.
func (b *builder) security(e entry, def string, bridged bool) Security {
	s := Security{Level: def}
	for _, k := range []string{"security", "allow", "rate", "storm"} {
		_, given := e.fields.get(k)
		s.Asked = s.Asked || given
	}
	if v, given := e.fields.get("security"); given && !v.bad {
		s.Level = v.text
	}
	allow, given := e.fields.get("allow")
	for _, a := range allow.allowed {
		switch {
		case a.mac != "":
			s.MACs = append(s.MACs, a.mac)
		case a.prefix.IsValid():
			s.Sources = append(s.Sources, a.prefix)
		case !slices.Contains(s.Allow, a.text):
			s.Allow = append(s.Allow, a.text)
		}
	}
	slices.Sort(s.Allow)
	if given && !allow.bad && s.Level == model.SecurityOff {
		b.warnf(allow.at, CodeConflict, "leave it out, or write security: strict", "with security: off, everything is allowed")
	}
	if n := len(s.MACs) + len(s.Sources); n > maxAllowed {
		b.errorf(allow.at, CodeUnfit, "allow a prefix, or write security: mac", "%d addresses are allowed; %d are the most", n, maxAllowed)
	}
	if v, given := e.fields.get("isolated"); given && !v.bad {
		s.Isolated = v.flag
		if v.flag && !bridged {
			b.errorf(v.at, CodeConflict, "leave it out, or add network:", "a plain tap is a port of nothing, and cannot be isolated there")
		}
	}
	s.Rate, s.Storm = e.fields["rate"].size, e.fields["storm"].size
	return s
}

// allowedItem is an item of allow: a word, a MAC address, or an address or prefix.
type allowedItem struct {
	text   string
	mac    model.MAC
	prefix netip.Prefix
}

// allowed reads one item or a list of them.
func (p *parser) allowed(k *key, n *yaml.Node, v *value) {
	p.each(k, n, v, "name something", func(c *yaml.Node, here at, _ bool) bool {
		if !isText(c) {
			p.errorf(here, CodeType, "one of "+strings.Join(k.wordsOfToday(), ", ")+", a MAC address, an IP address or a subnet", "%s is a word, an address or a list of them, not %s", k.name, describe(c))
			return false
		}
		a, problem, hint := k.readAllowed(c.Value)
		v.allowed = append(v.allowed, a)
		return p.fine(k, c, here, problem, hint)
	})
}

func (k *key) readAllowed(s string) (a allowedItem, problem, hint string) {
	if k.word(s) != nil {
		return allowedItem{text: s}, "", ""
	}
	if mac, problem, _ := parseMAC(s); problem == "" {
		return allowedItem{mac: mac}, "", ""
	} else if len(strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '-' })) == 6 && len(s) == 17 {
		_, problem, hint = parseMAC(s)
		return a, problem, hint
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		if problem, hint := checkHostPrefix(netip.PrefixFrom(addr.WithZone(""), addr.BitLen())); problem != "" || addr.Zone() != "" {
			return a, "not the address of one host: " + quote(s), hint
		}
		return allowedItem{prefix: netip.PrefixFrom(addr, addr.BitLen())}, "", ""
	}
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		hint := "one of " + strings.Join(k.wordsOfToday(), ", ") + ", a MAC address, an IP address or a subnet"
		if near := nearest(s, k.wordNames()); near != "" {
			hint = "did you mean " + near + "?"
		}
		return a, "no such thing to allow: " + quote(s), hint
	case prefix.Bits() == 0:
		return a, prefix.String() + " is the whole internet", "write security: mac, or allow: [router]"
	case prefix.Masked() != prefix:
		return a, prefix.String() + " has host bits", "write " + prefix.Masked().String() + ", or " + prefix.Addr().String() + " alone"
	case prefix.Addr().IsMulticast(), prefix.Addr().IsLoopback(), prefix.Addr().IsUnspecified(), prefix.Addr().Is4In6():
		return a, prefix.String() + " is no subnet of hosts", ""
	}
	return allowedItem{prefix: prefix}, "", ""
}

var rateUnits = map[string]int64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9}

// The slowest and the fastest port: below, not one whole frame a second would pass.
const (
	leastRate = 64_000
	mostRate  = 100e9 // nft_limit counts ns times bytes in 64 bits
)

// parseRate reads bits a second: 100M, 1G, 512k. The units are of 1000, as for links.
func parseRate(s string) (rate int64, problem, hint string) {
	hint = "bits a second, with k, M or G: 100M"
	digits := strings.TrimRight(s, "kKmMgGbits/ ")
	unit := strings.ToLower(strings.TrimSpace(s[len(digits):]))
	for _, end := range []string{"bit/s", "bits/s", "bit", "b/s", "bps"} {
		unit = strings.TrimSuffix(unit, end)
	}
	factor, ok := rateUnits[unit]
	n, err := strconv.ParseUint(digits, 10, 40)
	switch {
	case err != nil || !ok:
		return 0, "not a rate: " + quote(s), hint
	case n > mostRate || int64(n)*factor > mostRate:
		return 0, s + " is faster than any port", hint
	case int64(n)*factor < leastRate:
		return 0, fmt.Sprintf("%s is too slow to be of use", s), "at least 64k; " + hint
	}
	return int64(n) * factor, "", ""
}

// parseFrames reads frames a second.
func parseFrames(s string) (n int64, problem, hint string) {
	v, err := strconv.ParseUint(s, 10, 31)
	if err != nil || v == 0 || v > 10_000_000 {
		return 0, "not a number of frames a second: " + quote(s), "a whole number: 100"
	}
	return int64(v), "", ""
}

// tapSecurity reads what is known of a VM that somebody else starts.
func (b *builder) tapSecurity(t *Tap, e entry) {
	level := model.SecurityOff
	if mac, given := e.fields.get("mac"); given {
		level = model.SecurityStrict
		if !mac.bad {
			t.MAC = mac.mac
			b.macs = append(b.macs, claim{mac.at, string(mac.mac), e.path, "MAC address"})
		}
	}
	t.Security = b.security(e, level, t.Network != "")
	t.Security.Asked = t.Security.Asked || level == model.SecurityStrict
	if v, given := e.fields.get("security"); given && !v.bad && v.text != model.SecurityOff {
		if _, known := e.fields.get("mac"); !known {
			b.errorf(v.at, CodeConflict, `add mac: "02:11:22:33:44:55", the one that the VM is started with`, "security: %s needs to know the MAC address of the VM's NIC", v.text)
		}
	}
	address, given := e.fields.get("address")
	if !given || address.bad {
		return
	}
	t.DHCP, t.Addresses = address.isWord, prefixesOf(address.prefixes)
	if t.Security.Level != model.SecurityStrict {
		b.errorf(address.at, CodeConflict, "add mac:, or leave it out; the host's addresses on a plain tap are its key host:", "the VM's address is for security: strict to check")
	}
}
