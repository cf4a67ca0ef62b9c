package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/service/dhcp4"
	"drawbridge/internal/service/dns"
	"drawbridge/internal/service/ra"
	"drawbridge/internal/service/relay"
)

// parts is how many a service may have.
const parts = 4

// openSockets opens what the parts of a service need, in the order of the parts: DHCP, RA,
// DNS, relay. How many each has is counted, 0 for a part that is not served.
func openSockets(k *kernel.Kernel, s model.Service) (files []*os.File, counts []int, err error) {
	openers := []func() ([]*os.File, error){
		func() ([]*os.File, error) {
			if s.DHCP4 == nil {
				return nil, nil
			}
			return dhcp4.Open(s.Link)
		},
		func() ([]*os.File, error) {
			if s.RA == nil {
				return nil, nil
			}
			return ra.Open(s.Link)
		},
		func() ([]*os.File, error) {
			if s.DNS == nil {
				return nil, nil
			}
			return dns.Open(*s.DNS)
		},
		func() ([]*os.File, error) {
			if s.Relay == nil {
				return nil, nil
			}
			return relay.Open(s.Link, *s.Relay)
		},
	}
	for _, open := range openers {
		some, err := open()
		if err != nil {
			closeAll(files)
			return nil, nil, inUse(k, s, err)
		}
		files, counts = append(files, some...), append(counts, len(some))
	}
	return files, counts, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// inUse adds to an error who has the port.
func inUse(k *kernel.Kernel, s model.Service, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	var words []string
	for _, h := range portHolders(k, s) {
		words = append(words, fmt.Sprintf("%s (process %d)", h.Command, h.PID))
	}
	if len(words) == 0 {
		words = []string{"a process that may not be looked at"}
	}
	return fmt.Errorf("%w: %w: %s has it\n  hint: end it, or bind it to other links only (dnsmasq: bind-dynamic and except-interface=%s)", model.ErrBusy, err, strings.Join(words, ", "), s.Link)
}

// portHolders are the processes with a socket on a port that is ours to be.
func portHolders(k *kernel.Kernel, s model.Service) []model.Holder {
	sockets, err := k.Sockets(context.Background())
	if err != nil {
		return nil
	}
	listens := func(a netip.Addr) bool {
		return a.IsUnspecified() || s.DNS != nil && slices.Contains(s.DNS.Listen, a)
	}
	inodes := map[uint64]bool{}
	for _, x := range sockets {
		dhcp := s.DHCP4 != nil && x.Protocol == "udp" && x.Local.Port() == 67 && (x.Bound == "" || x.Bound == s.Link)
		names := s.DNS != nil && x.Local.Port() == 53 && listens(x.Local.Addr()) && (x.Protocol == "udp" || x.State == "listen")
		if dhcp || names {
			inodes[x.Inode] = true
		}
	}
	found, err := k.SocketHolders(inodes)
	if err != nil {
		return nil
	}
	var out []model.Holder
	for _, h := range found {
		if h.PID != os.Getpid() && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b model.Holder) int { return a.PID - b.PID })
	return out
}
