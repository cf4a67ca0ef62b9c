package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/model"
)

// guarded is a transaction in the middle: half of its steps are done, its journal is
// open, and a guard watches at the other end of the wire.
func guarded(t *testing.T) (m *memory, store *Store, before model.Snapshot, wire net.Conn, ended chan error) {
	t.Helper()
	m, tx := site(t)
	before = m.Snapshot()
	p := planFor(t, m, tx.Store, bridged())
	j, err := tx.Store.newJournal(p)
	if err != nil {
		t.Fatal(err)
	}
	for i, st := range p.Steps {
		if err := j.begin(i); err != nil {
			t.Fatal(err)
		}
		index, err := tx.do(context.Background(), st.Do)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.done(i, index); err != nil {
			t.Fatal(err)
		}
	}
	wire, theirs := net.Pipe()
	ended = make(chan error, 1)
	go func() { ended <- tx.Watch(context.Background(), theirs) }()
	hear(t, wire, wordReady)
	return m, tx.Store, before, wire, ended
}

func hear(t *testing.T, wire net.Conn, word string) {
	t.Helper()
	buf := make([]byte, 16)
	n, err := wire.Read(buf)
	if err != nil || strings.TrimSpace(string(buf[:n])) != word {
		t.Fatalf("guard says %q, %v; want %s", buf[:n], err, word)
	}
}

func end(t *testing.T, ended chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the guard does not end")
	}
}

func TestGuardRollsBackWhenTheTransactionDies(t *testing.T) {
	m, _, before, wire, ended := guarded(t)
	wire.Close()
	end(t, ended)
	if !same(before, m.Snapshot()) {
		t.Errorf("not rolled back: %+v", m.Snapshot())
	}
}

func TestGuardLeavesWhatIsReleased(t *testing.T) {
	m, _, before, wire, ended := guarded(t)
	fmt.Fprintln(wire, wordRelease)
	end(t, ended)
	if same(before, m.Snapshot()) {
		t.Error("rolled back although it was released")
	}
}

func TestGuardRollsBackAtTheDeadline(t *testing.T) {
	m, _, before, wire, ended := guarded(t)
	start := time.Now()
	fmt.Fprintf(wire, "%s %d\n", wordHandOver, 300)
	hear(t, wire, wordWaiting)
	wire.Close()
	end(t, ended)
	if took := time.Since(start); took < 300*time.Millisecond || !same(before, m.Snapshot()) {
		t.Errorf("after %s: %+v", took, m.Snapshot())
	}
}

// A suspend stops Go's timers; the clock that counts goes on, and the time is over when the
// machine wakes up.
func TestTheDeadlinePassesInASuspend(t *testing.T) {
	m, store, before, wire, ended := guarded(t)
	asleep := &m.slept
	fmt.Fprintf(wire, "%s %d\n", wordHandOver, time.Hour.Milliseconds())
	hear(t, wire, wordWaiting)
	left := func() int64 {
		t.Helper()
		word, err := store.Answer("left")
		if err != nil {
			t.Fatal(err)
		}
		ms, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return ms
	}
	if ms := left(); ms > time.Hour.Milliseconds() || ms < 59*time.Minute.Milliseconds() {
		t.Errorf("%d ms left of an hour", ms)
	}
	asleep.Add(int64(50 * time.Minute))
	if ms := left(); ms > 10*time.Minute.Milliseconds() || ms < 9*time.Minute.Milliseconds() {
		t.Errorf("%d ms left of an hour, 50 minutes of which were slept", ms)
	}
	asleep.Add(int64(11 * time.Minute))
	end(t, ended)
	if !same(before, m.Snapshot()) {
		t.Errorf("not rolled back: %+v", m.Snapshot())
	}
}

// Who holds the guard is alone with the host, but for a second at most.
func TestHoldGuard(t *testing.T) {
	m, store, before, wire, ended := guarded(t)
	if _, err := store.HoldGuard(); !errors.Is(err, ErrNothingPending) {
		t.Errorf("a guard that does not wait yet: %v", err)
	}
	fmt.Fprintf(wire, "%s %d\n", wordHandOver, time.Hour.Milliseconds())
	hear(t, wire, wordWaiting)
	release, err := store.HoldGuard()
	if err != nil {
		t.Fatal(err)
	}
	rolledBack := make(chan error, 1)
	go func() { _, err := store.Answer("rollback"); rolledBack <- err }()
	time.Sleep(50 * time.Millisecond)
	if same(before, m.Snapshot()) {
		t.Error("rolled back although it is held")
	}
	release()
	if err := <-rolledBack; err != nil {
		t.Error(err)
	}
	end(t, ended)
	if !same(before, m.Snapshot()) {
		t.Error("not rolled back")
	}
}

func TestAHolderThatForgetsToLetGo(t *testing.T) {
	m, store, before, wire, ended := guarded(t)
	fmt.Fprintf(wire, "%s %d\n", wordHandOver, 100)
	hear(t, wire, wordWaiting)
	if release, err := store.HoldGuard(); err == nil {
		defer release()
	}
	end(t, ended)
	if !same(before, m.Snapshot()) {
		t.Error("not rolled back")
	}
}

func TestConfirmAndRollbackByWord(t *testing.T) {
	for word, kept := range map[string]bool{"confirm": true, "rollback": false} {
		t.Run(word, func(t *testing.T) {
			m, store, before, wire, ended := guarded(t)
			fmt.Fprintf(wire, "%s %d\n", wordHandOver, 60000)
			hear(t, wire, wordWaiting)
			if left, err := store.Answer("left"); err != nil || left == "" {
				t.Fatalf("left: %q %v", left, err)
			}
			if _, err := store.Answer("nonsense"); err == nil {
				t.Error("an unknown word is no error")
			}
			if _, err := store.Answer(word); err != nil {
				t.Fatal(err)
			}
			end(t, ended)
			owned, _ := store.Owned()
			if same(before, m.Snapshot()) == kept || owned.Empty() == kept || interrupted(t, store) {
				t.Errorf("kept=%v, owned %+v", !same(before, m.Snapshot()), owned)
			}
			if _, err := store.Answer("left"); !errors.Is(err, ErrNothingPending) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}
