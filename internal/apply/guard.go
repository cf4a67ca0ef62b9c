package apply

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The words between a transaction and its guard, a line each.
const (
	wordReady    = "ready"     // guard: I watch
	wordHandOver = "hand-over" // transaction: all is applied; N milliseconds to confirm
	wordWaiting  = "waiting"   // guard: the person can answer now
	wordRelease  = "release"   // transaction: it is over
)

// guardAnswer is how long a guard may take for a word.
const guardAnswer = 10 * time.Second

// guardProcess is a guard as the guarded transaction sees it.
type guardProcess struct {
	pid      int
	conn     *os.File
	words    *bufio.Reader // of conn
	log      string        // its file
	died     chan struct{}
	released chan struct{}
	once     sync.Once
}

// StartGuardProcess starts a command that runs [Watch] as a guard: in a session of its
// own, so that neither the terminal's signals nor a dropped SSH session reach it. It
// inherits the store's lock, so that no one else gets between a death and a rollback.
// The command finds its end of the wire as descriptor 3 and the lock as descriptor 4.
func StartGuardProcess(s *Store, command string, args ...string) (Guard, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "guard"), os.NewFile(uintptr(pair[1]), "guarded")
	defer theirs.Close()
	log, err := os.OpenFile(s.guardLog(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(command, args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs, s.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	g := &guardProcess{pid: cmd.Process.Pid, conn: ours, log: log.Name(), words: bufio.NewReader(ours), died: make(chan struct{}), released: make(chan struct{})}
	go g.reap(cmd)
	if err := g.expect(wordReady); err != nil {
		_ = cmd.Process.Kill()
		ours.Close()
		return nil, fmt.Errorf("%w; see %s", err, log.Name())
	}
	return g, nil
}

func (g *guardProcess) reap(cmd *exec.Cmd) {
	_ = cmd.Wait() // how it ended does not matter: while it is needed, that it ended does
	select {
	case <-g.released:
	default:
		close(g.died)
	}
}

// Died implements [Guard].
func (g *guardProcess) Died() <-chan struct{} { return g.died }

// HandOver implements [Guard].
func (g *guardProcess) HandOver(confirm time.Duration) error {
	g.once.Do(func() { close(g.released) })
	defer g.conn.Close()
	if _, err := fmt.Fprintf(g.conn, "%s %d\n", wordHandOver, confirm.Milliseconds()); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	return g.expect(wordWaiting)
}

// expect waits for a word of the guard's.
func (g *guardProcess) expect(word string) error {
	said := make(chan error, 1)
	go func() {
		line, err := g.words.ReadString('\n')
		if err == nil && strings.TrimSpace(line) != word {
			err = fmt.Errorf("unexpected word %q", line)
		}
		said <- err
	}()
	select {
	case err := <-said:
		if err != nil {
			return fmt.Errorf("guard: %w", err)
		}
		return nil
	case <-time.After(guardAnswer):
		return errors.New("guard: does not answer")
	}
}

// Release implements [Guard].
func (g *guardProcess) Release() {
	g.once.Do(func() { close(g.released) })
	_, _ = fmt.Fprintln(g.conn, wordRelease) // a guard that is dead already needs no word
	g.conn.Close()
	select {
	case <-g.died: // why, is in its log
	default:
		_ = os.Remove(g.log) // it had nothing to do
	}
}

// InheritLock takes over the lock that a guard's starter holds on the store.
func (s *Store) InheritLock(f *os.File) { s.lock = f }

func (s *Store) guardLog() string { return filepath.Join(s.Dir, "guard.log") }

func (s *Store) guardSocket() string { return filepath.Join(s.Dir, "guard.sock") }

// Watch is a guard's life. It says that it watches, and waits on the wire to the
// transaction: "release" ends it; the wire's end without a word means that the
// transaction died, and everything is rolled back; after "hand-over" it waits for
// [Store.Answer], and rolls back when none comes in time.
func (t *Transaction) Watch(ctx context.Context, wire io.ReadWriter) error {
	if _, err := fmt.Fprintln(wire, wordReady); err != nil {
		return err
	}
	line, _ := bufio.NewReader(wire).ReadString('\n') // cut off means: it died
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch word {
	case wordRelease:
		return nil
	case wordHandOver:
		ms, err := strconv.Atoi(rest)
		if err != nil {
			return err
		}
		return t.await(ctx, wire, time.Duration(ms)*time.Millisecond)
	default:
		_, err := t.Recover()
		return err
	}
}

// lookAgain is how long a waiting guard sleeps at most: Go's timers stand still while the
// machine is suspended, its clock does not.
const lookAgain = time.Second

func (t *Transaction) now() time.Duration {
	if t.Clock != nil {
		return t.Clock()
	}
	return time.Since(processStart)
}

var processStart = time.Now()

// await waits for a person's word. Setting the wall clock neither shortens nor lengthens
// the time for it, and a suspend does not stop it.
func (t *Transaction) await(ctx context.Context, wire io.Writer, confirm time.Duration) error {
	until := t.now() + confirm
	_ = os.Remove(t.Store.guardSocket())
	l, err := net.Listen("unix", t.Store.guardSocket())
	if err != nil {
		_, rerr := t.Recover()
		return errors.Join(err, rerr)
	}
	defer l.Close()
	_, _ = fmt.Fprintln(wire, wordWaiting) // if nobody is left to hear it, the time runs all the same
	words := make(chan question)
	go serveQuestions(l, words)
	for {
		left := until - t.now()
		if left <= 0 {
			_, err := t.Recover()
			return err
		}
		select {
		case <-ctx.Done():
			_, err := t.Recover()
			return err
		case <-time.After(min(left, lookAgain)):
		case q := <-words:
			var err error
			switch q.word {
			case "left":
				q.answer <- fmt.Sprintf("%d", (until - t.now()).Milliseconds())
				continue
			case wordHold:
				q.answer <- "ok"
				<-q.sent
				continue
			case "confirm":
				if err = t.commitJournal(); err == nil {
					_ = os.Remove(t.Store.guardLog()) // it had nothing to do
				}
			case "rollback":
				_, err = t.Recover()
			default:
				q.answer <- "error unknown word"
				continue
			}
			if err != nil {
				q.answer <- "error " + strings.ReplaceAll(err.Error(), "\n", "\x00")
			} else {
				q.answer <- "ok"
			}
			<-q.sent
			return err
		}
	}
}

func (t *Transaction) commitJournal() error {
	j, err := t.Store.openJournal()
	if err != nil {
		return err
	}
	return j.commitTo(t.Store)
}

type question struct {
	word   string
	answer chan string
	sent   chan struct{} // closed when the answer is sent; of a hold, when it is over
}

func serveQuestions(l net.Listener, words chan<- question) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			line, err := bufio.NewReader(io.LimitReader(c, 64)).ReadString('\n')
			if err != nil {
				return
			}
			q := question{strings.TrimSpace(line), make(chan string, 1), make(chan struct{})}
			words <- q
			_, _ = fmt.Fprintln(c, <-q.answer)
			if q.word == wordHold {
				_ = c.SetReadDeadline(time.Now().Add(holdTime))
				_, _ = c.Read(make([]byte, 1)) // its end, or the end of our patience
			}
			close(q.sent)
		}()
	}
}

