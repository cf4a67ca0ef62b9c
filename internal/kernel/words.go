package kernel

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// words translates between the kernel's numbers and iproute2's words. A number
// without a word is written as itself, and read back.
type words map[uint32]string

func (w words) word(n uint32) string {
	if s, ok := w[n]; ok {
		return s
	}
	return strconv.FormatUint(uint64(n), 10)
}

func (w words) number(s string) (uint32, bool) {
	for n, word := range w {
		if word == s {
			return n, true
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

var scopes = words{
	unix.RT_SCOPE_UNIVERSE: "global", unix.RT_SCOPE_SITE: "site", unix.RT_SCOPE_LINK: "link",
	unix.RT_SCOPE_HOST: "host", unix.RT_SCOPE_NOWHERE: "nowhere",
}

var routeTypes = words{
	unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_ANYCAST: "anycast",
	unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable",
	unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw", unix.RTN_NAT: "nat", unix.RTN_XRESOLVE: "xresolve",
}

// routeProtocols as in /etc/iproute2/rt_protos.
var routeProtocols = words{
	unix.RTPROT_UNSPEC: "unspec", unix.RTPROT_REDIRECT: "redirect", unix.RTPROT_KERNEL: "kernel", unix.RTPROT_BOOT: "boot",
	unix.RTPROT_STATIC: "static", unix.RTPROT_GATED: "gated", unix.RTPROT_RA: "ra", unix.RTPROT_MRT: "mrt",
	unix.RTPROT_ZEBRA: "zebra", unix.RTPROT_BIRD: "bird", unix.RTPROT_DNROUTED: "dnrouted", unix.RTPROT_XORP: "xorp",
	unix.RTPROT_NTK: "ntk", unix.RTPROT_DHCP: "dhcp", unix.RTPROT_KEEPALIVED: "keepalived", unix.RTPROT_BABEL: "babel",
	unix.RTPROT_BGP: "bgp", unix.RTPROT_ISIS: "isis", unix.RTPROT_OSPF: "ospf", unix.RTPROT_RIP: "rip", unix.RTPROT_EIGRP: "eigrp",
}

// routeMetrics as ip-route(8) names them. "lock" is the mask of locked ones.
var routeMetrics = words{
	unix.RTAX_LOCK: "lock", unix.RTAX_MTU: "mtu", unix.RTAX_WINDOW: "window", unix.RTAX_RTT: "rtt", unix.RTAX_RTTVAR: "rttvar",
	unix.RTAX_SSTHRESH: "ssthresh", unix.RTAX_CWND: "cwnd", unix.RTAX_ADVMSS: "advmss", unix.RTAX_REORDERING: "reordering",
	unix.RTAX_HOPLIMIT: "hoplimit", unix.RTAX_INITCWND: "initcwnd", unix.RTAX_FEATURES: "features", unix.RTAX_RTO_MIN: "rto_min",
	unix.RTAX_INITRWND: "initrwnd", unix.RTAX_QUICKACK: "quickack", unix.RTAX_FASTOPEN_NO_COOKIE: "fastopen_no_cookie",
}

// routePrefs of RFC 4191.
var routePrefs = words{1: "high", 3: "low"}

// operStates of RFC 2863 (IF_OPER_*, include/uapi/linux/if.h).
var operStates = words{0: "unknown", 1: "notpresent", 2: "down", 3: "lowerlayerdown", 4: "testing", 5: "dormant", 6: "up"}

// portStates (BR_STATE_*, include/uapi/linux/if_bridge.h).
var portStates = words{0: "disabled", 1: "listening", 2: "learning", 3: "forwarding", 4: "blocking"}

var neighbourStates = words{
	unix.NUD_NONE: "none", unix.NUD_INCOMPLETE: "incomplete", unix.NUD_REACHABLE: "reachable", unix.NUD_STALE: "stale",
	unix.NUD_DELAY: "delay", unix.NUD_PROBE: "probe", unix.NUD_FAILED: "failed", unix.NUD_NOARP: "noarp", unix.NUD_PERMANENT: "permanent",
}

var macvlanModes = words{1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}
var ipvlanModes = words{0: "l2", 1: "l3", 2: "l3s"}
var bondModes = words{0: "balance-rr", 1: "active-backup", 2: "balance-xor", 3: "broadcast", 4: "802.3ad", 5: "balance-tlb", 6: "balance-alb"}
