package manager

import (
	"context"
	"io/fs"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"drawbridge/internal/model"
)

// AskTime is how long all questions together may take: a manager that hangs is known by
// its process alone.
const AskTime = 2 * time.Second

// The files by which a host's system bus is reached, below the root.
var busSockets = []string{"run/dbus/system_bus_socket", "var/run/dbus/system_bus_socket"}

// System is how it is found out. All of it is about the namespace of the links.
type System struct {
	// Root is the file system; what is read below proc/thread-self belongs to the
	// namespace of the thread that reads.
	Root fs.FS
	// Inside runs a function on a thread inside the namespace.
	Inside func(func() error) error
	// Named: the namespace was asked for by name, and the host's state files are of
	// another one.
	Named bool
	// Dial connects to a unix socket, by its path below Root; nil: nobody is asked.
	Dial func(ctx context.Context, path string) (net.Conn, error)
	// Sockets and Holders find programs with a DHCP client's socket; nil: they are not
	// looked for.
	Sockets func(context.Context) ([]model.Socket, error)
	Holders func(inodes map[uint64]bool) (map[uint64]model.Holder, error)
}

// DialUnix is a Dial for the machine's own file system.
func DialUnix(ctx context.Context, path string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", "/"+path)
}

// Process is a process of the namespace.
type Process struct {
	PID     int
	Command string // /proc/PID/comm
	Args    []string
}

// Names tells whether an argument is the link's name, or ends in it as -ieth0 does.
func (p Process) Names(link string) bool {
	return slices.ContainsFunc(p.words(), func(a string) bool {
		return a == link || strings.HasPrefix(a, "-") && strings.HasSuffix(a, link)
	})
}

// words are its arguments; a program that writes its own title has it all in one
// (setproctitle(3)).
func (p Process) words() []string { return strings.Fields(strings.Join(p.Args, " ")) }

// Processes lists those of this thread's namespace. Where another user's may not be told,
// it is taken for one of it, unless the namespace is a special one.
func (s System) Processes() []Process {
	own, _ := fs.ReadLink(s.Root, "proc/thread-self/ns/net")
	entries, _ := fs.ReadDir(s.Root, "proc")
	var out []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		ns, err := fs.ReadLink(s.Root, path.Join("proc", e.Name(), "ns/net"))
		if err != nil && s.Named || err == nil && ns != own {
			continue
		}
		args := strings.Split(strings.TrimRight(s.read(path.Join("proc", e.Name(), "cmdline")), "\x00"), "\x00")
		command := strings.TrimSpace(s.read(path.Join("proc", e.Name(), "comm")))
		if !strings.HasPrefix(args[0], command+":") { // a title is all arguments
			args = args[min(1, len(args)):]
		}
		out = append(out, Process{pid, command, args})
	}
	return out
}

func (s System) read(name string) string {
	b, _ := fs.ReadFile(s.Root, strings.TrimPrefix(name, "/"))
	return string(b)
}

func (s System) exists(name string) bool {
	_, err := fs.Stat(s.Root, name)
	return err == nil
}

// valueOf is the value of a line "KEY=value", "" for none.
func valueOf(text, key string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && k == key {
			return v
		}
	}
	return ""
}
