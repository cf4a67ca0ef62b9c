package kernel

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A namespace is anchored by the name that it was opened by; without one by the others who
// are in it, or by a file that holds it; the host's own always.
func TestAnchor(t *testing.T) {
	t.Parallel()
	own, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if NewAnchor("", own.Inode()).Gone() {
		t.Error("where we are is gone")
	}
	name := "dbtest-anchor-" + strconv.Itoa(os.Getpid())
	if err := CreateNamespace(name); err != nil {
		t.Skip(err) // its own tests say what lacks
	}
	defer func() { _ = DeleteNamespace(name) }()
	asleep := exec.Command("unshare", "--net", "sleep", "60")
	if err := asleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = asleep.Process.Kill() }()
	for end := time.Now().Add(10 * time.Second); command(asleep.Process.Pid) != "sleep"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody sleeps")
		}
	}
	path := filepath.Join("/proc", strconv.Itoa(asleep.Process.Pid), "ns/net")
	unnamed, err := OpenPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer unnamed.Close()
	named, err := OpenNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	file := filepath.Join(t.TempDir(), "held")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), unix.Mount(path, file, "none", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(file, unix.MNT_DETACH) //nolint:errcheck // it is unmounted below

	entered, err := OpenPath(filepath.Join(netnsDir, name)) // as 'ip netns exec' does
	if err != nil {
		t.Fatal(err)
	}
	defer entered.Close()
	byName, byFile, byOthers := NewAnchor(filepath.Join(netnsDir, name), named.Inode()), NewAnchor("", entered.Inode()), NewAnchor("", unnamed.Inode())
	if byName.Gone() || byFile.Gone() || byOthers.Gone() {
		t.Errorf("gone already: %v, %v, %v", byName.Gone(), byFile.Gone(), byOthers.Gone())
	}
	if err := DeleteNamespace(name); err != nil {
		t.Fatal(err)
	}
	if !byName.Gone() || !byFile.Gone() {
		t.Errorf("its name is gone: %v, %v", byName.Gone(), byFile.Gone())
	}
	if err := asleep.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = asleep.Wait() // it was killed
	if byOthers.Gone() {
		t.Error("a file holds it")
	}
	if err := unix.Unmount(file, 0); err != nil {
		t.Fatal(err)
	}
	if !byOthers.Gone() {
		t.Error("nobody is in it, and nothing holds it")
	}
}
