package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/iproute"
)

// TestGallery holds that on the captured hosts of docs/gallery nothing is found but what is
// so there, each with its reason.
func TestGallery(t *testing.T) {
	known := map[string]map[string]string{
		"libvirt":       {"note possible hypervisor-filter:eth0": "it was captured in a virtual machine with virtio_net"},
		"loop":          {"broken certain bridge-stp:br0": "spanning tree with 15 s, which is what keeps its veth loop quiet; eth0 and veth0 were still listening"},
		"lxc":           {"risk likely bridge-mac:lxcbr0": "made by ip link without a MAC address, unlike lxc-net, which sets one"},
		"thousand-taps": {"risk certain bridge-full:br0": "1,001 ports", "risk likely bridge-mac:br0": "made without a MAC address: it has the lowest of a thousand taps"},
		"vxlan":         {"risk likely mtu-mismatch:br0": "a vxlan of 1450 beside a tap of 1500"},
	}
	bundles, err := filepath.Glob("../../docs/gallery/bundles/*")
	if err != nil || len(bundles) < 20 {
		t.Fatalf("%d bundles, %v", len(bundles), err)
	}
	for _, path := range bundles {
		name, _, _ := strings.Cut(filepath.Base(path), ".")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files, err := iproute.Unpack(filepath.Base(path), data)
			if err != nil {
				t.Fatal(err)
			}
			snap, _, err := iproute.Load(files...)
			if err != nil {
				t.Fatal(err)
			}
			r := Examine(Host{Snapshot: snap, Facts: Facts{Unknown: FromAfar()}})
			var got []string
			for _, f := range r.Findings {
				line := string(f.Severity) + " " + string(f.Sure) + " " + f.Name()
				got = append(got, line)
				if known[name][line] == "" {
					t.Errorf("a false alarm: %s: %s\n%s", line, f.What, strings.Join(f.Seen, "\n"))
				}
			}
			for line, reason := range known[name] {
				if !slices.Contains(got, line) {
					t.Errorf("not found: %s (%s)", line, reason)
				}
			}
			if len(r.Checked) < 15 {
				t.Errorf("only %v were checked", r.Checked)
			}
		})
	}
}
