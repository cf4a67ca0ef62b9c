package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/broker"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"

	"golang.org/x/sys/unix"
)

// The users of these tests: numbers that no account has.
const (
	aliceUID   = 12345 // by the policy: two taps on br0, and a range of MAC addresses
	bobUID     = 12346 // named nowhere
	malloryUID = 12347 // refused by a rule, whatever group he is in
	kvmGID     = 12400
	helperGID  = 12401 // may read the file that QEMU's access file includes
)

const policyText = `
rules:
  - {users: [12347], networks: ['*'], taps: 0}
  - users: [12345]
    networks: [br0]
    taps: 2
    macs: ["02:aa:00:00:00:00/24"]
  - {groups: [12400], networks: [br0], taps: 1}
`

// asClient makes this test binary a client without rights: its arguments are in the variable.
const asClient = "DRAWBRIDGE_TEST_BROKER_CLIENT"

func TestMain(m *testing.M) {
	if do := os.Getenv(asClient); do != "" {
		if err := client(strings.Fields(do)); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testnet.Main(m)
}

// client does what a VMM, or somebody with bad intentions, would do, tells it in a line,
// and lives until its input ends.
func client(do []string) error {
	socket := os.Getenv("DRAWBRIDGE_BROKER")
	ask := func() (broker.Reply, *os.File, error) {
		return broker.Ask(context.Background(), socket, broker.Request{Network: "br0", Kind: broker.KindDescriptor})
	}
	var keep []*os.File
	switch do[0] {
	case "open": // NAME: a tap by its name, as a UML does
		f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(do[1])
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, ifr); err != nil {
			return err
		}
		keep = append(keep, f)
		fmt.Println("open")
	case "persist", "mac": // what a descriptor lets its holder do without any right
		reply, tap, err := ask()
		if err != nil {
			return err
		}
		if do[0] == "persist" {
			err = unix.IoctlSetInt(int(tap.Fd()), unix.TUNSETPERSIST, 1)
		} else {
			err = setTapMAC(tap, reply.Tap, [6]byte{0x02, 0, 0, 0, 0, 0x01})
		}
		if err != nil {
			return err
		}
		keep = append(keep, tap)
		fmt.Println(reply.Tap)
	case "flood":
		counts, taps := flood(1000, ask)
		keep = taps
		if err := json.NewEncoder(os.Stdout).Encode(counts); err != nil {
			return err
		}
	default:
		return fmt.Errorf("what is %s", do[0])
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, f := range keep {
		f.Close()
	}
	return nil
}

// setTapMAC is SIOCSIFHWADDR on the tap's own descriptor (tun_chr_ioctl).
func setTapMAC(tap *os.File, name string, mac [6]byte) error {
	var ifr struct {
		name   [16]byte
		family uint16
		data   [22]byte
	}
	copy(ifr.name[:], name)
	ifr.family = unix.ARPHRD_ETHER
	copy(ifr.data[:], mac[:])
	return ioctl(tap.Fd(), unix.SIOCSIFHWADDR, &ifr)
}

func flood(n int, ask func() (broker.Reply, *os.File, error)) (counts map[string]int, taps []*os.File) {
	counts = map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			_, tap, err := ask()
			mu.Lock()
			defer mu.Unlock()
			var no *broker.Refusal
			switch {
			case err == nil:
				counts["granted"]++
				taps = append(taps, tap)
			case errors.As(err, &no):
				counts[no.Kind]++
			default:
				counts[err.Error()]++
			}
		})
	}
	all.Wait()
	return counts, taps
}

// rig is a host in a namespace with a bridge br0, and the real broker there.
type rig struct {
	t      *testing.T
	host   *testnet.Net
	dir    string // everybody may look into it
	bin    string
	socket string
	policy string
	server *exec.Cmd
	log    *lockedBuffer
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// folder is one that everybody may look into: t.TempDir is this user's own.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "broker")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "drawbridge")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, "drawbridge/cmd/drawbridge")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "drawbridge"))
})

func newRig(t *testing.T) *rig {
	t.Helper()
	testnet.RequireUsers(t)
	r := &rig{t: t, host: testnet.New(t), dir: folder(t)}
	r.bin, r.socket, r.policy = filepath.Join(r.dir, "drawbridge"), filepath.Join(r.dir, "sock"), filepath.Join(r.dir, "policy")
	image, err := program()
	if err != nil {
		t.Fatal(err)
	}
	r.write(r.bin, string(image), 0o755)
	r.write(r.policy, policyText, 0o644)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	r.write(filepath.Join(r.dir, "client"), string(self), 0o755)
	r.host.Must(model.CreateBridge{Name: "br0", MAC: "02:11:22:33:44:55", MTU: 1400})
	r.start()
	return r
}

func (r *rig) write(path, text string, mode os.FileMode) {
	r.t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		r.t.Fatal(err)
	}
}

// start starts the broker, and waits until it answers.
func (r *rig) start() {
	r.t.Helper()
	r.log = &lockedBuffer{}
	r.server = exec.Command(r.bin, "serve", "--broker", "--netns", r.host.Name(), "--socket", r.socket, "--policy", r.policy)
	r.server.Stderr = r.log
	if err := r.server.Start(); err != nil {
		r.t.Fatal(err)
	}
	server := r.server
	r.t.Cleanup(func() {
		if server.ProcessState == nil {
			_ = server.Process.Signal(syscall.SIGTERM)
			if err := server.Wait(); err != nil {
				r.t.Errorf("the broker ended: %v\n%s", err, r.log)
			}
		}
	})
	r.logged("broker: taps of")
}

