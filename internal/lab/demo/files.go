package demo

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// The addresses of state 4: host and machine on a cable of their own.
var (
	hostPlain  = netip.MustParsePrefix("198.18.8.1/30")
	guestPlain = netip.MustParsePrefix("198.18.8.2/30")
)

// The files that lead from state to state, and the page.
const (
	fileDangling   = "3-vm-dangling.yaml"
	fileCabled     = "4-vm-cabled.yaml"
	fileBridgeMade = "5-bridge-made.yaml"
	fileBridged    = "6-bridged.yaml"
	storyPage      = "story.html"
)

const (
	bridgeName  = "br0"
	machineName = "web"
	nicName     = "eth1"
	tapName     = "tap0"
)

// yaml is what each file says. A reader finds them beside the pictures.
func yaml(vmm string) map[string]string {
	machine := fmt.Sprintf("machines:\n  %s:\n    vmm: %s\n    nics:\n      %s: ", machineName, vmm, nicName)
	plain := fmt.Sprintf("tap: %s, address: [%s], host: [%s]}\n", tapName, guestPlain, hostPlain)
	return map[string]string{
		fileDangling: "# A tap and a machine, not yet joined: the NIC is declared, and has no cable.\n" +
			machine + "{cable: false, " + plain,
		fileCabled: "# The machine's NIC is cabled to the tap, with an address at either end: host-only.\n" +
			machine + "{" + plain,
		fileBridgeMade: "# A bridge as well: a virtual LAN in the host, with nothing plugged into it yet.\n" +
			"networks:\n  lan: {mode: host-only, bridge: " + bridgeName + ", host: [198.18.9.1/24]}\n" +
			machine + "{" + plain,
		fileBridged: "# The uplink and the machine's tap are in the bridge: the machine is a host of the LAN.\n" +
			"networks:\n  lan: {mode: bridged, bridge: " + bridgeName + ", uplink: eth0, host: move}\n" +
			machine + fmt.Sprintf("{network: lan, tap: %s, address: dhcp}\n", tapName),
	}
}

func (d *demo) writeFiles() error {
	for name, text := range yaml(d.vmm) {
		if err := os.WriteFile(d.file(name), []byte(text), 0o644); err != nil { //nolint:gosec // for everyone to read
			return err
		}
	}
	return nil
}

func (d *demo) file(name string) string {
	path := filepath.Join(d.work, name)
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
