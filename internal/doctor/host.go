package doctor

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
)

// Host is what is examined: the namespace that was asked for.
type Host struct {
	Snapshot model.Snapshot
	Facts    Facts

	here      *model.Namespace
	links     map[string]*model.Link
	ports     map[string][]*model.Link // by bridge
	addresses map[string][]model.Address
}

// index finds in one pass what the checks ask for again and again.
func (h *Host) index() {
	h.here = h.Snapshot.Here()
	h.links = make(map[string]*model.Link, len(h.here.Links))
	h.ports = map[string][]*model.Link{}
	h.addresses = map[string][]model.Address{}
	for i := range h.here.Links {
		h.links[h.here.Links[i].Name] = &h.here.Links[i]
	}
	for i := range h.here.Links {
		if l := &h.here.Links[i]; l.Master != "" && h.links[l.Master] != nil && h.links[l.Master].Kind == model.Bridged {
			h.ports[l.Master] = append(h.ports[l.Master], l)
		}
	}
	for _, a := range h.here.Addresses {
		h.addresses[a.Link] = append(h.addresses[a.Link], a)
	}
}

// lacks says why a check cannot be made, "" if it can.
func (h *Host) lacks(needs []Fact) string {
	for _, f := range needs {
		if why, unknown := h.Facts.Unknown[f]; unknown {
			if why == "" {
				return string(f)
			}
			return string(f) + ": " + why
		}
	}
	return ""
}

// bridges lists the bridges that are up, by name.
func (h *Host) bridges() []*model.Link {
	var out []*model.Link
	for i := range h.here.Links {
		if l := &h.here.Links[i]; l.Kind == model.Bridged && l.Up && l.Bridge != nil {
			out = append(out, l)
		}
	}
	return out
}

// setting is a sysctl's value, "" where there is none.
func (h *Host) setting(path string) string { return h.here.Settings[path] }

// isFirst tells whether this is the machine's first namespace, in which alone limits of the
// whole machine can be set (neigh_sysctl_register gives others no gc_thresh).
func (h *Host) isFirst() bool { return h.setting("ipv4/neigh/default/gc_thresh3") != "" }

// isGuestPort tells whether behind a port there is a machine or a container, as far as its
// kind says.
func isGuestPort(l *model.Link) bool { return l.Kind == model.TapKind || l.Kind == model.Veth }

// guests are the ports of a bridge that have a machine or a container behind them.
func (h *Host) guests(bridge string) []*model.Link {
	return slices.DeleteFunc(slices.Clone(h.ports[bridge]), func(l *model.Link) bool { return !isGuestPort(l) || h.isUplink(l) })
}

// uplinks are the ports by which a bridge leads out of the host.
func (h *Host) uplinks(bridge string) []*model.Link {
	return slices.DeleteFunc(slices.Clone(h.ports[bridge]), func(l *model.Link) bool { return !h.isUplink(l) })
}

// isUplink: what leads out by hardware, or was plugged in as the uplink by us. The half of
// a veth pair may be one, in a lab.
func (h *Host) isUplink(l *model.Link) bool {
	for _, u := range h.Facts.Owned.Uplinks {
		if u.Name == l.Name && u.Bridge == l.Master {
			return true
		}
	}
	switch l.Kind {
	case model.Physical, model.Wireless, model.Bond, model.Team, model.VLANKind:
		return true
	case model.Veth: // the bridge has its MAC address: that is how uplinks are plugged in
		m := h.links[l.Master]
		return m != nil && m.MAC == l.MAC
	default:
		return false
	}
}

// names are those of links.
func names(ls []*model.Link) []string {
	out := make([]string, len(ls))
	for i, l := range ls {
		out[i] = l.Name
	}
	return out
}

// runs lists names as a person reads them: "tap0…tap9, web".
func runs(list []string) string {
	parts := model.NameRuns(list)
	const most = 6
	if len(parts) > most {
		parts = append(parts[:most:most], fmt.Sprintf("and %d more", len(parts)-most))
	}
	return strings.Join(parts, ", ")
}

// seconds of a bridge's hundredths.
func seconds(hundredths uint32) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(hundredths)/100), ".0") + " s"
}

// UplinksOf lists the ports by which bridges lead out of a host, by name.
func UplinksOf(snap model.Snapshot, owned plan.Owned) []string {
	h := Host{Snapshot: snap, Facts: Facts{Owned: owned}}
	h.index()
	var out []string
	for _, b := range h.bridges() {
		out = append(out, names(h.uplinks(b.Name))...)
	}
	return out
}
