package model

import (
	"path"
	"strings"
)

// SetSetting.apply refuses what has no file below /proc/sys/net. Which files the kernel
// has beside those of a link is not known here.
func (o SetSetting) apply(s *Snapshot) error {
	n := s.Here()
	if o.Path == "" || path.Clean("/" + o.Path)[1:] != o.Path {
		return refuse(o.Path, ErrInvalid)
	}
	if n.Settings == nil {
		n.Settings = map[string]string{}
	}
	family, rest, perLink := strings.Cut(o.Path, "/conf/")
	link, key, _ := strings.Cut(rest, "/")
	if area, _, ok := cutNeighbourSetting(o.Path); ok {
		link, perLink = o.Path[len(area)+1:strings.LastIndex(o.Path, "/")], true
	}
	if perLink && link != "all" && link != "default" && n.Link(link) == nil {
		return refuse(o.Path, ErrNotFound)
	}
	if area, key, ok := cutNeighbourSetting(o.Path); ok && n.Settings[area+"/default/"+key] == o.Value {
		delete(n.Settings, o.Path) // see Setting
	} else {
		n.Settings[o.Path] = o.Value
	}
	switch {
	case o.Path == "ipv4/ip_forward":
		n.forwardAll("ipv4", o.Value)
	case key == "forwarding" && link == "all":
		n.forwardAll(family, o.Value)
	}
	return nil
}

// forwardAll: the switch for all is one for each (inet_forward_change, addrconf_fixup_forwarding).
func (n *Namespace) forwardAll(family, value string) {
	for _, path := range SettingsWith(n, family+"/conf/all/forwarding") {
		n.Settings[path] = value
	}
	for _, path := range []string{family + "/conf/all/forwarding", family + "/ip_forward"} { // two names of one
		if _, known := n.Settings[path]; known {
			n.Settings[path] = value
		}
	}
}

// SettingsWith lists the settings that the kernel writes along with one, of those that are
// known: all but those that are the same one.
func SettingsWith(n *Namespace, path string) []string {
	family := path[:4*min(1, len(path)/4)]
	if path != "ipv4/ip_forward" && path != family+"/conf/all/forwarding" {
		return nil
	}
	var out []string
	for _, link := range append([]string{"default"}, linkNames(n)...) {
		if p := family + "/conf/" + link + "/forwarding"; n.Settings[p] != "" {
			out = append(out, p)
		}
	}
	return out
}

func linkNames(n *Namespace) []string {
	out := make([]string, len(n.Links))
	for i, l := range n.Links {
		out[i] = l.Name
	}
	return out
}

// cutNeighbourSetting divides ipv4/neigh/LINK/KEY into ipv4/neigh and KEY.
func cutNeighbourSetting(p string) (area, key string, ok bool) {
	parts := strings.Split(p, "/")
	if len(parts) != 4 || parts[1] != "neigh" {
		return "", "", false
	}
	return parts[0] + "/neigh", parts[3], true
}

// Setting is the value of a sysctl, false if it was not observed. Of a link's neighbours
// only what differs from the default is written down.
func (n *Namespace) Setting(path string) (string, bool) {
	value, ok := n.Settings[path]
	if area, key, neighbours := cutNeighbourSetting(path); !ok && neighbours {
		value, ok = n.Settings[area+"/default/"+key]
	}
	return value, ok
}
