package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"drawbridge/internal/keeper"
	"drawbridge/internal/manager"
	"drawbridge/internal/model"
	"drawbridge/internal/persist"
	"drawbridge/internal/plan"
	"drawbridge/internal/spec"
)

// source is the file as a unit at boot will read it.
func (a *app) source(o persistOptions, want spec.Desired) (persist.Source, error) {
	var src persist.Source
	if o.file == "-" {
		return src, withCode(exitUsage, errors.New("standard input is not there at the next boot\n  hint: name a file"))
	}
	path, err := filepath.Abs(o.file)
	if err != nil {
		return src, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return src, err
	}
	program, err := os.Executable()
	if err != nil {
		return src, err
	}
	src = persist.Source{Path: path, Content: string(data), Uplink: o.uplink, Program: program}
	// Read as from another folder: what then differs is relative.
	elsewhere, problems := spec.Parse(path, data)
	if problems.Err() == nil {
		fileRelative(&elsewhere, filepath.Join(persist.ConfigDir, "boot.yaml"))
		src.Relative = !samePaths(elsewhere, want)
	}
	return src, nil
}

// samePaths compares the paths that machines name.
func samePaths(a, b spec.Desired) bool {
	return slices.EqualFunc(a.Machines, b.Machines, func(x, y spec.Machine) bool {
		return x.Kernel == y.Kernel && x.Root == y.Root && x.UserData == y.UserData
	})
}

// knownLeases are the DHCP leases that keepers and clients have noted.
func (s *session) knownLeases(own plan.Owned) []persist.Lease {
	var out []persist.Lease
	states, _ := keeper.Folder(s.store.Dir).List()
	for _, st := range states {
		out = append(out, persist.Lease{Address: st.Prefix.Addr(), Identity: persist.Identity{ClientID: st.ClientID, Hostname: st.Hostname}})
	}
	for _, u := range own.Uplinks {
		found := keeper.Clients(s.kernel.Inode(), u.Name)
		for _, link := range []string{u.Name, u.Bridge} {
			index := s.indexOf(link)
			for _, address := range u.Addresses {
				if n, ok := keeper.Noted(found, link, index, address.Prefix.Addr()); ok && address.Prefix.Addr().Is4() {
					out = append(out, persist.Lease{Address: address.Prefix.Addr(), Identity: persist.Identity{ClientID: n.ClientID, Hostname: n.Hostname}})
				}
			}
		}
	}
	return out
}

// managerFor is the manager that was asked for, or the one that has the uplinks.
func (s *session) managerFor(name string, ns *model.Namespace, w *persist.Wish) (persist.Manager, error) {
	var all []model.Manager
	for i := range w.Bridges {
		l := ns.Link(w.Bridges[i].Uplink)
		if l == nil {
			continue
		}
		for _, m := range l.Managers {
			if m.Client {
				continue // it has an address, and nothing of a bridge
			}
			all = append(all, m)
			w.Bridges[i].OwnerFile = m.File
		}
	}
	var err error
	if name == "" {
		if name, err = managerOf(all); err != nil {
			return persist.Manager{}, err
		}
	}
	m, err := persist.Find(name)
	if err != nil {
		return m, withCode(exitUsage, err)
	}
	return m, nil
}

// managerOf is the name that internal/persist knows a manager by.
func managerOf(all []model.Manager) (string, error) {
	var names []string
	for _, m := range all {
		name := map[string]string{manager.Networkd: persist.Networkd, manager.NetworkManager: persist.NetworkManager, manager.Ifupdown: persist.Ifupdown, manager.Ifupdown2: persist.Ifupdown2, "dhcpcd": persist.Dhcpcd}[m.Name]
		switch {
		case m.Writer == "netplan", m.Writer == "cloud-init" && name == persist.Networkd:
			name = persist.Netplan
		case name == "":
			name = m.Name
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch len(names) {
	case 0:
		return persist.OwnUnit, nil
	case 1:
		return names[0], nil
	default:
		return "", withCode(exitFailed, fmt.Errorf("%s all manage the uplink: which of them shall bring it up is not ours to say\n  hint: --manager %s", strings.Join(names, " and "), names[0]))
	}
}

// readExisting reads the files that match patterns, below a root. What is not a regular
// file is there, and empty: a link to /dev/null masks a file (systemd.network(5)).
func readExisting(root string, patterns []string) (persist.Existing, error) {
	out := persist.Existing{}
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(root, p))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			info, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a link that leads nowhere
			}
			if err != nil {
				return nil, err
			}
			text := []byte(nil)
			if info.Mode().IsRegular() {
				if text, err = os.ReadFile(path); err != nil {
					return nil, fmt.Errorf("%w\n  hint: root may read it: sudo", err)
				}
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return nil, err
			}
			out["/"+rel] = string(text)
		}
	}
	return out, nil
}

// adopted is what is ours by the files that were written before this boot.
func (s *session) adopted() (plan.Owned, error) {
	note, ok, err := readNote()
	if err != nil || !ok {
		return plan.Owned{}, err
	}
	ns, err := s.observe()
	if err != nil {
		return plan.Owned{}, err
	}
	return note.Adopt(&ns), nil
}

func ignoreDenied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

func (s *session) observe() (model.Namespace, error) { return s.kernel.Observe(context.Background()) }

func (s *session) indexOf(link string) int {
	ns, err := s.observe()
	if l := ns.Link(link); err == nil && l != nil {
		return l.Index
	}
	return 0
}
