package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"drawbridge/internal/model"
)

// portFacts are what is known of who has the wire end of a link.
type portFacts struct {
	// Used are its addresses: told by the guest, or seen at the port.
	Used []usedAddress `json:"used,omitempty"`
	// Traffic is as the machine sees it: what it received and sent.
	Traffic *model.Counters `json:"traffic,omitempty"`
	// Security is the level of the port's security, "" for none.
	Security string `json:"security,omitempty"`
	// Dropped counts the frames that it may not send, by the reason.
	Dropped map[string]uint64 `json:"dropped,omitempty"`
}

// usedAddress is an address, and how it is known.
type usedAddress struct {
	Address netip.Addr `json:"address"`
	// By are guest (its agent tells it), lease (our own DHCP server gave it), dhcp (some
	// server was seen to), arp and nd.
	By []string `json:"by"`
	// SecondsAgo it was last seen; absent where that is not known.
	SecondsAgo *int `json:"seconds_ago,omitempty"`
}

const (
	byGuest = "guest"
	byLease = "lease"
)

func (u usedAddress) words() string {
	by := strings.ReplaceAll(strings.Join(u.By, ", "), byLease, "our DHCP")
	s := u.Address.String() + ": " + by
	if u.SecondsAgo != nil {
		s += " " + ago(*u.SecondsAgo)
	}
	return s
}

func ago(seconds int) string {
	return (time.Duration(seconds) * time.Second).String() + " ago"
}

func upFor(seconds int) string {
	if seconds == 0 {
		return ""
	}
	return "up " + (time.Duration(seconds) * time.Second).String()
}

// addFacts adds what the ports tell about who is behind them.
func (st *status) addFacts(snap model.Snapshot, counters map[string]model.Counters) {
	ns := snap.Here()
	facts := func(link string) portFacts {
		var f portFacts
		if c, known := counters[link]; known {
			far := c.FarEnd()
			f.Traffic = &far
		}
		if p := ns.SecurityOf(link); p != nil {
			f.Security, f.Dropped = p.Level, p.Dropped
			for _, s := range p.Seen {
				f.use(s.Address, s.By, s.SecondsAgo)
			}
		}
		return f
	}
	for i := range st.Bridges {
		for j := range st.Bridges[i].Ports {
			p := &st.Bridges[i].Ports[j]
			if p.Name != st.Bridges[i].Uplink {
				p.portFacts = facts(p.Name)
			}
		}
	}
	for i := range st.Machines {
		m := &st.Machines[i]
		m.Uptime = uptime(m.PID)
		inside := snap.Machine(m.Name)
		for j := range m.NICs {
			n := &m.NICs[j]
			n.portFacts = facts(n.Link)
			if inside == nil || inside.Inside == nil {
				continue
			}
			for _, a := range inside.Inside.AddressesOf(n.Name) {
				n.use(a.Prefix.Addr(), byGuest, 0)
			}
		}
	}
}

// use notes an address. Only what was seen on the wire has a time.
func (f *portFacts) use(a netip.Addr, by string, seconds int) {
	i := slices.IndexFunc(f.Used, func(u usedAddress) bool { return u.Address == a })
	if i < 0 {
		i = len(f.Used)
		f.Used = append(f.Used, usedAddress{Address: a})
	}
	u := &f.Used[i]
	if !slices.Contains(u.By, by) {
		u.By = append(u.By, by)
		slices.SortFunc(u.By, func(x, y string) int { return cmp.Compare(byOrder[x], byOrder[y]) })
	}
	if by == model.SeenByARP || by == model.SeenByND {
		u.SecondsAgo = &seconds
	}
	slices.SortFunc(f.Used, func(x, y usedAddress) int { return x.Address.Compare(y.Address) })
}

// byOrder puts what has a time last: "guest, dhcp, arp 5s ago".
var byOrder = map[string]int{byGuest: 0, byLease: 1, model.SeenByDHCP: 2, model.SeenByARP: 3, model.SeenByND: 4}

// print writes the facts below a row of the table, in its last column.
func (f portFacts) print(w io.Writer) {
	for _, u := range f.Used {
		if !slices.Equal(u.By, []string{byGuest}) { // that is in the row already
			fmt.Fprintf(w, "\t\t\tseen %s\n", u.words())
		}
	}
	if f.Traffic != nil && f.Traffic.SentFrames+f.Traffic.ReceivedFrames > 0 {
		fmt.Fprintf(w, "\t\t\tsent %s, received %s\n", bytesWord(f.Traffic.SentBytes), bytesWord(f.Traffic.ReceivedBytes))
	}
	if len(f.Dropped) > 0 {
		fmt.Fprintf(w, "\t\t\tdropped: %s\n", droppedWords(f.Dropped))
	}
}

func droppedWords(dropped map[string]uint64) string {
	var out []string
	for why, n := range dropped {
		out = append(out, fmt.Sprintf("%s (%d)", why, n))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// bytesWord is a number of bytes in three digits or so.
func bytesWord(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 999.5 && unit < 4 {
		v, unit = v/1000, unit+1
	}
	return fmt.Sprintf("%.3g %cB", v, " kMGT"[unit])
}

// ticks a second of /proc/PID/stat: USER_HZ, 100 on every architecture of Linux that Go has.
const ticks = 100

// uptime is how many seconds ago a process was started, 0 if that is not known.
func uptime(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	now, err2 := os.ReadFile("/proc/uptime")
	if pid == 0 || err != nil || err2 != nil {
		return 0
	}
	// Behind the command, which is in brackets and may hold anything (proc(5)).
	const started = 22 - 3
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	up := strings.Fields(string(now))
	if len(fields) <= started || len(up) == 0 {
		return 0
	}
	began, err := strconv.ParseFloat(fields[started], 64)
	since, err2 := strconv.ParseFloat(up[0], 64)
	if err != nil || err2 != nil {
		return 0
	}
	return max(int(since-began/ticks), 1)
}
