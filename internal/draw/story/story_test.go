package story_test

import (
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/story"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/spec"

	"github.com/google/go-cmp/cmp"
)

// bridged is the page of the plan by which the walkthrough's host and a VM join the LAN.
func bridged(t testing.TB) story.Page {
	t.Helper()
	host := walkthrough.States()[2].Snapshot
	host.Here().Settings = map[string]string{"ipv6/conf/eth0/accept_ra": "0", "ipv6/conf/default/accept_ra": "1"}
	host.Settle()
	p, err := plan.Diff(host, spec.Desired{
		Networks: []spec.Network{{Name: "lan", Mode: "bridged", Bridge: "br0", Uplink: "auto", Host: spec.HostAddressing{Mode: "move"}}},
		Machines: []spec.Machine{{Name: "web", VMM: "uml", Memory: 64 << 20, NICs: []spec.NIC{{Name: "eth1", Network: "lan", Tap: "tap0", Cabled: true, DHCP: true}}}},
	}, plan.Owned{}, plan.Options{Seed: "seed"})
	if err != nil {
		t.Fatal(err)
	}
	page, err := story.Tell(p)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func render(t testing.TB, p story.Page) string {
	t.Helper()
	data, err := story.HTML(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPageStandsAlone(t *testing.T) {
	p := bridged(t)
	p.Title, p.Steps[0].Do.Modern = `<script>alert("&")</script>`, []string{`echo "</pre><b>'x'`}
	s := render(t, p)
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "story.html"), []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s, "<script>alert") || strings.Contains(s, "</pre><b>") {
		t.Error("words of the input became mark-up")
	}
	if m := regexp.MustCompile(`(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//`).FindString(s); m != "" {
		t.Errorf("an external resource: %s", m)
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(s, -1) {
		if seen[m[1]] {
			t.Errorf("id %q twice", m[1])
		}
		seen[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(s, -1) {
		if !seen[m[1]] {
			t.Errorf("a link to #%s, which is nowhere", m[1])
		}
	}
}

// Every step of the plan has its picture, reason, commands in both styles, what it
// changes, and the way back; whatever it is.
func TestEveryStepIsTold(t *testing.T) {
	p := bridged(t)
	if len(p.Steps) < 12 {
		t.Fatalf("%d steps", len(p.Steps))
	}
	s := render(t, p)
	for _, st := range p.Steps {
		if st.Why == "" || len(st.Do.Modern) == 0 || len(st.Do.Classic) == 0 {
			t.Errorf("step %d has no reason or no command: %+v", st.Number, st.Do)
		}
		for _, c := range slices.Concat([]string{st.Title, st.Why}, st.Do.Modern, st.Do.Classic, st.Undo.Modern, story.Changes(st.Before, st.After)) {
			if !strings.Contains(s, escaper.Replace(c)) {
				t.Errorf("step %d: the page lacks %q", st.Number, c)
			}
		}
	}
	for _, c := range []string{"ip link set eth0 nomaster", "brctl addif br0 eth0", "Why no address stays on a port", "198.18.0.5/24 leaves eth0, where it would be misplaced, and lives on br0."} {
		if !strings.Contains(s, c) {
			t.Errorf("the page lacks %q", c)
		}
	}
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;", "+", "&#43;")

// The pictures of a change are well-formed, and hold what was and what is.
func TestPicturesOfAChange(t *testing.T) {
	s := render(t, bridged(t))
	pictures := regexp.MustCompile(`(?s)<svg xmlns.*?</svg>`).FindAllString(s, -1)
	if len(pictures) < 14 {
		t.Fatalf("%d pictures", len(pictures))
	}
	moved := 0
	for _, p := range pictures {
		for d := xml.NewDecoder(strings.NewReader(p)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in\n%s", err, p)
			}
		}
		if strings.Contains(p, "g-interface was") && strings.Contains(p, "g-interface is") && strings.Contains(p, "g-ghost is") {
			moved++
		}
	}
	if moved != 2 { // eth0 and tap0
		t.Errorf("an end moves in %d pictures", moved)
	}
}

func TestWords(t *testing.T) {
	states := walkthrough.States()
	got := story.Words(model.Wire(states[5].Snapshot), model.Wire(states[6].Snapshot))
	want := []string{
		"The host end of eth0 moves: it was in the stack of host, and is in the virtual LAN of br0 now.",
		"The host end of tap0 moves: it was in the stack of host, and is in the virtual LAN of br0 now.",
		"198.18.0.5/24 leaves eth0, where it would be misplaced, and lives on br0.",
		"2001:db8::5/64 leaves eth0, where it would be misplaced, and lives on br0.",
		"eth1 of web gets 198.18.0.100/24 by DHCP.",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestFates follows one address through everything that can become of it.
func TestFates(t *testing.T) {
	host := walkthrough.States()[5].Snapshot // br0 is there, empty
	with := func(port string, links ...string) model.Wiring {
		s := host.Clone()
		ns := s.Here()
		if port != "" {
			ns.Link(port).Master = "br0"
		}
		ns.Addresses = nil
		for _, l := range links {
			ns.Addresses = append(ns.Addresses, model.Address{Link: l, Prefix: netip.MustParsePrefix("198.18.0.5/24"), Origin: model.Static, Scope: "global"})
		}
		return model.Wire(s)
	}
	for _, c := range []struct {
		before, after model.Wiring
		want          string
	}{
		{with(""), with("", "br0"), "br0 gets 198.18.0.5/24."},
		{with("", "eth0"), with("", "eth0", "br0"), "198.18.0.5/24 is on br0 as well as on eth0: one address, at home on both."},
		{with("", "eth0"), with("eth0", "eth0"), "198.18.0.5/24 is misplaced on eth0 now: eth0 is a port, what comes for it goes by br0."},
		{with("eth0", "eth0"), with("", "eth0"), "198.18.0.5/24 on eth0 is in its place."},
		{with("eth0", "eth0", "br0"), with("eth0", "br0"), "198.18.0.5/24 leaves eth0, where it would be misplaced, and lives on br0."},
		{with("", "eth0", "br0"), with("", "eth0"), "198.18.0.5/24 leaves br0, and lives on eth0."},
		{with("", "eth0"), with(""), "198.18.0.5/24 leaves eth0, and is no address of host any more."},
		{with("", "eth0"), with("", "eth0"), ""},
	} {
		var got []string
		for _, w := range story.Words(c.before, c.after) {
			if strings.Contains(w, "198.18.0.5") {
				got = append(got, w)
			}
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

func TestWays(t *testing.T) {
	p := bridged(t)
	got := story.WaysOf(p)
	number := func(title string) int {
		return 1 + slices.IndexFunc(p.Steps, func(s story.Step) bool { return s.Title == title })
	}
	if number("Give br0 the addresses of eth0") == 0 || len(got.Head) != 4 || len(got.Rows) != 2 {
		t.Fatalf("%+v", got)
	}
	want := []string{"eth0", "br0 and eth0", "br0 and eth0 (misplaced)", "br0"}
	if d := cmp.Diff(want, got.Rows[0].Cells); d != "" || got.Rows[0].Address != "198.18.0.5/24" {
		t.Errorf("%+v", got.Rows[0])
	}
	if got.Head[3] != "from step 12 on" && !strings.HasSuffix(got.Head[3], " on") {
		t.Errorf("%q", got.Head)
	}
}

// Routes, neighbours and settings have no place in a picture, and are told.
func TestBeneath(t *testing.T) {
	var told []string
	for _, st := range bridged(t).Steps {
		told = append(told, story.Changes(st.Before, st.After)...)
	}
	all := strings.Join(told, "\n")
	for _, want := range []string{
		"The IPv4 default route via 198.18.0.1 leaves by br0 now, before by eth0.",
		"net.ipv6.conf.br0.accept_ra is 0, before 1.",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing tells %q:\n%s", want, all)
		}
	}
}

func TestEmptyPlan(t *testing.T) {
	p, err := story.Tell(plan.Plan{Before: walkthrough.States()[6].Snapshot})
	if err != nil {
		t.Fatal(err)
	}
	if s := render(t, p); !strings.Contains(s, "there is nothing to do") || !strings.Contains(s, "virtual LAN of br0") {
		t.Error("the page of an empty plan shows the host as it is, and says so")
	}
}

// FuzzNames looks that no name of a host, a VM or a link becomes mark-up of the page.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"eth0", "</script><script>alert(1)</script>", `"onload="x`, "]]>", "<!--", "a\nb", "${x}", "`", "javascript:x", "🦊", "\u2028", "{{.Title}}"} {
		f.Add(s)
	}
	page := bridged(f)
	tags := regexp.MustCompile(`<[a-zA-Z/!][a-zA-Z]*`)
	skeleton := func(t *testing.T, name string) string {
		t.Helper()
		p := page
		p.Title, p.Host, p.Notes = name, name, []string{name}
		st := p.Steps[0]
		st.Title, st.Why, st.Do, st.Undo = name, name, story.Commands{Modern: []string{name}, Classic: []string{name}}, story.Commands{Modern: []string{name}}
		st.Before, st.After = st.Before.Clone(), st.After.Clone()
		for _, s := range []*model.Snapshot{&st.Before, &st.After} {
			s.Host, s.System = name, name
			for i := range s.Here().Links {
				s.Here().Links[i].Tap = &model.Tap{OwnerName: name}
			}
		}
		p.Steps = []story.Step{st}
		return strings.Join(tags.FindAllString(render(t, p), -1), " ")
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got, want := skeleton(t, "n"+name), skeleton(t, "name"); got != want {
			t.Errorf("%q changed the page's tags", name)
		}
	})
}

// The two pictures of a step have one layout, so that nothing jumps between them.
func TestFramesShareALayout(t *testing.T) {
	scenes := draw.Scenes(draw.Options{}, story.Frames(bridged(t))...)
	for _, s := range scenes {
		if s.Width != scenes[0].Width || s.Height != scenes[0].Height {
			t.Errorf("%s: %v x %v, the first %v x %v", s.Title, s.Width, s.Height, scenes[0].Width, scenes[0].Height)
		}
	}
}
