package kernel

import (
	"strings"
	"testing"
)

// The control groups that container runtimes make, with the systemd and the cgroupfs
// driver, in versions 1 and 2.
func TestRuntimesByControlGroup(t *testing.T) {
	id := strings.Repeat("3f", 32)
	for group, want := range map[string]string{
		"0::/system.slice/docker-" + id + ".scope":            "docker " + id,
		"12:pids:/docker/" + id:                               "docker " + id,
		"0::/machine.slice/libpod-" + id + ".scope/container": "podman " + id,
		"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1a.slice/cri-containerd-" + id + ".scope": "pod " + id,
		"0::/kubepods/besteffort/pod2b/" + id:                          "pod " + id,
		"0::/kubepods.slice/kubepods-pod3.slice/crio-" + id + ".scope": "pod " + id,
		"0::/lxc.payload.web/init.scope":                               "lxc web",
		"0::/machine.slice/systemd-nspawn@build.service/payload":       "nspawn build",
		"0::/system.slice/ntpsec.service":                              "service ntpsec",
		"0::/user.slice/user-1000.slice/session-1.scope":               " ",
	} {
		runtime, name := runtimeOf(group)
		if got := runtime + " " + name; got != want {
			t.Errorf("%s: %q, want %q", group, got, want)
		}
	}
}
