package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/service"
	"drawbridge/internal/testnet"
)

const cagedCommand = "caged"

// caged is a server's process after it has given up everything: it tries what it must not
// be able to do, and what it must.
func caged(dir string) {
	const kept = "/proc/self/fd/3"
	if err := service.Cage(all(), kept); err != nil {
		fmt.Println("cage:", err)
		return
	}
	tell := func(what string, err error) { fmt.Printf("%s: %v\n", what, err == nil) }
	_, err := os.ReadFile("/etc/passwd")
	tell("read a file", err)
	tell("write elsewhere", os.WriteFile(filepath.Join(filepath.Dir(dir), "mark"), nil, 0o600))
	tell("run a program", exec.Command("/bin/true").Run())
	_, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	tell("open a packet socket", err)
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // which Landlock does not know yet
	_, err = plain.Listen(context.Background(), "tcp", "127.0.0.1:8080")
	tell("listen at all", err)
	for _, port := range []string{"80", "53"} {
		_, err = net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if errors.Is(err, unix.ECONNREFUSED) {
			err = nil // nobody is there, and it may ask
		}
		tell("connect to port "+port, err)
	}
	root, err := os.OpenRoot(kept)
	if err == nil {
		err = root.WriteFile("leases", nil, 0o600)
	}
	tell("write the leases", err)
}

// What a server could do when a VM has taken it over.
func TestCaged(t *testing.T) {
	t.Parallel()
	testnet.Require(t)
	if abi, _, _ := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); int(abi) < 4 {
		t.Skipf("Landlock of this kernel (%d) does not restrict TCP", int(abi))
	}
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "leases")
	if err := errors.Join(os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777)); err != nil { //nolint:gosec // whoever it runs as
		t.Fatal(err)
	}
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	exe, err := os.Open(s.Executable)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	cmd := exec.Command("/proc/self/fd/4", cagedCommand, dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &out, &out, []*os.File{folder, exe}
	ended := make(chan error, 1)
	if err := service.StartWithout(cmd, ended); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	want := "read a file: false\nwrite elsewhere: false\nrun a program: false\nopen a packet socket: false\nlisten at all: false\n" +
		"connect to port 80: false\nconnect to port 53: true\nwrite the leases: true\n"
	if got := out.String(); !strings.HasSuffix(got, want) {
		t.Errorf("it may\n%s\nand should\n%s", got, want)
	}
}
