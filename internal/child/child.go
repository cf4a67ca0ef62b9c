// Package child is what the long-lived processes of ours have in common: those that look
// after a virtual machine, and those that look after a network's servers.
//
// Each has a folder, in which it holds a lock for as long as it lives: no process id is
// ever trusted for that. It is in a session of its own, so that it outlives the command
// and the login that started it; it tells once, by a pipe, how its start went; and it
// answers on a unix socket in its folder, one line of JSON for a line of JSON. What the
// lines say is its own affair.
//
// It imports model, for the refusals that go over the socket.
package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The files of a folder.
const (
	ConfigFile = "config.json"
	SocketFile = "sock"
	LogFile    = "shim.log"
	lockFile   = "lock"
)

// The descriptors that a shim is started with.
const (
	ReportFD = 3 // a pipe: one line, when it works or has failed to
	LockFD   = 4 // its lock
)

const (
	endTime   = 10 * time.Second // for a shim that was told to give up its start
	tailLines = 12               // of its log, in an error
)

// Alive tells whether a shim holds the lock of a folder.
func Alive(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// folderLock is held while folders come and go beside it.
const folderLock = ".lock"

// sweepTries bounds how often a folder may be swept away under one's hands.
const sweepTries = 1000

// Lock is held while folders below dir come and go; dir is made where it is not there.
func Lock(dir string) (unlock func(), err error) {
	for range sweepTries {
		var f *os.File
		err = os.MkdirAll(dir, 0o700)
		if err == nil {
			f, err = os.OpenFile(filepath.Join(dir, folderLock), os.O_RDWR|os.O_CREATE, 0o600)
		}
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist) {
			continue // the folder was swept away in between
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if inForce(f) {
			return func() { _ = f.Close() }, nil
		}
		_ = f.Close() // it was swept away before it was locked
	}
	return nil, fmt.Errorf("lock of %s: %w", dir, err)
}

// inForce tells whether an open file is still the one under its name.
func inForce(f *os.File) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(opened, named)
}

// Sweep removes dir where there is nothing in it but the lock, and nobody has that.
func Sweep(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, folderLock), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || !inForce(f) {
		return
	}
	if kept, err := os.ReadDir(dir); err != nil || len(kept) != 1 {
		return
	}
	if os.Remove(f.Name()) == nil {
		_ = os.Remove(dir) // not empty again: somebody else is at work in it
	}
}

// Make makes a folder with its configuration, and takes the lock that its shim inherits.
// After an error there is no folder.
func Make(dir string, config any) (lock *os.File, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err = os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		err = WriteJSON(filepath.Join(dir, ConfigFile), config)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close(), os.RemoveAll(dir))
	}
	return lock, nil
}

// Process is a shim that is being started.
type Process struct {
	cmd    *exec.Cmd
	report *os.File
	log    string
	ended  chan struct{}
}

// Start starts a hidden command of the executable as the shim of a folder, inside what
// inside enters: a network namespace.
func Start(executable, command, dir string, lock *os.File, inside func(func() error) error) (*Process, error) {
	report, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("shim: %w", err)
	}
	defer theirs.Close()
	log, err := os.OpenFile(filepath.Join(dir, LogFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("shim: %w", err), report.Close())
	}
	defer log.Close()
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, errors.Join(err, report.Close())
	}
	cmd := exec.Command(executable, command, abs)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs, lock} // ReportFD, LockFD
	// Neither Ctrl-C nor a lost login ends it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := inside(cmd.Start); err != nil {
		return nil, errors.Join(fmt.Errorf("shim: %w", err), report.Close())
	}
	p := &Process{cmd: cmd, report: report, log: log.Name(), ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how is told by its word, or by its log
		close(p.ended) // it may outlive this process; if not, it is reaped
	}()
	return p, nil
}

// Await waits for the shim's word, and reads it into word. When ctx ends first, the shim
// is told to stop what it does, and is killed if it does not; the error is then ctx's.
// One that died without a word is an error with the end of its log.
func (p *Process) Await(ctx context.Context, word any) error {
	defer p.report.Close()
	said := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(p.report)
		said <- b
	}()
	var line []byte
	select {
	case line = <-said:
	case <-ctx.Done():
		_ = p.cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-said:
		case <-time.After(endTime):
			_ = p.cmd.Process.Kill()
		}
		<-p.ended
		return ctx.Err()
	}
	if json.Unmarshal(bytes.TrimSpace(line), word) != nil { // killed, or out of memory
		<-p.ended
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("its shim ended without a word (%v): %s", p.cmd.ProcessState, LastLines(string(log), tailLines))
	}
	return nil
}

// Wait waits for the shim's end.
func (p *Process) Wait() { <-p.ended }

// Report gives a shim's word to whoever started it. It is called once, by the shim.
func Report(word any) {
	line, _ := json.Marshal(word)
	report := os.NewFile(ReportFD, "report")
	_, _ = report.Write(append(line, '\n')) // who started it may be gone
	_ = report.Close()
}

// Inherit keeps the shim's own descriptors from its children. It is called first.
func Inherit() {
	unix.CloseOnExec(ReportFD)
	unix.CloseOnExec(LockFD)
}

// WriteJSON replaces a file as a whole: a reader never sees half of it.
func WriteJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// ReadJSON reads what [WriteJSON] wrote.
func ReadJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// LastLines are the last n lines of a text, without carriage returns.
func LastLines(text string, n int) string {
	all := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
