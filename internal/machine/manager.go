package machine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"drawbridge/internal/child"
	"drawbridge/internal/kernel"
	"drawbridge/internal/machine/initrd"
	"drawbridge/internal/machine/qemu"
	"drawbridge/internal/machine/uml"
	"drawbridge/internal/model"
)

// ShimCommand is the hidden command of the executable that runs [RunShim].
const ShimCommand = "machine-shim"

// Manager has the machines of one network namespace. Its methods may be called from
// several goroutines, and several managers of one folder may be at work at once.
type Manager struct {
	// Namespace is the path of the network namespace that the machines' cables lead to,
	// like /run/netns/host; "" for the one of this process.
	Namespace string
	// Executable is the static drawbridge binary; "" for this process's own.
	Executable string
	// Kept is the folder of the overlays that outlive their machines; "" for one in dir.
	Kept string
	// Progress of many machines; may be nil.
	Progress Progress

	dir string
}

// NewManager has its state in dir, which is made when it is needed.
func NewManager(dir string) *Manager { return &Manager{dir: dir} }

// Do carries out StartMachine, StopMachine, StartMachines, StopMachines, PlugNIC, UnplugNIC or ConfigureNIC. The
// error wraps one of the model's. A start that fails, or whose ctx ends, leaves
// nothing over. A stop of a machine that has ended by itself cleans up after it.
func (m *Manager) Do(ctx context.Context, op model.Operation) error {
	var err error
	switch o := op.(type) {
	case model.StartMachine:
		err = m.start(ctx, o.Machine)
	case model.StopMachine:
		_, err = m.stop(ctx, o.Name, 0)
	case model.StartMachines:
		err = m.startMany(ctx, o.Machines)
	case model.StopMachines:
		err = m.stopMany(ctx, o.Machines)
	case model.PlugNIC:
		_, err = m.call(ctx, o.Machine, call{Do: callPlug, NIC: &o.NIC})
	case model.UnplugNIC:
		_, err = m.call(ctx, o.Machine, call{Do: callUnplug, Name: o.NIC})
	case model.ConfigureNIC:
		_, err = m.call(ctx, o.Machine, call{Do: callConfigure, NIC: &o.NIC})
	default:
		err = fmt.Errorf("%w: not an operation of a machine", model.ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", op.Op(), op.Object(), err)
	}
	return nil
}

// Ready tells what would keep an operation from being carried out on this host, as far
// as that can be known before anything is touched; nil for nothing.
func (m *Manager) Ready(ctx context.Context, op model.Operation) error {
	of := started(op)
	var errs []error
	if umls := of[vmmUML]; len(umls) > 0 {
		errs = append(errs, uml.Ready(ctx, umls, m.kept()))
	}
	if needsInit(of) {
		executable, err := m.executable()
		if err == nil {
			err = initrd.CheckInit(executable)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, qemu.Ready(ctx, of[vmmQEMU], m.kept()))...)
}

// needsInit tells whether a machine boots this program as its /init: every UML, and a QEMU
// that runs our own guest.
func needsInit(of map[string][]model.MachineConfig) bool {
	return len(of[vmmUML]) > 0 || slices.ContainsFunc(of[vmmQEMU], model.MachineConfig.HasAgent)
}

// executable is the program that shims and guests are.
func (m *Manager) executable() (string, error) {
	if m.Executable != "" {
		return m.Executable, nil
	}
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("own executable: %w", err)
	}
	return own, nil
}

// Notes are what a person should know of an operation though it can be carried out: a
// machine that will be slow, and why.
func (m *Manager) Notes(op model.Operation) []string {
	return qemu.Notes(started(op)[vmmQEMU])
}

// started are the machines that an operation starts, by their VMM.
func started(op model.Operation) map[string][]model.MachineConfig {
	var list []model.MachineConfig
	switch o := op.(type) {
	case model.StartMachine:
		list = []model.MachineConfig{o.Machine}
	case model.StartMachines:
		list = o.Machines
	}
	of := map[string][]model.MachineConfig{}
	for _, c := range list {
		of[c.VMM] = append(of[c.VMM], c)
	}
	return of
}

var machineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func (m *Manager) kept() string { return cmp.Or(m.Kept, filepath.Join(m.dir, ".kept")) }

func (m *Manager) folder(name string) string { return filepath.Join(m.dir, name) }

// checkName keeps a name from leading out of the folder; it also is a host name.
func checkName(name string) error {
	if !machineName.MatchString(name) {
		return fmt.Errorf("%w: the name has other characters than letters, digits, dot, dash and underscore, or more than 63", model.ErrInvalid)
	}
	return nil
}

// defaultMAC is stable, locally administered and unicast.
func defaultMAC(machine, nic string) model.MAC {
	h := sha256.Sum256([]byte(machine + "/" + nic))
	return model.MAC(fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4]))
}

func (m *Manager) start(ctx context.Context, c model.MachineConfig) error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	for i, nic := range c.NICs {
		if err := model.CheckLinkName(nic.Name); err != nil {
			return err
		}
		if nic.MAC == "" {
			c.NICs[i].MAC = defaultMAC(c.Name, nic.Name)
		}
	}
	executable, err := m.executable()
	if err != nil {
		return err
	}
	lock, err := m.prepare(ctx, shimConfig{Machine: c, Executable: executable, Kept: m.kept()})
	if err != nil {
		return err
	}
	defer lock.Close()
	p, err := child.Start(executable, ShimCommand, m.folder(c.Name), lock, m.inside)
	if err != nil {
		return errors.Join(err, os.RemoveAll(m.folder(c.Name)))
	}
	return m.await(ctx, c.Name, p)
}

// await waits for the shim's word. Of one that has given none nothing is left.
func (m *Manager) await(ctx context.Context, name string, p *child.Process) error {
	var r reply
	if err := p.Await(ctx, &r); err != nil {
		if _, serr := os.Stat(m.folder(name)); serr == nil {
			err = errors.Join(err, m.bury(context.WithoutCancel(ctx), m.folder(name)))
		}
		return err
	}
	if r.Error != "" {
		p.Wait()
	}
	return r.Err()
}

// prepare makes a machine's folder, with the lock that tells that it lives. What a
// dead machine of that name has left is removed.
func (m *Manager) prepare(ctx context.Context, c shimConfig) (*os.File, error) {
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := m.folder(c.Machine.Name)
	if child.Alive(dir) {
		return nil, fmt.Errorf("a machine of that name is running: %w", model.ErrExists)
	}
	if _, err := os.Stat(dir); err == nil {
		if err := m.bury(ctx, dir); err != nil {
			return nil, err
		}
	}
	lock, err := child.Make(dir, c)
	if err != nil {
		return nil, fmt.Errorf("machine's folder: %w", err)
	}
	return lock, nil
}

// lock is held while folders come and go.
func (m *Manager) lock() (unlock func(), err error) {
	if unlock, err = child.Lock(m.dir); err != nil {
		err = fmt.Errorf("machines' folder: %w", err)
	}
	return unlock, err
}

// inside runs fn in the machines' namespace.
func (m *Manager) inside(fn func() error) error {
	if m.Namespace == "" {
		return fn()
	}
	return kernel.Enter(m.Namespace, fn)
}

// Stop is StopMachine with a patience of its own for the guest, 0 for what is usual. It
// tells how the guest took it, "" where there is nothing to tell.
func (m *Manager) Stop(ctx context.Context, name string, patience time.Duration) (note string, err error) {
	if note, err = m.stop(ctx, name, patience); err != nil {
		err = fmt.Errorf("stop machine %s: %w", name, err)
	}
	return note, err
}

func (m *Manager) stop(ctx context.Context, name string, patience time.Duration) (note string, err error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	dir := m.folder(name)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("no machine of that name: %w", model.ErrNotFound)
	}
	r, err := m.call(ctx, name, call{Do: callStop, Patience: patience})
	if errors.Is(err, child.ErrGone) {
		unlock, err := m.lock()
		if err != nil {
			return "", err
		}
		defer unlock()
		return "", m.bury(ctx, dir)
	}
	if err != nil {
		return "", err
	}
	// The shim ends a moment after its answer.
	for end := time.Now().Add(2 * time.Second); child.Alive(dir) && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	return r.Note, nil
}
