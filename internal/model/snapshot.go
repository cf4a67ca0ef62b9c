package model

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// Ref names an object by namespace and name. The namespace is "" for the one
// that was asked for, else its name in /run/netns, or RUNTIME:NAME of the container
// whose it is ("docker:web").
type Ref struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String is NAME, or NAMESPACE/NAME outside the namespace that was asked for.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

// inContainer tells whether the object is in a container's namespace, not in that of a
// plain process, which may be anything: a lab's LAN, for one.
func (r Ref) inContainer() bool {
	runtime, _, named := strings.Cut(r.Namespace, ":")
	return named && runtime != "process" && runtime != "nsid"
}

// Snapshot is the observed state of a machine's network.
type Snapshot struct {
	// Host is the machine's host name, or the name of the namespace asked for.
	Host string `json:"host"`
	// System tells the distribution in a few words, "" if unknown.
	System string `json:"system,omitempty"`
	// Namespaces: first the one that was asked for, the others by name.
	Namespaces []Namespace `json:"namespaces"`
	// Unseen counts the processes and namespaces that may not be looked at: they are missing.
	Unseen int `json:"unseen,omitempty"`
	// Machines hold the wire ends of taps or veths of these namespaces.
	Machines []Machine `json:"machines,omitempty"`
	// Services are what processes of ours serve on the networks of these namespaces.
	Services []Service `json:"services,omitempty"`
}

// SystemName is the distribution's name and version by the text of os-release(5), ""
// if it does not say.
func SystemName(osRelease string) string {
	fields := map[string]string{}
	for line := range strings.Lines(osRelease) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[k] = strings.Trim(v, `"`)
		}
	}
	return cmp.Or(fields["PRETTY_NAME"], fields["NAME"])
}

// Namespace is one network namespace: one kernel stack with all that is in it.
type Namespace struct {
	// Name is "" for the namespace that was asked for; see [Ref].
	Name string `json:"name"`
	// Container tells whose it is, where /run/netns does not name it.
	Container  *Container  `json:"container,omitempty"`
	Links      []Link      `json:"links"`
	Addresses  []Address   `json:"addresses"`
	Routes     []Route     `json:"routes"`
	Rules      []Rule      `json:"rules,omitempty"`
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	FDB        []FDBEntry  `json:"fdb,omitempty"`
	// SourceNAT are the firewall's rules by which what is routed takes the stack's own address.
	SourceNAT []SourceNAT `json:"source_nat,omitempty"`
	// Ruleset is what its nf_tables hold; nil where nobody asked for it.
	Ruleset *Ruleset `json:"ruleset,omitempty"`
	// Settings are the sysctls below /proc/sys/net that matter here, by path:
	// "ipv4/ip_forward", "ipv4/conf/eth0/rp_filter". Values as the kernel prints them.
	Settings map[string]string `json:"settings,omitempty"`
	// Secured are the links whose wire ends may not send what they like.
	Secured []PortSecurity `json:"secured,omitempty"`
	// Forwarding is what is forwarded for the networks of ours, by network.
	Forwarding []Forwarding `json:"forwarding,omitempty"`
	// Firewalls are the filters of others that packets of our networks meet.
	Firewalls []Firewall `json:"firewalls,omitempty"`
	// SecurityUnseen: who observed may not see any of these (CAP_NET_ADMIN), or the kernel has
	// no nftables.
	SecurityUnseen bool `json:"security_unseen,omitempty"`
}

// Container is what the processes of a namespace are, as their control group and host
// name tell: no daemon is asked.
type Container struct {
	// Runtime is docker, podman, containerd, pod (of Kubernetes), lxc, nspawn or service
	// (of systemd), "" for plain processes.
	Runtime string `json:"runtime,omitempty"`
	// Name is the host name inside, the short id, or the first process's name.
	Name    string `json:"name"`
	ID      string `json:"id,omitempty"`
	Command string `json:"command,omitempty"` // /proc/PID/comm of the first process
}

// Here is the namespace that was asked for.
func (s *Snapshot) Here() *Namespace {
	if len(s.Namespaces) == 0 {
		s.Namespaces = []Namespace{{}}
	}
	return &s.Namespaces[0]
}

// Namespace finds a namespace by name, nil if it is not in the snapshot.
func (s *Snapshot) Namespace(name string) *Namespace {
	for i := range s.Namespaces {
		if s.Namespaces[i].Name == name {
			return &s.Namespaces[i]
		}
	}
	return nil
}

// Machine finds a machine by name, nil if there is none.
func (s *Snapshot) Machine(name string) *Machine {
	for i := range s.Machines {
		if s.Machines[i].Name == name {
			return &s.Machines[i]
		}
	}
	return nil
}

// Link finds a link by name, nil if there is none.
func (n *Namespace) Link(name string) *Link {
	for i := range n.Links {
		if n.Links[i].Name == name {
			return &n.Links[i]
		}
	}
	return nil
}

// AddressesOf lists the addresses of a link, in the snapshot's order.
func (n *Namespace) AddressesOf(link string) []Address {
	var out []Address
	for _, a := range n.Addresses {
		if a.Link == link {
			out = append(out, a)
		}
	}
	return out
}

// RoutesOf lists the routes of all tables with a next hop on a link.
func (n *Namespace) RoutesOf(link string) []Route {
	var out []Route
	for _, r := range n.Routes {
		if r.uses(link) {
			out = append(out, r)
		}
	}
	return out
}

