package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// renewAddresses replaces addresses by themselves with other lifetimes. The kernel makes
// an address that it is told to replace and does not find (inet_rtm_newaddr): one that is
// gone is refused here.
func (k *Kernel) renewAddresses(ctx context.Context, o model.RenewAddresses) error {
	l, err := k.linkByName(o.Link)
	if err != nil {
		return err
	}
	there, err := k.addresses(ctx)
	if err != nil {
		return err
	}
	var ms []*message
	for _, a := range o.Addresses {
		i := slices.IndexFunc(there, func(b rawAddress) bool { return b.index == l.Index && b.Prefix == a.Prefix && b.Peer == a.Peer })
		if i < 0 {
			return fmt.Errorf("address %s on %s: %w", a.Prefix, o.Link, model.ErrNotFound)
		}
		fresh := there[i].Address
		if fresh.Lifetime = a.Lifetime; a.Lifetime == nil {
			fresh.Lifetime = &model.Lifetime{Valid: forEver, Preferred: forEver}
		}
		m, err := encodeAddress(unix.RTM_NEWADDR, unix.NLM_F_REPLACE, fresh, l.Index)
		if err != nil {
			return err
		}
		ms = append(ms, m)
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		errs = append(errs, refusal(fmt.Sprintf("address %s on %s", o.Addresses[i].Prefix, o.Link), err))
	}
	return errors.Join(errs...)
}
