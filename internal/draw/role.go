package draw

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge/internal/model"
)

// mostPorts is how many published ports a picture tells at one host end.
const mostPorts = 3

// roleFacts are what a stack does for others at a host end: "NAT for", "198.18.7.0/24".
func roleFacts(w *model.Index, r model.Roles) []Fact {
	var out []Fact
	add := func(name, value string) {
		if f := (Fact{name, value}); value != "" && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	add("NAT for", natText(r.NAT))
	for _, p := range r.Publishes { // by IPv4 and by IPv6, to one machine, is one
		add("port", publishText(w, p))
	}
	no := ""
	if r.Failed {
		no = "no longer "
	}
	add(no+"serves", strings.Join(r.Serves, ", "))
	if r.Relays != "" {
		add(no+"relays", "DHCP and RA of "+Clean(r.Relays)+"'s LAN")
	}
	if r.ProxyARP {
		add("proxy ARP for", "all that is elsewhere")
	}
	var v4, v6 []netip.Addr
	for _, a := range r.Proxies {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	add("proxy ARP for", fewOf(v4))
	add("proxy NDP for", fewOf(v6))
	return out
}

// Roles tells the same in a line each, with the first few of the published ports.
func Roles(w *model.Index, r model.Roles) []string {
	var out []string
	ports := 0
	facts := roleFacts(w, r)
	for _, f := range facts {
		if f.Name == "port" {
			ports++
		}
	}
	told := 0
	for _, f := range facts {
		switch {
		case f.Name != "port" || ports <= mostPorts+1 || told < mostPorts:
			out = append(out, Clean(f.Name+" "+f.Value))
		case told == mostPorts:
			out = append(out, fmt.Sprintf("and %d ports more", ports-mostPorts))
		}
		if f.Name == "port" {
			told++
		}
	}
	return out
}

// natText tells whom an interface hides behind its address.
func natText(list []netip.Prefix) string {
	var words []string
	for n, p := range list {
		switch {
		case !p.IsValid():
			return "all"
		case n == 2:
			return fmt.Sprintf("%s and %d more", strings.Join(words, ", "), len(list)-n)
		}
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

// publishText tells a published port: "8080/tcp to web:80".
func publishText(w *model.Index, p model.Publish) string {
	at, to := "", netip.AddrPortFrom(p.To, p.ToPort).String()
	if p.Address.IsValid() {
		at = " of " + p.Address.String()
	}
	for _, i := range w.Interfaces {
		if s := w.Stack(i.Stack); s != nil && hasAddress(i, p.To.String()) {
			to = fmt.Sprintf("%s:%d", Clean(s.Name), p.ToPort)
		}
	}
	return fmt.Sprintf("%d/%s%s to %s", p.Port, p.Protocol, at, to)
}

// fewOf lists the first addresses, and counts the others.
func fewOf(list []netip.Addr) string {
	const most = 3
	var words []string
	for n, a := range list {
		if n == most && len(list) > most+1 {
			return fmt.Sprintf("%s and %d more", strings.Join(words, ", "), len(list)-n)
		}
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}
