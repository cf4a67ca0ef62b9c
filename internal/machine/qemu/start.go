package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"

	"drawbridge/internal/machine/guest"
	"drawbridge/internal/machine/initrd"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// In the machine's folder.
const (
	initrdFile = "initrd"
	seedFile   = "seed.iso"
)

// vhostDevice moves packets between a tap and a guest inside the kernel.
const vhostDevice = "/dev/vhost-net"

// starter collects what a QEMU is started with.
type starter struct {
	prepared
	m      model.MachineConfig
	vm     *VM
	launch launch
	// files are the QEMU's descriptors from consoleFD on. Ours are closed when it has them.
	files   []*os.File
	console *os.File
}

// build makes all that the command line speaks of.
func (s *starter) build(ctx context.Context, init string) error {
	m := s.m
	s.launch = launch{platform: s.platform, kvm: s.kvm, name: m.Name, memory: m.Memory, cpus: s.vm.cpus, sandbox: s.program.sandbox}
	if err := s.channels(); err != nil {
		return err
	}
	var err error
	if embedded(m) {
		err = s.embeddedGuest(init)
	} else {
		err = s.ownSystem(ctx)
	}
	if err != nil {
		return err
	}
	for _, config := range m.NICs {
		if config.Link == "" {
			continue
		}
		n, open, err := s.vm.openNIC(config)
		if err != nil {
			return err
		}
		for _, f := range open.queues {
			n.fds = append(n.fds, s.pass(f))
		}
		for _, f := range open.vhost {
			n.vhost = append(n.vhost, s.pass(f))
		}
		s.launch.nics = append(s.launch.nics, n)
	}
	return nil
}

// pass hands a file to the QEMU, and tells its descriptor there.
func (s *starter) pass(f *os.File) int {
	s.files = append(s.files, f)
	return consoleFD + len(s.files) - 1
}

// channels are the console, the monitor and the agent's line, each a socket pair.
func (s *starter) channels() error {
	ours := make([]*os.File, 3)
	for i, name := range []string{"console", "monitor", "agent"} {
		mine, theirs, err := procs.SocketPair(name)
		if err != nil {
			return errors.Join(err, closeAll(ours))
		}
		ours[i] = mine
		s.pass(theirs)
	}
	s.console = s.files[0]
	conn, err := unixConn(ours[1])
	if err != nil {
		return errors.Join(err, closeAll([]*os.File{ours[0], ours[2]}))
	}
	s.vm.console, s.vm.monitor = ours[0], newMonitor(conn, s.vm.event)
	if embedded(s.m) {
		s.vm.agent = ours[2]
	} else {
		_ = ours[2].Close()
	}
	return nil
}

// embeddedGuest boots the guest inside this binary.
func (s *starter) embeddedGuest(init string) error {
	config, err := guest.NewConfig(s.m, agentLine).Encode()
	if err != nil {
		return err
	}
	f, err := s.file(initrdFile)
	if err != nil {
		return err
	}
	s.launch.initrd = descriptorPath(s.pass(f))
	if err := (initrd.Initrd{Init: init, Config: config, Modules: s.kernel.modules}).Write(f); err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	if s.launch.memory == 0 {
		s.launch.memory = DefaultMemory
	}
	s.launch.memory = max(s.launch.memory, leastMemory(st.Size()))
	s.launch.agent = true
	s.launch.kernel = s.kernel.path
	s.launch.args = append([]string{
		"console=" + s.platform.console, "quiet",
		"panic=-1", // at once: the machine ends then, see -no-reboot
		// The kernel's tests of its own cryptography take a fifth of a second.
		"cryptomgr.notests",
	}, s.m.Args...)
	return nil
}

// ownSystem boots the system of a disk image.
func (s *starter) ownSystem(ctx context.Context) error {
	if s.overlay.missing {
		if err := s.overlay.make(ctx, s.who); err != nil {
			return err
		}
	}
	if s.overlay.path != "" {
		f, err := os.OpenFile(s.overlay.path, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		s.root.path = descriptorPath(s.pass(f))
	}
	if s.launch.memory == 0 {
		s.launch.memory = DefaultImageMemory
	}
	s.launch.reboots = true
	s.launch.uuid = uuid(s.m)
	s.launch.firmware = s.firmware
	s.launch.disks = []disk{s.root}
	if s.m.NoSeed {
		return nil
	}
	files, err := seedFiles(s.m)
	if err != nil {
		return err
	}
	f, err := s.file(seedFile)
	if err != nil {
		return err
	}
	s.launch.disks = append(s.launch.disks, disk{id: seedDrive, path: descriptorPath(s.pass(f)), format: "raw", readOnly: true})
	if _, err := bytes.NewReader(iso9660("cidata", []string{"meta-data", "network-config", "user-data"}, files)).WriteTo(f); err != nil {
		return fmt.Errorf("cloud-init's seed: %w", err)
	}
	return nil
}

// file makes a file of the machine's folder that the QEMU may read by its descriptor:
// the folder itself need not let its user in.
func (s *starter) file(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := s.who.Own(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// uuid of a machine: systemd makes a machine's id of it where an image has none, so that
// copies of one image do not ask a DHCP server for one address.
func uuid(m model.MachineConfig) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "drawbridge %s", m.Name)
	for _, n := range m.NICs {
		fmt.Fprintf(sum, " %s", n.MAC)
	}
	b := sum.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80 // version 8: of our own making (RFC 9562)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// run starts the QEMU, and waits for its monitor.
func (s *starter) run(ctx context.Context) error {
	if err := s.vm.start(s.program.path, arguments(s.launch), s.files, s.console); err != nil {
		return err
	}
	// Ours of its ends: when it ends, what we read from it must end, too.
	s.closeFiles()
	err := s.vm.monitor.open(ctx)
	if err == nil {
		return nil
	}
	s.vm.Kill()
	<-s.vm.done
	// It tells on its console what it does not like.
	said := make([]byte, 4096)
	_ = s.vm.console.SetReadDeadline(deadlineSoon())
	n, _ := s.vm.console.Read(said)
	if words := bytes.TrimSpace(said[:max(n, 0)]); len(words) > 0 {
		return fmt.Errorf("%s ended at once: %s", s.program.path, words)
	}
	return fmt.Errorf("%s ended at once: %w", s.program.path, err)
}

// undo takes back what a failed start has made.
func (s *starter) undo() error {
	var errs []error
	if s.vm.monitor != nil {
		errs = append(errs, s.vm.Close())
	}
	if s.overlay.missing {
		if err := os.Remove(s.overlay.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *starter) closeFiles() {
	_ = closeAll(s.files)
	s.files = nil
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range slices.DeleteFunc(slices.Clone(files), func(f *os.File) bool { return f == nil }) {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
