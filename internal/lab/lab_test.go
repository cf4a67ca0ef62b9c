package lab

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain also is the program that a lab starts itself as.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && filepath.Base(os.Args[0]) == "drawbridge" && os.Args[1] == "lab" {
		if os.Args[2] == "up" {
			os.Exit(keeperMain(os.Args[3:]))
		}
		if os.Args[2] == "test-client" {
			os.Exit(clientMain(os.Args[3], os.Args[4], os.Args[5]))
		}
		os.Exit(RunStage(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// keeperMain is "drawbridge lab up --foreground" as StartDetached starts it.
func keeperMain(args []string) int {
	var o Options
	fs := flag.NewFlagSet("up", flag.ExitOnError)
	fs.Bool("foreground", false, "")
	fs.StringVar(&o.Name, "name", "", "")
	fs.DurationVar(&o.LeaseTime, "lease-time", 0, "")
	fs.DurationVar(&o.AdvertInterval, "ra-interval", 0, "")
	fs.DurationVar(&o.AdvertLifetime, "ra-lifetime", 0, "")
	fs.BoolVar(&o.HostAcceptsRA, "host-ra", false, "")
	fs.BoolVar(&o.Unplugged, "unplugged", false, "")
	fs.BoolVar(&o.AccessPoint, "access-point", false, "")
	fd := fs.Int("status-fd", 0, "")
	_ = fs.Parse(args)
	l, err := Start(context.Background(), o)
	ReportStatus(*fd, err)
	if err != nil {
		return 1
	}
	<-l.Done()
	return 0
}

// lacking skips a test for want of something, and fails it where all must be there.
func lacking(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("needed in CI: " + why)
	}
	t.Skip(why)
}

// isolate gives a test a folder of sockets of its own.
func isolate(t *testing.T) {
	t.Helper()
	t.Attr("drawbridge", "real-kernel") // counted by internal/tools/testsummary
	if os.Geteuid() != 0 {
		t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	}
}

// uniqueName is a lab's name that no other test run on this machine has.
func uniqueName(suffix string) string { return fmt.Sprintf("test-%d%s", os.Getpid(), suffix) }

func startLab(t *testing.T, o Options) (*Lab, *Client) {
	t.Helper()
	isolate(t)
	if o.Name == "" {
		o.Name = uniqueName("")
	}
	l, err := Start(t.Context(), o)
	if err != nil && strings.Contains(err.Error(), "Hint:") {
		lacking(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	c, err := Dial(o.Name)
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

// run runs a shell command in a namespace and returns what it wrote and its code.
func run(t *testing.T, c *Client, namespace, script string) (string, int) {
	t.Helper()
	return runWith(t, c, Command{Namespace: namespace, Args: []string{"/bin/sh", "-c", script}}, "")
}

func runWith(t *testing.T, c *Client, cmd Command, input string) (string, int) {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll([]*os.File{inR, outR})
	go func() { _, _ = inW.WriteString(input); _ = inW.Close() }()
	output := make(chan string, 1)
	go func() { b, _ := io.ReadAll(outR); output <- string(b) }()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, outW
	code, err := c.Run(t.Context(), cmd)
	_ = outW.Close()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return <-output, code
}

func TestCommandsRunInTheirNamespace(t *testing.T) {
	_, c := startLab(t, Options{})
	for _, tc := range []struct {
		namespace, script, want string
		code                    int
	}{
		{"host", "hostname", "host\n", 0},
		{"router", "hostname", "router\n", 0},
		{"host", "ls /sys/class/net", "eth0\nlo\n", 0},
		{"host", "ls /run/netns", "far\nhost\nlan\nneighbour\nrouter\n", 0},
		{"host", "cat /proc/1/comm | wc -l", "1\n", 0},
		{"host", "command -v drawbridge", binDir + "/drawbridge\n", 0},
		{"host", "echo $DRAWBRIDGE_LAB", uniqueName("") + "\n", 0},
		{"host", "echo ${XDG_RUNTIME_DIR-unset}", "unset\n", 0},
		{"host", "exit 7", "", 7},
		{"host", "kill -9 $$", "", 137},
		{"far", "cat", "typed", 0},
	} {
		out, code := runWith(t, c, Command{Namespace: tc.namespace, Args: []string{"/bin/sh", "-c", tc.script}}, "typed")
		if out != tc.want || code != tc.code {
			t.Errorf("%s: %s: %q, code %d; want %q, %d", tc.namespace, tc.script, out, code, tc.want, tc.code)
		}
	}
	if out, code := runWith(t, c, Command{Namespace: "host", Args: []string{"no-such-command"}}, ""); code != exitNotFound {
		t.Errorf("no such command: %q, code %d", out, code)
	}
	if _, err := c.Run(t.Context(), Command{Namespace: "nowhere", Args: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "there are host") {
		t.Errorf("no such namespace: %v", err)
	}
	for _, bad := range []string{"../netns/host", "", ".", "host/.."} {
		if _, err := c.Run(t.Context(), Command{Namespace: bad, Args: []string{"true"}}); err == nil {
			t.Errorf("namespace %q was accepted", bad)
		}
	}
}

func TestWorkingFolder(t *testing.T) {
	_, c := startLab(t, Options{})
	dir := t.TempDir()
	if out, _ := runWith(t, c, Command{Namespace: "host", Args: []string{"/bin/pwd"}, Dir: dir}, ""); out != dir+"\n" {
		t.Errorf("pwd: %q, want %q", out, dir)
	}
	if out, code := runWith(t, c, Command{Namespace: "host", Args: []string{"/bin/pwd"}, Dir: "/run/user/no-such"}, ""); out != "/\n" || code != 0 {
		t.Errorf("a folder that the lab does not have: %q, code %d", out, code)
	}
}

// The lab sees the machine's /etc and /var; what is written there is the lab's alone. Without
// rights nothing can be written, with or without a lab.
func TestWhatIsWrittenInALabIsItsOwn(t *testing.T) {
	_, c := startLab(t, Options{})
	if out, code := run(t, c, "host", "cat /etc/passwd"); code != 0 || !strings.Contains(out, "root:") {
		t.Errorf("the machine's /etc/passwd: %q, code %d", out, code)
	}
	if out, _ := run(t, c, "host", "cat /etc/resolv.conf"); out != "nameserver 198.18.0.1\n" {
		t.Errorf("the lab's name server: %q", out)
	}
	if os.Geteuid() != 0 {
		return
	}
	name := fmt.Sprintf("drawbridge-test-%d", os.Getpid())
	for _, dir := range []string{"/etc", "/var/lib"} {
		path := filepath.Join(dir, name)
		_, code := run(t, c, "host", "echo text > "+path)
		if _, err := os.Lstat(path); err == nil {
			os.Remove(path)
			t.Errorf("%s is on the machine", path)
		}
		if out, read := run(t, c, "neighbour", "cat "+path); code == 0 && (read != 0 || out != "text\n") {
			t.Errorf("%s in the lab: %q, code %d", path, out, read)
		}
	}
}

// A namespace that a command names is there for the next one, as with ip-netns: else
// a machine that "up" started in one would be lost to "down".
func TestNamesAreSharedBetweenCommands(t *testing.T) {
	_, c := startLab(t, Options{})
	if _, err := exec.LookPath("ip"); err != nil {
		lacking(t, "no ip(8)")
	}
	if out, code := run(t, c, "host", "ip netns add made"); code != 0 {
		t.Fatal(out)
	}
	if out, code := run(t, c, "made", "ls /sys/class/net"); code != 0 || out != "lo\n" {
		t.Errorf("%q, code %d", out, code)
	}
	if out, code := run(t, c, "lan", "ip netns del made; ls /run/netns | grep -c made"); out != "0\n" {
		t.Errorf("%q, code %d", out, code)
	}
}

func TestTheLANWorks(t *testing.T) {
	_, c := startLab(t, Options{})
	for _, tool := range []string{"ping", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			lacking(t, "no "+tool)
		}
	}
	for _, tc := range []struct{ namespace, script, want string }{
		{"host", "ping -c1 -W2 198.18.0.20 >/dev/null && echo yes", "yes"},
		{"host", "ping -c1 -W2 198.18.1.2 >/dev/null && echo yes", "yes"},
		{"host", "ping -c1 -W2 2001:db8:1::2 >/dev/null && echo yes", "yes"},
		{"neighbour", "ping -c1 -W2 2001:db8::5 >/dev/null && echo yes", "yes"},
		{"host", "curl -s http://198.18.1.2/", "This is far"},
		{"host", "curl -s http://198.18.1.2/", "You are 198.18.0.5."},
		{"host", "curl -s 'http://[2001:db8:1::2]/'", "You are 2001:db8::5."},
	} {
		if out, _ := run(t, c, tc.namespace, tc.script); !strings.Contains(out, tc.want) {
			t.Errorf("%s: %s: %q, want %q in it", tc.namespace, tc.script, out, tc.want)
		}
	}
}

func TestUplinkIsPulledOutAndPluggedIn(t *testing.T) {
	_, c := startLab(t, Options{Unplugged: true})
	carrier := func(want string) {
		t.Helper()
		if out, _ := run(t, c, "host", "cat /sys/class/net/eth0/carrier"); strings.TrimSpace(out) != want {
			t.Errorf("carrier %q, want %q", out, want)
		}
		if info, err := c.Info(); err != nil || info.Plugged != (want == "1") {
			t.Errorf("info: %+v, %v", info, err)
		}
	}
	carrier("0")
	if err := c.SetUplink(true); err != nil {
		t.Fatal(err)
	}
	carrier("1")
	if err := c.SetUplink(false); err != nil {
		t.Fatal(err)
	}
	carrier("0")
}

func TestSignalsReachTheCommandsGroup(t *testing.T) {
	_, c := startLab(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	code, err := c.Run(ctx, Command{Namespace: "host", Args: []string{"/bin/sh", "-c", "sleep 60; true"}})
	if err != nil || code != exitSignalBase+int(unix.SIGINT) || time.Since(begin) > 4*time.Second {
		t.Errorf("code %d, %v after %v", code, err, time.Since(begin))
	}
}

// A client that disappears takes its command with it, also one that ignores SIGHUP;
// what made a session of its own stays.
func TestHangUp(t *testing.T) {
	l, c := startLab(t, Options{})
	conn, err := c.connect()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	err = send(conn, request{Op: opExec, Namespace: "host", Args: []string{"/bin/sh", "-c", "trap '' HUP; setsid sleep 7171 & sleep 7272"}}, null, null, null)
	if err != nil {
		t.Fatal(err)
	}
	var started reply
	if _, err := receive(conn, &started); err != nil || !started.Started {
		t.Fatalf("%+v, %v", started, err)
	}
	waitFor(t, "the command", func() bool { return inLab(l, "sleep 7272") == 1 && inLab(l, "sleep 7171") == 1 })
	_ = conn.Close()
	waitFor(t, "its end", func() bool { return inLab(l, "sleep 7272") == 0 })
	if inLab(l, "sleep 7171") != 1 {
		t.Error("a session of its own was killed with the command")
	}
}

// inLab counts the processes of a lab with a command line.
func inLab(l *Lab, words string) int {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", l.PID()))
	if err != nil {
		return -1
	}
	n := 0
	for _, p := range processesOf(ns) {
		line, _ := os.ReadFile(filepath.Join("/proc", p, "cmdline"))
		if string(bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte(" "))) == words {
			n++
		}
	}
	return n
}

func processesOf(pidNamespace string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		if ns, err := os.Readlink(p + "/ns/pid"); err == nil && ns == pidNamespace {
			pids = append(pids, filepath.Base(p))
		}
	}
	return pids
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited 10 s for %s", what)
}

func TestOrphansAreReaped(t *testing.T) {
	l, c := startLab(t, Options{})
	run(t, c, "host", "for i in 1 2 3 4 5; do setsid true & done")
	waitFor(t, "the orphans", func() bool {
		ns, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", l.PID()))
		return len(processesOf(ns)) == 2 // the supervisor and the echo responder
	})
}

// As an unprivileged user: all of the above again, with nothing but a user's rights.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this run is unprivileged as a whole")
	}
	dir, err := os.MkdirTemp("/tmp", "drawbridge-test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v",
		"-test.run=Commands|Names|Written|LAN|Uplink|Two|Killed|Orphans|Measure|Taken", "-test.timeout=60s")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }),
		"TMPDIR="+dir, "XDG_RUNTIME_DIR="+dir, "HOME="+dir)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		lacking(t, "unprivileged labs were skipped:\n"+string(out))
	}
}
