package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/spec"
	"drawbridge/internal/testnet"
)

// The matrix below runs real transactions with real guards, each a process of its
// own: this test binary, told by its environment what to be.
const roleVariable = "DRAWBRIDGE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "transaction":
		os.Exit(transactionProcess())
	case "guard":
		os.Exit(guardMain())
	}
	os.Exit(m.Run())
}

// faultCase tells a transaction process what to do, and where to be struck.
type faultCase struct {
	Namespace string
	Dir       string
	Down      bool   // undo an earlier up, instead of doing one
	Fault     string // what happens; "" for nothing
	At        int    // at which operation
	After     bool   // after it was done, not before
}

const (
	faultError     = "kernel error"
	faultKillSelf  = "kill -9 of up"
	faultKillGuard = "kill -9 of the guard"
	faultKillBoth  = "kill -9 of both"
	faultHangup    = "SIGHUP"
	faultFullDisk  = "the disk under the journal is full"
	faultVanish    = "the uplink vanishes"
	faultStranger  = "somebody makes tap0 anew"
)

func (c faultCase) transaction(k *kernel.Kernel) *Transaction {
	return &Transaction{Kernel: k, Machines: noMachines{},
		Store: &Store{Dir: c.Dir, Identity: Identity{BootID: kernel.BootID(), Namespace: k.Cookie()}}}
}

func transactionProcess() int {
	var c faultCase
	if err := json.Unmarshal([]byte(os.Getenv("DRAWBRIDGE_TEST_CASE")), &c); err != nil {
		panic(err)
	}
	k, err := kernel.OpenNamed(c.Namespace)
	if err != nil {
		panic(err)
	}
	tx := c.transaction(k)
	var guard *guardProcess
	tx.StartGuard = func() (Guard, error) {
		os.Setenv(roleVariable, "guard")
		g, err := StartGuardProcess(tx.Store, os.Args[0])
		if err == nil {
			guard = g.(*guardProcess)
		}
		return g, err
	}
	if err := tx.Store.Lock(); err != nil {
		panic(err)
	}
	now, err := tx.observe(context.Background())
	if err != nil {
		panic(err)
	}
	owned, err := tx.Store.Owned()
	if err != nil {
		panic(err)
	}
	p, err := plan.Diff(now, faultWish(c.Down), owned, plan.Options{Seed: "seed"})
	if err != nil {
		panic(err)
	}
	tx.Kernel = &struck{Kernel: k, c: c, guard: func() int { return guard.pid }}
	err = tx.Run(context.Background(), p)
	var f *Failure
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &f):
		panic(err)
	}
	fmt.Println(err)
	switch {
	case len(f.Left) > 0:
		return 4
	case f.Changed:
		return 3
	default:
		return 1
	}
}

func guardMain() int {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	var c faultCase
	if err := json.Unmarshal([]byte(os.Getenv("DRAWBRIDGE_TEST_CASE")), &c); err != nil {
		panic(err)
	}
	k, err := kernel.OpenNamed(c.Namespace)
	if err != nil {
		panic(err)
	}
	tx := c.transaction(k)
	tx.Store.InheritLock(os.NewFile(4, "lock"))
	if err := tx.Watch(context.Background(), os.NewFile(3, "wire")); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// struck is the real kernel, with a fault at one operation.
type struck struct {
	*kernel.Kernel
	c     faultCase
	n     int
	guard func() int
}

func (s *struck) Do(ctx context.Context, op model.Operation) (model.Made, error) {
	n := s.n
	s.n++
	if n != s.c.At || s.c.Fault == "" {
		return s.Kernel.Do(ctx, op)
	}
	if !s.c.After {
		if err := s.strike(); err != nil {
			return nil, err
		}
	}
	made, err := s.Kernel.Do(ctx, op)
	if err == nil && s.c.After {
		err = s.strike()
	}
	return made, err
}

func (s *struck) strike() error {
	self := os.Getpid()
	switch s.c.Fault {
	case faultError:
		return errFault
	case faultKillSelf:
		_ = syscall.Kill(self, syscall.SIGKILL)
	case faultKillGuard:
		_ = syscall.Kill(s.guard(), syscall.SIGKILL)
		time.Sleep(20 * time.Millisecond) // until it is reaped
	case faultKillBoth:
		_ = syscall.Kill(s.guard(), syscall.SIGKILL)
		_ = syscall.Kill(self, syscall.SIGKILL)
	case faultHangup:
		_ = syscall.Kill(0, syscall.SIGHUP) // as a dying terminal does it, to the whole group
		time.Sleep(time.Second)
	case faultFullDisk: // no file of this process grows any more
		signal.Ignore(syscall.SIGXFSZ)
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1, Max: 1})
	case faultVanish:
		return s.meddle(model.DeleteLink{Name: "eth0"})
	case faultStranger:
		return s.meddle(model.DeleteLink{Name: "tap0"}, model.CreateTap{Name: "spare"}, model.CreateTap{Name: "tap0", MAC: strangersMAC})
	}
	return nil
}

