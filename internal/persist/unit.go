package persist

import (
	"fmt"
	"path"
	"strings"
)

// UnitName is our own systemd unit.
const UnitName = "drawbridge-up.service"

// The folders of our own.
const (
	unitDir   = "/etc/systemd/system"
	ConfigDir = "/etc/drawbridge"
)

// writeOwnUnit has `drawbridge up` done at boot, from a kept copy of the file.
func writeOwnUnit(w Wish, _ Existing) (Files, error) {
	var out Files
	src := w.File
	if src.Content == "" {
		return out, &Refusal{Object: UnitName, Reason: "'drawbridge up' at boot needs the file, and there is none", Hint: "drawbridge persist write FILE"}
	}
	kept := src.Path
	if path.Dir(src.Path) != ConfigDir {
		if src.Relative {
			return out, &Refusal{Object: src.Path, Reason: "names paths relative to its own folder, which a copy in " + ConfigDir + " would not find", Hint: "write them as absolute paths, or keep the file in " + ConfigDir}
		}
		kept = path.Join(ConfigDir, "boot.yaml")
		out.Files = append(out.Files, File{Path: kept, Mode: 0o644, Content: mark("the copy of "+src.Path+" that "+UnitName+" reads") + src.Content,
			Why: "what 'drawbridge up' reads at boot"})
	}
	command := fmt.Sprintf("%s up --yes --wait 60s", quoted(src.Program))
	if src.Uplink != "" {
		command += " --uplink " + src.Uplink
	}
	text := mark("brings the network of "+src.Path+" up at boot") + `[Unit]
Description=Bridges, taps and machines of drawbridge
# Behind whoever brings the uplink up, before who waits for the network. Who brings it up
# may go on after that: --wait has patience until the uplink has its addresses.
Wants=network.target
After=network.target systemd-networkd-wait-online.service NetworkManager-wait-online.service networking.service dhcpcd.service
Before=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=` + command + " " + quoted(kept) + `
# Machines and keepers live on when the unit is stopped.
KillMode=process

[Install]
WantedBy=multi-user.target network-online.target
`
	out.Files = append(out.Files, File{Path: path.Join(unitDir, UnitName), Mode: 0o644, Content: text, Why: "does at boot what no network manager does"})
	for _, target := range []string{"multi-user.target", "network-online.target"} {
		out.Files = append(out.Files, File{Path: path.Join(unitDir, target+".wants", UnitName), Link: path.Join("..", UnitName), Why: "has it started, as 'systemctl enable' does"})
	}
	return out, nil
}

// quoted is a word of a unit's command line (systemd.service(5), COMMAND LINES).
func quoted(s string) string {
	s = strings.NewReplacer(`%`, `%%`, `$`, `$$`, `\`, `\\`, `"`, `\"`).Replace(s)
	if strings.ContainsAny(s, " \t'\"\\;") {
		return `"` + s + `"`
	}
	return s
}