// A guard that waits for a confirmation holds the lock, for a minute or a day. What must not
// wait that long (a lease's next lifetime) asks it to hold still.
const (
	wordHold = "hold"
	holdTime = time.Second
)

// HoldGuard keeps a guard that waits for a confirmation from rolling back until release is
// called, for a second at most. [ErrNothingPending]: no guard waits.
func (s *Store) HoldGuard() (release func(), err error) {
	c, err := s.ask(wordHold)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(2 * holdTime)) // one that is rolling back already does not answer
	if _, err := answered(c); err != nil {
		c.Close()
		return nil, err
	}
	return func() { c.Close() }, nil
}

// ErrNothingPending says that no change waits for a confirmation.
var ErrNothingPending = errors.New("no change waits for a confirmation here")

// Answer gives the guard that waits a word: confirm, rollback, or left, which is
// answered with the milliseconds that are left.
func (s *Store) Answer(word string) (string, error) {
	c, err := s.ask(word)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return answered(c)
}

// ask connects to the guard that waits, and says a word to it.
func (s *Store) ask(word string) (net.Conn, error) {
	c, err := net.DialTimeout("unix", s.guardSocket(), 5*time.Second)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNothingPending
	}
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(rollbackTime + 10*time.Second))
	if _, err := fmt.Fprintln(c, word); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func answered(c net.Conn) (string, error) {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the guard gave no answer: %w", err)
	}
	line = strings.ReplaceAll(strings.TrimSpace(line), "\x00", "\n")
	if msg, failed := strings.CutPrefix(line, "error "); failed {
		return "", errors.New(msg)
	}
	return line, nil
}
