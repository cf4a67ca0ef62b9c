package model

import "fmt"

// SetBridge changes settings of a bridge while it works. What is nil stays as it is.
type SetBridge struct {
	Bridge string `json:"bridge"`
	STP    *bool  `json:"stp,omitempty"`
	// ForwardDelay in hundredths of a second: how long a port listens, and again as long
	// learns, before it forwards. The kernel takes 2 to 30 s while STP is on (br_set_forward_delay).
	ForwardDelay  *uint32 `json:"forward_delay,omitempty"`
	McastSnooping *bool   `json:"mcast_snooping,omitempty"`
	McastQuerier  *bool   `json:"mcast_querier,omitempty"`
}

// The forward delays that a bridge with spanning tree takes, in hundredths of a second
// (BR_MIN_FORWARD_DELAY, BR_MAX_FORWARD_DELAY).
const (
	MinForwardDelay uint32 = 200
	MaxForwardDelay uint32 = 3000
)

// Op implements [Operation].
func (SetBridge) Op() string { return "set-bridge" }

// Object implements [Operation].
func (o SetBridge) Object() string { return o.Bridge }

// of is the operation's setting, or what the bridge has.
func of[T any](wish *T, is T) T {
	if wish != nil {
		return *wish
	}
	return is
}

func (o SetBridge) apply(s *Snapshot) error {
	l, err := s.Here().mustLink(o.Bridge)
	if err != nil {
		return err
	}
	if l.Bridge == nil {
		return refuse(o.Bridge, ErrInvalid)
	}
	b := *l.Bridge
	b.STP, b.ForwardDelay = of(o.STP, b.STP), of(o.ForwardDelay, b.ForwardDelay)
	b.McastSnooping, b.McastQuerier = of(o.McastSnooping, b.McastSnooping), of(o.McastQuerier, b.McastQuerier)
	if b.STP && o.ForwardDelay != nil && (b.ForwardDelay < MinForwardDelay || b.ForwardDelay > MaxForwardDelay) {
		return fmt.Errorf("%s: a forward delay of %d/100 s with spanning tree: %w", o.Bridge, b.ForwardDelay, ErrInvalid)
	}
	if b.STP && b.ForwardDelay < MinForwardDelay {
		b.ForwardDelay = MinForwardDelay // br_stp_start
	}
	l.Bridge = &b
	return nil
}

// Was is the operation that brings back what the bridge has now.
func (o SetBridge) Was(b Bridge) SetBridge {
	was := SetBridge{Bridge: o.Bridge}
	if o.STP != nil {
		was.STP = &b.STP
	}
	if o.ForwardDelay != nil || o.STP != nil {
		was.ForwardDelay = &b.ForwardDelay
	}
	if o.McastSnooping != nil {
		was.McastSnooping = &b.McastSnooping
	}
	if o.McastQuerier != nil {
		was.McastQuerier = &b.McastQuerier
	}
	return was
}
