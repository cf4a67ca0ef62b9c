package model

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Service is what a process of ours serves on one network: addresses, routers, names.
// Each part may be nil. One process serves all parts of a network.
type Service struct {
	Network string `json:"network"`
	// Link is where it serves: the network's bridge, or a plain tap.
	Link  string       `json:"link"`
	DHCP4 *DHCP4Config `json:"dhcp4,omitempty"`
	RA    *RAConfig    `json:"ra,omitempty"`
	DNS   *DNSConfig   `json:"dns,omitempty"`
	Relay *RelayConfig `json:"relay,omitempty"`

	// The rest is observed, and compared with nothing but the state.

	// State is one of the states below; "" in what is only wanted.
	State string `json:"state,omitempty"`
	PID   int    `json:"pid,omitempty"` // of the server; informational
	// Restarts is how often the server was started again after it had ended by itself.
	Restarts int `json:"restarts,omitempty"`
	// Troubles are what it cannot do just now, each a sentence: the leases' disk is full.
	Troubles []string `json:"troubles,omitempty"`
	Leases   []Lease  `json:"leases,omitempty"`
	// Learned are the addresses that a relay routes.
	Learned []LearnedAddress `json:"learned,omitempty"`
}

// The states of a service.
const (
	ServiceRunning    = "running"
	ServiceRestarting = "restarting" // its server ended by itself, and is started again
	ServiceFailed     = "failed"     // nobody looks after it any more
)

