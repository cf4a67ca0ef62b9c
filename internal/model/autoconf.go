package model

// SetToken sets the interface identifier that a link makes its SLAAC addresses with
// (ip-token(8)); the unspecified address :: leaves it to the kernel.
type SetToken struct {
	Link  string `json:"link"`
	Token string `json:"token"` // ::IDENTIFIER
}

// SolicitRouters asks the routers of a link to advertise themselves (RFC 4861, 4.1), and
// when the kernel has made a default route of its own from an answer deletes the one that
// stood in for it since a move. Without an answer in time that one goes by its lifetime.
type SolicitRouters struct {
	Link    string `json:"link"`
	Timeout int    `json:"timeout_ms"`
}

// RenewAddresses gives addresses that are there new lifetimes, and changes nothing else.
type RenewAddresses struct {
	Link      string    `json:"link"`
	Addresses []Address `json:"addresses"`
}

func (SetToken) Op() string       { return "set-token" }
func (SolicitRouters) Op() string { return "solicit-routers" }
func (RenewAddresses) Op() string { return "renew-addresses" }

func (o SetToken) Object() string       { return o.Link }
func (o SolicitRouters) Object() string { return o.Link }
func (o RenewAddresses) Object() string { return o.Link }

func (o SetToken) apply(s *Snapshot) error {
	l, err := s.Here().mustLink(o.Link)
	if err != nil {
		return err
	}
	if l.Token = o.Token; o.Token == "::" {
		l.Token = ""
	}
	return nil
}

func (o SolicitRouters) apply(s *Snapshot) error {
	_, err := s.Here().mustLink(o.Link) // what the wire brings is left out
	return err
}

func (o RenewAddresses) apply(s *Snapshot) error {
	n := s.Here()
	if _, err := n.mustLink(o.Link); err != nil {
		return err
	}
	for _, a := range o.Addresses {
		a.Link = o.Link
		there, err := n.mustAddress(a)
		if err != nil {
			return err
		}
		there.Lifetime = a.Lifetime
		there.Flags.Deprecated = a.Lifetime != nil && a.Lifetime.Preferred == 0
		if a.Lifetime == nil && there.Origin == DHCP { // it was its lifetime that told
			there.Origin = Static
		}
	}
	return nil
}
