package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// killGrace is how long the lab's processes have between SIGTERM and the end.
const killGrace = 300 * time.Millisecond

// supervisor is PID 1 of a lab.
type supervisor struct {
	options  Options
	since    time.Time
	root     bool
	reaper   *reaper
	network  *network
	log      *log.Logger
	stop     context.CancelFunc
	mu       sync.Mutex
	commands int
}

// supervise is the whole life of PID 1: descriptor 3 leads to the keeper.
func supervise() error {
	if os.Getpid() != 1 {
		return errors.New("an inner command, see: drawbridge lab up --help")
	}
	keeper, err := unixConn(os.NewFile(3, "keeper"))
	if err != nil {
		return fmt.Errorf("no keeper: %w", err)
	}
	var first toSupervisor
	if _, err := receive(keeper, &first); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	if first.Options == nil {
		return errors.New("the keeper sent no options")
	}
	// PID 1 has no default actions: signals without a handler are ignored, and
	// that is right for all but these.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	s := &supervisor{options: *first.Options, since: time.Now(), reaper: newReaper(), stop: stop}
	if err := s.setUp(ctx); err != nil {
		_ = send(keeper, fromSupervisor{Error: err.Error()})
		return nil // told
	}
	if err := send(keeper, fromSupervisor{Ready: true}); err != nil {
		return err
	}
	go s.takeConnections(keeper)
	<-ctx.Done()
	s.killAll()
	return nil
}

func (s *supervisor) setUp(ctx context.Context) error {
	uidMap, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return err
	}
	s.root = isWholeMap(string(uidMap))
	if err := mountAll(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.options.Name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	f, err := os.OpenFile(LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644) //nolint:gosec // in the lab's own /run
	if err != nil {
		return err
	}
	s.log = log.New(f, "", log.Ltime|log.Lmicroseconds)
	if s.network, err = buildNetwork(ctx, s.options, s.log); err != nil {
		return err
	}
	return s.startEcho(f)
}

// startEcho lets the host answer probes, in a process of its own that is not slowed
// by what the supervisor does.
func (s *supervisor) startEcho(logFile *os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	_, _, err = s.reaper.start("/proc/self/exe",
		internalArgs(stageEnter, append([]string{hostNS, "/", binDir + "/drawbridge"}, internalArgs(stageEcho)[1:]...)...),
		&os.ProcAttr{Dir: "/", Env: []string{"PATH=" + binDir}, Files: []*os.File{null, logFile, logFile}, Sys: commandAttr(false)})
	if err != nil {
		return fmt.Errorf("start the echo responder: %w", err)
	}
	return nil
}

// isWholeMap tells whether /proc/self/uid_map maps every id to itself, as in the
// machine's own user namespace.
func isWholeMap(m string) bool {
	var inside, outside, count uint64
	n, _ := fmt.Sscan(m, &inside, &outside, &count)
	return n == 3 && inside == 0 && outside == 0 && count == 1<<32-1
}

// takeConnections receives what the keeper let in. The keeper's end is the lab's end.
func (s *supervisor) takeConnections(keeper *net.UnixConn) {
	defer s.stop()
	for {
		var m toSupervisor
		files, err := receive(keeper, &m)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.log.Printf("keeper: %v", err)
			}
			return
		}
		if m.Stop {
			closeAll(files)
			return
		}
		if len(files) != 1 {
			closeAll(files)
			continue
		}
		c, err := unixConn(files[0])
		if err != nil {
			s.log.Printf("connection: %v", err)
			continue
		}
		go s.serve(c)
	}
}

// serve answers the one request of a connection.
func (s *supervisor) serve(c *net.UnixConn) {
	defer c.Close()
	var req request
	files, err := receive(c, &req)
	defer closeAll(files)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			_ = send(c, reply{Error: err.Error()})
		}
		return
	}
	switch req.Op {
	case opExec:
		s.exec(c, req, files)
	case opInfo:
		info := s.info()
		_ = send(c, reply{Info: &info})
	case opUplink:
		_ = send(c, replyOf(s.network.setUplink(req.Plugged)))
	case opStop:
		_ = send(c, reply{})
		s.stop()
	default:
		_ = send(c, reply{Error: fmt.Sprintf("unknown request %q: the lab was started by another version of drawbridge", req.Op)})
	}
}

func replyOf(err error) reply {
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{}
}

func (s *supervisor) info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{
		Name:        s.options.Name,
		Since:       s.since,
		Root:        s.root,
		Plugged:     s.network.plugged(),
		AccessPoint: s.options.AccessPoint,
		Namespaces:  namespaceNames(),
		Commands:    s.commands,
		Leases:      s.network.leases(),
	}
}

// killAll asks every process of the lab to end. Those that do not, the kernel kills
// when PID 1 exits.
func (s *supervisor) killAll() {
	_ = unix.Kill(-1, unix.SIGTERM) // all in this PID namespace but ourselves
	for end := time.Now().Add(killGrace); time.Now().Before(end) && othersAlive(); {
		time.Sleep(10 * time.Millisecond)
	}
}

func othersAlive() bool {
	pids, _ := filepath.Glob("/proc/[0-9]*")
	return len(pids) > 1
}