// DHCP4Config is a DHCPv4 server (RFC 2131) for one subnet.
type DHCP4Config struct {
	// Server is the server's own address on the link, with the subnet's length.
	Server netip.Prefix `json:"server"`
	// First and Last are the pool, both included.
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`
	// LeaseSeconds is how long a lease lasts; 0: an hour.
	LeaseSeconds uint32 `json:"lease_s,omitempty"`
	// Router is the default route that clients are given, invalid for none.
	Router netip.Addr   `json:"router,omitzero"`
	DNS    []netip.Addr `json:"dns,omitempty"`
	// Domain is the clients' own, and where they look names up.
	Domain string `json:"domain,omitempty"`
	// MTU that clients are told, 0 for none.
	MTU    int           `json:"mtu,omitempty"`
	Static []StaticLease `json:"static,omitempty"`
	// PerPort is how many addresses one port of the bridge may have at a time; 0: 16. It
	// keeps one VM from taking the whole pool.
	PerPort int `json:"per_port,omitempty"`
}

// StaticLease says who a client is, by its MAC address.
type StaticLease struct {
	MAC MAC `json:"mac"`
	// Name is the client's, whatever it calls itself; nobody else on the network gets it.
	Name string `json:"name,omitempty"`
	// Address is kept for it, invalid for any of the pool. It may be outside the pool.
	Address netip.Addr `json:"address,omitzero"`
}

// RAConfig is a sender of router advertisements (RFC 4861).
type RAConfig struct {
	Prefixes []RAPrefix `json:"prefixes,omitempty"`
	// LifetimeSeconds as a default router; 0: it is none, and only tells the rest.
	LifetimeSeconds uint32 `json:"lifetime_s,omitempty"`
	// DNS and Search are RFC 8106's name servers and search list.
	DNS    []netip.Addr `json:"dns,omitempty"`
	Search []string     `json:"search,omitempty"`
	MTU    int          `json:"mtu,omitempty"`
	// IntervalSeconds is the most between two advertisements that nobody asked for; 0: 600.
	IntervalSeconds uint32 `json:"interval_s,omitempty"`
}

// RAPrefix is on the link, and hosts make addresses of it (RFC 4862).
type RAPrefix struct {
	Prefix netip.Prefix `json:"prefix"`
	// Lifetimes in seconds; 0: a day, and four hours.
	Valid     uint32 `json:"valid_s,omitempty"`
	Preferred uint32 `json:"preferred_s,omitempty"`
}

// RelayConfig makes the machines on the link hosts of a LAN that is another link's: their
// DHCP goes to its servers, its router advertisements come to them, and the addresses that
// they take are routed to them, and answered for on the LAN.
type RelayConfig struct {
	Uplink string `json:"uplink"`
}

// LearnedAddress is an address that a relay has learned, and routes to a machine.
type LearnedAddress struct {
	Address netip.Addr `json:"address"`
	MAC     MAC        `json:"mac,omitempty"`
}

// DNSConfig answers for the network's own names, and forwards everything else.
type DNSConfig struct {
	// Listen are the addresses of this host that it answers at, port 53.
	Listen []netip.Addr `json:"listen"`
	// Clients are the prefixes that may ask; the host itself may, too.
	Clients []netip.Prefix `json:"clients"`
	// Zone is the domain of the network's names: nas.home.arpa. What is not in it does
	// not exist.
	Zone string `json:"zone,omitempty"`
	// Names beside those of leases, without the zone.
	Names []DNSName `json:"names,omitempty"`
	// Upstreams are asked for everything else; none: those of the host's resolv.conf, as
	// they are at the moment.
	Upstreams []netip.AddrPort `json:"upstreams,omitempty"`
}

// DNSName is a name and what it stands for.
type DNSName struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
}

// Lease is an address that was given to a client.
type Lease struct {
	Address netip.Addr `json:"address"`
	MAC     MAC        `json:"mac"`
	// ClientID is option 61 in hex, "" where the client sends none.
	ClientID string `json:"client_id,omitempty"`
	// Name is the client's name in the zone, "" where it has none.
	Name string `json:"name,omitempty"`
	// Until is when it runs out, in seconds since 1970 (UTC).
	Until int64 `json:"until"`
	// Port of the bridge behind which the client was last heard.
	Port   string `json:"port,omitempty"`
	Static bool   `json:"static,omitempty"`
}

// Ends is when the lease runs out.
func (l Lease) Ends() time.Time { return time.Unix(l.Until, 0) }

// Service finds the service of a network, nil if there is none.
func (s *Snapshot) Service(network string) *Service {
	for i := range s.Services {
		if s.Services[i].Network == network {
			return &s.Services[i]
		}
	}
	return nil
}

// Parts names what is served, for words: "DHCP, RA, DNS".
func (s Service) Parts() string {
	var out []string
	if s.DHCP4 != nil {
		out = append(out, "DHCP")
	}
	if s.RA != nil {
		out = append(out, "RA")
	}
	if s.DNS != nil {
		out = append(out, "DNS")
	}
	if s.Relay != nil {
		out = append(out, "relay")
	}
	return strings.Join(out, ", ")
}

// Lives tells whether somebody looks after the service. One that does not live is
// started anew.
func (s Service) Lives() bool { return s.State == ServiceRunning || s.State == ServiceRestarting }

// Same compares what is asked for, not what was observed.
func (s Service) Same(o Service) bool { return reflect.DeepEqual(s.Wish(), o.Wish()) }

// Wish is s without what is only observed, with its lists in order and one way of being
// empty, so that what went through JSON is equal.
func (s Service) Wish() Service {
	s = deepCopy(reflect.ValueOf(s)).Interface().(Service)
	s.State, s.PID, s.Restarts, s.Troubles, s.Leases, s.Learned = "", 0, 0, nil, nil, nil
	if d := s.DHCP4; d != nil {
		slices.SortFunc(d.Static, func(a, b StaticLease) int { return cmp.Or(NaturalCompare(a.Name, b.Name), cmp.Compare(a.MAC, b.MAC)) })
		d.DNS, d.Static = orNil(d.DNS), orNil(d.Static)
	}
	if r := s.RA; r != nil {
		r.Prefixes, r.DNS, r.Search = orNil(r.Prefixes), orNil(r.DNS), orNil(r.Search)
	}
	if d := s.DNS; d != nil {
		slices.SortFunc(d.Names, func(a, b DNSName) int { return NaturalCompare(a.Name, b.Name) })
		for i := range d.Names {
			d.Names[i].Addresses = orNil(d.Names[i].Addresses)
		}
		d.Listen, d.Clients, d.Names, d.Upstreams = orNil(d.Listen), orNil(d.Clients), orNil(d.Names), orNil(d.Upstreams)
	}
	return s
}

func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return slices.Clip(list)
}

// StartService starts what a network serves.
type StartService struct {
	Service Service `json:"service"`
}

// ChangeService changes what a running service serves: leases stay, and routers and
// prefixes that stay are not taken back meanwhile.
type ChangeService struct {
	Service Service `json:"service"`
}

// StopService stops what a network serves, and takes back what was advertised. The leases
// stay on disk: who comes again gets the same address. One that is gone already is no error.
type StopService struct {
	Network string `json:"network"`
}

// Op implements [Operation].
func (StartService) Op() string { return "start-service" }

// Op implements [Operation].
func (ChangeService) Op() string { return "change-service" }

// Op implements [Operation].
func (StopService) Op() string { return "stop-service" }

// Object implements [Operation].
func (o StartService) Object() string { return o.Service.Network }

// Object implements [Operation].
func (o ChangeService) Object() string { return o.Service.Network }

// Object implements [Operation].
func (o StopService) Object() string { return o.Network }

func (o StartService) apply(s *Snapshot) error {
	if s.Service(o.Service.Network) != nil {
		return refuse(o.Service.Network, ErrExists)
	}
	if _, err := s.Here().mustLink(o.Service.Link); err != nil {
		return err
	}
	s.Services = append(s.Services, o.Service.running())
	return nil
}

func (o ChangeService) apply(s *Snapshot) error {
	have := s.Service(o.Service.Network)
	if have == nil {
		return refuse(o.Service.Network, ErrNotFound)
	}
	if _, err := s.Here().mustLink(o.Service.Link); err != nil {
		return err
	}
	leases := have.Leases
	*have = o.Service.running()
	have.Leases = leases
	return nil
}

func (o StopService) apply(s *Snapshot) error {
	s.Services = orNil(slices.DeleteFunc(s.Services, func(x Service) bool { return x.Network == o.Network }))
	return nil
}

// running is a service that has just been started.
func (s Service) running() Service {
	s = s.Wish()
	s.State = ServiceRunning
	return s
}

// ForService tells whether an operation is carried out by a network's servers.
func ForService(op Operation) bool {
	switch op.(type) {
	case StartService, ChangeService, StopService:
		return true
	default:
		return false
	}
}
