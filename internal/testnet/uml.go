package testnet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// inUML names the file with the orders, in the environment of a UML's init.
	inUML = "DRAWBRIDGE_TEST_IN_UML"
	// umlModules is where Debian's user-mode-linux has them, a folder for each release.
	umlModules = "/usr/lib/uml/modules"
	// umlTime bounds a run: the kernel boots in some two seconds, and is a slow one.
	umlTime = 6 * time.Minute
	// umlEnd is the line that tells the tests' exit code.
	umlEnd = "drawbridge-uml: exit code"
)

// orders are what a test binary does inside a UML.
type orders struct {
	Modules []module // in the order of loading
	Args    []string
	Env     []string
	Dir     string
}

// module is one of the kernel's, with its parameters: "disable=1".
type module struct{ Path, Options string }

// InUML runs tests of the running test binary once more, those that match run, on a
// kernel that has what this one lacks: inside a User-Mode Linux, whose modules are loaded
// before, each with the parameters behind its name. All that the tests see of the machine is its files, read-only: /run, /tmp and
// the network are the UML's. It gives what they printed, and fails where they fail. What
// lacks there is a failure, never skipped.
func InUML(t *testing.T, run string, modules []string, env ...string) string {
	t.Helper()
	kernel, err := exec.LookPath("linux.uml")
	if err != nil {
		lacking(t, "needs linux.uml (apt install --no-install-recommends user-mode-linux)")
	}
	release, err := exec.Command(kernel, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	o := orders{
		Args: []string{"-test.run=" + run, "-test.v", "-test.timeout=" + umlTime.String()},
		Env:  append(env, "CI=true", "PATH="+os.Getenv("PATH"), "HOME=/run", "TMPDIR=/run/tmp", inUML+"=yes"),
	}
	if o.Modules, err = withDependencies(filepath.Join(umlModules, strings.TrimSpace(string(release))), modules); err != nil {
		lacking(t, err.Error())
	}
	if o.Dir, err = os.Getwd(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "orders"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	out := bootUML(t, kernel, dir)
	if !strings.Contains(out, umlEnd+" 0") {
		t.Fatalf("inside the UML:\n%s", failures(out))
	}
	return out
}

// failures are the lines of the tests' output around each failure; all of them where
// nothing says that it failed.
func failures(out string) string {
	const around = 25
	lines := strings.SplitAfter(out, "\n")
	var told strings.Builder
	next := 0
	for i, line := range lines {
		if !strings.Contains(line, "FAIL:") && !strings.Contains(line, "panic:") {
			continue
		}
		if from := max(next, i-around); from < len(lines) {
			if from > next {
				fmt.Fprintf(&told, "[%d lines left out]\n", from-next)
			}
			next = max(next, min(i+around, len(lines)))
			told.WriteString(strings.Join(lines[from:next], ""))
		}
	}
	if told.Len() == 0 {
		return out
	}
	return told.String()
}

func bootUML(t *testing.T, kernel, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), umlTime)
	defer cancel()
	// setarch -R: with its addresses at random a UML runs out of memory at random.
	cmd := exec.CommandContext(ctx, "setarch", "-R", kernel, "mem=384M",
		"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init="+self, inUML+"="+filepath.Join(dir, "orders"),
		"uml_dir="+dir, "umid=vm", "con=null", "con0=fd:0,fd:1", "ssl=null", "quiet", "panic=1",
		"initcall_blacklist=raid6_select_algo,init_zswap")
	// It is several processes, and its console must not be /dev/null.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if ctx.Err() != nil {
		t.Fatalf("the UML did not end in %s:\n%s", umlTime, out.String())
	}
	if err != nil {
		t.Logf("linux.uml: %v", err)
	}
	return strings.ReplaceAll(out.String(), "\r\n", "\n")
}

// withDependencies are the paths of modules, each behind what it needs, from modules.dep:
// "A: B C" says that A needs B and B needs C (depmod(8)).
func withDependencies(dir string, names []string) ([]module, error) {
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("modules of the UML: %w", err)
	}
	defer f.Close()
	lines := map[string][]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		path, needs, _ := strings.Cut(s.Text(), ":")
		all := strings.Fields(needs)
		slices.Reverse(all)
		lines[strings.TrimSuffix(filepath.Base(path), ".ko")] = append(all, path)
	}
	var out []module
	for _, name := range names {
		name, options, _ := strings.Cut(name, " ")
		if lines[name] == nil {
			return nil, fmt.Errorf("modules of the UML: no %s in %s", name, dir)
		}
		for _, path := range lines[name] {
			m := module{Path: filepath.Join(dir, path)}
			if strings.TrimSuffix(filepath.Base(path), ".ko") == name {
				m.Options = options
			}
			if !slices.ContainsFunc(out, func(o module) bool { return o.Path == m.Path }) {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// UMLInit is for the TestMain of a package whose tests call [InUML] (that of [Main] does
// it): where it is process 1 of a UML, it makes the machine's read-only files a place to
// work in, runs the tests, and switches off. Elsewhere it does nothing.
func UMLInit() {
	if os.Getpid() != 1 || os.Getenv(inUML) == "" {
		return
	}
	code := 1
	if err := umlTests(os.Getenv(inUML)); err == nil {
		code = 0
	} else {
		fmt.Fprintln(os.Stdout, "drawbridge-uml:", err)
	}
	fmt.Fprintln(os.Stdout, umlEnd, code)
	time.Sleep(100 * time.Millisecond) // the console is written by then
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func umlTests(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var o orders
	if err := json.Unmarshal(text, &o); err != nil {
		return err
	}
	for _, m := range []struct{ kind, on string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.kind, m.on, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.on, err)
		}
	}
	for _, dir := range []string{"/run/netns", "/run/tmp", "/dev/pts", "/dev/shm"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	_ = unix.Mount("devpts", "/dev/pts", "devpts", 0, "")
	for _, m := range o.Modules {
		if err := m.load(); err != nil {
			return fmt.Errorf("module %s: %w", m.Path, err)
		}
	}
	cmd := exec.Command("/proc/self/exe", o.Args...)
	cmd.Dir, cmd.Env = o.Dir, o.Env
	// Not the console itself: a terminal would be theirs to change.
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	go func() { _, _ = io.Copy(os.Stdout, r) }()
	return cmd.Run()
}

func (m module) load() error {
	f, err := os.Open(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), m.Options, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// InsideUML tells whether this test runs there.
func InsideUML() bool { return os.Getenv(inUML) != "" }
