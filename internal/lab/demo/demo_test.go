package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/lab"
	"drawbridge/internal/spec"
)

// binary builds the program once: the demo runs its commands.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "drawbridge-demo-test-*")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "drawbridge")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "drawbridge/cmd/drawbridge")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	// Other users run it too.
	return path, errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o755))
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func lacking(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("needed in CI: " + why)
	}
	t.Skip(why)
}

// runner is the demo as a process, in a folder of its own.
type runner struct {
	cmd            *exec.Cmd
	dir            string
	stdout, stderr bytes.Buffer
}

func newRunner(t *testing.T, unprivileged bool, args ...string) *runner {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "demo-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &runner{dir: dir}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	t.Cleanup(cancel)
	r.cmd = exec.CommandContext(ctx, path, append([]string{"lab", "demo", "--out", filepath.Join(dir, "out")}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	r.cmd.Dir = dir
	r.cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "XDG_RUNTIME_DIR=") })
	if unprivileged {
		const nobody = 65534
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		r.cmd.Env = append(r.cmd.Env, "XDG_RUNTIME_DIR="+dir, "HOME="+dir, "TMPDIR="+dir)
	}
	return r
}

// facts runs the demo to its end.
func (r *runner) facts(t *testing.T) Facts {
	t.Helper()
	if err := r.cmd.Run(); err != nil {
		if strings.Contains(r.stderr.String(), "Hint: run") {
			lacking(t, r.stderr.String())
		}
		t.Fatalf("%v\n%s", err, r.stderr.String())
	}
	var f Facts
	if err := json.Unmarshal(r.stdout.Bytes(), &f); err != nil {
		t.Fatalf("not one JSON object: %v\n%s", err, r.stdout.String())
	}
	return f
}

