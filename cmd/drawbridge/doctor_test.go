package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"

	"github.com/rogpeppe/go-internal/testscript"
)

// strangerName is what this test binary is called as a program of somebody else's that holds
// a tap: "$WORK/stranger NAMESPACE TAP".
const strangerName = "stranger"

func holdForever(namespace, tap string) {
	k, err := kernel.OpenNamed(namespace)
	if err == nil {
		var held []*os.File
		if held, err = k.OpenTap(tap, 1); err == nil {
			defer held[0].Close()
			time.Sleep(time.Hour) // until it is killed
		}
	}
	fmt.Fprintln(os.Stderr, strangerName+":", err)
	os.Exit(1)
}

// offloadTap is the script command "offloadtap NAMESPACE TAP": a program has asked for
// packets without a checksum, as one with a vnet header does, and has ended.
func offloadTap(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: offloadtap NAMESPACE TAP")
	}
	f, err := testnet.OpenTap(args[0], args[1])
	ts.Check(err)
	conn, err := f.SyscallConn()
	ts.Check(err)
	ts.Check(errors.Join(conn.Control(func(fd uintptr) {
		err = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4)
	}), err))
	ts.Check(f.Close())
}

// holdQueue is the script command "holdqueue NAMESPACE TAP": this process has one queue of a
// tap that has several.
func holdQueue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: holdqueue NAMESPACE TAP")
	}
	k, err := kernel.OpenNamed(args[0])
	ts.Check(err)
	defer k.Close()
	held, err := k.OpenTap(args[1], 1)
	ts.Check(err)
	ts.Defer(func() { held[0].Close() })
}

// waitFor is the script command "waitfor PATTERN PROGRAM [ARG...]": the program is run until
// what it prints matches, whatever its exit code.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor PATTERN PROGRAM [ARG...]")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	path, err := lookPath(ts.Getenv("PATH"), args[1])
	ts.Check(err)
	var out []byte
	for end := time.Now().Add(testnet.Patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if out, _ = exec.Command(path, args[2:]...).CombinedOutput(); pattern.Match(out) {
			return
		}
	}
	ts.Fatalf("%q does not come:\n%s", args[0], out)
}

func lookPath(list, name string) (string, error) {
	for _, dir := range filepath.SplitList(list) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// A bridge that is nearly full is told of; taps that nobody holds can go, and it is not any
// more. How long a look at a thousand taps takes is logged: it is some 50 ms on two cores.
func TestDoctorOnAThousandTaps(t *testing.T) {
	host, _ := site(t)
	bin := filepath.Join(build(t), "drawbridge")
	taps := model.CreateTaps{Master: "br0", Up: true, LinkGroup: model.LinkGroup(7)}
	gone := model.DeleteLinks{LinkGroup: taps.LinkGroup, Kind: model.TapKind}
	for i := range 1000 {
		tap := model.CreateTap{Name: fmt.Sprintf("tap%d", i), MAC: model.MAC(fmt.Sprintf("fe:00:00:00:%02x:%02x", i/256, i%256))}
		taps.Taps = append(taps.Taps, tap)
		gone.Links = append(gone.Links, model.LinkID{Name: tap.Name, MAC: tap.MAC})
	}
	host.Must(model.CreateBridge{Name: "br0", MAC: "02:00:00:00:00:b0"}, model.SetMaster{Link: "eth0", Master: "br0"}, taps)
	doctor := func() string {
		out, _ := exec.Command(bin, "doctor", "--netns", host.Name()).CombinedOutput()
		return string(out)
	}
	began := time.Now()
	out := doctor()
	t.Logf("a look at a thousand taps: %v", time.Since(began))
	if !strings.Contains(out, "risk, certain: bridge-full:br0") || !strings.Contains(out, "ports: 1001; taps that nobody holds: 1000") {
		t.Errorf("of a bridge with 1,001 ports it says\n%s", out)
	}
	host.Must(gone)
	if out := doctor(); strings.Contains(out, "bridge-full") {
		t.Errorf("of a bridge with one port it says\n%s", out)
	}
}
