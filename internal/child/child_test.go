package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drawbridge/internal/model"
)

func TestErrorsKeepTheirKind(t *testing.T) {
	for _, kind := range kinds {
		r := Refuse(fmt.Errorf("tap tap0: %w: held", kind))
		if err := r.Err(); !errors.Is(err, kind) || err.Error() != fmt.Sprintf("tap tap0: %v: held", kind) {
			t.Errorf("%v came as %v", kind, err)
		}
	}
	if err := Refuse(nil).Err(); err != nil {
		t.Errorf("no error came as %v", err)
	}
}

func here(fn func() error) error { return fn() }

// script is a shim as a shell script, which is given its folder.
func script(t *testing.T, text string) (dir string, p *Process) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shim")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "one")
	lock, err := Make(dir, map[string]string{"name": "one"})
	if err != nil {
		t.Fatal(err)
	}
	p, err = Start(path, "run", dir, lock, here)
	if err := errors.Join(err, lock.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, p
}

// A child tells how its start went, and is alive by its lock until it ends.
func TestAChildTellsAndLives(t *testing.T) {
	dir, p := script(t, `test "$1" = run && test -f "$2/config.json" && echo '{"error": "no luck", "kind": "busy"}' >&3; exec 3>&-; read x < "$2/go"`)
	if err := os.Remove(filepath.Join(dir, "go")); err == nil {
		t.Fatal("there already")
	}
	var r Refusal
	if err := p.Await(context.Background(), &r); err != nil || !errors.Is(r.Err(), model.ErrBusy) {
		t.Errorf("%v, %v", err, r)
	}
	p.Wait() // the read fails: there is no such file
	if Alive(dir) {
		t.Error("alive after its end")
	}
}

// One that dies without a word, or that says nothing for too long.
func TestAChildThatDoesNotTell(t *testing.T) {
	_, p := script(t, `echo out of luck >&2; exit 3`)
	var r Refusal
	if err := p.Await(context.Background(), &r); err == nil || !strings.Contains(err.Error(), "out of luck") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
	dir, p := script(t, `exec sleep 60`)
	if !Alive(dir) {
		t.Error("it is dead")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := p.Await(ctx, &r); !errors.Is(err, context.DeadlineExceeded) || Alive(dir) {
		t.Errorf("%v, alive %v", err, Alive(dir))
	}
	if _, err := Dial(dir); !errors.Is(err, ErrGone) || !errors.Is(err, model.ErrNotFound) {
		t.Errorf("dial: %v", err)
	}
}

// The lock's file is swept away while others come and go, and still there is one at a time.
func TestASweptLockLocks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "machines")
	var inside, most, entered atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				unlock, err := Lock(dir)
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), inside.Add(1)))
				entered.Add(1)
				inside.Add(-1)
				unlock()
				Sweep(dir)
			}
		})
	}
	all.Wait()
	if most.Load() != 1 || entered.Load() != 800 {
		t.Errorf("%d at a time, %d in all", most.Load(), entered.Load())
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is not swept: %v", err)
	}
	// What has something in it stays, and so does one whose lock is held.
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	Sweep(dir)
	unlock()
	if lock, err := Make(filepath.Join(dir, "web"), struct{}{}); err != nil {
		t.Fatal(err)
	} else {
		lock.Close()
	}
	Sweep(dir)
	if _, err := os.Stat(filepath.Join(dir, "web", ConfigFile)); err != nil {
		t.Error(err)
	}
}