// Ports lists the links whose master is the given one, by name.
func (n *Namespace) Ports(master string) []Link {
	var out []Link
	for _, l := range n.Links {
		if l.Master == master {
			out = append(out, l)
		}
	}
	return out
}

// DefaultRoute is the IPv4 default route of the main table with the lowest
// metric, else the IPv6 one; nil if there is none.
func (n *Namespace) DefaultRoute() *Route {
	for _, want4 := range []bool{true, false} {
		var best *Route
		for i := range n.Routes {
			r := &n.Routes[i]
			if r.Table != TableMain || r.Destination.Bits() != 0 || r.Destination.Addr().Is4() != want4 || len(r.NextHops) == 0 {
				continue
			}
			if best == nil || r.Metric < best.Metric {
				best = r
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// Forwards tells whether the stack routes IPv4 or IPv6 packets between its interfaces: by
// the switch for all, or by that of a link.
func (n *Namespace) Forwards() bool {
	if n.Settings["ipv4/ip_forward"] == "1" || n.Settings["ipv6/conf/all/forwarding"] == "1" {
		return true
	}
	return slices.ContainsFunc(n.Links, func(l Link) bool {
		return l.Kind != Loopback && (n.Settings["ipv4/conf/"+l.Name+"/forwarding"] == "1" || n.Settings["ipv6/conf/"+l.Name+"/forwarding"] == "1")
	})
}

// Sort brings every list into its one order, so that equal states are equal values.
// Addresses and next hops keep their order where the kernel gives it a meaning
// (the first address of a subnet is the primary one).
func (s *Snapshot) Sort() {
	if len(s.Namespaces) > 1 {
		slices.SortFunc(s.Namespaces[1:], func(a, b Namespace) int { return cmp.Compare(a.Name, b.Name) })
	}
	for i := range s.Namespaces {
		s.Namespaces[i].Sort()
	}
	slices.SortFunc(s.Machines, func(a, b Machine) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Services, func(a, b Service) int { return cmp.Compare(a.Network, b.Network) })
	for i := range s.Machines {
		if s.Machines[i].Inside != nil {
			s.Machines[i].Inside.Sort()
		}
	}
}

// Sort is [Snapshot.Sort] for one namespace.
func (n *Namespace) Sort() {
	slices.SortFunc(n.Links, func(a, b Link) int { return NaturalCompare(a.Name, b.Name) })
	slices.SortStableFunc(n.Addresses, func(a, b Address) int {
		return cmp.Or(NaturalCompare(a.Link, b.Link), cmpFamily(a.Prefix.Addr(), b.Prefix.Addr()))
	})
	slices.SortFunc(n.Routes, compareRoutes)
	slices.SortFunc(n.Rules, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Selector, b.Selector), cmp.Compare(a.Action, b.Action))
	})
	slices.SortFunc(n.Neighbours, func(a, b Neighbour) int {
		return cmp.Or(NaturalCompare(a.Link, b.Link), a.Address.Compare(b.Address))
	})
	slices.SortFunc(n.Secured, func(a, b PortSecurity) int { return NaturalCompare(a.Link, b.Link) })
	slices.SortFunc(n.Forwarding, compareForwarding)
	slices.SortFunc(n.Firewalls, compareFirewalls)
	slices.SortFunc(n.FDB, func(a, b FDBEntry) int {
		return cmp.Or(NaturalCompare(a.Link, b.Link), cmp.Compare(a.MAC, b.MAC), cmp.Compare(a.VLAN, b.VLAN), cmp.Compare(a.Master, b.Master), a.Remote.Compare(b.Remote))
	})
}

// Clone is a deep copy: nothing done to it is seen in the original.
func (s Snapshot) Clone() Snapshot {
	return deepCopy(reflect.ValueOf(s)).Interface().(Snapshot)
}

// Clone is a deep copy.
func (n Namespace) Clone() Namespace {
	return deepCopy(reflect.ValueOf(n)).Interface().(Namespace)
}

// Equal compares two sorted snapshots in every field.
func (s Snapshot) Equal(o Snapshot) bool { return reflect.DeepEqual(s, o) }

// deepCopy copies pointers, slices and maps; netip values are immutable and
// are copied as they stand.
func deepCopy(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(deepCopy(v.Elem()))
		return out
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(deepCopy(v.Index(i)))
		}
		return out
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), deepCopy(it.Value()))
		}
		return out
	case reflect.Struct:
		switch v.Interface().(type) {
		case netip.Addr, netip.AddrPort, netip.Prefix:
			return v
		}
		out := reflect.New(v.Type()).Elem()
		for i := range v.NumField() {
			out.Field(i).Set(deepCopy(v.Field(i)))
		}
		return out
	default:
		return v
	}
}

func cmpFamily(a, b netip.Addr) int {
	return cmp.Compare(a.BitLen(), b.BitLen())
}

// NaturalCompare orders names as a person does: tap2 before tap10.
func NaturalCompare(a, b string) int {
	for a != "" && b != "" {
		da, db := leadingDigits(a), leadingDigits(b)
		if da != "" && db != "" {
			na, nb := strings.TrimLeft(da, "0"), strings.TrimLeft(db, "0")
			if c := cmp.Or(cmp.Compare(len(na), len(nb)), cmp.Compare(na, nb), cmp.Compare(len(da), len(db))); c != 0 {
				return c
			}
			a, b = a[len(da):], b[len(db):]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) string {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i]
}
