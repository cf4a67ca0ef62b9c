package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/apply"
	"drawbridge/internal/broker"
	"drawbridge/internal/child"
	"drawbridge/internal/kernel"
	"drawbridge/internal/machine"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/service"
	"drawbridge/internal/spec"
)

// session is one namespace with all that a command needs to work in it.
type session struct {
	kernel   *kernel.Kernel
	machines *machine.Manager
	services *service.Manager
	store    *apply.Store
	// name is what the namespace's stack is called.
	name string
	// named: the namespace was asked for by its name.
	named bool
}

func (a *app) open() (*session, error) {
	k, err := kernel.OpenNamed(a.netns)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(stateBase(), strconv.FormatUint(k.Cookie(), 10))
	s := &session{
		kernel: k,
		store:  &apply.Store{Dir: dir, Identity: apply.Identity{BootID: kernel.BootID(), Namespace: k.Cookie()}},
		name:   a.stackName(k),
		named:  a.netns != "",
	}
	folders := s.childFolders()
	s.machines, s.services = machine.NewManager(folders[0]), service.NewManager(folders[1])
	s.machines.Kept = filepath.Join(keptBase("disks"), a.netns)
	// Leases outlive a reboot, as the host's own network does; a namespace does not, and
	// nor do its leases.
	s.services.Leases = keptBase("leases")
	if a.netns == "" {
		s.store.Kept = s.adopted
	} else {
		s.machines.Namespace = filepath.Join("/run/netns", a.netns)
		s.services.Namespace = s.machines.Namespace
		s.services.Leases = filepath.Join(dir, "leases")
	}
	return s, nil
}

func (s *session) close() { s.kernel.Close() }

// anchor is what the namespace is there for.
func (s *session) anchor() kernel.Anchor {
	return kernel.NewAnchor(s.services.Namespace, s.kernel.Inode())
}

// childFolders are where machines and servers have their processes.
func (s *session) childFolders() []string {
	return []string{filepath.Join(s.store.Dir, "machines"), filepath.Join(s.store.Dir, "services")}
}

// stateBase is /run/drawbridge, or a folder of the user's own for one without rights.
func stateBase() string {
	if os.Geteuid() == 0 {
		return "/run/drawbridge"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "drawbridge")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("drawbridge-%d", os.Getuid()))
}

// keptBase is where what must outlive a reboot is, disks or leases: below
// /var/lib/drawbridge, or a folder of the user's own for one without rights, as in a lab.
func keptBase(what string) string {
	const system = "/var/lib"
	if os.Geteuid() == 0 && unix.Access(system, unix.W_OK) == nil {
		return filepath.Join(system, "drawbridge", what)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "drawbridge", what)
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "drawbridge", what)
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("drawbridge-%d-%s", os.Getuid(), what))
}

// stackName is the namespace's name where it has one, else the host's.
func (a *app) stackName(k *kernel.Kernel) string {
	if a.netns != "" {
		return a.netns
	}
	if name := k.Name(); name != "" {
		return name
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "host"
}

// snapshot observes the namespace, and all others where asked to.
func (s *session) snapshot(ctx context.Context, all bool) (model.Snapshot, error) {
	return s.snapshotWith(ctx, kernel.What{All: all})
}

func (s *session) snapshotWith(ctx context.Context, what kernel.What) (model.Snapshot, error) {
	snap := model.Snapshot{Host: s.name, System: systemName()}
	var err error
	snap.Namespaces, snap.Unseen, err = kernel.ObserveWith(ctx, s.kernel, what)
	if err != nil {
		return snap, err
	}
	snap.Machines, err = s.machines.List(ctx)
	services, serr := s.services.List(ctx)
	snap.Services, err = services, errors.Join(err, serr)
	if owned, err := s.store.Owned(); err == nil {
		nameBrokered(&snap, owned)
	}
	snap.Sort()
	return snap, err
}

// nameBrokered gives the VMs on the broker's taps the names that were asked for with them,
// where no machine of ours has that name.
func nameBrokered(snap *model.Snapshot, owned plan.Owned) {
	here := snap.Here()
	for _, t := range owned.Brokered() {
		l := here.Link(t.Name)
		if t.Added.Machine == "" || l == nil || owned.Link(*l) == nil || l.Tap == nil || snap.Machine(t.Added.Machine) != nil {
			continue
		}
		for i := range l.Tap.Holders {
			l.Tap.Holders[i].Machine = t.Added.Machine
		}
	}
}

// systemName is the distribution's name and version, os-release(5).
func systemName() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	return model.SystemName(string(data))
}

// options are the facts that a plan needs beside the snapshot.
func (s *session) options(now *model.Namespace, want spec.Desired) plan.Options {
	o := plan.Options{Users: map[string]uint32{}, Groups: map[string]uint32{}, Seed: seed(), NoTaps: s.kernel.CanMakeTap() != nil, NoRedirect: s.kernel.CanRedirect() != nil, Multicast: s.joined()}
	if w, err := hostFiles().Read(); err == nil && !s.named {
		o.Written = len(w.Files) > 0
	}
	if want.Secures() { // asking costs two waits of 15 ms
		if snoop, err := s.kernel.CanSecure(); err == nil {
			o.NoSnoop = !snoop
		} else if !errors.Is(err, model.ErrDenied) { // who may only look learns nothing of it
			o.NoSecurity = err.Error()
		}
	}
	if want.Forwards() {
		if err := s.kernel.CanForward(); err != nil && !errors.Is(err, model.ErrDenied) {
			o.NoForwarding = err.Error()
		}
	}
	if now.FirewallOf(model.Passage{Firewall: model.Firewalld}) != nil {
		if err := s.managerSystem().Firewalld(context.Background()); err != nil {
			o.NoFirewalld = err.Error()
		}
	}
	if want.Publishes() {
		o.Listening = s.listening()
	}
	users := func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	}
	groups := func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	}
	for _, m := range want.Machines {
		for _, n := range m.NICs {
			addID(o.Users, n.Owner, users)
		}
	}
	for _, t := range want.Taps {
		addID(o.Users, t.Owner, users)
		addID(o.Groups, t.Group, groups)
	}
	return o
}

