package plan

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

// securedFile is the page's file as spec.Parse gives it: its machine's port is secured.
func securedFile(change func(*spec.Security)) spec.Desired {
	want := bridgedFile()
	s := &want.Machines[0].NICs[0].Security
	s.Level = model.SecurityStrict
	if change != nil {
		change(s)
	}
	return want
}

func step(t *testing.T, p Plan, title string) (at int) {
	t.Helper()
	at = slices.IndexFunc(p.Steps, func(s Step) bool { return strings.HasPrefix(s.Title, title) })
	if at < 0 {
		t.Fatalf("no step %q in %q", title, titles(p))
	}
	return at
}

// A port is secured before it is plugged in, and says what it may.
func TestAPortIsSecuredBeforeItIsPluggedIn(t *testing.T) {
	p, after := mustDiff(t, host(), securedFile(func(s *spec.Security) {
		s.Isolated, s.Rate = true, 1e8
		s.Sources = []netip.Prefix{netip.MustParsePrefix("198.18.4.0/24")}
	}), Owned{})
	if secured := step(t, p, "Secure the port tap0"); secured > step(t, p, "Plug tap0 into br0") || secured < step(t, p, "Make the tap tap0") {
		t.Errorf("%q", titles(p))
	}
	step(t, p, "Isolate tap0")
	why := p.Steps[step(t, p, "Secure the port tap0")].Why
	for _, want := range []string{"02:", "the IPv4 address that a DHCP server gave it, 198.18.4.0/24", "more than 100M bit/s either way"} {
		if !strings.Contains(why, want) {
			t.Errorf("%q lacks %q", why, want)
		}
	}
	got := after.Here().SecurityOf("tap0")
	if got == nil || got.IPv4 != model.SourceLease || got.IPv6 != model.SourceAny || !after.Here().Link("tap0").Port.Isolated {
		t.Errorf("%+v", got)
	}
}

// Somebody changed the rules, or deleted them: they are made anew.
func TestRulesThatWereChangedAreMadeAnew(t *testing.T) {
	up, after := mustDiff(t, host(), securedFile(nil), Owned{})
	for name, change := range map[string]func(*model.Namespace){
		"changed": func(n *model.Namespace) { n.Secured[0].Altered = true },
		"deleted": func(n *model.Namespace) { n.Secured = nil },
	} {
		now := after.Clone()
		change(now.Here())
		again, end := mustDiff(t, now, securedFile(nil), up.Owned)
		if len(again.Steps) != 1 || !end.Here().SecurityOf("tap0").Same(*after.Here().SecurityOf("tap0")) {
			t.Errorf("%s: %q", name, titles(again))
		}
	}
	// Who may not look takes it for what was made.
	now := after.Clone()
	now.Here().Secured, now.Here().SecurityUnseen = nil, true
	if again, _ := mustDiff(t, now, securedFile(nil), up.Owned); len(again.Steps) != 0 {
		t.Errorf("unseen: %q", titles(again))
	}
	// What a tap beside the file has, is not the file's to take away, and comes back.
	own := up.Owned.clone()
	for i := range own.Links {
		if own.Links[i].Name == "tap0" {
			own.Links[i].Added = &AddedTap{}
		}
	}
	want := securedFile(nil)
	want.Machines = nil
	now = after.Clone()
	now.Machines, own.Machines = nil, nil
	if beside, _ := mustDiff(t, now, want, own); len(beside.Steps) != 0 {
		t.Errorf("beside the file: %q", titles(beside))
	}
	now.Here().Secured = nil
	if beside, end := mustDiff(t, now, want, own); len(beside.Steps) != 1 || end.Here().SecurityOf("tap0") == nil {
		t.Errorf("beside the file, deleted: %q", titles(beside))
	}
}

// A kernel without nftables: told where nobody asked, refused where somebody did.
func TestAKernelWithoutNFTables(t *testing.T) {
	opt := options
	opt.NoSecurity = "this kernel has no nftables"
	p, err := Diff(host(), securedFile(nil), Owned{}, opt)
	if err != nil || !strings.Contains(strings.Join(p.Notes, "\n"), "tap0 is not secured, and may send what it likes: this kernel has no nftables") {
		t.Errorf("%v %q", err, p.Notes)
	}
	_, err = Diff(host(), securedFile(func(s *spec.Security) { s.Asked = true }), Owned{}, opt)
	var refused *Refusal
	if !errors.As(err, &refused) || refused.Object != "tap0" || !strings.Contains(refused.Hint, "security: off") {
		t.Errorf("%v", err)
	}
	opt = options
	opt.NoSnoop = true
	p, err = Diff(host(), securedFile(nil), Owned{}, opt)
	if err != nil || !strings.Contains(strings.Join(p.Notes, "\n"), "it may send from any IPv4 address") {
		t.Errorf("%v %q", err, p.Notes)
	}
}
