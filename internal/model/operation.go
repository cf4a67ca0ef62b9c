package model

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// Operation is one thing that can be done to a machine's network. Its effect on
// a snapshot is [Snapshot.Apply]; internal/kernel carries out those on links,
// addresses, routes and settings, internal/machine those on machines, internal/service
// those on what networks serve.
//
// An operation acts in the namespace that was asked for, names its objects, and
// holds plain values only: it can be printed, stored in the journal and replayed.
type Operation interface {
	// Op is the operation's name in the journal: create-bridge, set-master ...
	Op() string
	// Object is the link, setting or machine that it acts on.
	Object() string
	// apply changes s as the kernel would, or returns the kernel's refusal.
	apply(s *Snapshot) error
}

// CreateBridge makes a bridge in one message: spanning tree off, forward delay 0,
// and up, so that no port waits 15 s in listening and learning.
type CreateBridge struct {
	Name string `json:"name"`
	// MAC is set explicitly (NET_ADDR_SET), so that the bridge does not take the
	// lowest MAC of its ports (br_stp_recalculate_bridge_id). "" lets the kernel choose.
	MAC MAC `json:"mac,omitempty"`
	MTU int `json:"mtu,omitempty"` // bytes; 0: the kernel's default
}

// CreateTap makes a persistent tap that its owner and group may open without
// CAP_NET_ADMIN (TUNSETIFF, TUNSETOWNER, TUNSETGROUP, TUNSETPERSIST), not yet up. It has its
// MAC from the moment on that it lasts.
type CreateTap struct {
	Name string `json:"name"`
	// MAC of the host's end; "" lets the kernel choose at random.
	MAC        MAC     `json:"mac,omitempty"`
	Owner      *uint32 `json:"owner,omitempty"` // uid
	OwnerName  string  `json:"owner_name,omitempty"`
	Group      *uint32 `json:"group,omitempty"` // gid
	GroupName  string  `json:"group_name,omitempty"`
	VnetHeader bool    `json:"vnet_header,omitempty"`
	MultiQueue bool    `json:"multi_queue,omitempty"`
	MTU        int     `json:"mtu,omitempty"`
}

// CreateVeth makes a pair: Name here, Peer here or in another namespace. Both down.
type CreateVeth struct {
	Name    string `json:"name"`
	MAC     MAC    `json:"mac,omitempty"`
	MTU     int    `json:"mtu,omitempty"`
	Peer    Ref    `json:"peer"`
	PeerMAC MAC    `json:"peer_mac,omitempty"`
}

// DeleteLink deletes a link; one that is gone already is no error. When Index is not 0 and the link of that name has
// another one, it is a stranger's: nothing is done, and [ErrNotOurs] returned. Where the index is not known, because
// the one that made the link did not live to tell, its MAC tells, which it was made with.
type DeleteLink struct {
	Name  string `json:"name"`
	Index int    `json:"index,omitempty"`
	MAC   MAC    `json:"mac,omitempty"`
	Kind  Kind   `json:"kind,omitempty"` // for the words only
}

// Identifies tells whether l is the link that is meant.
func (o DeleteLink) Identifies(l *Link) bool {
	if o.Index != 0 {
		return l.Index == o.Index
	}
	return o.MAC == "" || l.MAC == o.MAC
}

// MoveLink moves a link into another namespace (a name in /run/netns, or "pid:N"),
// under a new name when that is not "". The kernel takes it down and drops its addresses.
type MoveLink struct {
	Link      string `json:"link"`
	Namespace string `json:"namespace"`
	NewName   string `json:"new_name,omitempty"`
}

// SetUp sets or clears IFF_UP.
type SetUp struct {
	Link string `json:"link"`
	Up   bool   `json:"up"`
}

// SetMaster plugs the host end of a link into a bridge, or back into the stack
// when Master is "".
type SetMaster struct {
	Link   string `json:"link"`
	Master string `json:"master,omitempty"`
}

// SetMAC sets a link's hardware address, while it is up.
type SetMAC struct {
	Link string `json:"link"`
	MAC  MAC    `json:"mac"`
}

// SetMTU sets a link's MTU in bytes.
type SetMTU struct {
	Link string `json:"link"`
	MTU  int    `json:"mtu"`
}

// AddAddresses adds addresses, with their lifetimes, labels and flags as given.
// What is there already, equal, is no error.
type AddAddresses struct {
	Link      string    `json:"link"`
	Addresses []Address `json:"addresses"`
}

// DeleteAddresses deletes addresses. What is gone already is no error.
type DeleteAddresses struct {
	Link      string    `json:"link"`
	Addresses []Address `json:"addresses"`
}

