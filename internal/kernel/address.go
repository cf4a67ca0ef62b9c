package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

const ifaProto = 0xb // IFA_PROTO, since Linux 5.18

const forEver = ^uint32(0) // INFINITY_LIFE_TIME

// rawAddress is one RTM_NEWADDR with the index of its link.
type rawAddress struct {
	model.Address
	index int
}

func addressHeader(family, bits uint8, flags uint32, scope uint8, index int) []byte {
	return native.AppendUint32([]byte{family, bits, uint8(flags), scope}, uint32(index))
}

// addresses dumps every address, IPv4 and IPv6, in the kernel's order.
func (k *Kernel) addresses(ctx context.Context) ([]rawAddress, error) {
	var out []rawAddress
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		request := func() *message { return newMessage(unix.RTM_GETADDR, 0).raw(addressHeader(family, 0, 0, 0, 0)) }
		err := k.rt.dump(ctx, request, func(body []byte) error {
			a, err := parseAddress(body)
			if err != nil {
				return err
			}
			if body[0] == family {
				out = append(out, a)
			}
			return nil
		})
		if err != nil && !isErrno(err, unix.EOPNOTSUPP) { // a kernel without IPv6
			return nil, refusal("addresses", err)
		}
	}
	return out, nil
}

func parseAddress(b []byte) (rawAddress, error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return rawAddress{}, errTruncated
	}
	a := rawAddress{index: int(int32(native.Uint32(b[4:])))}
	family, bits, flags := b[0], int(b[1]), uint32(b[2])
	a.Scope = scopes.word(uint32(b[3]))
	var local, remote netip.Addr
	err := walk(b[unix.SizeofIfAddrmsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFA_LOCAL:
			local = getAddr(v)
		case unix.IFA_ADDRESS:
			remote = getAddr(v)
		case unix.IFA_BROADCAST:
			a.Broadcast = getAddr(v)
		case unix.IFA_LABEL:
			a.Label = getString(v)
		case unix.IFA_FLAGS:
			flags = getU32(v)
		case unix.IFA_RT_PRIORITY:
			a.Metric = getU32(v)
		case ifaProto:
			a.Protocol = getU8(v)
		case unix.IFA_CACHEINFO:
			// struct ifa_cacheinfo: preferred, valid, and two time stamps
			if len(v) >= 8 && (native.Uint32(v) != forEver || native.Uint32(v[4:]) != forEver) {
				a.Lifetime = &model.Lifetime{Preferred: native.Uint32(v), Valid: native.Uint32(v[4:])}
			}
		}
	})
	// IFA_ADDRESS is the peer where there is one, else the address itself (rtnetlink(7)).
	if !local.IsValid() {
		local = remote
	}
	a.Prefix = netip.PrefixFrom(local, bits)
	if remote.IsValid() && remote != local {
		a.Peer = netip.PrefixFrom(remote, bits)
	}
	a.Flags = parseAddressFlags(family, flags)
	a.Origin = model.OriginOf(a.Address)
	return a, err
}

func parseAddressFlags(family uint8, f uint32) model.AddressFlags {
	has := func(bit uint32) bool { return f&bit != 0 }
	return model.AddressFlags{
		// One bit, two meanings (include/uapi/linux/if_addr.h).
		Secondary: has(unix.IFA_F_SECONDARY) && family == unix.AF_INET,
		Temporary: has(unix.IFA_F_TEMPORARY) && family == unix.AF_INET6,
		Tentative: has(unix.IFA_F_TENTATIVE), Deprecated: has(unix.IFA_F_DEPRECATED), DADFailed: has(unix.IFA_F_DADFAILED),
		NoDAD: has(unix.IFA_F_NODAD), NoPrefixRoute: has(unix.IFA_F_NOPREFIXROUTE), ManageTemp: has(unix.IFA_F_MANAGETEMPADDR),
		HomeAddress: has(unix.IFA_F_HOMEADDRESS), Autojoin: has(unix.IFA_F_MCAUTOJOIN),
	}
}

// settableFlags are those that a request may carry: the others are states.
func settableFlags(f model.AddressFlags) uint32 {
	var out uint32
	for bit, set := range map[uint32]bool{
		unix.IFA_F_NODAD: f.NoDAD, unix.IFA_F_NOPREFIXROUTE: f.NoPrefixRoute, unix.IFA_F_MANAGETEMPADDR: f.ManageTemp,
		unix.IFA_F_HOMEADDRESS: f.HomeAddress, unix.IFA_F_MCAUTOJOIN: f.Autojoin,
	} {
		if set {
			out |= bit
		}
	}
	return out
}

