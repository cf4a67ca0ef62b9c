package dhcp4

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// serve runs a server on br1 of a namespace with a client's namespace on its port tap0.
func serve(t *testing.T, c model.DHCP4Config, leases *os.Root) (s *Server, host, vm *testnet.Net) {
	t.Helper()
	host, vm = testnet.New(t), testnet.New(t)
	host.Must(model.CreateBridge{Name: "br1"}, model.AddAddresses{Link: "br1", Addresses: []model.Address{{Prefix: c.Server, Origin: model.Static}}})
	host.Veth("tap0", vm, "eth0")
	host.Must(model.SetMaster{Link: "tap0", Master: "br1"}, model.WaitUp{Link: "br1", Timeout: 3000})
	s = &Server{Config: c, Link: "br1", Leases: leases, Log: t.Logf, Port: func(mac model.MAC) string {
		port, err := host.PortOf("br1", mac)
		if err != nil {
			t.Error(err)
		}
		return port
	}}
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	started := make(chan error)
	done.Go(func() {
		// Its link is looked up by name, so in the namespace.
		err := kernel.Enter("/run/netns/"+host.Name(), func() error {
			sockets, err := Open("br1")
			started <- err
			if err != nil {
				return err
			}
			defer func() {
				for _, f := range sockets {
					f.Close()
				}
			}()
			return s.Run(ctx, sockets)
		})
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); done.Wait() })
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return s, host, vm
}

// get asks for an address until the patience is over.
func get(vm *testnet.Net, patience time.Duration) (a netip.Addr, err error) {
	err = kernel.Enter("/run/netns/"+vm.Name(), func() error {
		c, err := nclient4.New("eth0", nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(5))
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		l, err := c.Request(ctx)
		if err == nil {
			a = valid(l.ACK.YourIPAddr)
		}
		return err
	})
	return a, err
}

// fullDisk is a folder with room for nothing more, and who makes room.
func fullDisk(t *testing.T) (dir *os.Root, makeRoom func()) {
	t.Helper()
	path := t.TempDir()
	opened := make(chan error)
	go func() {
		runtime.LockOSThread() // this thread's mounts are nobody else's, and it ends with them
		opened <- func() (err error) {
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=4096"); err != nil {
				return err
			}
			dir, err = os.OpenRoot(path)
			return err
		}()
	}()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if err := dir.WriteFile("full", make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		if err := dir.Remove("full"); err != nil {
			t.Fatal(err)
		}
	}
}

// A full disk is told, and stops nobody from getting an address; once there is room
// again, everything is written down.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	testnet.Require(t)
	dir, makeRoom := fullDisk(t)
	s, _, vm := serve(t, config(), dir)
	a, err := get(vm, testnet.Patience)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.Trouble(), "no space left") || len(s.Current()) != 1 {
		t.Errorf("trouble %q, leases %+v", s.Trouble(), s.Current())
	}
	makeRoom()
	testnet.Within(t, testnet.Patience, func() error {
		b, _ := dir.ReadFile("leases.json")
		if s.Trouble() != "" || !strings.Contains(string(b), a.String()) {
			return fmt.Errorf("trouble %q, file %q", s.Trouble(), b)
		}
		return nil
	})
}

// One VM that claims to be many gets as many addresses as a port may have; a neighbour
// gets his all the same.
func TestOneVMClaimsToBeMany(t *testing.T) {
	t.Parallel()
	testnet.Require(t)
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	c := config()
	c.PerPort, c.Last = 3, addr("198.18.7.103")
	s, host, vm := serve(t, c, dir)
	got := map[netip.Addr]bool{}
	for n := range 3 {
		vm.Must(model.SetMAC{Link: "eth0", MAC: model.MAC(fmt.Sprintf("02:00:00:00:01:%02x", n))})
		a, err := get(vm, testnet.Patience)
		if err != nil {
			t.Fatal(err)
		}
		got[a] = true
	}
	vm.Must(model.SetMAC{Link: "eth0", MAC: "02:00:00:00:01:99"})
	if a, err := get(vm, time.Second); err == nil || len(got) != 3 || len(s.Current()) != 3 {
		t.Errorf("got %v, and then %s (%v), leases %+v", got, a, err, s.Current())
	}
	other := testnet.New(t)
	host.Veth("tap1", other, "eth0")
	host.Must(model.SetMaster{Link: "tap1", Master: "br1"})
	if a, err := get(other, testnet.Patience); err != nil || got[a] {
		t.Errorf("the neighbour gets %s, %v", a, err)
	}
}