// SettleAddresses clears the transit flags nodad and noprefixroute of addresses
// that did not have them before, so that "link down, up" brings the connected
// routes back. Addresses as they shall be.
type SettleAddresses struct {
	Link      string    `json:"link"`
	Addresses []Address `json:"addresses"`
}

// AddRoutes adds routes. What is there already, equal, is no error.
type AddRoutes struct {
	Routes []Route `json:"routes"`
}

// DeleteRoutes deletes routes, each by its exact device. What is gone already is
// no error.
type DeleteRoutes struct {
	Routes []Route `json:"routes"`
}

// MoveRoutes makes each route, as it stands with From, leave by To instead, all in
// one sendmsg, never touching another link's route of the same prefix and metric.
type MoveRoutes struct {
	From   string  `json:"from"`
	To     string  `json:"to"`
	Routes []Route `json:"routes"` // as they are on From
}

// CopyNeighbours copies the resolved neighbours of From to To, as they are when it
// is carried out, so that no packet waits for ARP or NDP: permanent ones as permanent,
// and the addresses that From answers for in others' stead (proxy) as well, but for those
// of a relay of ours.
type CopyNeighbours struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// WaitUp waits until a link's operational state is up (linkwatch runs after the
// change that caused it).
type WaitUp struct {
	Link    string `json:"link"`
	Timeout int    `json:"timeout_ms"`
}

// RedirectIngress takes what arrives at From to To instead, before From's port can
// drop it: between a port's rx handler and its forwarding state (br_add_if) the kernel
// has nowhere to put a frame. It ends with EndRedirect, or with the process.
type RedirectIngress struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// EndRedirect ends a [RedirectIngress]; one that has ended already is no error.
type EndRedirect struct {
	From string `json:"from"`
}

// SetSetting writes a sysctl below /proc/sys/net of this namespace.
type SetSetting struct {
	Path  string `json:"path"` // ipv4/conf/br0/rp_filter
	Value string `json:"value"`
}

// StartMachine starts a machine. A NIC with a Link is cabled to it; one without dangles.
type StartMachine struct {
	Machine MachineConfig `json:"machine"`
}

// StopMachine stops a machine: asks it, then insists, then kills its process group.
// Its taps are left free, with their offloads reset.
type StopMachine struct {
	Name string `json:"name"`
	// VMM of the machine, for the words of its command only; "" is a UML.
	VMM string `json:"vmm,omitempty"`
}

// PlugNIC cables a NIC of a running machine to NIC.Link.
type PlugNIC struct {
	Machine string    `json:"machine"`
	NIC     NICConfig `json:"nic"`
	VMM     string    `json:"vmm,omitempty"` // as in StopMachine
}

// UnplugNIC takes the cable off a NIC of a running machine.
type UnplugNIC struct {
	Machine string `json:"machine"`
	NIC     string `json:"nic"`
	VMM     string `json:"vmm,omitempty"` // as in StopMachine
}

// ConfigureNIC tells a running guest the addresses of a NIC.
type ConfigureNIC struct {
	Machine string    `json:"machine"`
	NIC     NICConfig `json:"nic"`
}

func (CreateBridge) Op() string    { return "create-bridge" }
func (CreateTap) Op() string       { return "create-tap" }
func (CreateVeth) Op() string      { return "create-veth" }
func (DeleteLink) Op() string      { return "delete-link" }
func (MoveLink) Op() string        { return "move-link" }
func (SetUp) Op() string           { return "set-up" }
func (SetMaster) Op() string       { return "set-master" }
func (SetMAC) Op() string          { return "set-mac" }
func (SetMTU) Op() string          { return "set-mtu" }
func (AddAddresses) Op() string    { return "add-addresses" }
func (DeleteAddresses) Op() string { return "delete-addresses" }
func (SettleAddresses) Op() string { return "settle-addresses" }
func (AddRoutes) Op() string       { return "add-routes" }
func (DeleteRoutes) Op() string    { return "delete-routes" }
func (MoveRoutes) Op() string      { return "move-routes" }
func (CopyNeighbours) Op() string  { return "copy-neighbours" }
func (WaitUp) Op() string          { return "wait-up" }
func (RedirectIngress) Op() string { return "redirect-ingress" }
func (EndRedirect) Op() string     { return "end-redirect" }
func (SetSetting) Op() string      { return "set-setting" }
func (StartMachine) Op() string    { return "start-machine" }
func (StopMachine) Op() string     { return "stop-machine" }
func (PlugNIC) Op() string         { return "plug-nic" }
func (UnplugNIC) Op() string       { return "unplug-nic" }
func (ConfigureNIC) Op() string    { return "configure-nic" }

