package service

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/child"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
)

const (
	// lookTime is how often the host is looked at: its name servers, the link, the namespace.
	lookTime = 2 * time.Second
	// A server that ended by itself is started again after firstPause, then after twice as
	// long each time, until it has lived for steadyLife.
	firstPause = 200 * time.Millisecond
	longPause  = 30 * time.Second
	steadyLife = time.Minute
	endTime    = 3 * time.Second // for a server that shall end
)

// supervisor is the process that looks after the servers of one network.
type supervisor struct {
	config config
	kernel *kernel.Kernel
	anchor kernel.Anchor // it ends with it
	listen *net.UnixListener
	log    *boundedLog

	// mu guards what follows.
	mu       sync.Mutex
	server   *server // nil between two
	index    int     // of the link that it serves
	uplink   int     // of the one that it relays to
	restarts int
	reason   string // why there is none just now
	next     *model.Service
	told     []netip.AddrPort // upstreams

	stopOnce sync.Once
	stop     chan struct{}
	finished chan struct{}
	calls    sync.WaitGroup
}

// RunSupervisor is the hidden command service-shim: it looks after the servers of a folder
// until it is told to stop. It is started by a [Manager], which waits for its report.
func RunSupervisor(dir string) error {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGPIPE)
	unix.Umask(0o077)
	child.Inherit()
	s := &supervisor{stop: make(chan struct{}), finished: make(chan struct{})}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGTERM)
	go func() {
		<-asked
		s.askStop()
	}()
	err := s.begin(dir)
	child.Report(reply{Refusal: child.Refuse(err)})
	if err != nil {
		return err
	}
	routed := s.keepRouted()
	s.live()
	<-routed
	_ = s.listen.Close()
	close(s.finished)
	s.calls.Wait()
	return s.kernel.Close()
}

func (s *supervisor) askStop() { s.stopOnce.Do(func() { close(s.stop) }) }

// begin starts the first server. What fails here is the fault of who asked for it.
func (s *supervisor) begin(dir string) (err error) {
	// Unix sockets' paths have 108 bytes: all of ours are relative to here.
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("service's folder: %w", err)
	}
	if err := child.ReadJSON(child.ConfigFile, &s.config); err != nil {
		return fmt.Errorf("service's configuration: %w", err)
	}
	if s.log, err = openLog(child.LogFile); err != nil {
		return fmt.Errorf("service's log: %w", err)
	}
	if s.kernel, err = kernel.Open(); err != nil {
		return err
	}
	s.anchor = kernel.NewAnchor(s.config.Namespace, s.kernel.Inode())
	if s.listen, err = net.ListenUnix("unix", &net.UnixAddr{Name: child.SocketFile, Net: "unix"}); err != nil {
		return fmt.Errorf("supervisor's socket: %w", err)
	}
	if err := s.startServer(); err != nil {
		return err
	}
	go s.serve()
	return nil
}

