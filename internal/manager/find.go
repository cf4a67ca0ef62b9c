package manager

import (
	"cmp"
	"context"
	"slices"

	"drawbridge/internal/model"
)

// Found is who sees to the links, and the processes among which they were looked for.
type Found struct {
	Managers  map[string][]model.Manager // by link, the surest first
	Processes []Process
}

// Of are the managers of a link.
func (f Found) Of(link string) []model.Manager { return f.Managers[link] }

// daemon is a manager that is asked. The kernel cuts the names of processes to 15 bytes.
type daemon struct {
	name, command, service string
	// ask is its own word; files is what it has noted, where it does not answer.
	ask   func(System, *bus, *model.Namespace) (map[string]model.Manager, error)
	files func(System, *model.Namespace) map[string]model.Manager
}

// The names of the two that are asked.
const (
	NetworkManager = model.NetworkManager
	Networkd       = model.Networkd
)

var daemons = []daemon{
	{NetworkManager, "NetworkManager", "org.freedesktop.NetworkManager", System.askNetworkManager, System.networkManagerFiles},
	{Networkd, "systemd-network", "org.freedesktop.network1", System.askNetworkd, System.networkdFiles},
}

// Find tells who sees to the links of a namespace. What cannot be read or asked is left
// out, or known less surely; the error is that the namespace could not be entered.
func (s System) Find(ctx context.Context, ns *model.Namespace) (f Found, err error) {
	ctx, cancel := context.WithTimeout(ctx, AskTime)
	defer cancel()
	if err := s.Inside(func() error { f.Processes = s.Processes(); return nil }); err != nil {
		return f, err
	}
	f.Managers = map[string][]model.Manager{}
	add := func(link string, m model.Manager) {
		if !slices.ContainsFunc(f.Managers[link], func(o model.Manager) bool { return o.Name == m.Name && o.PID == m.PID }) {
			f.Managers[link] = append(f.Managers[link], m)
		}
	}
	for link, ms := range s.askDaemons(ctx, ns, f.Processes) {
		for _, m := range ms {
			add(link, m)
		}
	}
	for _, l := range ns.Links {
		for _, m := range append(s.commands(l.Name), s.clients(l, f.Processes)...) {
			add(l.Name, m)
		}
	}
	for link, m := range s.strangers(ctx, ns, f.Processes, f.Managers) {
		add(link, m)
	}
	for link, ms := range f.Managers {
		for i := range ms {
			s.describe(&ms[i], link)
		}
		slices.SortStableFunc(ms, func(a, b model.Manager) int {
			return cmp.Or(cmp.Compare(a.How, b.How), cmp.Compare(a.Name, b.Name))
		})
	}
	return f, nil
}

// Tell writes down in a namespace who sees to its links.
func (f Found) Tell(ns *model.Namespace) {
	for i := range ns.Links {
		ns.Links[i].Managers = f.Managers[ns.Links[i].Name]
	}
}

// askDaemons asks those that run in this namespace. The bus is the host's: who has the
// name there may live in another namespace.
func (s System) askDaemons(ctx context.Context, ns *model.Namespace, processes []Process) map[string][]model.Manager {
	out := map[string][]model.Manager{}
	var b *bus
	for _, d := range daemons {
		i := slices.IndexFunc(processes, func(p Process) bool { return p.Command == d.command })
		if i < 0 {
			continue
		}
		var found map[string]model.Manager
		var err error
		if b == nil {
			if b, err = s.bus(ctx); err == nil {
				defer b.close()
			}
		}
		pid := processes[i].PID
		if err == nil {
			pid, err = b.pid(d.service)
		}
		if err == nil && !slices.ContainsFunc(processes, func(p Process) bool { return p.PID == pid }) {
			continue // the one of another namespace; ours has no bus, and keeps no files here
		}
		if err == nil {
			found, err = d.ask(s, b, ns)
		}
		how, silent := model.Asked, ""
		if err != nil {
			found, how, silent = d.files(s, ns), model.ByFile, err.Error()
			pid = processes[i].PID
		}
		for link, m := range found {
			m.Name, m.How, m.PID, m.Acts, m.Silent = d.name, how, pid, true, silent
			out[link] = append(out[link], m)
		}
	}
	return out
}
