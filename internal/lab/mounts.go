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

// mountAll gives the supervisor a /proc, /sys and /run of the lab's own, and an /etc and a
// /var that are the machine's to read and the lab's to write. All else is the machine's, and
// stays in sight.
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
		{source: "tmpfs", target: "/run", fstype: "tmpfs", flags: unix.MS_NOSUID | unix.MS_NODEV, data: "mode=0755"}, // half of the memory at most, as everywhere
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
	for _, dir := range []string{"/etc", "/var"} {
		if err := writeAside(dir); err != nil {
			return err
		}
	}
	if err := ownResolver(); err != nil {
		return err
	}
	return bindSelf(self)
}

// writeAside lets what is written below a folder of the machine's go to the lab: what a DHCP
// client, a network manager or 'drawbridge persist' writes there is gone with it. Where the
// kernel has no overlay for us the folder can only be read.
func writeAside(dir string) error {
	upper, work := labDir+dir, labDir+"/work"+dir
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil { //nolint:gosec // as the folder that it stands for
			return err
		}
	}
	// userxattr: in a user namespace the trusted ones are not to be had (overlayfs.rst).
	layers := "lowerdir=" + dir + ",upperdir=" + upper + ",workdir=" + work
	for _, options := range []string{layers, layers + ",userxattr"} {
		if unix.Mount("overlay", dir, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options) == nil {
			return nil
		}
	}
	if err := (mount{source: dir, target: dir, flags: unix.MS_BIND | unix.MS_REC}).do(); err != nil {
		return err
	}
	// What is locked on the mount below must be said again (mount_setattr and MNT_LOCK_READONLY).
	return mount{target: dir, flags: unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV}.do()
}

// ownResolver makes the lab's router the name server of all that runs in the lab: the
// machine's own is out of reach there.
func ownResolver() error {
	const name = "/etc/resolv.conf"
	own := labDir + "/resolv.conf"
	if err := os.WriteFile(own, []byte("nameserver "+routerLAN4.Addr().String()+"\n"), 0o644); err != nil { //nolint:gosec // everybody reads it
		return err
	}
	// It may be a link that leads below the covered /run.
	if err := os.Remove(name); err == nil {
		return os.Symlink(own, name)
	}
	target, err := filepath.EvalSymlinks(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there is no file to put ours over, and none can be made
	}
	if err != nil {
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
