package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"drawbridge/internal/plan"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who is at the other end: user and process as they were when it
// connected (SO_PEERCRED), with all groups (SO_PEERGROUPS).
func peerOf(conn *net.UnixConn, namespace uint64) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var p Peer
	var cerr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); cerr != nil {
			return
		}
		p.UID, p.PID, p.Groups = cred.Uid, int(cred.Pid), []uint32{cred.Gid}
		var more []uint32
		if more, cerr = peerGroups(int(fd)); cerr == nil {
			p.Groups = append(p.Groups, more...)
		}
	})
	if err := errors.Join(err, cerr); err != nil {
		return Peer{}, err
	}
	if u, err := user.LookupId(strconv.FormatUint(uint64(p.UID), 10)); err == nil {
		p.User = u.Username
	}
	if p.PID > 0 {
		p.Started, _ = processStarted(p.PID)
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", p.PID), &st); err == nil {
			p.Elsewhere = st.Ino != namespace
		}
	}
	return p, nil
}

// peerGroups reads the supplementary groups (Linux 4.13). The kernel tells how many there
// are when the room is too small (sk_getsockopt, ERANGE).
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && int(size/4) > len(groups):
			groups = make([]uint32, size/4)
		default:
			return nil, fmt.Errorf("SO_PEERGROUPS: %w", errno)
		}
	}
}

// processStarted is when a process started, in clock ticks after boot: with its number it
// is a process's name.
func processStarted(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the command in brackets, which may hold anything; after it come
	// the third, the state, and as the 22nd the start (proc_pid_stat(5)).
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// processLives asks the process itself, not its state: that is "Z" also for a moment of an
// execve(2), while another thread takes the first one's place (de_thread), and for one that
// has ended and was not waited for. A pidfd is readable when all threads have ended.
func processLives(h *plan.TapHolder) bool {
	pidfd, err := unix.PidfdOpen(h.PID, 0)
	if err != nil {
		return !errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(pidfd)
	started, err := processStarted(h.PID)
	if err != nil || started != h.Started {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err != nil || n == 0
}

// askACL asks an access file about a bridge with the rights of the user who asks.
func askACL(path, bridge string, peer Peer) error {
	acl, err := ReadACL(path, func(path string) ([]byte, error) { return readAs(peer, path) })
	if err != nil {
		return err
	}
	if !acl.Allows(bridge) {
		return fmt.Errorf("%s: access to %s is denied by %s", peer.name(), bridge, path)
	}
	return nil
}

// readAs reads a file as a user could: on a thread that has his identity for file systems
// (setfsuid(2)), and ends then. Neither a FIFO nor a device makes it wait.
func readAs(peer Peer, path string) (data []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err = become(peer); err != nil {
			return
		}
		data, err = readPlainFile(path)
	}()
	<-done
	return data, err
}

// become is for the calling thread alone: the raw system calls know of no others.
func become(peer Peer) error {
	groups := slices.Clone(peer.Groups)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0); errno != 0 {
		return fmt.Errorf("groups of %s: %w", peer, errno)
	}
	_, _ = unix.SetfsgidRetGid(int(peer.Groups[0]))
	_, _ = unix.SetfsuidRetUid(int(peer.UID))
	// They tell what was, and never that they failed: asked once more, they tell what is.
	gid, _ := unix.SetfsgidRetGid(-1)
	uid, _ := unix.SetfsuidRetUid(-1)
	if uid != int(peer.UID) || gid != int(peer.Groups[0]) {
		return fmt.Errorf("the identity of %s: %w", peer, unix.EPERM)
	}
	return nil
}

func readPlainFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxACL {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", path, maxACL)
	}
	return io.ReadAll(io.LimitReader(f, maxACL))
}
