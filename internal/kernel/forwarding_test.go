package kernel_test

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"drawbridge/internal/forward"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

func natted(change ...func(*model.Forwarding)) model.Forwarding {
	four, six := netip.MustParsePrefix("198.18.7.0/24"), netip.MustParsePrefix("2001:db8:7::/64")
	f := model.Forwarding{Network: "private", Link: "br1", Subnets: []netip.Prefix{four, six}, Out: true, Masquerade: []netip.Prefix{four, six}}
	for _, c := range change {
		c(&f)
	}
	return f
}

func published(f *model.Forwarding) {
	to4, to6 := netip.MustParseAddr("198.18.7.10"), netip.MustParseAddr("2001:db8:7::10")
	f.Publish = []model.Publish{
		{Protocol: "tcp", Port: 8080, To: to4, ToPort: 80},
		{Protocol: "tcp", Port: 8080, To: to6, ToPort: 80},
		{Protocol: "udp", Address: netip.MustParseAddr("198.18.0.5"), Port: 53, To: to4, ToPort: 53},
	}
}

func isolated(f *model.Forwarding) {
	*f = model.Forwarding{Network: "private", Link: "br1", Closed: true}
}

func routed(f *model.Forwarding) { f.Masquerade, f.In = nil, true }

func otherNetwork(f *model.Forwarding) { f.Network, f.Link = "a name of its own, täglich", "br2" }

func manyPorts(f *model.Forwarding) {
	for port := range uint16(200) {
		f.Publish = append(f.Publish, model.Publish{Protocol: "tcp", Address: netip.MustParseAddr("2001:db8::5"), Port: 8000 + port, To: netip.MustParseAddr("2001:db8:7:1234:5678:9abc:def0:1"), ToPort: 80})
	}
}

func forwards(f model.Forwarding) model.Operation { return model.SetForwarding{Forwarding: f} }

var forwardingScenarios = []scenario{
	{name: "forward with masquerade", do: forwards(natted())},
	{name: "forward with published ports", do: forwards(natted(published))},
	{name: "forward with many published ports", do: forwards(natted(manyPorts))},
	{name: "forward both ways", do: forwards(natted(routed))},
	{name: "forward nothing", do: forwards(natted(isolated))},
	{name: "forward for two networks", start: ops(forwards(natted(published))), do: forwards(natted(otherNetwork))},
	{name: "forward otherwise", start: ops(forwards(natted(published)), forwards(natted(otherNetwork))), do: forwards(natted(isolated))},
	{name: "forward the same again", start: ops(forwards(natted(published))), do: forwards(natted(published))},
	{name: "forward no more", start: ops(forwards(natted(published))), do: model.DropForwarding{Network: "private"}},
	{name: "forward no more for one of two", start: ops(forwards(natted(published)), forwards(natted(otherNetwork))), do: model.DropForwarding{Network: "private"}},
	{name: "forward no more what nobody forwards", do: model.DropForwarding{Network: "private"}},
	{name: "forward for nobody", do: forwards(model.Forwarding{Link: "br1"}), refused: model.ErrInvalid},
	{name: "publish a port of another family", do: forwards(natted(published, func(f *model.Forwarding) { f.Publish[0].Address = netip.MustParseAddr("2001:db8::5") })), refused: model.ErrInvalid},
}

// requireForwarding skips, or fails where CI=true, without address translation by nftables.
func requireForwarding(t *testing.T) {
	t.Helper()
	testnet.RequireSecurity(t)
	k, err := kernel.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	switch err := k.CanForward(); {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatal(err)
	case err != nil:
		t.Skip(err)
	}
}

func TestContractOfForwarding(t *testing.T) {
	requireForwarding(t)
	for _, s := range forwardingScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t)
		})
	}
}

// What is told as a script for nft(8) is what is done: given to it, it is read back as if
// it had been done here. And nothing is left of the table once the last network is gone.
func TestForwardingIsWhatIsTold(t *testing.T) {
	requireForwarding(t)
	for _, f := range []model.Forwarding{natted(published), natted(isolated), natted(routed)} {
		ours, theirs := testnet.New(t), testnet.New(t)
		ours.Must(forwards(f))
		nftInside(t, theirs, forward.Text(f), "-f", "-")
		if a, b := nftInside(t, ours, "", "list", "ruleset"), nftInside(t, theirs, "", "list", "ruleset"); a != b {
			t.Errorf("done:\n%s\ntold:\n%s", a, b)
		}
		ours.Must(model.DropForwarding{Network: f.Network})
		if left := nftInside(t, ours, "", "list", "ruleset"); left != "" {
			t.Errorf("left: %s", left)
		}
	}
}

// Somebody who changes our rules is found out.
func TestForwardingThatSomebodyChanged(t *testing.T) {
	requireForwarding(t)
	for _, change := range []string{
		"delete chain inet drawbridge net-private-snat",
		"add rule inet drawbridge net-private-forward accept",
		"insert rule inet drawbridge net-private-local tcp dport 22 accept",
		"chain inet drawbridge net-private-forward { policy drop; }",
	} {
		n := testnet.New(t)
		n.Must(forwards(natted(published)))
		if f := n.Look().ForwardingOf("private"); f == nil || !f.Same(natted(published)) {
			t.Fatalf("before: %+v", f)
		}
		nftInside(t, n, change+"\n", "-f", "-")
		found := n.Look().Forwarding
		if len(found) != 1 || !found[0].Altered {
			t.Errorf("after %q: %+v", change, found)
		}
		n.Must(forwards(natted(published)))
		if f := n.Look().ForwardingOf("private"); f == nil || !f.Same(natted(published)) {
			t.Errorf("made again after %q: %+v", change, f)
		}
	}
}

func nftInside(t *testing.T, n *testnet.Net, input string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs nft(8): scripts/need.sh test")
		}
		t.Skip("needs nft(8)")
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.Name(), path}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nft %q: %v\n%s\n%s", args, err, input, out)
	}
	return string(out)
}
