package service_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// A server that is killed is started again with its leases; one that is killed together
// with its supervisor is told, and the next command starts it.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	vm := s.port("tap0")
	s.do(model.StartService{Service: all()})
	a := lease(t, vm)
	was := s.one()
	_ = syscall.Kill(was.PID, syscall.SIGKILL)
	again := func(what string, restarts int) {
		t.Helper()
		testnet.Within(t, testnet.Patience, func() error {
			now := s.one()
			if now.State != model.ServiceRunning || now.PID == was.PID || now.Restarts != restarts || len(now.Leases) != 1 || now.Leases[0].Address != a {
				return fmt.Errorf("%s: %+v%s", what, now, s.log())
			}
			return nil
		})
	}
	again("the server was killed", 1)
	if b := lease(t, vm); b != a {
		t.Errorf("it got %s, and then %s", a, b)
	}

	was = s.one()
	supervisor := parent(t, was.PID)
	_ = syscall.Kill(supervisor, syscall.SIGKILL)
	testnet.Within(t, testnet.Patience, func() error {
		if now := s.one(); now.State != model.ServiceFailed || !now.Same(all()) {
			return fmt.Errorf("%+v", now)
		}
		if syscall.Kill(was.PID, 0) == nil {
			return errors.New("the server outlives its supervisor")
		}
		return nil
	})
	told, err := s.Revive(t.Context())
	if err != nil || len(told) != 1 {
		t.Fatalf("%v %v", told, err)
	}
	again("the supervisor was killed", 0)
	if told, err := s.Revive(t.Context()); err != nil || len(told) != 0 {
		t.Errorf("revived although it lives: %v %v", told, err)
	}
}

func parent(t *testing.T, pid int) (ppid int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "PPid:"); ok {
			ppid, _ = strconv.Atoi(strings.TrimSpace(rest))
		}
	}
	return ppid
}

// Who has the port is named, and nothing is left over.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ network, at, link string }{{"udp4", ":67", "br1"}, {"udp4", ":67", ""}, {"udp4", "198.18.7.1:53", ""}, {"tcp4", ":53", ""}} {
		t.Run(strings.ReplaceAll(c.network+c.at+c.link, ":", "-"), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.Inside(func() error {
				config := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) (err error) {
					cerr := rc.Control(func(fd uintptr) {
						if c.link != "" {
							err = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, c.link)
						}
					})
					return errors.Join(cerr, err)
				}}
				if c.network == "tcp4" {
					l, err := config.Listen(t.Context(), c.network, c.at)
					if err == nil {
						t.Cleanup(func() { l.Close() })
					}
					return err
				}
				l, err := config.ListenPacket(t.Context(), c.network, c.at)
				if err == nil {
					t.Cleanup(func() { l.Close() })
				}
				return err
			})
			err := s.Manager.Do(t.Context(), model.StartService{Service: all()})
			if !errors.Is(err, model.ErrBusy) || !strings.Contains(fmt.Sprint(err), fmt.Sprintf("service.test (process %d) has it", os.Getpid())) {
				t.Errorf("%v", err)
			}
			if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("left over: %+v %v", list, err)
			}
		})
	}
}

// The link is made anew by somebody: the servers go on on the new one.
func TestLinkMadeAnew(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do(model.StartService{Service: all()})
	s.Must(model.DeleteLink{Name: "br1"})
	testnet.Within(t, testnet.Patience, func() error {
		if now := s.one(); now.State != model.ServiceRestarting || len(now.Troubles) == 0 {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	s.Must(model.CreateBridge{Name: "br1", MAC: "02:00:00:00:07:02"}, model.AddAddresses{Link: "br1", Addresses: []model.Address{{Prefix: host4, Origin: model.Static}}})
	vm := s.port("tap0")
	testnet.Within(t, testnet.Patience, func() error {
		if now := s.one(); now.State != model.ServiceRunning {
			return fmt.Errorf("%+v%s", now, s.log())
		}
		return nil
	})
	lease(t, vm)
}
