package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hangupGrace is how long a command has between the SIGHUP that it gets when its
// client disappears, and its end.
const hangupGrace = 2 * time.Second

// exec runs a command for a client: on the client's own descriptors, or on a new
// terminal whose other side the client gets.
func (s *supervisor) exec(c *net.UnixConn, req request, files []*os.File) {
	if !slices.Contains(namespaceNames(), req.Namespace) && !hasNamespace(req.Namespace) {
		_ = send(c, reply{Error: fmt.Sprintf("no namespace %q in this lab: there are %s", req.Namespace, strings.Join(namespaceNames(), ", "))})
		return
	}
	if len(req.Args) == 0 || (req.Terminal == nil && len(files) != 3) {
		_ = send(c, reply{Error: "bad request: no command, or not three descriptors"})
		return
	}
	stdio, answer := files, []*os.File(nil)
	if req.Terminal != nil {
		master, slave, err := openTerminal(*req.Terminal)
		if err != nil {
			_ = send(c, replyOf(err))
			return
		}
		defer master.Close()
		defer slave.Close()
		stdio, answer = []*os.File{slave, slave, slave}, []*os.File{master}
	}
	p, status, err := s.reaper.start("/proc/self/exe", internalArgs(stageEnter, append([]string{req.Namespace, req.Dir}, req.Args...)...), &os.ProcAttr{
		Dir:   "/",
		Env:   commandEnv(req.Env, s.options.Name),
		Files: stdio,
		Sys:   commandAttr(req.Terminal != nil),
	})
	if err != nil {
		_ = send(c, reply{Error: fmt.Sprintf("start %s: %v", req.Args[0], err)})
		return
	}
	s.count(1)
	defer s.count(-1)
	defer p.Release() //nolint:errcheck // releases a descriptor
	if req.Terminal != nil {
		_ = stdio[0].Close() // the slave is the command's alone, so that its end is seen
	}
	closeAll(files)
	_ = send(c, reply{Started: true}, answer...)
	closeAll(answer)
	s.attend(c, p, status)
}

// attend passes the client's signals on until the command ends, or ends it when the
// client is gone.
func (s *supervisor) attend(c *net.UnixConn, p *os.Process, status <-chan unix.WaitStatus) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			var m toCommand
			files, err := receive(c, &m)
			closeAll(files)
			if err != nil {
				return
			}
			signalGroup(p, unix.Signal(m.Signal))
		}
	}()
	select {
	case ws := <-status:
		_ = send(c, reply{Exited: true, Code: exitCode(ws)})
		_ = c.CloseRead() // nothing signals a command that has ended
		<-gone
	case <-gone:
		// As when a terminal's line drops. What made a session of its own (a guard,
		// a virtual machine) is not in this group and lives on.
		signalGroup(p, unix.SIGHUP)
		signalGroup(p, unix.SIGCONT)
		select {
		case <-status:
		case <-time.After(hangupGrace):
			signalGroup(p, unix.SIGKILL)
			<-status
		}
	}
}

// signalGroup signals the command and what it started in its own group, as Ctrl-C
// in a terminal does. Each command leads a session, so its pid is its group's.
func signalGroup(p *os.Process, sig unix.Signal) {
	// Signal 0 by the handle first: a pid that was reaped may be another's by now.
	if p.Signal(unix.Signal(0)) == nil {
		_ = unix.Kill(-p.Pid, sig)
	}
}

func (s *supervisor) count(n int) {
	s.mu.Lock()
	s.commands += n
	s.mu.Unlock()
}

func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return exitSignalBase + int(ws.Signal())
	}
	return ws.ExitStatus()
}

func hasNamespace(name string) bool {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return false
	}
	_, err := os.Stat(filepath.Join(netnsDir, name))
	return err == nil
}

// commandEnv is the client's environment as it makes sense in the lab: the binary
// is reachable by its name, and folders below the machine's /run are gone.
func commandEnv(env []string, lab string) []string {
	out := make([]string, 0, len(env)+2)
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "PATH":
			path = v
		case "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "DRAWBRIDGE_LAB":
		default:
			out = append(out, kv)
		}
	}
	return append(out, "PATH="+binDir+":"+path, "DRAWBRIDGE_LAB="+lab)
}