// encodeAddress writes an RTM_NEWADDR or RTM_DELADDR.
func encodeAddress(typ, msgFlags uint16, a model.Address, index int) (*message, error) {
	local := a.Prefix.Addr()
	if !a.Prefix.IsValid() {
		return nil, fmt.Errorf("address %s: %w", a.Prefix, model.ErrInvalid)
	}
	scope, ok := scopes.number(a.Scope)
	if a.Scope == "" {
		scope, ok = unix.RT_SCOPE_UNIVERSE, true
	}
	if !ok {
		return nil, fmt.Errorf("scope %q of %s: %w", a.Scope, a.Prefix, model.ErrInvalid)
	}
	flags := settableFlags(a.Flags)
	m := newMessage(typ, msgFlags).raw(addressHeader(familyOf(local), uint8(a.Prefix.Bits()), flags, uint8(scope), index))
	m.addr(unix.IFA_LOCAL, local)
	remote := local
	if a.Peer.IsValid() {
		remote = a.Peer.Addr()
	}
	m.addr(unix.IFA_ADDRESS, remote)
	if typ == unix.RTM_DELADDR {
		return m, nil
	}
	m.addr(unix.IFA_BROADCAST, a.Broadcast)
	m.u32(unix.IFA_FLAGS, flags)
	if a.Label != "" && local.Is4() {
		m.str(unix.IFA_LABEL, a.Label)
	}
	if a.Metric != 0 {
		m.u32(unix.IFA_RT_PRIORITY, a.Metric)
	}
	if a.Protocol != 0 {
		m.u8(ifaProto, a.Protocol)
	}
	if a.Lifetime != nil {
		ci := native.AppendUint32(nil, a.Lifetime.Preferred)
		ci = native.AppendUint32(ci, a.Lifetime.Valid)
		m.attr(unix.IFA_CACHEINFO, append(ci, make([]byte, 8)...))
	}
	return m, nil
}

// addAddresses adds IPv4 addresses in their order, for the first of a subnet becomes
// the primary one, and IPv6 addresses in reverse: the kernel puts a new one before
// the others of its scope (ipv6_link_dev_addr), and source address selection takes
// the first of equals.
func (k *Kernel) addAddresses(ctx context.Context, link string, as []model.Address) error {
	l, err := k.linkByName(link)
	if err != nil {
		return err
	}
	ordered := slices.Clone(as)
	slices.Reverse(ordered)
	slices.SortStableFunc(ordered, func(a, b model.Address) int {
		return cmp.Compare(a.Prefix.Addr().BitLen(), b.Prefix.Addr().BitLen())
	})
	four := slices.IndexFunc(ordered, func(a model.Address) bool { return !a.Prefix.Addr().Is4() })
	if four < 0 {
		four = len(ordered)
	}
	slices.Reverse(ordered[:four])
	var ms []*message
	for _, a := range ordered {
		m, err := encodeAddress(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, a, l.Index)
		if err != nil {
			return fmt.Errorf("%s: %w", link, err)
		}
		ms = append(ms, m)
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		if isErrno(err, unix.EEXIST) {
			err = k.sameAddressThere(ctx, l.Index, ordered[i], err)
		}
		errs = append(errs, refusal(fmt.Sprintf("address %s on %s", ordered[i].Prefix, link), err))
	}
	return errors.Join(errs...)
}

// sameAddressThere forgives an address that exists when it is the one that was asked for.
func (k *Kernel) sameAddressThere(ctx context.Context, index int, want model.Address, exists error) error {
	all, err := k.addresses(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.index == index && a.Prefix == want.Prefix && a.Peer == want.Peer && settableFlags(a.Flags) == settableFlags(want.Flags) {
			return nil
		}
	}
	return exists
}

// deleteAddresses deletes in reverse order, secondaries before their primary: the
// kernel takes the secondaries with the primary unless promote_secondaries is set
// (__inet_del_ifa).
func (k *Kernel) deleteAddresses(link string, as []model.Address) error {
	l, err := k.linkByName(link)
	if err != nil {
		return err
	}
	var ms []*message
	for _, a := range slices.Backward(as) {
		m, err := encodeAddress(unix.RTM_DELADDR, 0, a, l.Index)
		if err != nil {
			return fmt.Errorf("%s: %w", link, err)
		}
		ms = append(ms, m)
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		if !isErrno(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, refusal(fmt.Sprintf("address %s on %s", as[len(as)-1-i].Prefix, link), err))
		}
	}
	return errors.Join(errs...)
}

// settleAddresses replaces IPv6 addresses by themselves with other flags: that clears
// nodad, and clearing noprefixroute makes the kernel add the connected route, or keep
// an equal one that is there (inet6_addr_modify). IPv4's noprefixroute cannot be
// cleared so (inet_rtm_newaddr takes lifetimes, metric and protocol only): such an
// address never gets the flag in the first place, see routes.go.
func (k *Kernel) settleAddresses(ctx context.Context, link string, as []model.Address) error {
	l, err := k.linkByName(link)
	if err != nil {
		return err
	}
	var ms []*message
	var which []model.Address
	// The kernel makes an IPv6 address that it is told to replace and does not find.
	there, err := k.addresses(ctx)
	if err != nil {
		return err
	}
	for _, a := range as {
		if !slices.ContainsFunc(there, func(b rawAddress) bool { return b.index == l.Index && b.Prefix == a.Prefix }) {
			return fmt.Errorf("address %s on %s: %w", a.Prefix, link, model.ErrNotFound)
		}
		if a.Prefix.Addr().Is4() {
			continue
		}
		m, err := encodeAddress(unix.RTM_NEWADDR, unix.NLM_F_REPLACE, a, l.Index)
		if err != nil {
			return fmt.Errorf("%s: %w", link, err)
		}
		ms, which = append(ms, m), append(which, a)
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		errs = append(errs, refusal(fmt.Sprintf("address %s on %s", which[i].Prefix, link), err))
	}
	return errors.Join(errs...)
}
