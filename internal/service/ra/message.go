package ra

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"drawbridge/internal/model"
)

// The ICMPv6 types and options that are used here.
const (
	typeSolicitation  = 133
	typeAdvertisement = 134

	optionSource = 1
	optionPrefix = 3
	optionMTU    = 5
	optionRDNSS  = 25
	optionDNSSL  = 31
)

// The defaults of model.RAConfig, in seconds.
const (
	defaultValid     = 24 * 3600
	defaultPreferred = 4 * 3600
	defaultInterval  = 600
	// maxRouterLifetime is RFC 4861's, 6.2.1.
	maxRouterLifetime = 9000
	hopLimit          = 64
)

func interval(c model.RAConfig) uint32 {
	return min(max(cmp.Or(c.IntervalSeconds, defaultInterval), 4), 1800)
}

// message is an advertisement (RFC 4861, 4.2) that tells what c has, and takes back what
// only gone has; the kernel fills in the checksum.
func message(c, gone model.RAConfig, mac net.HardwareAddr, mtu int) []byte {
	b := []byte{typeAdvertisement, 0, 0, 0, hopLimit, 0} // neither M nor O
	b = binary.BigEndian.AppendUint16(b, uint16(min(c.LifetimeSeconds, maxRouterLifetime)))
	b = append(b, make([]byte, 8)...) // reachable and retransmission times: not told
	if len(mac) == 6 {
		b = append(b, optionSource, 1)
		b = append(b, mac...)
	}
	if mtu = cmp.Or(c.MTU, mtu); mtu >= 1280 {
		b = append(b, optionMTU, 1, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(mtu)) //nolint:gosec // an MTU fits
	}
	for _, p := range c.Prefixes {
		b = appendPrefix(b, p.Prefix, cmp.Or(p.Valid, defaultValid), cmp.Or(p.Preferred, min(cmp.Or(p.Valid, defaultValid), defaultPreferred)))
	}
	for _, p := range gone.Prefixes {
		if !slices.ContainsFunc(c.Prefixes, func(o model.RAPrefix) bool { return o.Prefix.Masked() == p.Prefix.Masked() }) {
			// A host keeps what it has of it for two hours (RFC 4862, 5.5.3), and prefers others.
			b = appendPrefix(b, p.Prefix, 0, 0)
		}
	}
	life := 3 * interval(c) // RFC 8106, 5.1
	b = appendServers(b, c.DNS, life)
	b = appendServers(b, without(gone.DNS, c.DNS), 0)
	b = appendSearch(b, c.Search, life)
	return appendSearch(b, without(gone.Search, c.Search), 0)
}

func without[T comparable](list, those []T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return slices.Contains(those, x) })
}

func appendPrefix(b []byte, p netip.Prefix, valid, preferred uint32) []byte {
	const onLink, autonomous = 0x80, 0x40
	flags := byte(onLink)
	if p.Bits() == 64 { // of any other length no host makes an address (RFC 4862, 5.5.3 d)
		flags |= autonomous
	}
	b = append(b, optionPrefix, 4, byte(p.Bits()), flags) //nolint:gosec // at most 128
	b = binary.BigEndian.AppendUint32(b, valid)
	b = binary.BigEndian.AppendUint32(b, min(preferred, valid))
	b = append(b, 0, 0, 0, 0)
	return append(b, p.Masked().Addr().AsSlice()...)
}

func appendServers(b []byte, servers []netip.Addr, life uint32) []byte {
	servers = slices.DeleteFunc(slices.Clone(servers), func(a netip.Addr) bool { return !a.Is6() })
	if len(servers) == 0 {
		return b
	}
	b = append(b, optionRDNSS, byte(1+2*len(servers)), 0, 0) //nolint:gosec // a handful
	b = binary.BigEndian.AppendUint32(b, life)
	for _, a := range servers {
		b = append(b, a.AsSlice()...)
	}
	return b
}

// appendSearch writes names as DNS does, without compression, padded to eight bytes.
func appendSearch(b []byte, domains []string, life uint32) []byte {
	var names []byte
	for _, d := range domains {
		if w := wireName(d); len(names)+len(w) <= 240 {
			names = append(names, w...)
		}
	}
	if len(names) == 0 {
		return b
	}
	for len(names)%8 != 0 {
		names = append(names, 0)
	}
	b = append(b, optionDNSSL, byte(1+len(names)/8), 0, 0) //nolint:gosec // at most 31
	b = binary.BigEndian.AppendUint32(b, life)
	return append(b, names...)
}

// wireName is a name in DNS's form, nil for one that is none.
func wireName(s string) []byte {
	if _, err := dnsmessage.NewName(s + "."); err != nil || s == "" {
		return nil
	}
	var b []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 {
			return nil
		}
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

// solicits tells whether a packet is a valid solicitation, RFC 4861, 6.1.1.
func solicits(b []byte, hops int) bool {
	if len(b) < 8 || b[0] != typeSolicitation || b[1] != 0 || hops != 255 {
		return false
	}
	for b = b[8:]; len(b) > 0; {
		if len(b) < 2 || b[1] == 0 || int(b[1])*8 > len(b) {
			return false
		}
		b = b[int(b[1])*8:]
	}
	return true
}

// Check tells why a configuration cannot be advertised.
func Check(c model.RAConfig) error {
	for _, p := range c.Prefixes {
		if !p.Prefix.IsValid() || !p.Prefix.Addr().Is6() || p.Prefix.Addr().Is4In6() || p.Prefix.Addr().IsLinkLocalUnicast() || p.Prefix.Addr().IsMulticast() {
			return fmt.Errorf("RA: %s is not a prefix to advertise: %w", p.Prefix, model.ErrInvalid)
		}
	}
	for _, d := range c.Search {
		if wireName(d) == nil {
			return fmt.Errorf("RA: %q is not a domain: %w", d, model.ErrInvalid)
		}
	}
	return nil
}
