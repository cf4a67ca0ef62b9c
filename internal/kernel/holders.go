package kernel

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// FindTapHolders finds the processes that have taps of this namespace open, by the
// tap's name. Processes whose descriptors may not be read (another user's, without
// CAP_SYS_PTRACE) are left out.
func (k *Kernel) FindTapHolders() (map[string][]model.Holder, error) {
	out := map[string][]model.Holder{}
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		for _, tap := range k.tapsOf(pid) {
			out[tap] = append(out[tap], model.Holder{PID: pid, Command: command(pid), Name: machineName(pid)})
		}
	}
	return out, nil
}

// machineName is the name of the virtual machine that a process is, "" if it has none.
func machineName(pid int) string {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return model.MachineName(strings.Split(string(b), "\x00"))
}

// processes lists the process ids, ascending.
func processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out, nil
}

func command(pid int) string {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return strings.TrimSpace(string(b))
}

// tapsOf lists the taps of this namespace that a process has open, each once.
func (k *Kernel) tapsOf(pid int) []string {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	d, err := os.Open(dir + "/fd")
	if err != nil {
		return nil
	}
	defer d.Close()
	fds, err := d.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var out []string
	buf := make([]byte, 256)
	for _, fd := range fds {
		n, err := unix.Readlinkat(int(d.Fd()), fd, buf)
		// The path is another one in a container, but the node is always called tun.
		if err != nil || !bytes.HasSuffix(bytes.TrimSuffix(buf[:n], []byte(" (deleted)")), []byte("/tun")) {
			continue
		}
		tap := tapOfDescriptor(dir, fd)
		if tap != "" && !slices.Contains(out, tap) && k.holdsHere(pid, fd) {
			out = append(out, tap)
		}
	}
	return out
}

// tapOfDescriptor reads the "iff:" line of fdinfo (tun_chr_show_fdinfo), "" if the
// descriptor is attached to nothing.
func tapOfDescriptor(dir, fd string) string {
	b, err := os.ReadFile(dir + "/fdinfo/" + fd)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "iff:"); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// holdsHere tells whether the tap behind a descriptor is in this namespace: a process
// may hold a tap of a namespace that it is not in itself. The descriptor knows
// (TUNGETDEVNETNS, since Linux 5.2); where it may not be borrowed, the process's own
// namespace is the best guess.
func (k *Kernel) holdsHere(pid int, fd string) bool {
	if inode, ok := tapNamespace(pid, fd); ok {
		return inode == k.inode
	}
	inode, err := inodeOfPath(filepath.Join("/proc", strconv.Itoa(pid), "ns/net"))
	return err == nil && inode == k.inode
}

func tapNamespace(pid int, fd string) (uint64, bool) {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return 0, false
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(pidfd)
	tun, err := unix.PidfdGetfd(pidfd, n, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(tun)
	// tun_chr_ioctl wants CAP_NET_ADMIN over the tap's namespace for this one.
	ns, err := unix.IoctlRetInt(tun, unix.TUNGETDEVNETNS)
	if err != nil {
		return 0, false
	}
	defer unix.Close(ns)
	inode, err := inodeOf(ns)
	return inode, err == nil
}
