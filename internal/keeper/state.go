package keeper

import (
	"errors"
	"io/fs"
	"os"
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

// Folder is where what is kept for the uplinks of a namespace is noted.
type Folder string

func (f Folder) post(uplink string) post { return post{f, "keeper-", uplink} }

// List reads what is kept, by uplink.
func (f Folder) List() ([]State, error) {
	var out []State
	for _, uplink := range f.post("").uplinks() {
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
	p := f.post(uplink)
	if err := p.read(&s); err != nil {
		return s, err
	}
	s.Alive = p.alive()
	return s, nil
}

// Write notes a lease, or what has become of it.
func (f Folder) Write(s State) error { return f.post(s.Uplink).write(s) }

// Forget removes the note of an uplink's lease.
func (f Folder) Forget(uplink string) { f.post(uplink).forget() }

// Start runs a command as the keeper of an uplink's lease, and returns when it holds its
// lock.
func (f Folder) Start(uplink, command string, args ...string) error {
	return f.post(uplink).start(command, args...)
}

// Hold takes the lock that tells that the keeper of an uplink's lease lives, and notes
// which process it is; an error where there is one already.
func (f Folder) Hold(uplink string) (State, error) {
	if err := f.post(uplink).hold(); err != nil {
		return State{}, err
	}
	s, err := f.read(uplink)
	if err != nil {
		return s, err
	}
	s.PID, s.Alive = os.Getpid(), false
	return s, f.Write(s)
}

// Stop ends the keeper of an uplink's lease, and returns when it is gone.
func (f Folder) Stop(s State) error { return f.post(s.Uplink).stop(s.PID) }
