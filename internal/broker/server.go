package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// Host is what the broker does to the host's network.
type Host interface {
	// ObserveLinks reads links and forwarding entries.
	ObserveLinks(ctx context.Context) (model.Namespace, error)
	// MakeTransientTap makes a tap that is there for as long as the descriptor is open.
	MakeTransientTap(o model.CreateTap) (tap *os.File, index int, err error)
	Do(ctx context.Context, op model.Operation) (model.Made, error)
}

// State is what is remembered of a namespace. Between Begin and its end nobody else
// changes it, nor the namespace's network.
type State interface {
	// Begin waits a moment for others; a change that a crash interrupted is undone first.
	Begin(ctx context.Context) (end func(), err error)
	Owned() (plan.Owned, error)
	SaveOwned(o plan.Owned) error
	// Observe reads everything, for a plan.
	Observe(ctx context.Context) (model.Snapshot, error)
	// Run carries a plan out as a transaction, and saves what is owned then.
	Run(ctx context.Context, p plan.Plan) error
}

// The server's bounds.
const (
	// speakTime is how long a client may take to say what it wants.
	speakTime = 5 * time.Second
	// serveTime is how long a request may wait for its turn, and be carried out.
	serveTime = 10 * time.Second
	// perUser connections of one user are served at a time; more are closed at once, so
	// that nobody keeps the others out.
	perUser = 64
	// atOnce connections are served at a time, of all users.
	atOnce = 512
)

// Server gives taps to users without rights.
type Server struct {
	Host  Host
	State State
	// Seed makes chosen MAC addresses differ from another host's.
	Seed string
	// Namespace is the inode of the network namespace that the taps are in.
	Namespace uint64
	// Log is told of every request, and of every tap's end.
	Log func(format string, args ...any)
	// NoSecurity says why this kernel cannot secure ports, "" if it can.
	NoSecurity string

	policy atomic.Pointer[Policy]
	// turn serialises what is done to the host.
	turn sync.Mutex

	mu      sync.Mutex
	clients map[uint32]int // connections, by user
	total   int
}

// SetPolicy puts a policy in force for the requests that come.
func (s *Server) SetPolicy(p Policy) { s.policy.Store(&p) }

// Serve answers requests until ctx ends or the listener fails. It closes the listener.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	for {
		conn, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && errors.Is(err, net.ErrClosed):
			return fmt.Errorf("broker: %w", err)
		case err != nil: // no descriptors left: they come back
			s.Log("accept: %v", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		all.Add(1)
		go func() {
			defer all.Done()
			defer conn.Close()
			s.serve(ctx, conn)
		}()
	}
}

// serve answers one client.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	peer, err := peerOf(conn, s.Namespace)
	if err != nil {
		s.Log("a client without credentials: %v", err)
		return
	}
	if !s.enter(peer.UID) {
		s.Log("%s: refused: too many connections at once", peer)
		return
	}
	defer s.leave(peer.UID)
	_ = conn.SetDeadline(time.Now().Add(speakTime))
	data, err := receive(conn)
	if err != nil {
		s.Log("%s: said nothing: %v", peer, err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, serveTime)
	defer cancel()
	reply, tap := s.answer(ctx, peer, data)
	if tap != nil {
		// Also where it could not be sent: then this was the last one, and the tap is gone.
		defer tap.Close()
	}
	_ = conn.SetDeadline(time.Now().Add(speakTime))
	if err := send(conn, reply.encode(), tap); err != nil {
		s.Log("%s: left before the answer: %v", peer, err)
	}
}

func (s *Server) enter(uid uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		s.clients = map[uint32]int{}
	}
	if s.clients[uid] >= perUser || s.total >= atOnce {
		return false
	}
	s.clients[uid]++
	s.total++
	return true
}

func (s *Server) leave(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.clients[uid]--; s.clients[uid] == 0 {
		delete(s.clients, uid)
	}
}

// answer grants a request or refuses it; the descriptor is the caller's to close.
func (s *Server) answer(ctx context.Context, peer Peer, data []byte) (Reply, *os.File) {
	r, err := DecodeRequest(data)
	if err != nil {
		s.Log("%s: refused: %v", peer, oneLine(err))
		return replyTo(err), nil
	}
	g, tap, err := s.lend(ctx, peer, r)
	if err != nil {
		s.Log("%s: a tap on %s: refused: %v", peer, r.Network, oneLine(err))
		return replyTo(err), nil
	}
	s.Log("%s: %s on %s (%s), %s, MAC %s", peer, g.Tap, r.Network, g.Bridge, r.Kind, orNone(string(g.MAC)))
	return Reply{Tap: g.Tap, Bridge: g.Bridge, MAC: g.MAC, MTU: g.MTU}, tap
}

