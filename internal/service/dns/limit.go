package dns

import (
	"net/netip"
	"sync"
	"time"
)

// The bounds for one client, and for all.
const (
	perSecond   = 200 // questions, a second
	burst       = 400
	maxAsking   = 64  // questions of one client that wait for a name server
	maxAskingIn = 512 // of all
	maxConns    = 64  // TCP connections
	maxConnsOf  = 8   // of one client
	maxKnown    = 4096
)

// limits counts what each client does. The host itself is a client like any other, with
// programs behind it: it may do ten times as much.
type limits struct {
	mu      sync.Mutex
	clients map[netip.Addr]*client
	asking  int
	conns   int
}

type client struct {
	tokens float64
	at     time.Time
	asking int
	conns  int
}

func (l *limits) client(who netip.Addr, now time.Time) *client {
	if l.clients == nil {
		l.clients = map[netip.Addr]*client{}
	}
	c := l.clients[who]
	if c == nil {
		if len(l.clients) >= maxKnown {
			l.forget(now)
		}
		c = &client{tokens: burst, at: now}
		l.clients[who] = c
	}
	return c
}

// forget leaves out who has been silent for a while; all who are idle, if that is not enough.
func (l *limits) forget(now time.Time) {
	for _, age := range []time.Duration{time.Minute, 0} {
		for a, c := range l.clients {
			if c.asking+c.conns == 0 && now.Sub(c.at) >= age {
				delete(l.clients, a)
			}
		}
		if len(l.clients) < maxKnown {
			return
		}
	}
}

// allow tells whether a client may ask one more now.
func (l *limits) allow(who netip.Addr, weight float64, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(who, now)
	c.tokens = min(burst, c.tokens+now.Sub(c.at).Seconds()*perSecond)
	c.at = now
	if c.tokens < weight {
		return false
	}
	c.tokens -= weight
	return true
}

// begin tells whether a client may have one more question under way; end follows.
func (l *limits) begin(who netip.Addr) (end func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(who, time.Now())
	if c.asking >= maxAsking || l.asking >= maxAskingIn {
		return nil, false
	}
	c.asking++
	l.asking++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.asking--
		l.asking--
	}, true
}

// connect is begin for a TCP connection.
func (l *limits) connect(who netip.Addr) (end func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.client(who, time.Now())
	if c.conns >= maxConnsOf || l.conns >= maxConns {
		return nil, false
	}
	c.conns++
	l.conns++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.conns--
		l.conns--
	}, true
}
