package kernel

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// dwelling is a network namespace that processes are in and that /run/netns does not
// name: a container's, a pod's, a service's of its own.
type dwelling struct {
	pid   int // of the first process in it
	inode uint64
	path  string
	name  string
	is    model.Container
}

// findDwellings lists them by name, but those of the inodes that are known already. No
// daemon is asked: the processes' namespaces and control groups tell. unseen counts the
// processes whose namespaces may not be looked at (ptrace(2), PTRACE_MODE_READ).
func findDwellings(known map[uint64]bool) (list []dwelling, unseen int) {
	seen := map[uint64]bool{}
	pids, _ := processes()
	for _, pid := range pids {
		path := filepath.Join("/proc", strconv.Itoa(pid), "ns/net")
		inode, err := linkedInode(path)
		if os.IsPermission(err) {
			unseen++
		}
		if err != nil || seen[inode] || known[inode] {
			continue
		}
		seen[inode] = true
		list = append(list, dwelling{pid: pid, inode: inode, path: path, is: containerOf(pid)})
	}
	nameDwellings(list)
	return list, unseen
}

// linkedInode reads "net:[4026531840]" (nsfs): one readlink(2) for each process.
func linkedInode(path string) (uint64, error) {
	target, err := os.Readlink(path)
	if err != nil {
		return 0, err
	}
	digits := strings.TrimSuffix(strings.TrimPrefix(target, "net:["), "]")
	return strconv.ParseUint(digits, 10, 64)
}

// nameDwellings gives each a name that is made of names, as it will be called tomorrow,
// and no two the same one.
func nameDwellings(list []dwelling) {
	slices.SortStableFunc(list, func(a, b dwelling) int {
		return cmp.Or(cmp.Compare(a.is.Runtime, b.is.Runtime), model.NaturalCompare(a.is.Name, b.is.Name), cmp.Compare(a.is.ID, b.is.ID))
	})
	taken := map[string]int{}
	for i := range list {
		d := &list[i]
		d.name = cmp.Or(d.is.Runtime, "process") + ":" + d.is.Name
		taken[d.name]++
		if n := taken[d.name]; n > 1 {
			d.name += fmt.Sprintf("#%d", n)
			d.is.Name += fmt.Sprintf("#%d", n)
		}
	}
}

// runtimes know their containers by the control group that they put them into. The
// patterns are those of the runtimes' own sources; both drivers, systemd and cgroupfs.
var runtimes = []struct {
	runtime string
	pattern *regexp.Regexp
}{
	{"pod", regexp.MustCompile(`kubepods.*[-/](?:cri-containerd-|crio-|docker-)?([0-9a-f]{64})(?:\.scope)?`)},
	{"docker", regexp.MustCompile(`(?:/docker/|docker-)([0-9a-f]{64})`)},
	{"podman", regexp.MustCompile(`libpod-(?:conmon-)?([0-9a-f]{64})`)},
	{"containerd", regexp.MustCompile(`(?:cri-containerd-|/default/|nerdctl-)([0-9a-f]{64})`)},
	{"lxc", regexp.MustCompile(`(?:lxc\.payload\.|/lxc/)([^/\n]+)`)},
	{"nspawn", regexp.MustCompile(`(?:systemd-nspawn@|/machine-)([^/\n]+?)\.(?:service|scope)`)},
	{"service", regexp.MustCompile(`/system\.slice/(?:.*/)?([^/\n]+)\.service`)},
}

// kthreadd is the parent of all kernel threads (init/main.c, rest_init).
const kthreadd = 2

// containerOf tells what a process is in: by its control group, and by the host name of
// its UTS namespace where that is not ours.
func containerOf(pid int) model.Container {
	groups, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	c := model.Container{Command: command(pid)}
	if pid == kthreadd {
		c.Command = "init" // the namespace that the machine was booted with
	}
	c.Runtime, c.ID = runtimeOf(string(groups))
	switch c.Runtime {
	case "lxc", "nspawn", "service":
		c.Name, c.ID = c.ID, "" // they are known by name
	default:
		c.Name = cmp.Or(hostNameOf(pid), c.ID[:min(len(c.ID), 12)], c.Command)
	}
	return c
}

// runtimeOf reads /proc/PID/cgroup (cgroups(7)): who runs it, and by which id or name.
func runtimeOf(groups string) (runtime, id string) {
	for _, r := range runtimes {
		if m := r.pattern.FindStringSubmatch(groups); m != nil {
			return r.runtime, m[1]
		}
	}
	return "", ""
}

// hostNameOf is the host name in the UTS namespace of a process, "" where that is this
// process's own or may not be entered.
func hostNameOf(pid int) string {
	path := filepath.Join("/proc", strconv.Itoa(pid), "ns/uts")
	own, err := os.Readlink("/proc/self/ns/uts")
	theirs, err2 := os.Readlink(path)
	if err != nil || err2 != nil || own == theirs {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	name := ""
	_ = onThread(func() error {
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWUTS); err != nil {
			return err
		}
		var u unix.Utsname
		err := unix.Uname(&u)
		name = unix.ByteSliceToString(u.Nodename[:])
		return err
	})
	return name
}
