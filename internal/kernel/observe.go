package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"drawbridge/internal/model"
)

// observeTries is how often a namespace is read that changes meanwhile. After
// settledTries a reading is taken if all that it names is in it: on a router whose
// routes never rest, every single dump is consistent still.
const (
	observeTries = 30 // within some five seconds
	settledTries = 5
	longestPause = 250 * time.Millisecond
)

// view says how namespaces are called by the one that asked.
type view struct {
	// self is the name of the namespace that is observed, "" for the one that asked.
	self string
	// asked is the namespace that asked: its name is "".
	asked *Kernel
	// dwellings are the namespaces without a name in /run/netns, where they were looked for.
	dwellings []dwelling
	// ruleset: the firewall's rules are read as well.
	ruleset bool
}

// Observe reads everything that the model knows of the namespace. It reads again when
// something changed meanwhile, so that what it returns was so at one time.
func (k *Kernel) Observe(ctx context.Context) (model.Namespace, error) {
	return k.observe(ctx, view{asked: k})
}

// ObserveLinks reads the links and the bridges' forwarding entries only, and not who holds
// a tap: what has to be known of a thousand ports in some milliseconds.
func (k *Kernel) ObserveLinks(ctx context.Context) (model.Namespace, error) {
	return k.observeBy(ctx, view{asked: k}, (*reading).readLinks)
}

// ObserveAll observes k's namespace, then every other one that has a name in /run/netns
// or a process in it. Names in all of them are as k's namespace sees them. unseen counts
// the processes and the namespaces that may not be looked at.
func ObserveAll(ctx context.Context, k *Kernel) (all []model.Namespace, unseen int, err error) {
	return observeAll(ctx, k, view{asked: k})
}

func observeAll(ctx context.Context, k *Kernel, v view) (all []model.Namespace, unseen int, err error) {
	named, err := ListNamespaces()
	if err != nil {
		return nil, 0, err
	}
	known := map[uint64]bool{k.inode: true}
	for _, name := range named {
		if inode, err := inodeOfPath(filepath.Join(netnsDir, name)); err == nil {
			known[inode] = true
		}
	}
	v.dwellings, unseen = findDwellings(known)
	here, err := k.observe(ctx, v)
	if err != nil {
		return nil, unseen, err
	}
	all = []model.Namespace{here}
	seen := map[uint64]bool{k.inode: true}
	for _, name := range named {
		n, inode, err := v.observeAt(ctx, filepath.Join(netnsDir, name), name, seen)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // deleted meanwhile
		case errors.Is(err, model.ErrDenied), errors.Is(err, fs.ErrPermission):
			unseen++
			continue
		case err != nil:
			return nil, unseen, fmt.Errorf("network namespace %s: %w", name, err)
		}
		if !seen[inode] {
			seen[inode] = true
			all = append(all, n)
		}
	}
	for _, d := range v.dwellings {
		n, inode, err := v.observeAt(ctx, d.path, d.name, seen)
		if err != nil || inode != d.inode {
			continue // its last process has ended, or it may not be entered
		}
		n.Container = &d.is
		all = append(all, n)
	}
	return all, unseen, nil
}

// observeAt observes the namespace at path, if it is not seen yet.
func (v view) observeAt(ctx context.Context, path, name string, seen map[uint64]bool) (model.Namespace, uint64, error) {
	o, err := OpenPath(path)
	if err != nil {
		return model.Namespace{}, 0, err
	}
	defer o.Close()
	if seen[o.inode] { // two names of one namespace
		return model.Namespace{}, o.inode, nil
	}
	v.self = name
	n, err := o.observe(ctx, v)
	return n, o.inode, err
}

func (k *Kernel) observe(ctx context.Context, v view) (model.Namespace, error) {
	return k.observeBy(ctx, v, (*reading).read)
}

func (k *Kernel) observeBy(ctx context.Context, v view, read func(*reading, context.Context) error) (model.Namespace, error) {
	k.observing.Lock()
	defer k.observing.Unlock()
	if err := k.bell.listen(); err != nil {
		return model.Namespace{}, err
	}
	defer k.bell.rest()
	for try := range observeTries {
		if err := ctx.Err(); err != nil {
			return model.Namespace{}, err
		}
		k.bell.rang()
		r := reading{kernel: k, view: v, names: map[int]string{}}
		err := read(&r, ctx)
		if err != nil {
			return model.Namespace{}, err
		}
		if !k.bell.rang() || try >= settledTries && r.complete {
			n := r.namespace()
			n.Sort()
			return n, nil
		}
		time.Sleep(min(time.Duration(try*try)*time.Millisecond, longestPause))
	}
	return model.Namespace{}, fmt.Errorf("network namespace: %w, %d times in a row", errInterrupted, observeTries)
}

