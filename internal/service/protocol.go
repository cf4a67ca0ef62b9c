package service

import (
	"errors"
	"net/netip"
	"time"

	"drawbridge/internal/child"
	"drawbridge/internal/model"
	"drawbridge/internal/service/dhcp4"
	"drawbridge/internal/service/dns"
	"drawbridge/internal/service/ra"
	"drawbridge/internal/service/relay"
)

// config is the config.json of a folder.
type config struct {
	Service model.Service `json:"service"`
	// Leases is the folder of the network's leases.
	Leases     string `json:"leases"`
	Executable string `json:"executable"`
	// Namespace is the path by which the network namespace is named, "" where it is not asked
	// for by a name.
	Namespace string `json:"namespace,omitempty"`
}

// call is one line to a supervisor, or from it to its server.
type call struct {
	Do string `json:"do"`
	// Next is what is served afterwards, nil for nothing: of a stop.
	Next *model.Service `json:"next,omitempty"`
	// Upstreams are the host's name servers.
	Upstreams []netip.AddrPort `json:"upstreams,omitempty"`
	// Service and Sockets are told to a server at its start: how many of each part it finds,
	// in the order of the parts, from descriptor [socketsFD] on.
	Service *model.Service `json:"service,omitempty"`
	Sockets []int          `json:"sockets,omitempty"`
	// Facts are what a relay must know, and Learned what it has known before its start.
	Facts   *relay.Facts           `json:"facts,omitempty"`
	Learned []model.LearnedAddress `json:"learned,omitempty"`
}

const (
	callServe     = "serve"
	callStatus    = "status"
	callStop      = "stop"
	callUpstreams = "upstreams"
	callRelay     = "relay" // here are facts; what is to be done?
)

// reply is the answer.
type reply struct {
	child.Refusal
	Service *model.Service `json:"service,omitempty"`
	Relay   *relay.Report  `json:"relay,omitempty"`
}

// The descriptors that a server is started with.
const (
	controlFD    = 3
	leasesFD     = 4
	executableFD = 5 // what it is started from: its path may lead through folders that it may not
	socketsFD    = 6
)

const (
	statusTime = 2 * time.Second
	maxLine    = 8 << 20 // bytes of a server's line: many leases
)

// Check tells why something cannot be served, as far as that can be known beforehand.
func Check(s model.Service) error {
	var errs []error
	if s.DHCP4 != nil {
		errs = append(errs, dhcp4.Check(*s.DHCP4))
	}
	if s.RA != nil {
		errs = append(errs, ra.Check(*s.RA))
	}
	if s.DNS != nil {
		errs = append(errs, dns.Check(*s.DNS))
	}
	return errors.Join(errs...)
}
