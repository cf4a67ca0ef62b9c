package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where things are inside a lab.
const (
	labDir = "/run/lab"
	binDir = labDir + "/bin"
	// LogFile is where the lab's own services write, inside the lab.
	LogFile = labDir + "/log"

	netnsDir = "/run/netns"
)

// mount is one step towards the lab's own view of the file system.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
	// why it may be refused, for the error
	hint string
}

// mountAll gives the supervisor a /proc, /sys and /run of the lab's own. All else
// is the machine's, and stays in sight.
func mountAll() error {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	// The binary is found before /run is covered: it may be in there.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	steps := []mount{
		// Nothing done here is seen outside, nor the other way round.
		{target: "/", flags: unix.MS_REC | unix.MS_PRIVATE},
		{source: "proc", target: "/proc", fstype: "proc", flags: safe,
			hint: "a container hides parts of its /proc, and the kernel then refuses a new one (mount_too_revealing): run it outside, or with --privileged"},
		{source: "sysfs", target: "/sys", fstype: "sysfs", flags: safe},
		{source: "tmpfs", target: "/run", fstype: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=0755,size=64m"},
	}
	for _, m := range steps {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, dir := range []string{netnsDir, binDir, "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a folder of the lab's own tmpfs
			return err
		}
	}
	// Commands run in mount namespaces of their own (for /sys); a namespace that one
	// of them names must be seen by all: ip-netns does the same (iproute2, netns_add).
	for _, m := range []mount{
		{source: netnsDir, target: netnsDir, flags: unix.MS_BIND | unix.MS_REC},
		{target: netnsDir, flags: unix.MS_SHARED | unix.MS_REC},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	if err := bindResolver(); err != nil {
		return err
	}
	return bindSelf(self)
}

// bindResolver makes the lab's router the name server of all that runs in the lab: the
// machine's own is out of reach there.
func bindResolver() error {
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it led below the covered /run: there is no file to put ours over
	}
	if err != nil {
		return err
	}
	own := labDir + "/resolv.conf"
	if err := os.WriteFile(own, []byte("nameserver "+routerLAN4.Addr().String()+"\n"), 0o644); err != nil { //nolint:gosec // everybody reads it
		return err
	}
	return mount{source: own, target: target, flags: unix.MS_BIND}.do()
}

// bindSelf makes the running binary reachable as "drawbridge", also when it was
// started by another name, was replaced meanwhile, or is below the covered /run.
func bindSelf(self *os.File) error {
	target := binDir + "/drawbridge"
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY|os.O_EXCL, 0o755) //nolint:gosec // must be executable
	if err != nil {
		return err
	}
	_ = f.Close()
	m := mount{source: fmt.Sprintf("/proc/self/fd/%d", self.Fd()), target: target, flags: unix.MS_BIND}
	if err := m.do(); err == nil {
		return nil
	}
	// A binary that was deleted since cannot be bound (ENOENT): copy it.
	return copyFile(self, target)
}

func copyFile(from *os.File, target string) error {
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_TRUNC, 0o755) //nolint:gosec // must be executable
	if err != nil {
		return err
	}
	_, err = to.ReadFrom(from)
	return errors.Join(err, to.Close())
}

func (m mount) do() error {
	err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("mount on %s: %w", m.target, err)
	hint := m.hint
	if errors.Is(err, syscall.EACCES) {
		// AppArmor lets the user namespace be made and then takes its rights away.
		if h := refusalHint(err, readSwitch); h != "" {
			hint = h
		}
	}
	if hint != "" {
		return fmt.Errorf("%w\n%s", err, hint)
	}
	return err
}
