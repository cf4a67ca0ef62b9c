package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// post is the place of one process of ours that keeps something for an uplink: a note of
// what it is, and a lock that the process holds for as long as it lives.
type post struct {
	folder Folder
	kind   string // what the names of its files begin with
	uplink string
}

const (
	noteSuffix = ".json"
	// endTime is how long a process may take to begin, or to end.
	endTime = 3 * time.Second
)

func (p post) path(suffix string) string {
	return filepath.Join(string(p.folder), p.kind+p.uplink+suffix)
}

// uplinks lists those that there are notes of this kind for.
func (p post) uplinks() []string {
	files, _ := filepath.Glob(filepath.Join(string(p.folder), p.kind+"*"+noteSuffix)) // the pattern is right
	slices.Sort(files)
	for i, file := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), p.kind), noteSuffix)
	}
	return files
}

func (p post) read(note any) error {
	data, err := os.ReadFile(p.path(noteSuffix))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, note); err != nil {
		return fmt.Errorf("%s: %w", p.path(noteSuffix), err)
	}
	return nil
}

func (p post) write(note any) error {
	data, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return err
	}
	tmp := p.path(noteSuffix) + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, p.path(noteSuffix))
}

func (p post) forget() {
	for _, suffix := range []string{noteSuffix, ".lock", ".log"} {
		_ = os.Remove(p.path(suffix))
	}
}

// alive tells whether the process runs: it holds its lock until it dies.
func (p post) alive() bool {
	l, err := os.Open(p.path(".lock"))
	if err != nil {
		return false
	}
	defer l.Close()
	return syscall.Flock(int(l.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// start runs a command in a session of its own: neither the terminal's signals nor a
// dropped SSH session reach it. It returns when the process holds its lock.
func (p post) start(command string, args ...string) error {
	log, err := os.OpenFile(p.path(".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(command, args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for end := time.Now().Add(endTime); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if p.alive() {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the keeper of %s ended early (%w); see %s", p.uplink, err, log.Name())
		default:
		}
	}
	return fmt.Errorf("the keeper of %s does not begin; see %s", p.uplink, log.Name())
}

// hold takes the lock; an error where another process has it.
func (p post) hold() error {
	l, err := os.OpenFile(p.path(".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(l.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		l.Close()
		return fmt.Errorf("%s has a keeper already: %w", p.uplink, err)
	}
	opened, err := l.Stat()
	named, nerr := os.Stat(l.Name())
	if err != nil || nerr != nil || !os.SameFile(opened, named) {
		l.Close()
		return fmt.Errorf("what was to be kept for %s is forgotten already: %w", p.uplink, errors.Join(err, nerr, fs.ErrNotExist))
	}
	held = append(held, l)
	return nil
}

// held keeps locks from the garbage collector, which would close them.
var held []*os.File

// stop ends a process, and returns when it is gone.
func (p post) stop(pid int) error {
	if !p.alive() || pid == 0 {
		return nil
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = syscall.Kill(pid, signal)
		for end := time.Now().Add(endTime); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if !p.alive() {
				return nil
			}
		}
	}
	return fmt.Errorf("the keeper of %s (process %d) does not end", p.uplink, pid)
}