// reading is one pass over a namespace.
type reading struct {
	kernel     *Kernel
	view       view
	links      []rawLink
	addresses  []rawAddress
	routes     []rawRoute
	rules      []model.Rule
	neighbours []rawNeighbour
	fdb        []rawNeighbour
	vlans      map[int][]model.PortVLAN
	settings   map[string]string
	holders    map[string][]model.Holder
	far        map[farKey]model.Ref
	wireless   map[int]bool
	drivers    map[string]string
	names      map[int]string
	accounts   accounts
	secured    []model.PortSecurity
	forwarding []model.Forwarding
	firewalls  []model.Firewall
	unseen     bool // none of these could be read
	ruleset    *model.Ruleset
	// complete: every index that is named belongs to a link that was read.
	complete bool
}

// readLinks reads the links, and what the bridges forward by.
func (r *reading) readLinks(ctx context.Context) (err error) {
	k := r.kernel
	if r.links, err = k.links(ctx); err != nil {
		return err
	}
	for _, l := range r.links {
		r.names[l.Index] = l.Name
	}
	r.fdb, err = k.fdb(ctx)
	return err
}

func (r *reading) read(ctx context.Context) (err error) {
	k := r.kernel
	if err = r.readLinks(ctx); err != nil {
		return err
	}
	if r.addresses, err = k.addresses(ctx); err != nil {
		return err
	}
	for _, family := range bothFamilies {
		rs, err := k.routes(ctx, family)
		if err != nil {
			return err
		}
		r.routes = append(r.routes, rs...)
	}
	if r.rules, err = k.rules(ctx); err != nil {
		return err
	}
	if r.neighbours, err = k.neighbours(ctx); err != nil {
		return err
	}
	return r.readBeside(ctx)
}

// readBeside reads what only some links have.
func (r *reading) readBeside(ctx context.Context) (err error) {
	k := r.kernel
	var taps, filtering, physical bool
	for _, l := range r.links {
		taps = taps || l.Tap != nil
		filtering = filtering || l.Bridge != nil && l.Bridge.VLANFiltering
		physical = physical || l.Kind == model.Physical
	}
	r.settings = make(map[string]string, 32+(len(settings4)+len(settings6))*len(r.links))
	for i := range r.links {
		r.links[i].linkSettings(r.settings)
	}
	if err = k.neighbourSettings(ctx, r.names, r.settings); err != nil {
		return err
	}
	if err = k.namespaceSettings(r.settings); err != nil {
		return err
	}
	if taps {
		if r.holders, err = k.FindTapHolders(); err != nil {
			return fmt.Errorf("holders of taps: %w", err)
		}
	}
	if filtering {
		if r.vlans, err = k.portVLANs(ctx); err != nil {
			return err
		}
	}
	if physical {
		r.drivers, r.wireless = k.hardware(ctx, r.links)
	}
	r.far = k.resolveFar(r.links, r.view)
	if r.secured, r.unseen, err = k.security(ctx); err != nil || r.unseen {
		return err
	}
	if r.forwarding, err = k.forwarding(ctx); err != nil {
		return err
	}
	if r.view.asked == k { // those of other namespaces are none of our business
		r.firewalls, err = k.firewalls(ctx)
	}
	if err == nil && r.view.ruleset {
		r.ruleset, err = k.ruleset(ctx, r.names)
	}
	return err
}

// name finds a link's name; what was not read makes the reading incomplete.
func (r *reading) name(index int) string {
	if index == 0 {
		return ""
	}
	n, ok := r.names[index]
	if !ok {
		r.complete = false
	}
	return n
}

