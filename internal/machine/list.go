package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"drawbridge/internal/child"
	"drawbridge/internal/kernel"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// List tells the machines, by name: the running ones with what their guests say, and
// those that have ended by themselves until they are stopped or started again (state
// stopped or failed; [Manager.Failure] has the reason).
func (m *Manager) List(ctx context.Context) ([]model.Machine, error) {
	entries, err := os.ReadDir(m.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("machines' folder: %w", err)
	}
	var all []*model.Machine
	var wg sync.WaitGroup
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		found := new(model.Machine)
		all = append(all, found)
		wg.Go(func() { *found = m.look(ctx, e.Name()) })
	}
	wg.Wait()
	var out []model.Machine
	for _, found := range all {
		if found.Name != "" {
			out = append(out, *found)
		}
	}
	return out, nil
}

// look is one machine as it is; without a name where there is none after all.
func (m *Manager) look(ctx context.Context, name string) model.Machine {
	dir := m.folder(name)
	// A shim that is just ending has its lock for a moment after its socket is gone.
	for try := 0; child.Alive(dir); try++ {
		r, err := m.call(ctx, name, call{Do: callStatus})
		if err == nil && r.Machine != nil {
			return *r.Machine
		}
		if try < 10 && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		var c shimConfig
		if child.ReadJSON(filepath.Join(dir, configFile), &c) != nil {
			return model.Machine{} // just being made, or gone
		}
		return model.Machine{Name: name, VMM: c.Machine.VMM, State: stateStarting, Config: &c.Machine, NICs: machineNICs(c.Machine)}
	}
	unlock, err := m.lock()
	if err != nil {
		return model.Machine{}
	}
	defer unlock()
	var c shimConfig
	if child.Alive(dir) || child.ReadJSON(filepath.Join(dir, configFile), &c) != nil {
		return model.Machine{}
	}
	note := m.autopsy(ctx, dir, c)
	for i := range c.Machine.NICs {
		c.Machine.NICs[i].Link = "" // it holds no cable any more
	}
	return model.Machine{Name: name, VMM: c.Machine.VMM, State: note.State, Config: &c.Machine, NICs: machineNICs(c.Machine)}
}

// Failure tells why a machine is not running any more, "" where nothing is known.
func (m *Manager) Failure(name string) string {
	var note exitNote
	if checkName(name) != nil || child.ReadJSON(filepath.Join(m.folder(name), exitFile), &note) != nil {
		return ""
	}
	return note.Reason
}

// autopsy finds out how a machine without a shim has ended. One that has left no word
// was killed together with its shim: what these leave over is cleaned up.
func (m *Manager) autopsy(ctx context.Context, dir string, c shimConfig) exitNote {
	var note exitNote
	if child.ReadJSON(filepath.Join(dir, exitFile), &note) == nil {
		return note
	}
	note = exitNote{State: stateFailed, Reason: "its shim was killed"}
	if err := m.cleanUp(ctx, dir, c); err != nil {
		note.Reason += "; " + err.Error()
	}
	_ = child.WriteJSON(filepath.Join(dir, exitFile), note)
	return note
}

// cleanUp ends what is left of a machine without a shim.
func (m *Manager) cleanUp(_ context.Context, dir string, c shimConfig) error {
	errs := []error{procs.EndAll(dir), sweep(dir)}
	errs = append(errs, m.inside(func() error {
		k, err := kernel.Open()
		if err != nil {
			return err
		}
		return errors.Join(freeTaps(k, c.Machine), k.Close())
	}))
	return errors.Join(errs...)
}

// bury removes a machine without a shim, with its folder. The caller holds the lock.
func (m *Manager) bury(ctx context.Context, dir string) error {
	var c shimConfig
	var errs []error
	if child.ReadJSON(filepath.Join(dir, configFile), &c) == nil {
		errs = append(errs, m.cleanUp(ctx, dir, c))
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// WriteLog writes what a machine's console has said, without carriage returns.
func (m *Manager) WriteLog(w io.Writer, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(m.folder(name), consoleFile))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("machine %s: %w", name, model.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("machine %s: console's log: %w", name, err)
	}
	_, err = w.Write(bytes.ReplaceAll(b, []byte("\r"), nil))
	return err
}
