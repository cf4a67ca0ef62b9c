package manager

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"
)

// onBus is a host with a NetworkManager, this process, on a D-Bus of its own.
func onBus(t *testing.T, socket string) System {
	t.Helper()
	s := page(fstest.MapFS{"run/dbus/system_bus_socket": file(""), "run/NetworkManager/devices/2": file("managed=true\n")})
	dir := fmt.Sprintf("proc/%d/", os.Getpid())
	files := s.Root.(fstest.MapFS)
	files[dir+"comm"], files[dir+"cmdline"], files[dir+"ns/net"] = file("NetworkManager\n"), file("NetworkManager\x00"), symlink("net:[1]")
	s.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return s
}

// shortDir is a folder for a socket: t.TempDir's name is too long for one.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startBus starts a D-Bus, and returns a connection to it and its socket.
func startBus(t *testing.T) (*dbus.Conn, string) {
	t.Helper()
	daemon := testnet.RequireCommand(t, "dbus-daemon", "dbus-daemon")
	dir := shortDir(t)
	socket := filepath.Join(dir, "socket")
	config := filepath.Join(dir, "config")
	text := `<busconfig><listen>unix:path=` + socket + `</listen><policy context="default"><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*" eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(daemon, "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it listens
		t.Fatal(err)
	}
	conn, err := dbus.Connect("unix:path=" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, socket
}

// service is a NetworkManager's answer.
type service struct {
	answer objects
	wait   chan struct{}
	asked  chan struct{}
}

// GetManagedObjects is org.freedesktop.DBus.ObjectManager's.
func (s service) GetManagedObjects() (objects, *dbus.Error) {
	if s.asked != nil {
		close(s.asked)
	}
	if s.wait != nil {
		<-s.wait
	}
	return s.answer, nil
}

func serve(t *testing.T, conn *dbus.Conn, s service) {
	t.Helper()
	if err := conn.Export(s, "/org/freedesktop", "org.freedesktop.DBus.ObjectManager"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.NetworkManager", 0); err != nil {
		t.Fatal(err)
	}
}

func eth0(ctx context.Context, t *testing.T, s System) model.Manager {
	t.Helper()
	f, err := s.Find(ctx, host())
	if err != nil {
		t.Fatal(err)
	}
	of := f.Of("eth0")
	if len(of) != 1 {
		t.Fatalf("managers %+v", of)
	}
	return of[0]
}

func TestAsked(t *testing.T) {
	conn, socket := startBus(t)
	serve(t, conn, service{answer: objects{
		"/d": {nmDevice: {"Interface": dbus.MakeVariant("eth0"), "Managed": dbus.MakeVariant(true), "ActiveConnection": dbus.MakeVariant(dbus.ObjectPath("/a"))}},
		"/a": {nmActive: {"Id": dbus.MakeVariant("lan"), "StateFlags": dbus.MakeVariant(uint32(4)), "Connection": dbus.MakeVariant(dbus.ObjectPath("/s"))}},
		"/s": {nmConnection: {"Filename": dbus.MakeVariant("/etc/x.nmconnection")}},
	}})
	m := eth0(t.Context(), t, onBus(t, socket))
	if m.How != model.Asked || m.PID != os.Getpid() || m.Profile != "lan" || m.File != "/etc/x.nmconnection" || !m.Acts {
		t.Errorf("%+v", m)
	}
}

// settings are NetworkManager's, which count how often they are read anew.
type settings struct{ reloads *int }

func (s settings) ReloadConnections() (bool, *dbus.Error) { *s.reloads++; return true, nil }

// Profiles are read anew only where one of ours has lost its file.
func TestForgetProfiles(t *testing.T) {
	for file, want := range map[string]int{
		"/etc/NetworkManager/system-connections/drawbridge-br0.nmconnection":  1,
		"/etc/NetworkManager/system-connections/drawbridge-eth0.nmconnection": 0, // it is there
		"/etc/NetworkManager/system-connections/theirs.nmconnection":          0,
		"": 0,
	} {
		conn, socket := startBus(t)
		reloads := 0
		if err := conn.Export(settings{&reloads}, "/org/freedesktop/NetworkManager/Settings", "org.freedesktop.NetworkManager.Settings"); err != nil {
			t.Fatal(err)
		}
		serve(t, conn, service{answer: objects{"/s": {nmConnection: {"Filename": dbus.MakeVariant(file)}}}})
		s := onBus(t, socket)
		s.Root.(fstest.MapFS)["etc/NetworkManager/system-connections/drawbridge-eth0.nmconnection"] = &fstest.MapFile{Data: []byte("x")}
		b, err := s.bus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = s.forgetProfiles(b)
		b.close()
		if err != nil || reloads != want {
			t.Errorf("%q: read anew %d times, want %d; %v", file, reloads, want, err)
		}
	}
}

// Nobody has the name on the bus: what it has noted tells.
func TestNotOnTheBus(t *testing.T) {
	_, socket := startBus(t)
	m := eth0(t.Context(), t, onBus(t, socket))
	if m.How != model.ByFile || !strings.Contains(m.Silent, "no such name") && !strings.Contains(m.Silent, "no owner") {
		t.Errorf("%+v", m)
	}
}

// The host's manager is of another namespace than ours: what it holds is not here.
func TestOfAnotherNamespace(t *testing.T) {
	conn, socket := startBus(t)
	serve(t, conn, service{})
	s := onBus(t, socket)
	files := s.Root.(fstest.MapFS)
	files[fmt.Sprintf("proc/%d/ns/net", os.Getpid())] = symlink("net:[2]")
	files["proc/7/comm"], files["proc/7/cmdline"], files["proc/7/ns/net"] = file("NetworkManager\n"), file("NetworkManager\x00"), symlink("net:[1]")
	f, err := s.Find(t.Context(), host())
	if err != nil || len(f.Of("eth0")) != 0 {
		t.Errorf("%+v, %v", f.Of("eth0"), err)
	}
}

// A manager that hangs, a bus that hangs: nobody waits for long, and what is noted tells.
func TestHangs(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	t.Run("manager", func(t *testing.T) {
		conn, socket := startBus(t)
		wait, asked := make(chan struct{}), make(chan struct{})
		t.Cleanup(func() { close(wait) })
		serve(t, conn, service{wait: wait, asked: asked})
		m := eth0(soon(), t, onBus(t, socket))
		if m.How != model.ByFile || m.Silent == "" {
			t.Errorf("%+v", m)
		}
		<-asked
	})
	t.Run("bus", func(t *testing.T) {
		socket := filepath.Join(shortDir(t), "socket")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		m := eth0(soon(), t, onBus(t, socket))
		if m.How != model.ByFile || m.Silent == "" {
			t.Errorf("%+v", m)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		m := eth0(soon(), t, onBus(t, filepath.Join(t.TempDir(), "none")))
		if m.How != model.ByFile || !strings.Contains(m.Silent, "D-Bus") {
			t.Errorf("%+v", m)
		}
	})
}

// A manager that dies under the question is known by what it has noted.
func TestDies(t *testing.T) {
	conn, socket := startBus(t)
	wait, asked := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(wait) })
	serve(t, conn, service{wait: wait, asked: asked})
	go func() { <-asked; conn.Close() }()
	m := eth0(t.Context(), t, onBus(t, socket))
	if m.How != model.ByFile || m.Silent == "" {
		t.Errorf("%+v", m)
	}
}
