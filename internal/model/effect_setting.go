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
	if perLink && link != "all" && link != "default" && n.Link(link) == nil {
		return refuse(o.Path, ErrNotFound)
	}
	n.Settings[o.Path] = o.Value
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
	set := func(path string) {
		if _, known := n.Settings[path]; known {
			n.Settings[path] = value
		}
	}
	if family == "ipv4" {
		set("ipv4/ip_forward")
	}
	set(family + "/conf/all/forwarding")
	set(family + "/conf/default/forwarding")
	for _, l := range n.Links {
		set(family + "/conf/" + l.Name + "/forwarding")
	}
}
