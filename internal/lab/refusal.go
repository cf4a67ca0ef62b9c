package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// needsUserNamespace tells whether this process lacks the right to make namespaces,
// so that a user namespace must give it. Root in a container may lack it too.
func needsUserNamespace() bool {
	return !hasCapability(unix.CAP_SYS_ADMIN) || !hasCapability(unix.CAP_NET_ADMIN)
}

func hasCapability(capability int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

// refusal explains why the kernel did not let the supervisor start: the several
// switches that forbid user namespaces all look like "operation not permitted".
func refusal(err error) error {
	hint := refusalHint(err, readSwitch)
	if hint == "" {
		return fmt.Errorf("start the lab's supervisor in namespaces of its own: %w", err)
	}
	return fmt.Errorf("start the lab's supervisor in namespaces of its own: %w\n%s", err, hint)
}

func refusalHint(err error, read func(path string) string) string {
	denied := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
	switch {
	case denied && read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor forbids user namespaces to programs without a profile (Ubuntu's default).\n" +
			"Hint: run the lab as root (sudo drawbridge lab ...), or allow it until the next boot:\n" +
			"  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case denied && read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "This kernel's user namespaces are switched off for users.\n" +
			"Hint: run the lab as root, or: sudo sysctl -w kernel.unprivileged_userns_clone=1"
	case errors.Is(err, syscall.ENOSPC), read("/proc/sys/user/max_user_namespaces") == "0":
		return "The number of namespaces is at its limit.\n" +
			"Hint: see /proc/sys/user/max_*_namespaces; e.g. sudo sysctl -w user.max_user_namespaces=10000"
	case denied && read("seccomp") == "2":
		return "A seccomp filter is in force, as in a container: it forbids new namespaces.\n" +
			"Hint: run it outside, or start the container with --security-opt seccomp=unconfined (docker) and --privileged if that is not enough"
	case errors.Is(err, syscall.EINVAL):
		return "Hint: the kernel may lack CONFIG_USER_NS, CONFIG_PID_NS or CONFIG_NET_NS"
	default:
		return ""
	}
}

// readSwitch reads a sysctl, or the seccomp mode of this process; "" if it is not there.
func readSwitch(path string) string {
	if path == "seccomp" {
		status, _ := os.ReadFile("/proc/self/status")
		for line := range strings.Lines(string(status)) {
			if v, ok := strings.CutPrefix(line, "Seccomp:"); ok {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	b, err := os.ReadFile(path) //nolint:gosec // one of the paths above
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
