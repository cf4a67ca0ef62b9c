package doctor

import (
	"fmt"

	"drawbridge/internal/model"
)

// neighbourTable: at gc_thresh3 a new neighbour is refused, whoever it is (neigh_alloc). The
// table and its limits are one for all namespaces of the machine; only the first namespace's
// sysctls set them.
var neighbourTable = Check{
	ID:    "neighbour-table",
	Title: "The table of neighbours is full, or nearly",
	Shows: "some hosts cannot be reached, others can, and each minute others: no buffer space available; the kernel logs neighbour table overflow",
	Knows: "the entries are nine tenths of gc_thresh3 or more. The table is one for all namespaces: containers fill the host's",
	Mends: "gc_thresh1 to 3 four times as high (a neighbour takes about 400 bytes). That is set in the machine's first namespace only",
	Needs: []Fact{FactNeighbours},
	Find: func(h *Host) []Finding {
		var out []Finding
		for _, t := range h.Facts.Neighbours {
			if t.Hard == 0 || uint64(t.Entries)*10 < uint64(t.Hard)*9 {
				continue
			}
			f := Finding{Object: fmt.Sprintf("IPv%d", t.Family), Severity: Risk, Sure: Certain,
				What: fmt.Sprintf("the table of IPv%d neighbours has %d entries, and takes %d", t.Family, t.Entries, t.Hard),
				Seen: []string{fmt.Sprintf("gc_thresh2 %d, gc_thresh3 %d, entries %d, refused since boot %d", t.Soft, t.Hard, t.Entries, t.Fulls)},
			}
			if t.Entries >= t.Hard {
				f.Severity = Broken
			}
			f.Mend = h.moreNeighbours(t)
			out = append(out, f)
		}
		return out
	},
}

func (h *Host) moreNeighbours(t model.NeighbourTable) Mend {
	dir := fmt.Sprintf("ipv%d/neigh/default/gc_thresh", t.Family)
	says := "let the table take four times as many"
	// The highest first: none may be above the next.
	ops := []model.Operation{
		model.SetSetting{Path: dir + "3", Value: fmt.Sprint(4 * t.Hard)},
		model.SetSetting{Path: dir + "2", Value: fmt.Sprint(2 * t.Hard)},
		model.SetSetting{Path: dir + "1", Value: fmt.Sprint(t.Hard)},
	}
	m := by(says, ops...)
	if !h.isFirst() {
		m.Steps = nil
		m.Says += ": in the machine's first namespace, where alone it can be set"
	}
	return m
}
