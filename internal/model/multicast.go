package model

import "net/netip"

// JoinGroups makes To hear the multicast groups that programs have joined on From, by a
// process of ours that holds the memberships until LeaveGroups. A program's socket hears
// a group by whatever link has joined it: IP_MULTICAST_ALL and IPV6_MULTICAST_ALL are on
// unless it has cleared them (ip_mc_sf_allow; inet6_mc_check does not look at the link
// at all).
type JoinGroups struct {
	From   string       `json:"from"`
	To     string       `json:"to"`
	Groups []netip.Addr `json:"groups"`
}

// LeaveGroups ends what a [JoinGroups] of the same links began. What has ended already
// is no error.
type LeaveGroups struct {
	From   string       `json:"from"`
	To     string       `json:"to"`
	Groups []netip.Addr `json:"groups"`
}

func (JoinGroups) Op() string  { return "join-groups" }
func (LeaveGroups) Op() string { return "leave-groups" }

func (o JoinGroups) Object() string  { return o.To }
func (o LeaveGroups) Object() string { return o.To }

// Memberships are no part of a snapshot: they come and go with the programs.
func (o JoinGroups) apply(s *Snapshot) error {
	_, err := s.Here().mustLink(o.To)
	return err
}

func (o LeaveGroups) apply(*Snapshot) error { return nil }
