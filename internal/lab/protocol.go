package lab

import (
	"net/netip"
	"time"
)

// request is what a client asks for over the control socket, one for each connection.
type request struct {
	Op string `json:"op"`
	// of exec
	Namespace string      `json:"namespace,omitempty"`
	Args      []string    `json:"args,omitempty"`
	Env       []string    `json:"env,omitempty"`
	Dir       string      `json:"dir,omitempty"`
	Terminal  *windowSize `json:"terminal,omitempty"` // wanted: a terminal of this size
	// of uplink
	Plugged bool `json:"plugged,omitempty"`
}

// The operations of a request.
const (
	opExec   = "exec"
	opInfo   = "info"
	opUplink = "uplink"
	opStop   = "stop"
)

// toCommand is what a client sends while its command runs.
type toCommand struct {
	Signal int `json:"signal"`
}

// reply answers a request. Of exec there are two: one when the command was started
// (with the terminal's descriptor, if one was asked for), one when it ended.
type reply struct {
	Error   string `json:"error,omitempty"`
	Started bool   `json:"started,omitempty"`
	Exited  bool   `json:"exited,omitempty"`
	Code    int    `json:"code,omitempty"`
	Info    *Info  `json:"info,omitempty"`
}

// windowSize is a terminal's, in characters.
type windowSize struct {
	Rows    uint16 `json:"rows"`
	Columns uint16 `json:"columns"`
}

// Info tells about a running lab.
type Info struct {
	Name    string    `json:"name"`
	Since   time.Time `json:"since"`
	PID     int       `json:"pid"`  // of the supervisor, seen from outside
	User    int       `json:"user"` // whose it is
	Root    bool      `json:"root"` // made with root's rights, not in a user namespace
	Plugged bool      `json:"plugged"`
	// AccessPoint: the switch takes frames of one MAC address only from the host.
	AccessPoint bool `json:"access_point"`
	// Namespaces in the order of the picture.
	Namespaces []string `json:"namespaces"`
	Commands   int      `json:"commands"` // running by "lab exec"
	Leases     []Lease  `json:"leases"`
}

// Lease is an address that the router's DHCP server gave away.
type Lease struct {
	Address  netip.Addr `json:"address"`
	MAC      string     `json:"mac"`
	ClientID string     `json:"client_id,omitempty"` // hexadecimal
	Hostname string     `json:"hostname,omitempty"`
	Expires  time.Time  `json:"expires"`
}