func (r *reading) namespace() model.Namespace {
	n := model.Namespace{Name: r.view.self, Rules: r.rules, Settings: r.settings, Secured: r.secured, Forwarding: r.forwarding, Firewalls: r.firewalls, SecurityUnseen: r.unseen, Ruleset: r.ruleset}
	r.complete = true
	n.Links = make([]model.Link, 0, len(r.links))
	for i := range r.links {
		n.Links = append(n.Links, r.link(&r.links[i]))
	}
	n.Addresses = make([]model.Address, 0, len(r.addresses))
	for _, a := range r.addresses {
		a.Link = r.name(a.index)
		if a.Label == a.Link {
			a.Label = "" // the kernel's default
		}
		n.Addresses = append(n.Addresses, a.Address)
	}
	n.Routes = make([]model.Route, 0, len(r.routes))
	for _, rt := range r.routes {
		for i := range rt.NextHops {
			rt.NextHops[i].Link = r.name(rt.oifs[i])
		}
		n.Routes = append(n.Routes, rt.Route)
	}
	for _, nb := range r.neighbours {
		n.Neighbours = append(n.Neighbours, nb.neighbour(r.name(nb.index)))
	}
	r.sortFDB(n.Links)
	n.FDB = make([]model.FDBEntry, 0, len(r.fdb))
	for _, e := range r.fdb {
		n.FDB = append(n.FDB, e.fdbEntry(r.name(e.index), r.name(e.master)))
	}
	return n
}

// sortFDB brings thousands of entries near their final order by numbers, which leaves
// little for the comparison of names in Sort.
func (r *reading) sortFDB(links []model.Link) {
	slices.SortFunc(links, func(a, b model.Link) int { return model.NaturalCompare(a.Name, b.Name) })
	rank := make(map[int]int, len(links))
	for i, l := range links {
		rank[l.Index] = i
	}
	for i := range r.fdb {
		r.fdb[i].rank = rank[r.fdb[i].index]
	}
	slices.SortFunc(r.fdb, func(a, b rawNeighbour) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.mac, b.mac)) })
}

func (r *reading) link(l *rawLink) model.Link {
	out := l.Link
	out.Master, out.ActivePort = r.name(l.master), r.name(l.active)
	if out.Kind == model.Physical && r.wireless[l.Index] {
		out.Kind = model.Wireless
	}
	out.Driver = r.drivers[l.Name]
	if l.lower != 0 {
		ref := r.lower(l)
		if out.Kind == model.Veth {
			out.Peer = &ref
		} else if ref.Name != "" || ref.Namespace != r.view.self {
			out.Parent = &ref
		}
	}
	if out.Port != nil {
		out.Port.VLANs = r.vlans[l.Index]
	}
	if out.Bridge != nil && r.view.ruleset {
		out.Bridge.VLANs = r.vlans[l.Index]
	}
	if out.Tap != nil {
		out.Tap.Holders = r.holders[l.Name]
		out.Tap.OwnerName = r.accounts.user(out.Tap.Owner)
		out.Tap.GroupName = r.accounts.group(out.Tap.Group)
	}
	return out
}

// lower names the link that IFLA_LINK points to. A link that is its own lower one
// (tunnels, lo) has none.
func (r *reading) lower(l *rawLink) model.Ref {
	if l.lowerNS >= 0 {
		return r.far[farKey{l.lowerNS, l.lower}]
	}
	if l.lower == l.Index {
		return model.Ref{Namespace: r.view.self}
	}
	return model.Ref{Namespace: r.view.self, Name: r.name(l.lower)}
}

// accounts looks users and groups up, each once in an observation: a thousand taps
// mostly have one owner, and every look-up reads /etc/passwd.
type accounts struct{ users, groups map[uint32]string }

func (a *accounts) user(id *uint32) string {
	return cached(&a.users, id, func(s string) (string, error) {
		u, err := user.LookupId(s)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func (a *accounts) group(id *uint32) string {
	return cached(&a.groups, id, func(s string) (string, error) {
		g, err := user.LookupGroupId(s)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

// cached is "" for no id, and for one that nobody has.
func cached(known *map[uint32]string, id *uint32, look func(string) (string, error)) string {
	if id == nil {
		return ""
	}
	if name, ok := (*known)[*id]; ok {
		return name
	}
	if *known == nil {
		*known = map[uint32]string{}
	}
	name, err := look(strconv.FormatUint(uint64(*id), 10))
	if err != nil {
		name = ""
	}
	(*known)[*id] = name
	return name
}
