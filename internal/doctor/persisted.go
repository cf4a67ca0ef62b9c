package doctor

import (
	"strings"

	"drawbridge/internal/model"
)

// notPersisted: what drawbridge does is the kernel's state, and a reboot is a way back.
var notPersisted = Check{
	ID:    "not-persisted",
	Title: "After a reboot nothing of this network is left",
	Shows: "after a reboot the host has its address on the uplink again, and machines have no network",
	Knows: "drawbridge made the network, and nothing that a boot reads has it",
	Mends: "the network is written for the next boot (drawbridge persist write), or 'drawbridge up' is run at boot",
	Needs: []Fact{FactOwned, FactPersisted},
	Find: func(h *Host) []Finding {
		var bridges []string
		for _, l := range h.Facts.Owned.Links {
			if l.Kind == model.Bridged && h.links[l.Name] != nil {
				bridges = append(bridges, l.Name)
			}
		}
		if len(bridges) == 0 || h.Facts.Persisted != "" {
			return nil
		}
		return []Finding{{Object: strings.Join(bridges, ","), Severity: Note, Sure: Certain,
			What: runs(bridges) + ": after a reboot nothing of it is left",
			Seen: []string{"made by 'drawbridge up': " + runs(bridges), "nothing is written for the next boot"},
			Mend: byHand("write it for the next boot", "drawbridge persist write"),
		}}
	},
}
