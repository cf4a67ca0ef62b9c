package manager

import (
	"encoding/json"
	"fmt"

	"drawbridge/internal/model"
)

// unmanaged is networkd's word for a link that it leaves alone, no file of its own being
// for it (org.freedesktop.network1(5)).
const unmanaged = "unmanaged"

// askNetworkd asks for the description of all its links. One before systemd 250 has none:
// its state files tell then.
func (s System) askNetworkd(b *bus, ns *model.Namespace) (map[string]model.Manager, error) {
	var text string
	if err := b.call("org.freedesktop.network1", "/org/freedesktop/network1", "org.freedesktop.network1.Manager.Describe", &text); err != nil {
		return nil, err
	}
	return networkdHolds([]byte(text), ns)
}

func networkdHolds(description []byte, ns *model.Namespace) (map[string]model.Manager, error) {
	var d struct {
		Interfaces []struct {
			Name                string
			AdministrativeState string
			NetworkFile         string
		}
	}
	if err := json.Unmarshal(description, &d); err != nil {
		return nil, fmt.Errorf("its description: %w", err)
	}
	out := map[string]model.Manager{}
	for _, i := range d.Interfaces {
		if ns.Link(i.Name) != nil && i.AdministrativeState != unmanaged {
			out[i.Name] = model.Manager{File: i.NetworkFile}
		}
	}
	return out, nil
}

// networkdFiles is what it notes of each link for others (sd-network(3)).
func (s System) networkdFiles(ns *model.Namespace) map[string]model.Manager {
	out := map[string]model.Manager{}
	for _, l := range ns.Links {
		file := fmt.Sprintf("run/systemd/netif/links/%d", l.Index)
		text := s.read(file)
		if text == "" || valueOf(text, "ADMIN_STATE") == unmanaged {
			continue
		}
		m := model.Manager{File: "/" + file}
		if f := valueOf(text, "NETWORK_FILE"); f != "" {
			m.File = f
		}
		out[l.Name] = m
	}
	return out
}
