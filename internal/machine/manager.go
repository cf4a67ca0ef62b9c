package machine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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
	shim, report, err := m.startShim(executable, m.folder(c.Name), lock)
	if err != nil {
		return errors.Join(err, os.RemoveAll(m.folder(c.Name)))
	}
	defer report.Close()
	return m.awaitReport(ctx, c.Name, shim, report)
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
	if alive(dir) {
		return nil, fmt.Errorf("a machine of that name is running: %w", model.ErrExists)
	}
	if _, err := os.Stat(dir); err == nil {
		if err := m.bury(ctx, dir); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("machine's folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		err = writeJSON(filepath.Join(dir, configFile), c)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("machine's folder: %w", err), lock.Close(), os.RemoveAll(dir))
	}
	return lock, nil
}

// lock is held while folders come and go.
func (m *Manager) lock() (unlock func(), err error) {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, fmt.Errorf("machines' folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(m.dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("machines' folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("machines' folder: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// alive tells whether a shim holds the lock of a machine's folder.
func alive(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// startShim starts the shim in the machines' namespace, in a session of its own, so
// that neither Ctrl-C nor a lost login ends it.
func (m *Manager) startShim(executable, dir string, lock *os.File) (*exec.Cmd, *os.File, error) {
	report, theirs, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("shim: %w", err)
	}
	defer theirs.Close()
	log, err := os.OpenFile(filepath.Join(dir, shimLogFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("shim: %w", err), report.Close())
	}
	defer log.Close()
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, errors.Join(err, report.Close())
	}
	cmd := exec.Command(executable, ShimCommand, abs)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs, lock} // reportFD, lockFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := m.inside(cmd.Start); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("shim: %w", err), report.Close())
	}
	return cmd, report, nil
}

// inside runs fn in the machines' namespace.
func (m *Manager) inside(fn func() error) error {
	if m.Namespace == "" {
		return fn()
	}
	return kernel.Enter(m.Namespace, fn)
}

// awaitReport waits for the shim's word. When ctx ends first, the shim is told to stop
// what it does, and is killed if it does not.
func (m *Manager) awaitReport(ctx context.Context, name string, shim *exec.Cmd, report *os.File) error {
	word := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(report)
		word <- b
	}()
	ended := make(chan error, 1)
	go func() { ended <- shim.Wait() }() // it may outlive this process; if not, it is reaped
	var line []byte
	select {
	case line = <-word:
	case <-ctx.Done():
		_ = shim.Process.Signal(unix.SIGTERM)
		select {
		case <-word:
		case <-time.After(10 * time.Second):
			_ = shim.Process.Kill()
		}
		<-ended //nolint:errcheck // how is told by its word, or by its log
		if _, err := os.Stat(m.folder(name)); err == nil {
			return errors.Join(ctx.Err(), m.bury(context.WithoutCancel(ctx), m.folder(name)))
		}
		return ctx.Err()
	}
	var r reply
	if json.Unmarshal(bytes.TrimSpace(line), &r) != nil {
		// It died without a word: killed, or out of memory.
		<-ended //nolint:errcheck // how is told by its word, or by its log
		log, _ := os.ReadFile(filepath.Join(m.folder(name), shimLogFile))
		err := fmt.Errorf("its shim ended without a word (%v): %s", shim.ProcessState, lastLines(string(log), tailLines))
		return errors.Join(err, m.bury(context.WithoutCancel(ctx), m.folder(name)))
	}
	if r.Error != "" {
		<-ended //nolint:errcheck // how is told by its word, or by its log
	}
	return r.err()
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
	if errors.Is(err, errNoShim) {
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
	for end := time.Now().Add(2 * time.Second); alive(dir) && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	return r.Note, nil
}