func (o CreateBridge) Object() string    { return o.Name }
func (o CreateTap) Object() string       { return o.Name }
func (o CreateVeth) Object() string      { return o.Name }
func (o DeleteLink) Object() string      { return o.Name }
func (o MoveLink) Object() string        { return o.Link }
func (o SetUp) Object() string           { return o.Link }
func (o SetMaster) Object() string       { return o.Link }
func (o SetMAC) Object() string          { return o.Link }
func (o SetMTU) Object() string          { return o.Link }
func (o AddAddresses) Object() string    { return o.Link }
func (o DeleteAddresses) Object() string { return o.Link }
func (o SettleAddresses) Object() string { return o.Link }
func (o AddRoutes) Object() string       { return routesObject(o.Routes) }
func (o DeleteRoutes) Object() string    { return routesObject(o.Routes) }
func (o MoveRoutes) Object() string      { return o.From }
func (o CopyNeighbours) Object() string  { return o.To }
func (o WaitUp) Object() string          { return o.Link }
func (o RedirectIngress) Object() string { return o.From }
func (o EndRedirect) Object() string     { return o.From }
func (o SetSetting) Object() string      { return o.Path }
func (o StartMachine) Object() string    { return o.Machine.Name }
func (o StopMachine) Object() string     { return o.Name }
func (o PlugNIC) Object() string         { return o.Machine }
func (o UnplugNIC) Object() string       { return o.Machine }
func (o ConfigureNIC) Object() string    { return o.Machine }

func routesObject(rs []Route) string {
	if len(rs) == 0 {
		return ""
	}
	return rs[0].Link()
}

// ForMachine tells whether an operation is carried out by a machine's VMM rather
// than by the host's kernel.
func ForMachine(op Operation) bool {
	switch op.(type) {
	case StartMachine, StopMachine, StartMachines, StopMachines, PlugNIC, UnplugNIC, ConfigureNIC:
		return true
	default:
		return false
	}
}

var operationTypes = func() map[string]reflect.Type {
	types := map[string]reflect.Type{}
	for _, op := range []Operation{
		CreateBridge{}, CreateTap{}, CreateTaps{}, CreateVeth{}, DeleteLink{}, DeleteLinks{}, MoveLink{}, SetUp{}, SetMaster{}, SetMAC{}, SetMTU{},
		AddAddresses{}, DeleteAddresses{}, SettleAddresses{}, AddRoutes{}, DeleteRoutes{}, MoveRoutes{},
		CopyNeighbours{}, AddProxies{}, DeleteProxies{}, ForgetLearned{}, CopyRules{}, DeleteRules{}, SetToken{}, SolicitRouters{}, RenewAddresses{}, JoinGroups{}, LeaveGroups{}, LeaveAlone{}, ManageAgain{}, TakeOver{}, SecurePorts{}, FreePorts{}, SetIsolated{}, SetForwarding{}, DropForwarding{}, OpenPassage{}, ClosePassage{}, SetBridge{}, ResetOffloads{}, AllowOffloads{}, WaitUp{}, RedirectIngress{}, EndRedirect{}, SetSetting{},
		StartMachine{}, StopMachine{}, StartMachines{}, StopMachines{}, PlugNIC{}, UnplugNIC{}, ConfigureNIC{},
		StartService{}, ChangeService{}, StopService{},
	} {
		types[op.Op()] = reflect.TypeOf(op)
	}
	return types
}()

// Operations is a list of operations that survives JSON: each is written as
// {"op": NAME, "do": {...}}.
type Operations []Operation

type operationEnvelope struct {
	Op string          `json:"op"`
	Do json.RawMessage `json:"do"`
}

// MarshalJSON implements json.Marshaler.
func (ops Operations) MarshalJSON() ([]byte, error) {
	out := make([]operationEnvelope, 0, len(ops))
	for _, op := range ops {
		do, err := json.Marshal(op)
		if err != nil {
			return nil, err
		}
		out = append(out, operationEnvelope{op.Op(), do})
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler. An operation that this version does
// not know is an error: a journal is never carried out in part.
func (ops *Operations) UnmarshalJSON(data []byte) error {
	var in []operationEnvelope
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*ops = nil
	for _, e := range in {
		t, ok := operationTypes[e.Op]
		if !ok {
			return fmt.Errorf("unknown operation %q", e.Op)
		}
		v := reflect.New(t)
		if err := json.Unmarshal(e.Do, v.Interface()); err != nil {
			return fmt.Errorf("operation %s: %w", e.Op, err)
		}
		*ops = append(*ops, v.Elem().Interface().(Operation))
	}
	return nil
}
