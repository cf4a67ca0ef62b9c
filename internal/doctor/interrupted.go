package doctor

// interrupted: the journal outlives whoever wrote it.
var interrupted = Check{
	ID:    "change-interrupted",
	Title: "A change was interrupted by a crash, and is half done",
	Shows: "the host is neither as before nor as wanted",
	Knows: "there is a journal of a change, of this boot and namespace, that was neither committed nor rolled back, and no guard that waits for a confirmation",
	Mends: "drawbridge recover rolls it back; every command that changes something does so first. --as-is keeps the host as it is",
	Needs: []Fact{FactOwned},
	Find: func(h *Host) []Finding {
		if !h.Facts.Interrupted {
			return nil
		}
		return []Finding{{Object: "journal", Severity: Broken, Sure: Certain,
			What: "a change was interrupted, and is half done",
			Seen: []string{"a journal that was not committed"},
			Mend: byHand("roll it back; or keep the host as it is: drawbridge recover --as-is", "drawbridge recover"),
		}}
	},
}
