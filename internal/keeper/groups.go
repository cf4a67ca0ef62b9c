package keeper

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"time"
)

// Groups are multicast groups that programs have joined on an uplink, which a process of
// ours has joined on the bridge that hears for it.
type Groups struct {
	Uplink string       `json:"uplink"`
	Link   string       `json:"link"`
	Groups []netip.Addr `json:"groups"`
	PID    int          `json:"pid,omitempty"`
	// Alive: the process runs.
	Alive bool `json:"alive"`
}

func (f Folder) groupsPost(uplink string) post { return post{f, "groups-", uplink} }

// ListGroups reads what is heard for the uplinks.
func (f Folder) ListGroups() ([]Groups, error) {
	var out []Groups
	for _, uplink := range f.groupsPost("").uplinks() {
		g, err := f.ReadGroups(uplink)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return out, err
		}
		out = append(out, g)
	}
	return out, nil
}

// ReadGroups reads what is heard for one uplink; fs.ErrNotExist: nothing.
func (f Folder) ReadGroups(uplink string) (g Groups, err error) {
	p := f.groupsPost(uplink)
	if err := p.read(&g); err != nil {
		return g, err
	}
	g.Alive = p.alive()
	return g, nil
}

// StartGroups notes groups and runs a command as the process that hears them, in place of
// one that does so for that uplink already. It returns when the groups are joined.
func (f Folder) StartGroups(g Groups, command string, args ...string) error {
	if err := f.StopGroups(g.Uplink); err != nil {
		return err
	}
	p := f.groupsPost(g.Uplink)
	if err := p.write(g); err != nil {
		return err
	}
	return p.start(command, args...)
}

// HoldGroups is called by the process when it has joined its groups. It fails where the
// note is gone, or was written anew: a rollback was faster.
func (f Folder) HoldGroups(g Groups) error {
	p := f.groupsPost(g.Uplink)
	if err := p.hold(); err != nil {
		return err
	}
	now, err := f.ReadGroups(g.Uplink)
	if err != nil {
		return err
	}
	now.PID, now.Alive = os.Getpid(), false
	return p.write(now)
}

// StopGroups ends the process of an uplink, and forgets its groups.
func (f Folder) StopGroups(uplink string) error {
	g, err := f.ReadGroups(uplink)
	for end := time.Now().Add(endTime); err == nil && g.Alive && g.PID == 0 && time.Now().Before(end); g, err = f.ReadGroups(uplink) {
		time.Sleep(time.Millisecond) // it has just begun, and notes its number
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = f.groupsPost(uplink).stop(g.PID)
	}
	f.groupsPost(uplink).forget()
	return err
}