// startServer opens the sockets anew, and starts a server with them.
func (s *supervisor) startServer() error {
	service := s.config.Service
	index, err := s.kernel.Index(service.Link)
	if err != nil {
		return err
	}
	uplink := 0
	if service.Relay != nil {
		if uplink, err = s.kernel.Index(service.Relay.Uplink); err != nil {
			return err
		}
	}
	files, counts, err := openSockets(s.kernel, service)
	if err != nil {
		return err
	}
	defer closeAll(files)
	upstreams := hostUpstreams(s.config.Namespace)
	srv, err := startServer(s.config, files, s.log)
	if err != nil {
		return err
	}
	first := call{Do: callServe, Service: &service, Sockets: counts, Upstreams: upstreams}
	if service.Relay != nil {
		v, err := s.look()
		if err != nil {
			srv.kill()
			return err
		}
		first.Facts, first.Learned = &v.facts, v.learned
	}
	if _, err := srv.ask(first, startTime/2); err != nil {
		srv.kill()
		return fmt.Errorf("the server: %w", errors.Join(err, srv.early()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server, s.index, s.uplink, s.reason, s.told = srv, index, uplink, "", upstreams
	return nil
}

// live looks after the server until somebody wants it to end.
func (s *supervisor) live() {
	tick := time.NewTicker(lookTime)
	defer tick.Stop()
	pause, began := firstPause, time.Now()
	for {
		select {
		case <-s.stop:
			s.endServer()
			return
		case <-s.server.gone:
			s.log.say("the server has ended: %s", s.server.how())
		case <-tick.C:
			switch {
			case s.anchor.Gone():
				s.endServer()
				return
			case s.unplugged():
				s.log.say("%s is another link now, or gone", s.config.Service.Link)
				s.server.kill()
			case s.replaced():
				s.log.say("%s is another link now", s.config.Service.Relay.Uplink)
				pause = firstPause
				s.server.kill()
			default:
				s.tellUpstreams()
				continue
			}
		}
		if time.Since(began) > steadyLife {
			pause = firstPause
		}
		if !s.again(&pause) {
			return
		}
		began = time.Now()
	}
}

// again starts the server once more, as often as it takes. It returns false when it shall
// not be any more.
func (s *supervisor) again(pause *time.Duration) bool {
	s.mu.Lock()
	s.server, s.reason = nil, "its server ended by itself"
	s.restarts++
	s.mu.Unlock()
	for {
		select {
		case <-s.stop:
			return false
		case <-time.After(*pause):
		}
		*pause = min(2**pause, longPause)
		if s.anchor.Gone() {
			return false
		}
		err := s.startServer()
		if err == nil {
			s.log.say("it is started again")
			return true
		}
		s.log.say("it does not start: %v", err)
		s.mu.Lock()
		s.reason = "its server does not start: " + err.Error()
		s.mu.Unlock()
	}
}

// endServer ends the server, which takes back what does not stay so.
func (s *supervisor) endServer() {
	s.mu.Lock()
	srv, next := s.server, s.next
	s.server = nil
	s.mu.Unlock()
	if srv == nil {
		return
	}
	if _, err := srv.ask(call{Do: callStop, Next: next}, endTime); err != nil {
		s.log.say("at its end: %v", err)
	}
	srv.kill()
}

// unplugged tells whether the link is no longer the one that the sockets are bound to.
func (s *supervisor) unplugged() bool {
	index, err := s.kernel.Index(s.config.Service.Link)
	return err != nil || index != s.index
}

// replaced tells whether the uplink is another link by now, as after it was unplugged from
// the host, or its driver started anew. One that is away is waited for: until then nothing
// better can be done.
func (s *supervisor) replaced() bool {
	if s.config.Service.Relay == nil {
		return false
	}
	index, err := s.kernel.Index(s.config.Service.Relay.Uplink)
	return err == nil && index != s.uplink
}

// tellUpstreams tells the server of the host's name servers when they have changed.
func (s *supervisor) tellUpstreams() {
	if s.config.Service.DNS == nil {
		return
	}
	now := hostUpstreams(s.config.Namespace)
	if slices.Equal(now, s.told) {
		return
	}
	if _, err := s.server.ask(call{Do: callUpstreams, Upstreams: now}, statusTime); err != nil {
		s.log.say("its name servers cannot be told: %v", err)
		return
	}
	s.told = now
	s.log.say("the host's name servers are %v now", now)
}

// serve answers at the socket until it closes.
func (s *supervisor) serve() {
	for {
		conn, err := s.listen.AcceptUnix()
		if err != nil {
			return
		}
		s.calls.Go(func() { s.handle(conn) })
	}
}

func (s *supervisor) handle(conn *net.UnixConn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(io.LimitReader(conn, maxLine)).ReadBytes('\n')
	if err != nil {
		return
	}
	var c call
	if err := json.Unmarshal(line, &c); err != nil {
		return
	}
	r := s.do(c)
	b, err := json.Marshal(r)
	if err != nil {
		b, _ = json.Marshal(reply{Refusal: child.Refuse(err)})
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = conn.Write(append(b, '\n'))
}

func (s *supervisor) do(c call) reply {
	switch c.Do {
	case callStatus:
		return reply{Service: s.status()}
	case callStop:
		s.mu.Lock()
		s.next = c.Next
		s.mu.Unlock()
		s.askStop()
		<-s.finished
		return reply{}
	default:
		return reply{Refusal: child.Refuse(fmt.Errorf("call %q: %w", c.Do, model.ErrInvalid))}
	}
}

// status is the service as it stands.
func (s *supervisor) status() *model.Service {
	s.mu.Lock()
	srv, out := s.server, s.config.Service
	out.State, out.Restarts = model.ServiceRestarting, s.restarts
	if s.reason != "" {
		out.Troubles = []string{s.reason}
	}
	s.mu.Unlock()
	if srv == nil {
		return &out
	}
	r, err := srv.ask(call{Do: callStatus}, statusTime)
	if err != nil || r.Service == nil {
		out.Troubles = append(out.Troubles, "its server does not answer")
		return &out
	}
	out.State, out.PID = model.ServiceRunning, srv.cmd.Process.Pid
	out.Troubles, out.Leases = append(out.Troubles, r.Service.Troubles...), r.Service.Leases
	out.Learned = r.Service.Learned
	return &out
}