func (s *struck) meddle(ops ...model.Operation) error {
	for _, op := range ops {
		if _, err := s.Kernel.Do(context.Background(), op); err != nil {
			panic(err)
		}
	}
	return nil
}

type noMachines struct{}

func (noMachines) List(context.Context) ([]model.Machine, error) { return nil, nil }
func (noMachines) Do(context.Context, model.Operation) error     { return model.ErrInvalid }

func faultWish(down bool) spec.Desired {
	if down {
		return spec.Desired{}
	}
	want := spec.Desired{
		Networks: []spec.Network{{Name: "lan", Mode: "bridged", Bridge: "br0", Uplink: "eth0", Host: spec.HostAddressing{Mode: "move"}}},
		Taps:     []spec.Tap{{Name: "tap0", Network: "lan", MAC: "02:00:00:00:00:09", DHCP: true, Security: spec.Security{Level: model.SecurityStrict, Isolated: true}}},
	}
	for i := range 5 { // as many as are made together
		want.Taps = append(want.Taps, spec.Tap{Name: fmt.Sprint("plain", i), Security: spec.Security{Level: model.SecurityOff, Rate: 1e9}})
	}
	return want
}

// faultSite is a host with an uplink, in namespaces of its own.
func faultSite(t *testing.T) (*testnet.Net, faultCase) {
	t.Helper()
	testnet.RequireTap(t)
	host, lan := testnet.New(t), testnet.New(t)
	host.Veth("eth0", lan, "host0")
	address := func(s string) model.Address {
		return model.Address{Link: "eth0", Prefix: netip.MustParsePrefix(s), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}
	}
	host.Must(
		model.SetSetting{Path: "ipv4/conf/all/rp_filter", Value: "1"},
		model.AddAddresses{Link: "eth0", Addresses: []model.Address{address("198.18.0.5/24"), address("198.18.0.6/24"), address("2001:db8::5/64")}},
		model.AddRoutes{Routes: []model.Route{
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("0.0.0.0/0"), Protocol: "static", Scope: "global", NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.1")}}},
			{Table: 100, Type: "unicast", Destination: netip.MustParsePrefix("198.18.9.0/24"), Protocol: "static", Scope: "global", Metric: 50, NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.1")}}},
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("::/0"), Protocol: "static", Scope: "global", Metric: 1024, NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("2001:db8::1")}}},
		}})
	dir := t.TempDir()
	return host, faultCase{Namespace: host.Name(), Dir: dir}
}

// run runs a case to its end: of the process, and of the guard that holds the lock.
func (c faultCase) run(t *testing.T) (exit int, output string) {
	t.Helper()
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=transaction", "DRAWBRIDGE_TEST_CASE="+string(data))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	testnet.Eventually(t, func() error {
		s := Store{Dir: c.Dir}
		err := s.Lock()
		s.Unlock()
		return err
	})
	return cmd.ProcessState.ExitCode(), string(out)
}

// The fault matrix: every operation of up and of down, struck before and after by
// everything that can happen. The host ends as it was or as it was wanted, never
// between, and the exit code of the one that survives says which.
func TestFaultMatrixOnTheRealKernel(t *testing.T) {
	if testing.Short() {
		t.Skip("some 200 transactions with processes of their own")
	}
	var cases atomic.Int64
	t.Run("of", func(t *testing.T) {
		for _, fault := range []string{faultError, faultKillSelf, faultKillGuard, faultKillBoth, faultHangup, faultFullDisk} {
			t.Run(fault, func(t *testing.T) {
				t.Parallel()
				cases.Add(int64(strikeEverywhere(t, fault)))
			})
		}
	})
	t.Logf("%d single-fault cases, none ended between", cases.Load())
	if cases.Load() < 300 {
		t.Errorf("only %d cases", cases.Load())
	}
}

// settled is the host once the kernel has told the state of each tap that is up: of one that was
// made just now it does so later, from a queue of its own (net/core/link_watch.c).
func settled(t *testing.T, host *testnet.Net) model.Namespace {
	t.Helper()
	var ns model.Namespace
	testnet.Eventually(t, func() error {
		ns = host.Look().Normalised()
		for _, l := range ns.Links {
			if l.Tap != nil && l.Up && l.OperState == "unknown" {
				return fmt.Errorf("the state of %s is not known yet", l.Name)
			}
		}
		return nil
	})
	return ns
}