// listening are the sockets that wait for somebody. What cannot be asked is not known.
func (s *session) listening() []model.Socket {
	all, err := s.kernel.Sockets(context.Background())
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(x model.Socket) bool { return x.State != "listen" && x.State != "unconnected" })
}

// addID looks up a user or group by its name; a number is an id of its own, as for chown(1).
// A thousand taps of one owner are one look into /etc/passwd.
func addID(ids map[string]uint32, name string, lookup func(string) (string, error)) {
	if _, known := ids[name]; known || name == "" {
		return
	}
	number, err := lookup(name)
	if err != nil {
		number = name
	}
	if id, err := strconv.ParseUint(number, 10, 32); err == nil {
		ids[name] = uint32(id)
	}
}

// seed is this machine's own value for chosen MAC addresses. machine-id(5) asks that
// it is not shown to others as it is: it is hashed.
func seed() string {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		name, _ := os.Hostname()
		id = []byte(name)
	}
	sum := sha256.Sum256(append([]byte("drawbridge mac "), id...))
	return string(sum[:])
}

// transaction prepares to carry out a plan, telling of each step.
func (a *app) transaction(s *session, quiet bool) *apply.Transaction {
	t := &apply.Transaction{Kernel: a.withGroups(s), Machines: s.machines, Services: s.services, Store: s.store, Clock: kernel.Uptime}
	p := &progress{w: a.err, terminal: isTerminal(a.err), used: s.machines.Used}
	if !quiet {
		s.machines.Progress = p.machines
		t.Progress = func(step, of int, title string) {
			fmt.Fprintf(a.err, "  %*d/%d  %s\n", len(strconv.Itoa(of)), step, of, title)
		}
	}
	t.RollingBack = func(cause error) {
		p.finish()
		s.machines.Progress = nil
		fmt.Fprintf(a.err, "rolling back: %s\n", strings.SplitN(cause.Error(), "\n", 2)[0])
	}
	return t
}

// failureCode gives a transaction's failure its exit code.
func failureCode(err error) error {
	var f *apply.Failure
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &f), !f.Changed && len(f.Left) == 0:
		return withCode(exitFailed, err)
	case len(f.Left) > 0:
		return withCode(exitHalfRolled, err)
	default:
		return withCode(exitRolledBack, err)
	}
}

// begin opens the namespace for a change: with the rights for it, locked, and with
// whatever a crash left behind brought back first.
func (a *app) begin() (*session, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	if err := s.kernel.CheckRights(); err != nil {
		s.close()
		return nil, fmt.Errorf("%w\n  nothing was changed", err)
	}
	if err := a.settle(s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// settle takes the lock, brings back whatever a crash left behind, and takes away what
// outlived its VM. Where that fails there is no lock.
func (a *app) settle(s *session) error {
	if err := a.lock(s); err != nil {
		return err
	}
	if _, err := a.takeAwayLeftOver(s); err != nil {
		s.store.Unlock()
		return err
	}
	a.revive(s)
	return nil
}

// revive starts the servers again that were killed together with their supervisors. What
// does not start is told, and is no reason not to go on.
func (a *app) revive(s *session) {
	told, err := s.services.Revive(context.Background())
	for _, line := range told {
		fmt.Fprintln(a.err, "note:", line)
	}
	if err != nil {
		fmt.Fprintln(a.err, "drawbridge:", err)
	}
}

// takeAwayLeftOver takes away, and tells, the broker's taps that outlived their holders:
// where no broker runs, nobody else does.
func (a *app) takeAwayLeftOver(s *session) (n int, err error) {
	told, _, err := broker.Reap(context.Background(), s.kernel, brokerState{a, s})
	for _, line := range told {
		fmt.Fprintln(a.err, "left over:", line)
	}
	return len(told), err
}

// lock takes the lock, and brings back whatever a crash left behind.
func (a *app) lock(s *session) error {
	if err := s.store.Lock(); err != nil {
		return err
	}
	interrupted, err := s.store.Interrupted()
	if err != nil {
		s.store.Unlock()
		return fmt.Errorf("%w\n  nothing was changed", err)
	}
	if interrupted {
		fmt.Fprintln(a.err, "an earlier run was interrupted: bringing the host back first")
		if _, err := a.bringBack(s); err != nil {
			s.store.Unlock()
			return failureCode(err)
		}
	}
	return nil
}

// bringBack rolls back what a crash interrupted, and sees to it that what is kept for the
// host goes on: nobody renews an address while it moves.
func (a *app) bringBack(s *session) (undone []string, err error) {
	if err := s.stopKeepers(); err != nil {
		return nil, err
	}
	undone, err = a.transaction(s, false).Recover()
	a.startAll(s)
	return undone, err
}

// startAll starts what must go on for the host: leases renewed, multicast groups heard.
// What does not begin is told, and undoes nothing.
func (a *app) startAll(s *session) {
	if err := errors.Join(a.startKeepers(s), a.startGroups(s)); err != nil {
		fmt.Fprintln(a.err, "drawbridge:", err)
	}
}

// end closes what begin opened, and sweeps what nothing is kept in any more.
func (s *session) end() {
	for _, dir := range s.childFolders() {
		child.Sweep(dir)
	}
	s.store.Unlock()
	s.close()
}
