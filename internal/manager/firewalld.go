package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"drawbridge/internal/model"

	"github.com/godbus/dbus/v5"
)

const (
	firewallName = "org.fedoraproject.FirewallD1"
	firewallPath = "/org/fedoraproject/FirewallD1"
)

// Firewalld says why the firewalld whose zones are in force in the namespace cannot be told
// anything, nil if it can: that on the bus may be the host's, and the namespace another.
func (s System) Firewalld(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, AskTime)
	defer cancel()
	b, err := s.firewalld(ctx)
	if err != nil {
		return err
	}
	b.close()
	return nil
}

func (s System) firewalld(ctx context.Context) (*bus, error) {
	b, err := s.bus(ctx)
	if err != nil {
		return nil, err
	}
	pid, err := b.pid(firewallName)
	if err != nil {
		b.close()
		return nil, errors.New("firewalld does not answer")
	}
	own := ""
	if err := s.Inside(func() (err error) { own, err = fs.ReadLink(s.Root, "proc/thread-self/ns/net"); return err }); err != nil {
		b.close()
		return nil, err
	}
	if ns, err := fs.ReadLink(s.Root, path.Join("proc", strconv.Itoa(pid), "ns/net")); err != nil || ns != own {
		b.close()
		return nil, errors.New("the firewalld that answers is of another network namespace")
	}
	return b, nil
}

// PutIntoZone puts the links of a passage into its zone, as firewalld runs: its files stay
// as they are, and what it reloads it keeps. One that is in another zone stays there.
func (s System) PutIntoZone(ctx context.Context, p model.Passage) error {
	return s.zone(ctx, p, "addInterface", "ZONE_ALREADY_SET", "ALREADY_ENABLED")
}

// TakeOutOfZone is the way back. What is not there, or no firewalld at all, is no error.
func (s System) TakeOutOfZone(ctx context.Context, p model.Passage) error {
	if err := s.Firewalld(ctx); err != nil {
		return nil //nolint:nilerr // a zone that was told as it ran is gone with it
	}
	return s.zone(ctx, p, "removeInterface", "UNKNOWN_INTERFACE", "NOT_ENABLED")
}

func (s System) zone(ctx context.Context, p model.Passage, method string, fine ...string) error {
	if err := p.Check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, AskTime+takeBack)
	defer cancel()
	b, err := s.firewalld(ctx)
	if err != nil {
		return fmt.Errorf("zone %s: %w", p.Zone, err)
	}
	defer b.close()
	for _, c := range p.Crossings {
		err := b.call(firewallName, firewallPath, firewallName+".zone."+method, nil, p.Zone, c.In)
		if err != nil && !saysAny(err, fine) {
			return fmt.Errorf("firewalld: %s, zone %s: %w", c.In, p.Zone, err)
		}
	}
	return nil
}

// saysAny tells whether firewalld refused with one of these words: "WORD: what it is about".
func saysAny(err error, words []string) bool {
	var refused dbus.Error
	if !errors.As(err, &refused) {
		return false
	}
	for _, w := range words {
		if strings.HasPrefix(refused.Error(), w) {
			return true
		}
	}
	return false
}
