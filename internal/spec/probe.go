package spec

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// probeKinds are the keys of which a probe has one.
var probeKinds = []string{ProbePing, ProbeTCP, ProbeHTTP, ProbeCommand}

func (b *builder) probe(e entry) {
	if e.bad {
		return
	}
	p := Probe{Name: e.name, Timeout: DefaultProbeTimeout, Pos: e.at.Pos}
	var first value
	for _, kind := range probeKinds {
		v, given := e.fields.get(kind)
		switch {
		case !given:
		case p.Kind != "":
			b.errorf(v.at, CodeConflict, "make it two probes, each with a name of its own", "a probe asks one thing; this one asks by %s already (line %d)", p.Kind, first.Line)
		default:
			p.Kind, p.Target, first = kind, v.text, v
		}
	}
	if p.Kind == "" {
		b.errorf(e.at, CodeConflict, "one of "+strings.Join(probeKinds, ", ")+"; for example ping: 198.18.0.1", "this probe asks nothing")
	}
	if t, given := e.fields.get("timeout"); given {
		p.Timeout = t.duration
	}
	b.want.Probes = append(b.want.Probes, p)
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)

var dottedNumbers = regexp.MustCompile(`^[0-9.]+$`)

// parseHost takes an IP address or a name (RFC 1123, section 2.1).
func parseHost(s string) (problem, hint string) {
	hint = "for example 198.18.0.1, 2001:db8::1 or a name"
	if a, err := netip.ParseAddr(s); err == nil {
		if a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return s + " is not the address of one host", hint
		}
		return "", ""
	}
	switch {
	case dottedNumbers.MatchString(s):
		return "not an IP address: " + quote(s), "four numbers up to 255: 198.18.0.1"
	case strings.Contains(s, "://"):
		return quote(s) + " is a URL, not a host", "use http: for a URL"
	case !hostName.MatchString(s) || len(s) > 253:
		return "not an IP address or a name: " + quote(s), hint
	}
	return "", ""
}

// parseHostPort takes host:port, with an IPv6 address in brackets.
func parseHostPort(s string) (problem, hint string) {
	hint = "for example 198.18.0.1:22 or \"[2001:db8::1]:22\""
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return fmt.Sprintf("%s lacks its port", quote(s)), fmt.Sprintf("write %s:22, or whatever the port is", clip(s))
	}
	host, port := s[:i], s[i+1:]
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		host = strings.TrimSuffix(inner, "]")
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return "not an IPv6 address in the brackets: " + quote(s), hint
		}
	} else if strings.Contains(host, ":") {
		return "an IPv6 address with a port goes in brackets: " + quote(s), hint
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '+' {
		return fmt.Sprintf("not a port: %s", quote(port)), "a number from 1 to 65535"
	}
	return parseHost(host)
}

func parseURL(s string) (problem, hint string) {
	hint = "for example http://198.18.0.1/"
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "not a URL: " + quote(s), hint
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("%s is not a URL that begins with http:// or https://", quote(s)), hint
	case u.Hostname() == "":
		return "a URL without a host: " + quote(s), hint
	case u.User != nil:
		return "a URL with a password in it", "a file is read by many: use command: with a tool that has its own place for secrets"
	}
	if problem, _ := parseHost(u.Hostname()); problem != "" {
		return problem, hint
	}
	return "", ""
}

// maxTimeout is the longest time of a probe: while it is asked, the host is in between.
const maxTimeout = time.Minute

func parseDuration(s string) (d time.Duration, problem, hint string) {
	hint = "a number with ms or s: 500ms, 3s"
	if !regexp.MustCompile(timePattern).MatchString(s) {
		if _, err := strconv.ParseUint(s, 10, 32); err == nil {
			hint = "with its unit: " + clip(s) + "s"
		}
		return 0, "not a time: " + quote(s), hint
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, "not a time: " + quote(s), hint
	case d == 0:
		return 0, "no time at all: nothing answers in " + s, hint
	case d > maxTimeout:
		return 0, fmt.Sprintf("%s is longer than a probe may take (%s)", s, maxTimeout), hint
	}
	return d, "", ""
}