// strikeEverywhere lets a fault strike before and after each operation of up and of down.
func strikeEverywhere(t *testing.T, fault string) (cases int) {
	t.Helper()
	host, c := faultSite(t)
	before := settled(t, host)
	if exit, out := c.run(t); exit != 0 {
		t.Fatalf("up without a fault: %d %s", exit, out)
	}
	wanted := settled(t, host)
	down := c
	down.Down = true
	if exit, out := down.run(t); exit != 0 {
		t.Fatalf("down without a fault: %d %s", exit, out)
	}
	requireSame(t, "down without a fault", before, settled(t, host))

	for _, isDown := range []bool{false, true} {
		start, goal := before, wanted
		if isDown {
			start, goal = wanted, before
			if exit, out := c.run(t); exit != 0 {
				t.Fatalf("up again: %d %s", exit, out)
			}
		}
		for _, after := range []bool{false, true} {
			for at := 0; ; at++ {
				f := faultCase{Namespace: c.Namespace, Dir: c.Dir, Down: isDown, Fault: fault, At: at, After: after}
				name := fmt.Sprintf("down=%v, %s, operation %d, after=%v", isDown, fault, at, after)
				exit, out := f.run(t)
				if exit == 0 { // past the last operation: nothing struck
					if at < 10 {
						t.Errorf("down=%v, %s, after=%v: only %d operations", isDown, fault, after, at)
					}
					requireSame(t, name, goal, settled(t, host))
					back := faultCase{Namespace: c.Namespace, Dir: c.Dir, Down: !isDown}
					if exit, out := back.run(t); exit != 0 {
						t.Fatalf("%s: the way back: %s", name, out)
					}
					break
				}
				cases++
				// Links that were made anew have new indexes, which a full disk has no room for.
				noRoom := fault == faultFullDisk && exit == 4
				if fault == faultKillBoth || noRoom {
					k := host.Kernel
					if _, err := f.transaction(k).Recover(); err != nil {
						t.Fatalf("%s: recover: %v", name, err)
					}
				}
				requireSame(t, name+": "+out, start, settled(t, host))
				wantExit := map[string]int{faultError: 3, faultKillGuard: 3, faultKillSelf: -1, faultKillBoth: -1, faultHangup: -1, faultFullDisk: 3}[fault]
				if exit != wantExit && !noRoom {
					t.Fatalf("%s: exit code %d, want %d: %s", name, exit, wantExit, out)
				}
			}
		}
	}
	return cases
}

// What somebody else does in the middle of a change is not undone, and not done for him:
// everything else is as before, and the exit code says what is not.
func TestMeddlingOnTheRealKernel(t *testing.T) {
	if testing.Short() {
		t.Skip("60 transactions with processes of their own")
	}
	for _, fault := range []string{faultVanish, faultStranger} {
		const most = 30
		struck := make([]bool, most)
		t.Run(fault, func(t *testing.T) {
			for at := range most {
				t.Run(fmt.Sprint("at ", at), func(t *testing.T) {
					t.Parallel() // each waits for what does not come back
					struck[at] = meddleAt(t, fault, at)
				})
			}
		})
		// Past the last operation nothing strikes.
		cases := slices.Index(struck, false)
		if cases < 10 || slices.Contains(struck[cases:], true) {
			t.Errorf("%s: struck %v", fault, struck)
		}
		t.Logf("%s: %d cases", fault, cases)
	}
}

// meddleAt tells whether there is an operation of that number for the fault to strike at.
func meddleAt(t *testing.T, fault string, at int) (struck bool) {
	t.Helper()
	host, c := faultSite(t)
	before := host.Look().Normalised()
	c.Fault, c.At = fault, at
	exit, out := c.run(t)
	now := host.Look().Normalised()
	if l := now.Link("tap0"); l != nil && l.MAC == strangersMAC {
		now = without(now, "tap0", "spare")
	} else if fault == faultStranger {
		if exit != 0 {
			t.Fatalf("the stranger's tap0 is gone: %s", out)
		}
		return false
	}
	switch {
	case fault == faultVanish && now.Link("eth0") != nil:
		return false
	case fault == faultVanish: // it is nobody's to make anew
		requireSame(t, out, without(before, "eth0"), now)
		if exit != 4 {
			t.Errorf("exit code %d: %s", exit, out)
		}
	default:
		requireSame(t, out, before, now)
		if exit != 1 && exit != 3 && exit != 4 {
			t.Errorf("exit code %d: %s", exit, out)
		}
	}
	return true
}

// without leaves links out, with all that hangs on them.
func without(ns model.Namespace, links ...string) model.Namespace {
	s := model.Snapshot{Namespaces: []model.Namespace{ns.Clone()}}
	for _, l := range links {
		if err := s.Apply(model.DeleteLink{Name: l}); err != nil {
			panic(err)
		}
	}
	return s.Here().Normalised()
}

func requireSame(t *testing.T, name string, want, got model.Namespace) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		w, _ := json.MarshalIndent(want, "", " ")
		g, _ := json.MarshalIndent(got, "", " ")
		dir := os.TempDir()
		_ = os.WriteFile(filepath.Join(dir, "want-"+strconv.Itoa(os.Getpid())), w, 0o600)
		_ = os.WriteFile(filepath.Join(dir, "got-"+strconv.Itoa(os.Getpid())), g, 0o600)
		t.Fatalf("%s: neither as before nor as wanted; compare %s/want-%d and got-%[3]d", name, dir, os.Getpid())
	}
}
