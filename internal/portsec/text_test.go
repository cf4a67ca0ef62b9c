package portsec_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drawbridge/internal/model"
	"drawbridge/internal/portsec"
	"drawbridge/internal/testnet"
)

var update = flag.Bool("update", false, "write the golden files anew")

// leased is a machine that has its IPv4 address by DHCP and IPv6 by advertisement.
var leased = model.PortSecurity{Link: "tap0", Level: model.SecurityStrict, MACs: given.MACs, IPv4: model.SourceLease, IPv6: model.SourceAny}

// generous is allowed all there is.
var generous = func() model.PortSecurity {
	p := given
	p.MACs = append(p.MACs, "02:00:00:00:00:03")
	p.Allow = []string{model.AllowDHCPServer, model.AllowRouter, model.AllowSTP, model.AllowVLAN}
	p.Rate, p.Storm = 100e6, 50
	return p
}()

var shapes = map[string]model.PortSecurity{
	"given": given, "leased": leased, "generous": generous,
	"mac":    {Link: "tap0", Level: model.SecurityMAC, MACs: given.MACs},
	"limits": {Link: "tap0", Level: model.SecurityOff, Rate: 1e9, Storm: 100},
}

// What is told is what nft(8) takes.
func TestTextIsForNFT(t *testing.T) {
	for name, p := range shapes {
		text := portsec.Text(p)
		golden := filepath.Join("testdata", name+".nft")
		if *update {
			if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != text {
			t.Errorf("%s (-update writes it anew):\n%s", golden, text)
		}
		t.Run(name, func(t *testing.T) {
			testnet.RequireSecurity(t)
			testnet.RequireTap(t)
			testnet.RequireCommand(t, "nft", "nftables")
			n := testnet.New(t)
			n.Must(model.CreateTap{Name: "tap0"})
			nft(t, n, text)
			told := listing(t, n)
			n.Must(model.FreePorts{Links: []string{"tap0"}}, model.SecurePorts{Ports: []model.PortSecurity{p}})
			if got := listing(t, n); got != told {
				t.Errorf("the messages make (+) what the text does not (-):\n%s", cmp.Diff(told, got))
			}
		})
	}
}

// listing is our table as nft(8) tells it, with its chains in one order. The set of the
// routers has another type by hand: see Set.text.
func listing(t *testing.T, n *testnet.Net) string {
	t.Helper()
	var out []byte
	n.Inside(func() (err error) {
		out, err = exec.Command("nft", "list", "table", "netdev", "drawbridge").Output()
		return err
	})
	blocks := strings.Split(strings.NewReplacer("typeof @nh,64,128", "type ipv6_addr").Replace(string(out)), "\n\n")
	for i := range blocks {
		blocks[i] = strings.TrimSuffix(strings.TrimPrefix(blocks[i], "table netdev drawbridge {\n"), "\n}\n")
	}
	slices.Sort(blocks)
	return strings.Join(blocks, "\n")
}

func nft(t *testing.T, n *testnet.Net, text string) {
	t.Helper()
	n.Inside(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("nft: %v\n%s\n%s", err, out, text)
		}
		return nil
	})
}

// The text does what the messages do: the attacks stop in front of it, too.
func TestTextStopsAttacks(t *testing.T) {
	testnet.RequireCommand(t, "nft", "nftables")
	s := newSite(t)
	nft(t, s.host, portsec.Text(given))
	for _, a := range attacks {
		mark := marked('!')
		frames := a.frames(mark)
		for i := range frames {
			mark = known(frames[i], mark)
		}
		if n := s.arrived(mark, frames...); n == len(frames) {
			t.Errorf("%s: %d of %d frames arrived", a.name, n, len(frames))
		}
	}
	if p := s.host.Look().SecurityOf("tap0"); p == nil || !p.Altered {
		t.Errorf("rules that somebody wrote by hand are taken for ours: %+v", p)
	}
}

// No name that the kernel takes for a link makes a script of something else.
func TestNamesOfChains(t *testing.T) {
	for _, link := range []string{"tap0", "web-eth1", "0", "ip", "a;b", "тап", "{", "tap0-out", `"`} {
		p := leased
		p.Link = link
		name := portsec.ChainOf(link)
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") != "" {
			t.Errorf("%q: %q", link, name)
		}
		if strings.Count(portsec.Text(p), "chain "+name+" {") != 1 {
			t.Errorf("%q: %s", link, portsec.Text(p))
		}
	}
}
