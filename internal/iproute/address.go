package iproute

import (
	"net/netip"
	"strings"

	"drawbridge/internal/model"
)

const forEver = 1<<32 - 1 // INFINITY_LIFE_TIME

// addressRow is an element of addr_info (ip/ipaddress.c, print_addrinfo).
type addressRow struct {
	Family        string `json:"family"`
	Local         string `json:"local"`
	Peer          string `json:"address"`
	Bits          int    `json:"prefixlen"`
	Broadcast     string `json:"broadcast"`
	Scope         string `json:"scope"`
	Label         string `json:"label"`
	Metric        uint32 `json:"metric"`
	Protocol      string `json:"protocol"`
	Secondary     bool   `json:"secondary"`
	Temporary     bool   `json:"temporary"`
	Tentative     bool   `json:"tentative"`
	Deprecated    bool   `json:"deprecated"`
	DADFailed     bool   `json:"dadfailed"`
	NoDAD         bool   `json:"nodad"`
	NoPrefixRoute bool   `json:"noprefixroute"`
	ManageTemp    bool   `json:"mngtmpaddr"`
	Home          bool   `json:"home"`
	Autojoin      bool   `json:"autojoin"`
	Valid         uint32 `json:"valid_life_time"`
	Preferred     uint32 `json:"preferred_life_time"`
}

// protocols of addresses, /etc/iproute2/rt_addrprotos.
var protocols = map[string]uint8{"kernel_lo": 1, "kernel_ra": 2, "kernel_ll": 3}

func (r addressRow) address(link string) (model.Address, bool) {
	local := address(r.Local)
	p := netip.PrefixFrom(local, r.Bits)
	if !p.IsValid() {
		return model.Address{}, false
	}
	a := model.Address{Link: link, Prefix: p, Broadcast: address(r.Broadcast), Scope: r.Scope, Metric: r.Metric, Protocol: protocols[r.Protocol],
		Flags: model.AddressFlags{Secondary: r.Secondary && local.Is4(), Temporary: r.Temporary, Tentative: r.Tentative, Deprecated: r.Deprecated, DADFailed: r.DADFailed,
			NoDAD: r.NoDAD, NoPrefixRoute: r.NoPrefixRoute, ManageTemp: r.ManageTemp, HomeAddress: r.Home, Autojoin: r.Autojoin}}
	if r.Label != link {
		a.Label = r.Label
	}
	if peer := address(r.Peer); peer.IsValid() && peer != local {
		a.Peer = netip.PrefixFrom(peer, r.Bits)
	}
	if r.Valid != 0 && (r.Valid != forEver || r.Preferred != forEver) {
		a.Lifetime = &model.Lifetime{Valid: r.Valid, Preferred: r.Preferred}
	}
	a.Origin = model.OriginOf(a)
	return a, true
}

func address(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.WithZone("")
}

// prefix reads "default" (of a family), "198.18.0.0/24", "198.18.0.5".
func prefix(s string, six bool) (netip.Prefix, bool) {
	switch {
	case (s == "default" || s == "all") && six:
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
	case s == "default" || s == "all":
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
	case !strings.Contains(s, "/"):
		a := address(s)
		return netip.PrefixFrom(a, a.BitLen()), a.IsValid()
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil
}
