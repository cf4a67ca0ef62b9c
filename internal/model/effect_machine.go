package model

import "slices"

func (o StartMachine) apply(s *Snapshot) error {
	if s.Machine(o.Machine.Name) != nil {
		return refuse(o.Machine.Name, ErrExists)
	}
	config := o.Machine
	config.NICs = nil
	m := Machine{Name: config.Name, VMM: config.VMM, State: MachineRunning, Config: &config, Inside: &Namespace{Name: config.Name}}
	s.Machines = append(s.Machines, m)
	for _, nic := range o.Machine.NICs {
		if err := s.plug(config.Name, nic); err != nil {
			return err
		}
	}
	return nil
}

func (o StopMachine) apply(s *Snapshot) error {
	m := s.Machine(o.Name)
	if m == nil {
		return nil
	}
	for _, n := range m.NICs {
		s.release(n.Link)
	}
	s.Machines = slices.DeleteFunc(s.Machines, func(m Machine) bool { return m.Name == o.Name })
	return nil
}

func (o PlugNIC) apply(s *Snapshot) error {
	if s.Machine(o.Machine) == nil {
		return refuse(o.Machine, ErrNotFound)
	}
	return s.plug(o.Machine, o.NIC)
}

func (o UnplugNIC) apply(s *Snapshot) error {
	m := s.Machine(o.Machine)
	if m == nil || m.NIC(o.NIC) == nil {
		return refuse(o.Machine+"/"+o.NIC, ErrNotFound)
	}
	nic := m.NIC(o.NIC)
	s.release(nic.Link)
	nic.Link, nic.Declared = Ref{}, true
	for i := range m.Config.NICs {
		if c := &m.Config.NICs[i]; c.Name == o.NIC {
			c.Link, c.Transport = "", ""
		}
	}
	if m.Inside != nil {
		m.Inside.dropLink(o.NIC)
	}
	return nil
}

func (o ConfigureNIC) apply(s *Snapshot) error {
	m := s.Machine(o.Machine)
	if m == nil || m.NIC(o.NIC.Name) == nil {
		return refuse(o.Machine+"/"+o.NIC.Name, ErrNotFound)
	}
	m.configure(o.NIC)
	return nil
}

// plug takes hold of the link's wire end for a machine's NIC.
func (s *Snapshot) plug(machine string, nic NICConfig) error {
	m, ns := s.Machine(machine), s.Here()
	state := MachineNIC{Name: nic.Name, MAC: nic.MAC, Declared: nic.Link == ""}
	if nic.Link != "" {
		l, err := ns.mustLink(nic.Link)
		if err != nil {
			return err
		}
		if err := s.hold(l, m); err != nil {
			return err
		}
		state.Link = Ref{ns.Name, nic.Link}
	}
	m.NICs = slices.DeleteFunc(m.NICs, func(n MachineNIC) bool { return n.Name == nic.Name })
	m.NICs = append(m.NICs, state)
	slices.SortFunc(m.NICs, func(a, b MachineNIC) int { return NaturalCompare(a.Name, b.Name) })
	m.configure(nic)
	return nil
}

func (s *Snapshot) hold(l *Link, m *Machine) error {
	ns := s.Here()
	for _, other := range s.Machines {
		for _, n := range other.NICs {
			if n.Link == (Ref{ns.Name, l.Name}) && (other.Name != m.Name) {
				return refuse(l.Name+" is held by "+other.Name, ErrBusy)
			}
		}
	}
	switch l.Kind {
	case TapKind:
		if len(l.Tap.Holders) > 0 && !l.Tap.MultiQueue {
			return refuse(l.Name, ErrBusy)
		}
		l.Tap.Holders = append(l.Tap.Holders, Holder{Command: m.VMM, Machine: m.Name})
	case Veth:
		name, half := l.Name, PeerName(l.Name)
		switch {
		case ns.Link(half) == nil:
		case m.VMM == "namespace":
			ns.dropLink(half) // it moves into the machine; l is no longer valid
			ns.Link(name).Peer = &Ref{"vm:" + m.Name, half}
		default:
			ns.Link(half).Up = true
		}
		ns.Link(name).Carrier = ns.Link(name).Up
	default:
		return refuse(l.Name, ErrInvalid)
	}
	return nil
}

// release lets go of a link's wire end. A namespace machine gives its half of a veth
// pair back, down, under the name that it had: else the pair would die with it.
func (s *Snapshot) release(ref Ref) {
	ns := s.Here()
	l := ns.Link(ref.Name)
	if ref.Name == "" || l == nil {
		return
	}
	if l.Tap != nil {
		l.Tap.Holders = nil
	}
	l.Carrier = false
	if half := ns.Link(PeerName(l.Name)); l.Kind == Veth && half != nil {
		half.Up = false
	} else if l.Kind == Veth {
		back := Link{Name: PeerName(l.Name), Kind: Veth, MTU: l.MTU, Peer: &Ref{ns.Name, l.Name}}
		l.Peer = &Ref{ns.Name, back.Name}
		_ = ns.addLink(back) // its name is free: it was looked up just now
	}
}

// configure writes a NIC's addresses into the machine's configuration and, as far
// as they can be foreseen, into its inside: what DHCP will give is not known.
func (m *Machine) configure(nic NICConfig) {
	if m.Config != nil {
		m.Config.NICs = slices.DeleteFunc(m.Config.NICs, func(c NICConfig) bool { return c.Name == nic.Name })
		m.Config.NICs = append(m.Config.NICs, nic)
		slices.SortFunc(m.Config.NICs, func(a, b NICConfig) int { return NaturalCompare(a.Name, b.Name) })
	}
	if m.Inside == nil {
		return
	}
	m.Inside.dropLink(nic.Name)
	if nic.Link == "" {
		return
	}
	m.Inside.Links = append(m.Inside.Links, Link{Name: nic.Name, Kind: Physical, MAC: nic.MAC, MTU: 1500, Up: true, Carrier: true, OperState: "up"})
	for _, p := range nic.Addresses {
		m.Inside.addAddress(Address{Link: nic.Name, Prefix: p, Origin: Static, Scope: "global"})
	}
}
