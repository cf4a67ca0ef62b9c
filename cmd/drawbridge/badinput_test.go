package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/model"
)

// Words that come at the wrong time, and files that are not what they should be: a clear
// error, and nothing is changed.
func TestBadInput(t *testing.T) {
	host, _ := site(t)
	bin := filepath.Join(build(t), "drawbridge")
	file := filepath.Join(t.TempDir(), "lan.yaml")
	if err := os.WriteFile(file, []byte(bridgedFile), 0o600); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join("/run/drawbridge", strconv.FormatUint(host.Cookie(), 10))
	t.Cleanup(func() { os.RemoveAll(state) })
	drawbridge := func(want int, says string, args ...string) {
		t.Helper()
		cmd := exec.Command(bin, append(args, "--netns", host.Name())...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want || !strings.Contains(string(out), says) {
			t.Errorf("drawbridge %s: exit code %d, want %d and %q:\n%s", strings.Join(args, " "), code, want, says, out)
		}
	}
	before := host.Look().Normalised()

	drawbridge(1, "no change waits for a confirmation here", "confirm")
	drawbridge(1, "no change waits for a confirmation here", "rollback")
	drawbridge(0, "nothing to recover", "recover")
	drawbridge(0, "nothing to recover", "recover", "--as-is")
	for _, time := range []string{"0", "0s", "-5s", "999ms"} {
		drawbridge(2, "nobody can confirm within less than 1s", "up", "--yes", "--confirm", time, file)
	}
	drawbridge(2, "invalid argument", "up", "--yes", "--confirm", "soon", file)

	// A journal that nobody can read may be that of a half-done change: nothing goes on.
	journal := filepath.Join(state, "journal")
	for says, put := range map[string]func() error{
		"it is not a journal":             func() error { return os.WriteFile(journal, []byte("hello\n"), 0o600) },
		"it is cut off in its first line": func() error { return os.WriteFile(journal, []byte(`{"version":1,`), 0o600) },
		"it is a symbolic link":           func() error { return os.Symlink("/etc/passwd", journal) },
		"others may write to it":          func() error { return errors.Join(os.WriteFile(journal, nil, 0o600), os.Chmod(journal, 0o666)) },
	} {
		if err := errors.Join(os.MkdirAll(state, 0o700), put()); err != nil {
			t.Fatal(err)
		}
		drawbridge(1, says, "up", "--yes", file)
		drawbridge(1, "nothing was changed", "up", "--yes", file)
		drawbridge(1, says, "recover")
		drawbridge(0, "", "status")
		if err := sameAs(before, host.Look().Normalised()); err != nil {
			t.Errorf("%s: %v", says, err)
		}
		drawbridge(0, "the host stays as it is", "recover", "--as-is")
	}

	// `down` after a reboot: what was ours is gone with the kernel that had it.
	drawbridge(0, "done", "up", "--yes", file)
	owned := filepath.Join(state, "owned.json")
	data, err := os.ReadFile(owned)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data string) {
		t.Helper()
		// 'down' sweeps what another boot has left.
		if err := errors.Join(os.MkdirAll(state, 0o700), os.WriteFile(owned, []byte(data), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	boot, _, _ := strings.Cut(strings.SplitAfter(string(data), `"boot_id": "`)[1], `"`)
	put(strings.Replace(string(data), boot, "00000000-0000-0000-0000-000000000000", 1))
	drawbridge(0, "nothing to do", "down", "--yes")
	put("{cut")
	drawbridge(1, "the note of what is ours here cannot be used", "down", "--yes")
	put(string(data))
	drawbridge(0, "done", "down", "--yes")
	if err := sameAs(before, host.Look().Normalised()); err != nil {
		t.Error(err)
	}
}

// The uplink is pulled out while a change waits to be confirmed: what can be taken back is,
// the rest is told, and stays in the way until it is given up.
func TestTheUplinkIsGone(t *testing.T) {
	host, _ := site(t)
	bin := filepath.Join(build(t), "drawbridge")
	file := filepath.Join(t.TempDir(), "lan.yaml")
	if err := os.WriteFile(file, []byte(bridgedFile), 0o600); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join("/run/drawbridge", strconv.FormatUint(host.Cookie(), 10))
	t.Cleanup(func() { os.RemoveAll(state) })
	up := exec.Command(bin, "up", "--yes", "--confirm", "3s", file, "--netns", host.Name())
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); host.Look().Link("br0") == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no bridge")
		}
	}
	host.Must(model.DeleteLink{Name: "eth0"})
	_ = up.Wait()
	if code := up.ProcessState.ExitCode(); code != 4 {
		t.Errorf("exit code %d", code)
	}
	if l := host.Look().Link("br0"); l != nil {
		t.Error("br0 is left")
	}
	cmd := exec.Command(bin, "recover", "--netns", host.Name())
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 4 || !strings.Contains(string(out), "eth0: presence should be present, is absent") || !strings.Contains(string(out), "recover --as-is") {
		t.Errorf("recover: %d %s", cmd.ProcessState.ExitCode(), out)
	}
	if out, err := exec.Command(bin, "recover", "--as-is", "--netns", host.Name()).CombinedOutput(); err != nil {
		t.Errorf("recover --as-is: %s", out)
	}
	if out, err := exec.Command(bin, "down", "--yes", "--netns", host.Name()).CombinedOutput(); err != nil || !strings.Contains(string(out), "nothing to do") {
		t.Errorf("down: %v %s", err, out)
	}
}