// lend makes the tap that a request comes to.
func (s *Server) lend(ctx context.Context, peer Peer, r Request) (Grant, *os.File, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := ctx.Err(); err != nil {
		return Grant{}, nil, refuse(KindBusy, "try again", "the broker has too much to do")
	}
	end, err := s.State.Begin(ctx)
	if err != nil {
		return Grant{}, nil, refuse(KindBusy, "try again when it is over", "%v", err)
	}
	defer end()
	owned, err := s.reap(ctx)
	if err != nil {
		return Grant{}, nil, err
	}
	here, err := s.Host.ObserveLinks(ctx)
	if err != nil {
		return Grant{}, nil, err
	}
	policy := s.policy.Load()
	if policy == nil {
		return Grant{}, nil, refuse(KindFailed, "", "the broker has no policy")
	}
	g, err := Decide(peer, r, Facts{Policy: policy, Owned: owned, Here: &here, Seed: s.Seed, ACL: func(bridge string) error {
		return askACL(policy.Helper.ACL, bridge, peer)
	}})
	if err != nil {
		return g, nil, err
	}
	if s.NoSecurity != "" && g.Security.Level != model.SecurityOff {
		if g.Security.Asked {
			return g, nil, refuse(KindFailed, "who runs the broker may load nf_tables, or write security: off", "its port cannot be secured: %s", s.NoSecurity)
		}
		g.Security.Level = model.SecurityOff
	}
	if r.Kind == KindNamed {
		return g, nil, s.makeNamed(ctx, g, owned)
	}
	tap, err := s.makeOpen(ctx, g, owned)
	return g, tap, err
}

// makeOpen makes a tap whose life is its descriptor: until that is sent, closing it undoes
// everything, and so does the broker's own end.
func (s *Server) makeOpen(ctx context.Context, g Grant, owned plan.Owned) (*os.File, error) {
	tap, index, err := s.Host.MakeTransientTap(model.CreateTap{Name: g.Tap, MAC: g.PortMAC, MTU: g.MTU, Owner: &g.Peer.UID, VnetHeader: g.Request.VnetHeader})
	if err != nil {
		return nil, err
	}
	if owned, err = s.plugIn(ctx, g, index, owned); err == nil {
		err = s.State.SaveOwned(owned)
	}
	if err != nil {
		tap.Close()
		return nil, err
	}
	return tap, nil
}

// plugIn secures the port before it lets anything pass, and tells what is owned then.
// Where the VM's MAC address is not known yet, the port is secured once it is.
func (s *Server) plugIn(ctx context.Context, g Grant, index int, owned plan.Owned) (plan.Owned, error) {
	added := g.added()
	ops := []model.Operation{model.SetMaster{Link: g.Tap, Master: g.Bridge}, model.SetUp{Link: g.Tap, Up: true}}
	port := g.Security.port(g.Tap, g.MAC)
	switch {
	case port == nil:
	case g.MAC == "":
		added.Secure = port
	default:
		ops = append([]model.Operation{model.SecurePorts{Ports: []model.PortSecurity{*port}}}, ops...)
		owned = owned.Securing(*port)
	}
	for _, op := range ops {
		if _, err := s.Host.Do(ctx, op); err != nil {
			return owned, err
		}
	}
	return owned.With(plan.OwnedLink{Name: g.Tap, Index: index, Kind: model.TapKind, Added: &added}), nil
}

// makeNamed makes a persistent tap, by a plan like any other: with a journal, so that
// nothing is left of it when this process dies on the way.
func (s *Server) makeNamed(ctx context.Context, g Grant, owned plan.Owned) error {
	now, err := s.State.Observe(ctx)
	if err != nil {
		return err
	}
	owner := fmt.Sprint(g.Peer.UID)
	p, err := plan.AddTap(now, plan.NewTap{Name: g.Tap, Network: g.Bridge, Owner: owner, Security: g.Security.port(g.Tap, g.MAC), Added: g.added()}, owned,
		plan.Options{Seed: s.Seed, Users: map[string]uint32{owner: g.Peer.UID}})
	if err != nil {
		return err
	}
	return s.State.Run(ctx, p)
}

func orNone(s string) string {
	if s == "" {
		return "not agreed"
	}
	return s
}
