package booted

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed boot.sh
var bootScript string

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Options say what is booted.
type Options struct {
	// Namespace is the path of the network namespace; "" is the caller's own.
	Namespace string
	// Packages are folders whose files are laid over the machine's; see [Package].
	Packages []string
	// Files are written before the first boot, by their paths.
	Files map[string]string
	// Units are started at each boot, beside systemd's basic.target.
	Units []string
	// Binds are folders that the host shares with the machine. /tmp is its own otherwise.
	Binds []string
}

// Host is a booted one. Its methods are not for several goroutines at once, but
// commands may run side by side.
type Host struct {
	dir     string
	outer   *exec.Cmd
	hold    *os.File // the host lives for as long as this is open
	console bytes.Buffer
	pids    chan string
	pid     string
	ended   chan struct{} // closed when outer has
	mu      sync.Mutex
}

// bootTime bounds a boot: a second, and much more where others want the processor.
const bootTime = 60 * time.Second

// ErrLacking is that this machine cannot boot anything: it says what lacks.
var ErrLacking = errors.New("cannot boot a host in namespaces")

// Check tells whether a host can be booted here; the error is an [ErrLacking].
func Check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: it takes root, for an overlay and a cgroup", ErrLacking)
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		return fmt.Errorf("%w: there is no systemd on the disk", ErrLacking)
	}
	for _, name := range []string{"unshare", "nsenter", "setpriv", "pivot_root", "tar", "ip", "dbus-daemon"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %w", ErrLacking, err)
		}
	}
	return nil
}

// Boot boots a host, and returns when its units are started. The context is for the
// boot alone; [Host.Close] ends the host, and so does this process's end.
func Boot(ctx context.Context, o Options) (*Host, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "booted-")
	if err != nil {
		return nil, err
	}
	h := &Host{dir: dir, pids: make(chan string, 4), ended: make(chan struct{})}
	if err := h.start(o); err != nil {
		h.remove()
		return nil, err
	}
	if err := h.wait(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *Host) start(o Options) error {
	for name, text := range o.Files {
		if err := writeFile(filepath.Join(h.dir+".files", name), text); err != nil {
			return err
		}
	}
	script := h.dir + ".sh"
	if err := os.WriteFile(script, []byte(bootScript), 0o600); err != nil {
		return err
	}
	args := []string{"unshare", "--mount", "sh", script, "outer", h.dir, strings.Join(o.Units, " "), strings.Join(o.Packages, " "), strings.Join(o.Binds, " ")}
	if o.Namespace != "" {
		args = append([]string{"nsenter", "--net=" + o.Namespace}, args...)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	stdin, hold, err := os.Pipe()
	if err != nil {
		r.Close()
		return err
	}
	defer stdin.Close()
	h.hold = hold
	h.outer = exec.Command(args[0], args[1:]...)
	h.outer.Stdin = stdin
	h.outer.ExtraFiles = []*os.File{w}
	h.outer.Stdout, h.outer.Stderr = &locked{w: &h.console, mu: &h.mu}, &locked{w: &h.console, mu: &h.mu}
	h.outer.Env = []string{searchPath}
	h.outer.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	h.outer.WaitDelay = time.Second
	if err := h.outer.Start(); err != nil {
		r.Close()
		hold.Close()
		return err
	}
	go func() {
		defer r.Close()
		for lines := bufio.NewScanner(r); lines.Scan(); {
			h.pids <- lines.Text()
		}
	}()
	go func() {
		defer close(h.ended)
		_ = h.outer.Wait() // a host that halts or is killed is no error
	}()
	return nil
}

func writeFile(path, text string) error {
	mode := os.FileMode(0o644)
	switch {
	case strings.HasPrefix(text, "#!"):
		mode = 0o755
	case strings.HasSuffix(path, ".nmconnection"), strings.Contains(path, "/etc/netplan/"):
		mode = 0o600 // refused where others may read them
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as in the machine's own /etc
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}

// wait waits for the next boot to be over.
func (h *Host) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	select {
	case h.pid = <-h.pids:
	case <-h.ended:
		return fmt.Errorf("%w:\n%s", ErrLacking, h.Console())
	case <-ctx.Done():
		return fmt.Errorf("boot: %w\n%s", ctx.Err(), h.Console())
	}
	for {
		// Until its PID 1 is there, the command is refused; then it waits for the boot's end.
		out, _ := h.Command(ctx, "systemctl", "is-system-running", "--wait").Output()
		switch state := strings.TrimSpace(string(out)); state {
		case "running":
			return nil
		case "degraded":
			failed, _ := h.Command(ctx, "sh", "-c", "systemctl --failed --no-legend --plain; journalctl -n 20 --no-pager -q").Output()
			return fmt.Errorf("boot: these units failed:\n%s%s", failed, h.Console())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("boot: %w\n%s", ctx.Err(), h.Console())
		case <-h.ended:
			return fmt.Errorf("%w: its PID 1 has ended:\n%s", ErrLacking, h.Console())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Command prepares a command inside the host, in its root folder.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", h.pid, "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), searchPath)
	cmd.WaitDelay = time.Second // what runs inside may outlive nsenter, and hold its output
	return cmd
}

// Run runs a command inside the host, and fails with what it printed.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	out, err := h.Command(ctx, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Write writes a file of the host.
func (h *Host) Write(ctx context.Context, path, text string) error {
	cmd := h.Command(ctx, "sh", "-c", `mkdir -p "$(dirname "$1")" && cat > "$1"`, "sh", path)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s: %w: %s", path, err, out)
	}
	return nil
}

// Reboot ends all its processes and boots it again: what it wrote is there still but
// for /run and /tmp; the links that were made in its network are gone, the others are down
// and without addresses.
func (h *Host) Reboot(ctx context.Context) error {
	if _, err := h.Run(ctx, "systemctl", "reboot", "--force", "--force"); err != nil && !strings.Contains(err.Error(), "signal") && !strings.Contains(err.Error(), "exit status") {
		return err
	}
	return h.wait(ctx)
}

// Console is what its PID 1 has printed.
func (h *Host) Console() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.console.String()
}

// Close ends the host with all that runs in it.
func (h *Host) Close() error {
	defer h.remove()
	h.hold.Close()
	select {
	case <-h.ended:
		return nil
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-h.outer.Process.Pid, syscall.SIGKILL)
		<-h.ended
		return errors.New("a booted host did not end: it was killed")
	}
}

func (h *Host) remove() {
	_ = os.RemoveAll(h.dir)
	_ = os.RemoveAll(h.dir + ".files")
	_ = os.Remove(h.dir + ".sh")
}

type locked struct {
	w  io.Writer
	mu *sync.Mutex
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
