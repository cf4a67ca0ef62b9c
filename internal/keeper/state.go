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

// State is a lease as its keeper has it.
type State struct {
	Lease
	PID      int       `json:"pid,omitempty"`
	Renewed  time.Time `json:"renewed,omitzero"`
	Until    time.Time `json:"until,omitzero"` // the lease's end
	Renewals int       `json:"renewals"`
	// Failing says why it cannot be renewed just now, "" if it can.
	Failing string `json:"failing,omitempty"`
	// Alive: its keeper runs.
	Alive bool `json:"alive"`
}

// Folder is where the leases of a namespace are noted: a file for each uplink, which its
// keeper holds a lock on for as long as it lives.
type Folder string

const (
	prefix = "keeper-"
	suffix = ".json"
	// endTime is how long a keeper may take to end.
	endTime = 3 * time.Second
)

func (f Folder) path(uplink string) string { return filepath.Join(string(f), prefix+uplink+suffix) }
func (f Folder) lock(uplink string) string { return filepath.Join(string(f), prefix+uplink+".lock") }

// List reads what is kept, by uplink.
func (f Folder) List() ([]State, error) {
	files, err := filepath.Glob(f.path("*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var out []State
	for _, file := range files {
		uplink := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), prefix), suffix)
		s, err := f.read(uplink)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return out, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (f Folder) read(uplink string) (s State, err error) {
	data, err := os.ReadFile(f.path(uplink))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("lease of %s: %w", uplink, err)
	}
	s.Alive = f.alive(uplink)
	return s, nil
}

// Write notes a lease, or what has become of it.
func (f Folder) Write(s State) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := f.path(s.Uplink) + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, f.path(s.Uplink))
}

// Forget removes the note of an uplink's lease.
func (f Folder) Forget(uplink string) {
	_ = os.Remove(f.path(uplink))
	_ = os.Remove(f.lock(uplink))
}

// alive tells whether an uplink's keeper runs: it holds its lock until it dies.
func (f Folder) alive(uplink string) bool {
	l, err := os.Open(f.lock(uplink))
	if err != nil {
		return false
	}
	defer l.Close()
	return syscall.Flock(int(l.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// Start runs a command as the keeper of an uplink, in a session of its own: neither the
// terminal's signals nor a dropped SSH session reach it. It returns when the keeper holds
// its lock.
func (f Folder) Start(uplink, command string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(string(f), prefix+uplink+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
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
		if f.alive(uplink) {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the keeper of %s ended early (%w); see %s", uplink, err, log.Name())
		default:
		}
	}
	return fmt.Errorf("the keeper of %s does not begin; see %s", uplink, log.Name())
}

// Hold takes the lock that tells that an uplink's keeper lives, and notes which process it
// is; an error where there is one already.
func (f Folder) Hold(uplink string) (State, error) {
	l, err := os.OpenFile(f.lock(uplink), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return State{}, err
	}
	if err := syscall.Flock(int(l.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		l.Close()
		return State{}, fmt.Errorf("%s has a keeper already: %w", uplink, err)
	}
	held = append(held, l)
	s, err := f.read(uplink)
	if err != nil {
		return s, err
	}
	s.PID, s.Alive = os.Getpid(), false
	return s, f.Write(s)
}

// held keeps locks from the garbage collector, which would close them.
var held []*os.File

// Stop ends the keeper of an uplink, and returns when it is gone.
func (f Folder) Stop(s State) error {
	if !f.alive(s.Uplink) || s.PID == 0 {
		return nil
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = syscall.Kill(s.PID, signal)
		for end := time.Now().Add(endTime); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if !f.alive(s.Uplink) {
				return nil
			}
		}
	}
	return fmt.Errorf("the keeper of %s (process %d) does not end", s.Uplink, s.PID)
}
