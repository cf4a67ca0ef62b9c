package testnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const inUserNamespace = "DRAWBRIDGE_TEST_IN_USERNS"

// Main is the TestMain of a package whose tests make namespaces: it looks for leaked
// goroutines at the end, and as an ordinary user it runs the tests once more as the
// root of a user namespace, with a network, mounts and a /run of their own, where the
// system allows that. Elsewhere they are skipped one by one. It is also the init of a
// UML; see [InUML].
func Main(m *testing.M) {
	UMLInit()
	switch {
	case os.Getenv(inUserNamespace) != "":
		if err := ownRun(); err != nil {
			fmt.Fprintln(os.Stderr, "testnet:", err)
			os.Exit(1)
		}
	case os.Geteuid() != 0:
		if code, ok := inUserns(); ok {
			os.Exit(code)
		}
	}
	goleak.VerifyTestMain(m)
}

// inUserns runs this test binary in a user namespace; not ok where none can be made.
func inUserns() (code int, ok bool) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inUserNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return exit.ExitCode(), true
	default:
		return 0, false // Ubuntu's AppArmor, a container's seccomp
	}
}

func ownRun() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount --make-rprivate /: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount tmpfs on /run: %w", err)
	}
	return nil
}

// RequireUsers is [RequireTap], for tests that act as users without rights: in the user
// namespace of an ordinary user there is only one.
func RequireUsers(t testing.TB) {
	t.Helper()
	RequireTap(t)
	b, err := os.ReadFile("/proc/self/uid_map")
	var inside, outside, count int
	if err == nil {
		_, err = fmt.Sscan(string(b), &inside, &outside, &count) // user_namespaces(7)
	}
	if err != nil || count < 65536 {
		lacking(t, "needs other users than its own: run it as root")
	}
}

// Somebody is the id of a user other than root, where such a one can own anything.
func Somebody() uint32 {
	if os.Getenv(inUserNamespace) != "" {
		return 0
	}
	return 1000
}