func TestDemo(t *testing.T) {
	for _, tc := range []struct {
		name, vmm    string
		unprivileged bool
	}{
		{"namespace", vmmNamespace, false}, {"uml", vmmUML, false}, {"namespace as a user", vmmNamespace, true}, {"uml as a user", vmmUML, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := exec.LookPath("linux.uml"); err != nil && tc.vmm == vmmUML {
				lacking(t, "no User-Mode Linux: "+err.Error())
			}
			if tc.unprivileged && os.Geteuid() != 0 {
				t.Skip("this run is unprivileged as a whole")
			}
			r := newRunner(t, tc.unprivileged, "--json", "--vmm", tc.vmm)
			f := r.facts(t)
			if a, err := netip.ParseAddr(f.DHCPAddress); err != nil || !lab.InPool(a) {
				t.Errorf("address %q", f.DHCPAddress)
			}
			if f.PingMS <= 0 || !strings.Contains(f.Page, "I am web") || !strings.Contains(f.SecondSubnet, "You are "+f.DHCPAddress) ||
				!strings.HasPrefix(f.VMMACOnLAN, "02:") || f.NIC == "" || f.VMM != tc.vmm || !f.Restored || f.Failed != nil {
				t.Errorf("%+v", f)
			}
			if f.Seconds <= 0 || f.Seconds > 60 {
				t.Errorf("took %v s", f.Seconds)
			}
			if len(f.Flows) != 4 || f.Probes.Sent < 800 || f.Probes.Lost > f.Probes.Sent/4 {
				t.Errorf("probes %+v, %d flows", f.Probes, len(f.Flows))
			}
			t.Logf("%s: %.1f s, %d of %d probes lost, longest gap %.1f ms, ping %.2f ms", f.NIC, f.Seconds, f.Probes.Lost, f.Probes.Sent, f.Probes.LongestGapMS, f.PingMS)
			for _, name := range []string{"story.html", "1-host-alone.svg", "6-bridged.svg", "6-bridged.yaml"} {
				if fi, err := os.Stat(filepath.Join(r.dir, "out", name)); err != nil || fi.Size() == 0 {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// A Ctrl-C at any moment leaves no process, no socket and no file.
func TestInterrupted(t *testing.T) {
	for _, ms := range []int{50, 150, 400, 900, 1800, 2600} {
		after := time.Duration(ms) * time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			r := newRunner(t, os.Geteuid() == 0, "--vmm", "namespace")
			if err := r.cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(after)
			_ = r.cmd.Process.Signal(unix.SIGINT)
			var exit *exec.ExitError
			if err := r.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("%v\n%s", err, r.stderr.String())
			}
			if ms > 100 && !strings.Contains(r.stderr.String(), "interrupted at") {
				t.Errorf("does not say where: %s", r.stderr.String())
			}
			r.nothingLeft(t)
		})
	}
}

func TestKilled(t *testing.T) {
	r := newRunner(t, os.Geteuid() == 0, "--vmm", "namespace")
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	// A kill -9 leaves its half-written folder; of the lab nothing is left.
	for end := time.Now().Add(5 * time.Second); len(r.processes()) > 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	if left := r.processes(); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func (r *runner) nothingLeft(t *testing.T) {
	t.Helper()
	if left := r.processes(); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	_ = filepath.WalkDir(r.dir, func(path string, e os.DirEntry, _ error) error {
		if e != nil && !e.IsDir() {
			t.Errorf("%s is left", path)
		}
		if e != nil && strings.HasPrefix(e.Name(), ".drawbridge-demo") {
			t.Errorf("%s is left", path)
		}
		return nil
	})
}

// processes are those that have the test's folder in their environment or arguments:
// everything in the lab inherits one of them.
func (r *runner) processes() []string {
	var left []string
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		if p == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		env, _ := os.ReadFile(p + "/environ")
		line, _ := os.ReadFile(p + "/cmdline")
		if bytes.Contains(env, []byte(r.dir)) || bytes.Contains(line, []byte(r.dir)) {
			left = append(left, filepath.Base(p)+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return left
}

// A UML that does not boot: the demo says at which line it failed, and ends with 1.
func TestFailureSaysWhere(t *testing.T) {
	r := newRunner(t, false, "--json")
	fake := filepath.Join(r.dir, "linux.uml")
	script := "#!/bin/sh\ncase $1 in --showconfig) echo CONFIG_UML=y; echo CONFIG_UML_NET_VECTOR=y;; --version) echo 6.1.0;; *) echo no memory; exit 1;; esac\n"
	if err := os.WriteFile(fake, []byte(script), 0o755); err != nil { //nolint:gosec // it is executed
		t.Fatal(err)
	}
	r.cmd.Env = append(r.cmd.Env, "PATH="+r.dir+":"+os.Getenv("PATH"))
	var exit *exec.ExitError
	if err := r.cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v\n%s", err, r.stderr.String())
	}
	if !strings.Contains(r.stderr.String(), `failed at "3 ·`) {
		t.Errorf("%s", r.stderr.String())
	}
	var f Facts
	if err := json.Unmarshal(r.stdout.Bytes(), &f); err != nil || len(f.Failed) != 1 || f.Restored {
		t.Errorf("%v, %+v", err, f)
	}
}

func TestFilesAreGood(t *testing.T) {
	for _, vmm := range []string{vmmUML, vmmNamespace} {
		for name, text := range yaml(vmm) {
			want, problems := spec.Parse(name, []byte(text))
			if err := problems.Err(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, text)
			}
			if m := want.Machine(machineName); m == nil || len(m.NICs) != 1 || m.NICs[0].Cabled != (name != fileDangling) {
				t.Errorf("%s: %+v", name, want)
			}
		}
	}
}

func TestEveryPictureHasWords(t *testing.T) {
	n := 0
	for _, s := range stages() {
		if s.picture == "" {
			continue
		}
		n++
		if title, sentence := words(s.picture); title == s.picture || sentence == "" {
			t.Errorf("%s is no state of the walkthrough", s.picture)
		}
	}
	if n != 6 {
		t.Errorf("%d pictures", n)
	}
}