// kill is kill -9.
func (r *rig) kill() {
	r.t.Helper()
	if err := r.server.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_ = r.server.Wait() // killed
}

// logged waits for words in the broker's log.
func (r *rig) logged(words string) {
	r.t.Helper()
	testnet.Within(r.t, 20*time.Second, func() error {
		if !strings.Contains(r.log.String(), words) {
			return fmt.Errorf("the broker's log lacks %q:\n%s", words, r.log)
		}
		return nil
	})
}

// drawbridge runs the program as root, in the host's namespace.
func (r *rig) drawbridge(args ...string) (out string, err error) {
	b, err := exec.Command(r.bin, append(args, "--netns", r.host.Name())...).CombinedOutput()
	return string(b), err
}

func (r *rig) must(args ...string) string {
	r.t.Helper()
	out, err := r.drawbridge(args...)
	if err != nil {
		r.t.Fatalf("drawbridge %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// listed is a line of 'tap list --json'.
type listed struct {
	Tap, From, Network, Bridge, Owner string
	MAC                               model.MAC
	Plugged                           bool
	HeldBy                            *struct {
		Machine, Command string
		PID              int
	} `json:"held_by"`
}

func (r *rig) taps() []listed {
	r.t.Helper()
	var out []listed
	if err := json.Unmarshal([]byte(r.must("tap", "list", "--json")), &out); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// noTaps waits until there are none, in the kernel and in what is remembered.
func (r *rig) noTaps() {
	r.t.Helper()
	testnet.Within(r.t, 20*time.Second, func() error {
		for _, l := range r.host.Look().Links {
			if l.Kind == model.TapKind {
				return fmt.Errorf("%s is still there\n%s", l.Name, r.log)
			}
		}
		state := filepath.Join("/run/drawbridge", fmt.Sprint(r.host.Cookie()), "owned.json")
		if _, err := os.Stat(state); err == nil {
			return fmt.Errorf("something is still owned\n%s", r.log)
		}
		return nil
	})
}

// as starts a command as a user without rights, in the host's namespace.
type user struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *lockedBuffer
}

func (r *rig) as(uid uint32, groups []uint32, argv ...string) *user {
	r.t.Helper()
	return r.asWithGroups(uid, groups, nil, argv...)
}

// asWith is [rig.as] with files from descriptor 3 on.
func (r *rig) asWith(uid uint32, files []*os.File, argv ...string) *user {
	r.t.Helper()
	return r.asWithGroups(uid, nil, files, argv...)
}

func (r *rig) asWithGroups(uid uint32, groups []uint32, files []*os.File, argv ...string) *user {
	r.t.Helper()
	u := &user{cmd: exec.Command(argv[0], argv[1:]...), out: &lockedBuffer{}}
	u.cmd.ExtraFiles = files
	u.cmd.Dir = r.dir
	u.cmd.Stdout, u.cmd.Stderr = u.out, u.out
	u.cmd.Env = append(os.Environ(), "DRAWBRIDGE_BROKER="+r.socket)
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: groups}}
	u.cmd.WaitDelay = 5 * time.Second // a UML's other processes have its output, too
	var err error
	if u.in, err = u.cmd.StdinPipe(); err == nil {
		err = kernel.Enter("/run/netns/"+r.host.Name(), u.cmd.Start)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if u.cmd.ProcessState == nil {
			_ = syscall.Kill(-u.cmd.Process.Pid, syscall.SIGKILL)
			_ = u.cmd.Wait() // killed
		}
	})
	return u
}

// clientAs is [rig.as] for this test binary as a client.
func (r *rig) clientAs(uid uint32, do string) *user {
	r.t.Helper()
	return r.as(uid, nil, "/usr/bin/env", asClient+"="+do, filepath.Join(r.dir, "client"))
}

// vmm is a command that holds what it got until its input ends.
func (r *rig) vmm(uid uint32, groups []uint32, options ...string) *user {
	r.t.Helper()
	argv := append([]string{r.bin, "exec", "--network", "br0"}, options...)
	return r.as(uid, groups, append(argv, "--", "sh", "-c", "echo running with %FD% %MAC%; exec cat")...)
}

// says waits for words of a user's command.
func (r *rig) says(u *user, words string) {
	r.t.Helper()
	testnet.Within(r.t, 20*time.Second, func() error {
		if !strings.Contains(u.out.String(), words) {
			return fmt.Errorf("it does not say %q but: %s\n%s", words, u.out, r.log)
		}
		return nil
	})
}

// end ends a user's command by the end of its input.
func (r *rig) end(u *user) (code int) {
	r.t.Helper()
	u.in.Close()
	_ = u.cmd.Wait() // told by its code
	return u.cmd.ProcessState.ExitCode()
}

// killed is kill -9 of a user's command.
func (r *rig) killed(u *user) {
	r.t.Helper()
	if err := u.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_ = u.cmd.Wait() // killed
}
