package model

// NeighbourTable is the kernel's table of neighbours of one family (arp(7)). It is one for
// all namespaces of the machine, and so are its limits.
type NeighbourTable struct {
	Family  int    `json:"family"` // 4 or 6
	Entries uint32 `json:"entries"`
	// Soft is gc_thresh2, from which on old entries are thrown out; Hard is gc_thresh3, at
	// which new ones are refused.
	Soft uint32 `json:"soft"`
	Hard uint32 `json:"hard"`
	// Fulls counts refusals since boot.
	Fulls uint64 `json:"fulls"`
}
