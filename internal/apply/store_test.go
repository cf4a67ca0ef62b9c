package apply

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"drawbridge/internal/plan"
)

func TestNothingIsLeftOfAFolderThatKeepsNothing(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "state")}
	lock := func() {
		t.Helper()
		if err := s.Lock(); err != nil {
			t.Fatal(err)
		}
	}
	there := func() bool {
		_, err := os.Stat(s.Dir)
		return err == nil
	}
	lock()
	fd, err := syscall.Dup(int(s.lock.Fd())) // what a guard inherits
	if err != nil {
		t.Fatal(err)
	}
	guards := os.NewFile(uintptr(fd), s.lock.Name())
	s.Unlock()
	if !there() {
		t.Fatal("swept while a guard holds the lock")
	}
	(&Store{Dir: s.Dir, lock: guards}).Unlock()
	if there() {
		t.Fatal("an empty folder is left")
	}
	lock()
	if err := s.SaveOwned(plan.Owned{Networks: []plan.OwnedNetwork{{Name: "lan", Bridge: "br0"}}}); err != nil {
		t.Fatal(err)
	}
	s.Unlock()
	if !there() {
		t.Fatal("swept with what is owned")
	}
}

// Whoever locks what another one sweeps has it to himself all the same.
func TestASweptLockIsStillALock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var inside atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				s := &Store{Dir: dir}
				if err := s.Lock(); err != nil {
					continue // somebody else was at work for a second
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d at once", n)
				}
				inside.Add(-1)
				s.Unlock()
			}
		})
	}
	all.Wait()
}
