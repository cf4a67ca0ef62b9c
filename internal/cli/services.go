package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/child"
	"drawbridge/internal/model"
	"drawbridge/internal/service"

	"github.com/spf13/cobra"
)

// The rest is for this program's own use.
func newServiceShimCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    service.SupervisorCommand + " DIR",
		Short:  "Look after the servers of a network (drawbridge's own)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := apply.OwnScope("service", "drawbridge: servers of the network "+filepath.Base(args[0])); err != nil {
				fmt.Fprintln(a.err, "going on without:", err)
			}
			return service.RunSupervisor(args[0])
		},
	}
}

func newServiceServerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    service.ServerCommand,
		Short:  "Serve a network (drawbridge's own)",
		Hidden: true,
		Args:   noArguments,
		RunE:   func(*cobra.Command, []string) error { return service.RunServer() },
	}
}

// serviceStatus is what a network serves, as a program reads it.
type serviceStatus struct {
	Network string `json:"network"`
	Link    string `json:"link"`
	// State is running, restarting or failed.
	State string `json:"state"`
	// Serves are of dhcp, ra and dns.
	Serves   []string      `json:"serves"`
	Zone     string        `json:"zone,omitempty"`
	PID      int           `json:"pid,omitempty"`
	Restarts int           `json:"restarts,omitempty"`
	Troubles []string      `json:"troubles,omitempty"`
	Leases   []leasedState `json:"leases"`
	// Learned are the addresses that a relay routes to machines.
	Learned []model.LearnedAddress `json:"learned,omitempty"`
	// Log is the file with what its servers said.
	Log string `json:"log"`

	words string
}

// leasedState is a lease that our own server gave.
type leasedState struct {
	model.Lease
	Ends time.Time `json:"ends"`
}

// addServices tells what is served, and takes the leases for what they are: knowledge of
// who is where.
func (st *status) addServices(snap model.Snapshot, dir string) {
	for _, s := range snap.Services {
		out := serviceStatus{Network: s.Network, Link: s.Link, State: s.State, PID: s.PID, Restarts: s.Restarts, Troubles: s.Troubles,
			Learned: s.Learned, Leases: []leasedState{}, Serves: strings.Split(strings.ToLower(s.Parts()), ", "), words: s.Parts(), Log: filepath.Join(dir, s.Network, child.LogFile)}
		if s.DNS != nil {
			out.Zone = s.DNS.Zone
		}
		for _, l := range s.Leases {
			out.Leases = append(out.Leases, leasedState{l, l.Ends()})
			st.noteLease(s.Link, l)
		}
		if s.State == model.ServiceFailed {
			st.Alarms = append(st.Alarms, fmt.Sprintf("nothing is served on network %s: %s; the next command that changes something starts it again: drawbridge up", s.Network, strings.Join(s.Troubles, "; ")))
		}
		st.Services = append(st.Services, out)
	}
}

// noteLease notes a lease at the port and at the NIC that have it.
func (st *status) noteLease(link string, l model.Lease) {
	for i := range st.Bridges {
		b := &st.Bridges[i]
		for j := range b.Ports {
			if b.Name == link && b.Ports[j].Name == l.Port && b.Ports[j].Name != b.Uplink {
				b.Ports[j].use(l.Address, byLease, 0)
			}
		}
	}
	for i := range st.Machines {
		for j := range st.Machines[i].NICs {
			if n := &st.Machines[i].NICs[j]; n.MAC == l.MAC {
				n.use(l.Address, byLease, 0)
			}
		}
	}
}

// print writes a service below the bridges of the table.
func (s serviceStatus) print(w io.Writer) {
	detail := []string{counted(len(s.Leases), "lease")}
	if !slices.Contains(s.Serves, "dhcp") {
		detail = nil
	}
	if n := len(s.Learned); n == 1 {
		detail = append(detail, "routes "+s.Learned[0].Address.String())
	} else if n > 1 {
		detail = append(detail, fmt.Sprintf("routes %d addresses", n))
	}
	if s.Zone != "" {
		detail = append(detail, "names in "+s.Zone)
	}
	if s.Restarts > 0 {
		detail = append(detail, fmt.Sprintf("ended and was started again %s", times(s.Restarts)))
	}
	fmt.Fprintf(w, "%s\tserves %s on %s\t%s\t%s\n", s.Network, s.words, s.Link, s.State, strings.Join(detail, ", "))
	for _, l := range s.Leases {
		name := orDash(l.Name)
		if l.Static {
			name += " (static)"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%suntil %s\n", l.Address, name, l.MAC, portWord(l.Port), l.Ends.Format(time.DateTime))
	}
	for _, t := range s.Troubles {
		fmt.Fprintf(w, "\t\t\ttrouble: %s\n", t)
	}
}

func portWord(port string) string {
	if port == "" {
		return ""
	}
	return "at " + port + ", "
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
