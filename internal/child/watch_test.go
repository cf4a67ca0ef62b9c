package child

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// rang waits for a ring.
func rang(t *testing.T, rings <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-rings:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s does not ring", what)
	}
	for { // what followed it
		select {
		case <-rings:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

// One of ours rings when it comes, when it has left word, and when it is killed; also where
// its folder, and those above it, are made after the watching has begun.
func TestWatch(t *testing.T) {
	above := t.TempDir()
	all := filepath.Join(above, "state", "machines")
	rings, err := Watch(t.Context(), all, filepath.Join(above, "state", "services"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "shim")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '{}' >&3; exec 3>&-; exec sleep 60\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	unlock, err := Lock(all)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(all, "web")
	lock, err := Make(dir, struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	rang(t, rings, "one that comes")
	p, err := Start(path, "run", dir, lock, here)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	unlock()
	if err := p.Await(t.Context(), &Refusal{}); err != nil {
		t.Fatal(err)
	}
	for quiet := false; !quiet; {
		select {
		case <-rings:
		case <-time.After(200 * time.Millisecond):
			quiet = true
		}
	}
	// To look is no event, or whoever looks would ring for ever.
	unlock, err = Lock(all)
	if err != nil || !Alive(dir) {
		t.Fatal(err)
	}
	unlock()
	select {
	case <-rings:
		t.Error("looking rings")
	case <-time.After(100 * time.Millisecond):
	}
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	rang(t, rings, "one that is killed")
	if err := WriteJSON(filepath.Join(dir, "exit.json"), struct{}{}); err != nil {
		t.Fatal(err)
	}
	rang(t, rings, "a word")
	if err := os.RemoveAll(filepath.Join(above, "state")); err != nil {
		t.Fatal(err)
	}
	rang(t, rings, "one that goes")
	if _, err := Make(filepath.Join(above, "services"), struct{}{}); err != nil { // beside it: nothing of ours
		t.Fatal(err)
	}
	services := filepath.Join(above, "state", "services")
	if err := os.MkdirAll(services, 0o700); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if _, err := Make(filepath.Join(services, "lan"), struct{}{}); err != nil {
		t.Fatal(err)
	}
	rang(t, rings, "one in a folder that is made anew")
}
