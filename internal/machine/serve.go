package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"drawbridge/internal/child"
	"drawbridge/internal/machine/agent"
	"drawbridge/internal/model"
)

const (
	insideTimeout = 1500 * time.Millisecond // for the guest's own view, in a status
	maxCall       = 64 << 10                // bytes of a client's line
)

// serve answers clients until the socket closes.
func (s *shim) serve() {
	for {
		conn, err := s.listen.AcceptUnix()
		if err != nil {
			return
		}
		s.calls.Add(1)
		go func() {
			defer s.calls.Done()
			s.handle(conn)
		}()
	}
}

func (s *shim) handle(conn *net.UnixConn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	// A reader of its own: what follows the line of a console call is the console's.
	in := bufio.NewReaderSize(io.LimitReader(conn, maxCall), 4096)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return
	}
	var c call
	r := replyError(fmt.Errorf("not a call: %w", model.ErrInvalid))
	if json.Unmarshal(line, &c) == nil {
		r = s.do(c)
	}
	b, err := json.Marshal(r)
	if err != nil {
		b, _ = json.Marshal(replyError(err))
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(append(b, '\n')); err != nil || r.Error != "" || c.Do != callConsole {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	s.console.attach(conn)
}

func (s *shim) do(c call) reply {
	ctx, cancel := context.WithTimeout(context.Background(), 2*nicTimeout)
	defer cancel()
	switch c.Do {
	case callStatus:
		m := s.status(ctx)
		return reply{Machine: &m}
	case callStop:
		s.mu.Lock()
		s.patience = c.Patience
		s.mu.Unlock()
		s.askStop()
		<-s.finished
		r := replyError(s.result)
		r.Note = s.note
		return r
	}
	s.mu.Lock()
	state, client := s.state, s.agent
	s.mu.Unlock()
	switch {
	case c.Do == callInfo:
		return reply{Info: s.info(ctx)}
	case c.Do == callConsole && s.console != nil && state == stateStarting: // it may hang
		return reply{}
	case state == statePaused && (c.Do == callPause || c.Do == callResume || c.Do == callSysRq || c.Do == callConsole):
	case state != stateRunning:
		return replyError(s.notNow(state))
	}
	switch c.Do {
	case callConsole:
		return reply{}
	case callAgent:
		if c.Agent == nil {
			return replyError(fmt.Errorf("no request: %w", model.ErrInvalid))
		}
		if client == nil {
			return replyError(fmt.Errorf("machine %s: %w: it runs a system of its own, which cannot be asked", s.config.Machine.Name, model.ErrInvalid))
		}
		ctx, cancel := context.WithTimeout(ctx, max(c.Agent.Timeout, nicTimeout)+time.Second)
		defer cancel()
		a, err := client.Do(ctx, *c.Agent)
		r := replyError(err)
		r.Agent = &a
		return r
	}
	s.change.Lock()
	defer s.change.Unlock()
	select {
	case <-s.finished:
		return replyError(fmt.Errorf("machine %s has ended: %w", s.config.Machine.Name, model.ErrNotFound))
	default:
	}
	if s.vm == nil {
		return replyError(s.notNow(stateRestarting))
	}
	switch {
	case c.Do == callPause, c.Do == callResume, c.Do == callSysRq:
		return s.control(ctx, c)
	case c.Do == callUnplug:
		return replyError(s.unplug(ctx, c.Name))
	case c.Do == callPlug && c.NIC != nil:
		return replyError(s.plug(ctx, *c.NIC))
	case c.Do == callConfigure && c.NIC != nil:
		return replyError(s.configure(ctx, *c.NIC))
	default:
		return replyError(fmt.Errorf("call %q: %w", c.Do, model.ErrInvalid))
	}
}

// status is the machine as it stands.
func (s *shim) status(ctx context.Context) model.Machine {
	s.mu.Lock()
	config := s.config.Machine
	config.NICs = slices.Clone(config.NICs)
	m := model.Machine{Name: config.Name, VMM: config.VMM, State: s.state, Config: &config, Restarts: s.restarts}
	vm, client := s.vm, s.agent
	s.mu.Unlock()
	m.NICs = machineNICs(config)
	if vm == nil {
		return m
	}
	m.PID, m.Accel = vm.PID(), accelOf(vm)
	for i := range m.NICs {
		m.NICs[i].Transport = transportOf(vm, m.NICs[i].Name)
	}
	if m.State != stateRunning || client == nil {
		return m
	}
	ctx, cancel := context.WithTimeout(ctx, insideTimeout)
	defer cancel()
	if a, err := client.Do(ctx, agent.Request{Do: agent.Status, Timeout: insideTimeout}); err == nil {
		m.Inside = a.Namespace
	}
	return m
}

// machineNICs are the NICs of a configuration: one without a cable has no device yet.
func machineNICs(c model.MachineConfig) []model.MachineNIC {
	var out []model.MachineNIC
	for _, nic := range c.NICs {
		out = append(out, model.MachineNIC{Name: nic.Name, MAC: nic.MAC, Link: model.Ref{Name: nic.Link}, Declared: nic.Link == ""})
	}
	return out
}

// nic finds a NIC of the configuration, nil if it has none of that name.
func (s *shim) nic(name string) *model.NICConfig {
	for i := range s.config.Machine.NICs {
		if s.config.Machine.NICs[i].Name == name {
			return &s.config.Machine.NICs[i]
		}
	}
	return nil
}

// keep puts a NIC's configuration in force for status, and for who reads the folder
// when the shim is gone.
func (s *shim) keep(nic model.NICConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.nic(nic.Name); have != nil {
		*have = nic
	} else {
		s.config.Machine.NICs = append(s.config.Machine.NICs, nic)
	}
	return child.WriteJSON(configFile, s.config)
}

func (s *shim) plug(ctx context.Context, nic model.NICConfig) error {
	name := s.config.Machine.Name
	have := s.nic(nic.Name)
	switch {
	case nic.Link == "":
		return fmt.Errorf("NIC %s of %s: %w: no link to plug it into", nic.Name, name, model.ErrInvalid)
	case have != nil && have.Link == nic.Link:
		return fmt.Errorf("NIC %s of %s: is plugged into %s already: %w", nic.Name, name, nic.Link, model.ErrExists)
	case have != nil && have.Link != "":
		return fmt.Errorf("NIC %s of %s: %w: it is plugged into %s (hint: unplug it first)", nic.Name, name, model.ErrBusy, have.Link)
	}
	if nic.MAC == "" && have != nil {
		nic.MAC = have.MAC
	}
	if nic.MAC == "" {
		nic.MAC = defaultMAC(name, nic.Name)
	}
	if err := prepareCable(ctx, s.kernel, s.config.Machine, nic); err != nil {
		return err
	}
	if err := s.vm.Plug(ctx, nic); err != nil {
		return err
	}
	if err := s.configureInside(ctx, nic); err != nil {
		return errors.Join(err, s.takeOut(ctx, nic))
	}
	return s.keep(nic)
}

func (s *shim) unplug(ctx context.Context, name string) error {
	have := s.nic(name)
	switch {
	case have == nil:
		return fmt.Errorf("NIC %s of %s: %w", name, s.config.Machine.Name, model.ErrNotFound)
	case have.Link == "":
		return fmt.Errorf("NIC %s of %s has no cable: %w", name, s.config.Machine.Name, model.ErrNotFound)
	}
	if err := s.takeOut(ctx, *have); err != nil {
		return err
	}
	nic := *have
	nic.Link = ""
	return s.keep(nic)
}

// takeOut removes a NIC's device: the guest first, for UML refuses to remove one that is up.
func (s *shim) takeOut(ctx context.Context, nic model.NICConfig) error {
	var err error
	if s.agent != nil {
		_, err = s.agent.Do(ctx, agent.Request{Do: agent.Release, Target: nic.Name})
	}
	silent := errors.Is(err, context.DeadlineExceeded)
	if err = errors.Join(err, s.vm.Unplug(ctx, nic.Name)); silent {
		// Seen once in some hundred unplugs of a busy raw transport: UML 6.1 hangs whole.
		name := s.config.Machine.Name
		err = fmt.Errorf("%w (hint: the machine's kernel hangs; `drawbridge machine stop %s` ends it)", err, name)
	}
	if err == nil && transport(s.config.Machine.VMM, nic) == model.TransportTap {
		err = freeTap(s.kernel, nic.Link)
	}
	return err
}

// configure changes the addresses of a NIC. Its cable stays what it is.
func (s *shim) configure(ctx context.Context, nic model.NICConfig) error {
	have := s.nic(nic.Name)
	if have == nil {
		return fmt.Errorf("NIC %s of %s: %w", nic.Name, s.config.Machine.Name, model.ErrNotFound)
	}
	if s.agent == nil {
		return fmt.Errorf("NIC %s of %s: %w: it runs a system of its own, which takes no addresses from here while it runs", nic.Name, s.config.Machine.Name, model.ErrInvalid)
	}
	nic.MAC, nic.Link, nic.Transport = have.MAC, have.Link, have.Transport
	if nic.Link != "" {
		if err := s.configureInside(ctx, nic); err != nil {
			return err
		}
	}
	return s.keep(nic)
}
