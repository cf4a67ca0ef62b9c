package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"drawbridge/internal/child"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
)

// SupervisorCommand is the hidden command of the executable that runs [RunSupervisor],
// ServerCommand the one that runs [RunServer].
const (
	SupervisorCommand = "service-shim"
	ServerCommand     = "service-server"
)

// startTime is how long servers may take to serve.
const startTime = 20 * time.Second

// Manager has the services of one network namespace.
type Manager struct {
	// Namespace is the path of the network namespace, like /run/netns/host; "" for the one
	// of this process.
	Namespace string
	// Executable is the drawbridge binary; "" for this process's own.
	Executable string
	// Leases is the folder of what must outlive the services.
	Leases string

	dir string
}

// NewManager has its state in dir, which is made when it is needed.
func NewManager(dir string) *Manager { return &Manager{dir: dir} }

// Do carries out StartService, ChangeService or StopService. A start that fails, or whose
// ctx ends, leaves nothing over.
func (m *Manager) Do(ctx context.Context, op model.Operation) error {
	var err error
	switch o := op.(type) {
	case model.StartService:
		err = m.start(ctx, o.Service.Wish())
	case model.ChangeService:
		err = m.change(ctx, o.Service.Wish())
	case model.StopService:
		err = m.stop(ctx, o.Network, nil)
	default:
		err = fmt.Errorf("%w: not an operation of a service", model.ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", op.Op(), op.Object(), err)
	}
	return nil
}

// networkName is what a network may be called in the file, and so in a path.
var networkName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func checkName(network string) error {
	if !networkName.MatchString(network) {
		return fmt.Errorf("network %q: the name has other characters than letters, digits, dot, dash and underscore, or more than 63: %w", network, model.ErrInvalid)
	}
	return nil
}

func (m *Manager) folder(network string) string { return filepath.Join(m.dir, network) }

func (m *Manager) executable() (string, error) {
	if m.Executable != "" {
		return m.Executable, nil
	}
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("own executable: %w", err)
	}
	return own, nil
}

func (m *Manager) inside(fn func() error) error {
	if m.Namespace == "" {
		return fn()
	}
	return kernel.Enter(m.Namespace, fn)
}

// start starts the servers of a network. What dead ones of that name have left is removed.
func (m *Manager) start(ctx context.Context, s model.Service) error {
	if err := errors.Join(checkName(s.Network), Check(s)); err != nil {
		return err
	}
	executable, err := m.executable()
	if err != nil {
		return err
	}
	leases, err := filepath.Abs(filepath.Join(m.Leases, s.Network))
	if err != nil {
		return err
	}
	unlock, err := child.Lock(m.dir)
	if err != nil {
		return fmt.Errorf("services' folder: %w", err)
	}
	defer unlock()
	dir := m.folder(s.Network)
	if child.Alive(dir) {
		return fmt.Errorf("its servers are running: %w", model.ErrExists)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("service's folder: %w", err)
	}
	lock, err := child.Make(dir, config{Service: s, Leases: leases, Executable: executable, Namespace: m.Namespace})
	if err != nil {
		return fmt.Errorf("service's folder: %w", err)
	}
	defer lock.Close()
	p, err := child.Start(executable, SupervisorCommand, dir, lock, m.inside)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var r reply
	if err := p.Await(ctx, &r); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if r.Error != "" {
		p.Wait()
		return errors.Join(r.Err(), os.RemoveAll(dir))
	}
	return nil
}

// change stops the servers, which take back nothing that the next ones tell as well, and
// starts those.
func (m *Manager) change(ctx context.Context, s model.Service) error {
	if err := errors.Join(checkName(s.Network), Check(s)); err != nil {
		return err
	}
	if err := m.stop(ctx, s.Network, &s); err != nil {
		return err
	}
	return m.start(ctx, s)
}

// stop stops the servers of a network; next are those that follow, nil for none.
func (m *Manager) stop(ctx context.Context, network string, next *model.Service) error {
	if err := checkName(network); err != nil {
		return err
	}
	unlock, err := child.Lock(m.dir)
	if err != nil {
		return fmt.Errorf("services' folder: %w", err)
	}
	defer unlock()
	dir := m.folder(network)
	_, err = m.call(ctx, network, call{Do: callStop, Next: next})
	switch {
	case errors.Is(err, child.ErrGone):
		return os.RemoveAll(dir) // its server has ended with the supervisor
	case errors.Is(err, model.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	// The supervisor ends a moment after its answer.
	for end := time.Now().Add(3 * time.Second); child.Alive(dir) && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	return os.RemoveAll(dir)
}

func (m *Manager) call(ctx context.Context, network string, c call) (reply, error) {
	conn, err := child.Dial(m.folder(network))
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	var r reply
	if _, err := child.Exchange(conn, c, &r); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return r, fmt.Errorf("the supervisor of network %s: %w", network, err)
	}
	return r, r.Err()
}

// List tells the services, by network: those that run as they are, and those whose
// supervisor was killed as failed, until they are stopped or started again.
func (m *Manager) List(ctx context.Context) ([]model.Service, error) {
	entries, err := os.ReadDir(m.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("services' folder: %w", err)
	}
	var out []model.Service
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if s, ok := m.look(ctx, e.Name()); ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// look is one service as it is.
func (m *Manager) look(ctx context.Context, network string) (model.Service, bool) {
	ctx, cancel := context.WithTimeout(ctx, statusTime+time.Second)
	defer cancel()
	r, err := m.call(ctx, network, call{Do: callStatus})
	if err == nil && r.Service != nil {
		return *r.Service, true
	}
	var c config
	if child.ReadJSON(filepath.Join(m.folder(network), child.ConfigFile), &c) != nil {
		return model.Service{}, false // just being made, or gone
	}
	s := c.Service
	s.State, s.Troubles = model.ServiceFailed, []string{"its processes were killed"}
	if child.Alive(m.folder(network)) {
		s.State, s.Troubles = model.ServiceRestarting, []string{"its supervisor does not answer"}
	}
	return s, true
}

// Revive starts again what was killed together with its supervisor, as it was, and tells
// of it.
func (m *Manager) Revive(ctx context.Context) (told []string, err error) {
	list, err := m.List(ctx)
	for _, s := range list {
		if s.State != model.ServiceFailed {
			continue
		}
		if e := m.start(ctx, s.Wish()); e != nil {
			err = errors.Join(err, fmt.Errorf("the servers of network %s were killed, and do not start again: %w", s.Network, e))
			continue
		}
		told = append(told, fmt.Sprintf("the servers of network %s were killed: started again", s.Network))
	}
	return told, err
}
