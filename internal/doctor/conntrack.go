package doctor

import (
	"fmt"
	"slices"

	"drawbridge/internal/model"
)

// conntrack: a packet of a new connection is dropped when the table is full
// (__nf_conntrack_alloc). Bridged frames are tracked too where br_netfilter is on.
var conntrack = Check{
	ID:    "conntrack-full",
	Title: "The table of tracked connections is full, or nearly",
	Shows: "new connections time out, old ones go on; the kernel logs nf_conntrack: table full, dropping packet",
	Knows: "nf_conntrack_count is nine tenths of nf_conntrack_max or more in this namespace",
	Mends: "nf_conntrack_max twice as high (an entry takes about 300 bytes). That is set in the machine's first namespace only; or bridged frames are not tracked at all (bridge-nf-call-iptables=0)",
	Needs: []Fact{FactConntrack},
	Find: func(h *Host) []Finding {
		c := h.Facts.Conntrack
		if c == nil || c.Max == 0 || c.Count*10 < c.Max*9 {
			return nil
		}
		f := Finding{Object: "conntrack", Severity: Risk, Sure: Certain,
			What: fmt.Sprintf("%d connections are tracked, and the table takes %d", c.Count, c.Max),
			Seen: []string{fmt.Sprintf("nf_conntrack_count %d, nf_conntrack_max %d", c.Count, c.Max)},
			Mend: by("let the table take twice as many", model.SetSetting{Path: "netfilter/nf_conntrack_max", Value: fmt.Sprint(2 * c.Max)}),
		}
		if c.Count >= c.Max {
			f.Severity = Broken
		}
		if !h.isFirst() || h.setting("netfilter/nf_conntrack_max") == "" {
			f.Mend.Steps = nil
			f.Mend.Says += ": in the machine's first namespace, where alone it can be set"
		}
		if slices.Contains([]string{h.setting("bridge/bridge-nf-call-iptables"), h.setting("bridge/bridge-nf-call-ip6tables")}, "1") {
			f.Seen = append(f.Seen, "what bridges forward is tracked too: bridge-nf-call-iptables 1")
		}
		return []Finding{f}
	},
}
