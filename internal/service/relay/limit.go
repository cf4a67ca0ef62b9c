package relay

import (
	"time"

	"drawbridge/internal/model"
)

// One machine's flood shall neither keep the relay from the others, nor go on to the LAN,
// nor use up its servers' addresses.
const (
	perSecond  = 50 // messages of a port that the LAN is asked for, a second
	burst      = 4 * perSecond
	maxClients = 16 // of DHCP, behind one port
	maxBudgets = 1024
)

// budget is what is left of a port's messages, and when that was so.
type budget struct {
	left float64
	at   time.Time
}

// portOf is the port behind which a machine is; where that is not known, it is one by itself.
func (r *Relay) portOf(m mac) string {
	if r.Port != nil {
		if p := r.Port(model.MAC(m.String())); p != "" {
			return p
		}
	}
	return m.String()
}

// allow tells whether a port may have one more message passed on.
func (r *Relay) allow(port string) bool {
	now := time.Now()
	b := r.budgets[port]
	if b == nil {
		if len(r.budgets) >= maxBudgets {
			clear(r.budgets) // ports that do not exist: somebody makes up MAC addresses faster than the bridge learns them
		}
		b = &budget{burst, now}
		r.budgets[port] = b
	}
	b.left = min(burst, b.left+now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// mayAsk tells whether a machine may ask the LAN's DHCP servers: each client that does has an
// address kept for it there, whether it takes it or not.
func (r *Relay) mayAsk(m mac, port string) bool {
	if !r.allow(port) {
		return false
	}
	clients := map[mac]bool{}
	for _, c := range r.waiting {
		if c.port == port {
			clients[c.mac] = true
		}
	}
	for _, k := range r.addresses {
		if k.port == port && k.leased {
			clients[k.mac] = true
		}
	}
	if !clients[m] && len(clients) >= maxClients {
		r.crowded[port] = time.Now()
		return false
	}
	return true
}
