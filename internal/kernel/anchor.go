package kernel

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Anchor is what a network namespace is there for. A process of ours that only serves it
// ends when that is gone: it would keep the namespace, with all its links, for ever.
type Anchor struct {
	inode uint64
	// path is its name, "" where it was entered without.
	path string
}

// NewAnchor is the anchor of a namespace (its inode): the path in /run/netns by which it is
// known; where that is "", whoever else is in it (in the host's own, always somebody), or
// holds it by a file.
func NewAnchor(path string, inode uint64) Anchor { return Anchor{inode, path} }

// Gone tells whether that is gone: the name, or everybody else, and every other mount by
// which the namespace is held.
func (a Anchor) Gone() bool {
	if a.path != "" {
		inode, err := inodeOfPath(a.path)
		return err != nil || inode != a.inode
	}
	return !a.inhabited() && !a.mounted()
}

// inhabited tells whether anybody but processes of this program is in it, as far as they
// may be looked at.
func (a Anchor) inhabited() bool {
	pids, err := processes()
	if err != nil {
		return true
	}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return true
	}
	name := command(os.Getpid())
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		if inode, err := linkedInode(dir + "/ns/net"); err != nil || inode != a.inode {
			continue
		}
		// Another version of it has another file, and a server is started by a descriptor.
		if exe, err := os.Stat(dir + "/exe"); err == nil && os.SameFile(own, exe) || command(pid) == name {
			continue
		}
		return true
	}
	return false
}

// mounted tells whether a file holds it somewhere, as proc_pid_mountinfo(5) shows.
func (a Anchor) mounted() bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err != nil || mountsNamespace(table, a.inode)
}

func mountsNamespace(table []byte, inode uint64) bool {
	root := fmt.Sprintf("net:[%d]", inode)
	for lines := bufio.NewScanner(bytes.NewReader(table)); lines.Scan(); {
		// ID, parent, device, root, mount point ...
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && fields[3] == root {
			return true
		}
	}
	return false
}
