package model

// ResetOffloads makes the kernel finish what it gives to a tap: checksums computed,
// segments cut to the MTU. A program that asked for less (TUNSETOFFLOAD) and has ended
// leaves it so on a tap that lasts; see ethtool(8), -K tx off.
type ResetOffloads struct {
	Link string `json:"link"`
}

// AllowOffloads is its undo: the tap is given what has no checksum yet, and long segments.
type AllowOffloads struct {
	Link string `json:"link"`
}

// Op implements [Operation].
func (ResetOffloads) Op() string { return "reset-offloads" }

// Op implements [Operation].
func (AllowOffloads) Op() string { return "allow-offloads" }

// Object implements [Operation].
func (o ResetOffloads) Object() string { return o.Link }

// Object implements [Operation].
func (o AllowOffloads) Object() string { return o.Link }

// apply: offloads are in no snapshot.
func (o ResetOffloads) apply(s *Snapshot) error { return s.Here().mustBeTap(o.Link) }

func (o AllowOffloads) apply(s *Snapshot) error { return s.Here().mustBeTap(o.Link) }

func (n *Namespace) mustBeTap(name string) error {
	l, err := n.mustLink(name)
	if err == nil && l.Tap == nil {
		return refuse(name, ErrInvalid)
	}
	return err
}
