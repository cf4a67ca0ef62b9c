package kernel

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// callers are the names of who asked for changes.
type callers struct {
	kernel *Kernel

	mu    sync.Mutex
	names []string
	later map[uint32]bool // sockets whose owner is found by the socket itself
}

// note looks them up at once: a command is gone in a moment.
func (c *callers) note(messages []netlink.Message) {
	seen := map[uint32]bool{0: true}
	for _, m := range messages {
		socket := m.Header.PID
		if seen[socket] || !isSomebodysDoing(m) {
			continue
		}
		seen[socket] = true
		name := c.process(socket)
		c.mu.Lock()
		switch {
		case name != "":
			c.add(name)
		case c.later == nil:
			c.later = map[uint32]bool{socket: true}
		default:
			c.later[socket] = true
		}
		c.mu.Unlock()
	}
}

func (c *callers) add(name string) {
	if !slices.Contains(c.names, name) {
		c.names = append(c.names, name)
	}
}

// process is the process whose number a socket has. "" where that may be another one: the
// first process opens sockets for services, and hands them over (systemd.socket(5)); and
// the number may be one of another PID namespace.
func (c *callers) process(socket uint32) string {
	if socket == 1 {
		return ""
	}
	inode, err := linkedInode(fmt.Sprintf("/proc/%d/ns/net", socket))
	if err == nil && inode != c.kernel.inode || os.IsNotExist(err) {
		return ""
	}
	return programName(int(socket))
}

// take returns the names, and forgets them.
func (c *callers) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.later) > 0 {
		for _, pid := range c.kernel.socketOwners(c.later) {
			if name := programName(pid); name != "" {
				c.add(name)
			}
		}
	}
	names := c.names
	c.names, c.later = nil, nil
	return names
}

// socketOwners finds the processes that have netlink sockets, by the sockets' numbers.
func (k *Kernel) socketOwners(sockets map[uint32]bool) (pids []int) {
	var table []byte
	err := k.inside(func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/netlink")
		return err
	})
	if err != nil {
		return nil
	}
	inodes := netlinkInodes(table, sockets)
	if len(inodes) == 0 {
		return nil
	}
	holders, _ := k.SocketHolders(inodes) // whose may not be read is not told
	for _, h := range holders {
		pids = append(pids, h.PID)
	}
	slices.Sort(pids)
	return pids
}

// netlinkInodes reads /proc/net/netlink (netlink_native_seq_show): sk, protocol, number,
// groups, rmem, wmem, dump, locks, drops, inode.
func netlinkInodes(table []byte, sockets map[uint32]bool) map[uint64]bool {
	out := map[uint64]bool{}
	for lines := bufio.NewScanner(bytes.NewReader(table)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[1] != strconv.Itoa(unix.NETLINK_ROUTE) && fields[1] != strconv.Itoa(unix.NETLINK_NETFILTER) {
			continue
		}
		number, err := strconv.ParseUint(fields[2], 10, 32)
		inode, err2 := strconv.ParseUint(fields[9], 10, 64)
		if err == nil && err2 == nil && sockets[uint32(number)] {
			out[inode] = true
		}
	}
	return out
}

// commLength is all that the kernel keeps of a process's name (TASK_COMM_LEN).
const commLength = 15

// programName is a process's name, as a person knows it: where the kernel has cut it, the program's
// own path tells the rest.
func programName(pid int) string {
	name := command(pid)
	if len(name) == commLength {
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		program, _, _ := strings.Cut(string(line), "\x00")
		if full := filepath.Base(program); strings.HasPrefix(full, name) {
			return full
		}
	}
	return name
}
