package machine

import (
	"context"
	"fmt"
	"os"
	"time"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// Info is what is known of a machine beside its networking.
type Info struct {
	// Version is the guest kernel's, as the VMM tells; "" where it tells none.
	Version string    `json:"version,omitempty"`
	Started time.Time `json:"started,omitzero"`
	// Used of the host's memory, in bytes, with the shim.
	Used int64 `json:"memory_used"`
	// LastEnd is how it ended before it was started again.
	LastEnd string `json:"last_end,omitempty"`
}

// What only some VMMs can do.
type (
	pauser interface {
		Pause(ctx context.Context) error
		Resume(ctx context.Context) error
	}
	sysrqer interface {
		SysRq(ctx context.Context, key string) (string, error)
	}
	versioner interface {
		Version(ctx context.Context) (string, error)
	}
)

// transportOf is how a NIC gets at its cable, "" where the VMM has one way only.
func transportOf(v vmm, nic string) string {
	if t, ok := v.(interface{ Transport(nic string) string }); ok {
		return t.Transport(nic)
	}
	return ""
}

// notNow refuses what needs a running machine.
func (s *shim) notNow(state string) error {
	name, hint := s.config.Machine.Name, ""
	switch state {
	case statePaused:
		hint = fmt.Sprintf(" (hint: drawbridge machine resume %s)", name)
	case stateRestarting:
		hint = fmt.Sprintf(" (hint: wait, or: drawbridge machine stop %s)", name)
	}
	return fmt.Errorf("machine %s is %s: %w%s", name, state, model.ErrBusy, hint)
}

// control pauses a machine, lets it go on, or presses its SysRq key.
func (s *shim) control(ctx context.Context, c call) reply {
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	p, canPause := s.vm.(pauser)
	k, hasKey := s.vm.(sysrqer)
	what := fmt.Errorf("machine %s: %w: its VMM, %s, cannot do that", s.config.Machine.Name, model.ErrInvalid, s.config.Machine.VMM)
	switch {
	case c.Do == callSysRq && hasKey:
		text, err := k.SysRq(ctx, c.Name)
		r := replyError(err)
		r.Text = text
		return r
	case c.Do == callSysRq || !canPause:
		return replyError(what)
	case c.Do == callPause && state == statePaused:
		return replyError(fmt.Errorf("machine %s is paused already: %w", s.config.Machine.Name, model.ErrExists))
	case c.Do == callPause:
		if err := p.Pause(ctx); err != nil {
			return replyError(err)
		}
		s.setState(statePaused)
	case state != statePaused:
		return replyError(fmt.Errorf("machine %s is not paused: %w", s.config.Machine.Name, model.ErrInvalid))
	default:
		if err := p.Resume(ctx); err != nil {
			return replyError(err)
		}
		s.setState(stateRunning)
	}
	return reply{}
}

// info is what the shim and its VMM know.
func (s *shim) info(ctx context.Context) *Info {
	s.mu.Lock()
	vm, state := s.vm, s.state
	i := &Info{Started: s.started, LastEnd: s.lastEnd}
	s.mu.Unlock()
	i.Used = procs.Used(append(procs.In(s.dir), os.Getpid()))
	if vm == nil {
		i.Started = time.Time{}
		return i
	}
	if v, ok := vm.(versioner); ok && state == stateRunning {
		i.Version, _ = v.Version(ctx) // a busy guest's is told another time
	}
	return i
}

// Info asks for what is known of a machine.
func (m *Manager) Info(ctx context.Context, name string) (Info, error) {
	r, err := m.call(ctx, name, call{Do: callInfo})
	if err != nil || r.Info == nil {
		return Info{}, err
	}
	return *r.Info, nil
}

// Pause stops a machine's processors, Resume lets them go on.
func (m *Manager) Pause(ctx context.Context, name string) error {
	_, err := m.call(ctx, name, call{Do: callPause})
	return err
}

// Resume undoes [Manager.Pause].
func (m *Manager) Resume(ctx context.Context, name string) error {
	_, err := m.call(ctx, name, call{Do: callResume})
	return err
}

// SysRq presses a key of the guest kernel's magic SysRq, and returns what it says to that.
func (m *Manager) SysRq(ctx context.Context, name, key string) (string, error) {
	if len(key) != 1 || key[0] <= ' ' || key[0] > '~' {
		return "", fmt.Errorf("sysrq %q: %w: one letter or digit (hint: h tells them)", key, model.ErrInvalid)
	}
	r, err := m.call(ctx, name, call{Do: callSysRq, Name: key})
	return r.Text, err
}
