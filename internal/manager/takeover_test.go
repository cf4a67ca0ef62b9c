package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"drawbridge/internal/model"

	"github.com/godbus/dbus/v5"
)

var lan = model.TakeOver{Bridges: []string{"br0"}, Ports: []string{"eth0"}}

func takeOver(name string) model.TakeOver {
	op := lan
	op.Manager = name
	return op
}

// What networkd tells of its links is what it has taken over.
func TestNetworkdLacks(t *testing.T) {
	link := func(name, state, file string) string {
		return fmt.Sprintf(`{"Name":%q,"AdministrativeState":%q,"NetworkFile":%q}`, name, state, file)
	}
	const ours, theirs, plan = "/etc/systemd/network/05-drawbridge-x.network", "/etc/systemd/network/10-uplink.network", "/run/systemd/network/10-netplan-br0.network"
	for _, c := range []struct {
		links       []string
		left        string
		begun, fail bool
	}{
		{[]string{link("br0", "configured", ours), link("eth0", "configured", ours), link("other", "failed", theirs)}, "", false, false},
		{[]string{link("br0", "configured", plan), link("eth0", "configuring", ours)}, "", true, false},
		{[]string{link("br0", "configuring", ours), link("eth0", "configured", ours)}, "br0 is configuring still", false, false},
		{[]string{link("br0", "unmanaged", ""), link("eth0", "configured", ours)}, "br0 is unmanaged still", false, false},
		{[]string{link("br0", "configured", ours), link("eth0", "configured", theirs)}, "eth0 is by " + theirs + " still", false, false},
		{[]string{link("br0", "failed", ours)}, "", false, true},
	} {
		left, begun, err := networkdLacks([]byte(`{"Interfaces":[`+strings.Join(c.links, ",")+`]}`), lan)
		if left != c.left || (len(begun) > 0) != c.begun || (err != nil) != c.fail {
			t.Errorf("%v: %q, %v, %v", c.links, left, begun, err)
		}
	}
	if _, _, err := networkdLacks([]byte("{"), lan); err == nil {
		t.Error("nonsense is understood")
	}
}

// Where netplan writes networkd's file anew, either what stands in it is kept, or what DHCP gave.
func TestKeepLess(t *testing.T) {
	for file, want := range map[string]string{
		"[Network]\nAddress=198.18.0.5/24\n":          "KeepConfiguration=static\n",
		"[Network]\nDHCP=no\nAddress=198.18.0.5/24\n": "KeepConfiguration=static\n",
		"[Network]\nDHCP=ipv4\n":                      "KeepConfiguration=dhcp\n",
	} {
		if got := keepLess(file); !strings.HasSuffix(got, want) {
			t.Errorf("%q: %q", file, got)
		}
	}
}

// One that is not there, has no file of ours, hangs, or knows nothing of it: refused, in words
// that say why.
func TestTakeOverRefused(t *testing.T) {
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	hands := Hands{Show: func(string) error { return nil }, Run: func(context.Context, ...string) error { return nil }}
	refused := func(err error, why string) {
		t.Helper()
		var r *Refused
		if !errors.As(err, &r) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, not %q", err, why)
		}
	}
	for _, name := range []string{NetworkManager, Networkd} {
		refused(TakeOver(soon(), page(nil), t.TempDir(), takeOver(name), hands), "D-Bus")
	}
	if err := TakeOver(soon(), page(nil), t.TempDir(), takeOver("acme"), hands); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("nobody knows it: %v", err)
	}

	conn, socket := startBus(t)
	serve(t, conn, service{})
	refused(TakeOver(soon(), onBus(t, socket), t.TempDir(), takeOver(NetworkManager), hands), "no file of ours for br0")
	s := onBus(t, socket)
	for _, link := range lan.Links() {
		s.Root.(fstest.MapFS)[keyfileOf(link)] = file("[connection]\nuuid=u\n")
	}
	refused(TakeOver(soon(), s, t.TempDir(), takeOver(NetworkManager), hands), "br0: ")
}

// under is a file system with another beneath it.
type under struct{ top, bottom fs.FS }

func (u under) Open(name string) (fs.File, error) {
	if f, err := u.bottom.Open(name); err == nil {
		return f, nil
	}
	return u.top.Open(name)
}

// nm is a NetworkManager of one device after the other, that looks on at what it is given.
type nm struct {
	t     *testing.T
	root  string
	log   []string
	links map[string]*nmLink
}

type nmLink struct {
	managed, auto, external bool
	uuid, file              string
}

func (n *nm) path(link string) dbus.ObjectPath { return dbus.ObjectPath("/d/" + link) }

func (n *nm) GetDeviceByIpIface(link string) (dbus.ObjectPath, *dbus.Error) { return n.path(link), nil }

func (n *nm) Reload(uint32) *dbus.Error { n.log = append(n.log, "reload"); return nil }

// LoadConnections takes our file in place of its own, once that is gone.
func (n *nm) LoadConnections(files []string) (bool, []string, *dbus.Error) {
	n.log = append(n.log, "load "+filepath.Base(files[0]))
	for name, l := range n.links {
		data, _ := os.ReadFile(filepath.Join(n.root, keyfileOf(name)))
		_, err := os.Stat(filepath.Join(n.root, l.file))
		if l.external && err != nil && strings.Contains(string(data), "uuid="+l.uuid+"\n") {
			l.external, l.file = false, "/"+keyfileOf(name)
		}
	}
	return true, nil, nil
}

// GetManagedObjects is org.freedesktop.DBus.ObjectManager's.
func (n *nm) GetManagedObjects() (objects, *dbus.Error) {
	all := objects{}
	for name, l := range n.links {
		state, active := uint32(30), dbus.ObjectPath("/")
		if l.managed {
			state, active = 100, dbus.ObjectPath("/a/"+name)
			flags := uint32(0)
			if l.external {
				flags = nmExternal
			}
			all[active] = map[string]map[string]dbus.Variant{nmActive: {"Uuid": dbus.MakeVariant(l.uuid), "StateFlags": dbus.MakeVariant(flags), "Connection": dbus.MakeVariant(dbus.ObjectPath("/s/" + name))}}
			all[dbus.ObjectPath("/s/"+name)] = map[string]map[string]dbus.Variant{nmConnection: {"Filename": dbus.MakeVariant(l.file)}}
		}
		all[n.path(name)] = map[string]map[string]dbus.Variant{nmDevice: {"Interface": dbus.MakeVariant(name), "State": dbus.MakeVariant(state), "ActiveConnection": dbus.MakeVariant(active)}}
	}
	return all, nil
}

// nmDev is one device of it.
type nmDev struct {
	n    *nm
	name string
}

// Set is org.freedesktop.DBus.Properties'.
func (d nmDev) Set(_, property string, value dbus.Variant) *dbus.Error {
	on, _ := value.Value().(bool)
	l := d.n.links[d.name]
	d.n.log = append(d.n.log, fmt.Sprintf("%s %s %v", d.name, property, on))
	switch property {
	case "Autoconnect":
		l.auto = on
	case "Managed":
		if l.auto {
			d.n.t.Errorf("%s is managed while the user's profile may be set up on it", d.name)
		}
		l.managed, l.external, l.uuid, l.file = on, true, "made-for-"+d.name, "/run/"+d.name
		if err := os.WriteFile(filepath.Join(d.n.root, l.file), nil, 0o600); err != nil {
			d.n.t.Error(err)
		}
	}
	return nil
}

func (d nmDev) GetAppliedConnection(uint32) (map[string]map[string]dbus.Variant, uint64, *dbus.Error) {
	return map[string]map[string]dbus.Variant{"connection": {"master": dbus.MakeVariant("was")}}, 7, nil
}

// Reapply refuses what cannot be applied to an active device.
func (d nmDev) Reapply(wanted map[string]map[string]dbus.Variant, version uint64, flags uint32) *dbus.Error {
	if _, ok := wanted["802-3-ethernet"]; ok || version != 7 || flags != 1 || wanted["connection"]["master"].Value() != "was" {
		d.n.t.Errorf("%s: reapply %v, version %d, flags %d", d.name, wanted, version, flags)
	}
	d.n.log = append(d.n.log, "reapply "+d.name)
	return nil
}

func (d nmDev) GetSettings() (map[string]map[string]dbus.Variant, *dbus.Error) {
	return map[string]map[string]dbus.Variant{"connection": {"master": dbus.MakeVariant("br0")}, "802-3-ethernet": {"cloned-mac-address": dbus.MakeVariant("x")}}, nil
}

// NetworkManager looks on at the bridge, then at its port, before either gets its profile;
// our files have the uuids then, and it may set up profiles by itself again at the end.
func TestNetworkManagerTakesOver(t *testing.T) {
	conn, socket := startBus(t)
	root := t.TempDir()
	n := &nm{t: t, root: root, links: map[string]*nmLink{"br0": {auto: true}, "eth0": {auto: true}}}
	s := onBus(t, socket)
	for _, dir := range []string{keyfiles, "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name := range n.links {
		if err := os.WriteFile(filepath.Join(root, keyfileOf(name)), []byte("[connection]\nuuid=first\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d := nmDev{n, name}
		for _, of := range []string{"org.freedesktop.DBus.Properties", nmDevice} {
			if err := conn.Export(d, n.path(name), of); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Export(d, dbus.ObjectPath("/s/"+name), nmConnection); err != nil {
			t.Fatal(err)
		}
	}
	for path, of := range map[dbus.ObjectPath]string{nmManager: nmService, nmSettings: nmService + ".Settings", "/org/freedesktop": "org.freedesktop.DBus.ObjectManager"} {
		if err := conn.Export(n, path, of); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.RequestName(nmService, 0); err != nil {
		t.Fatal(err)
	}
	s.Root = under{s.Root, os.DirFS(root)}
	shielded, restored := 0, 0
	h := Hands{
		Show: func(string) error { return nil },
		Rewrite: func(contents map[string]string) error {
			for path, text := range contents {
				if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Shield: func(pid int, setting string) (func() error, error) {
			if pid != os.Getpid() || !strings.HasSuffix(setting, "/disable_ipv6") {
				t.Errorf("shielded from %d: %s", pid, setting)
			}
			shielded++
			return func() error { restored++; return nil }, nil
		},
	}
	if err := TakeOver(t.Context(), s, root, takeOver(NetworkManager), h); err != nil {
		t.Fatalf("%v after %v", err, n.log)
	}
	order := func(a, b string) {
		t.Helper()
		if i, j := slices.Index(n.log, a), slices.Index(n.log, b); i < 0 || j < 0 || i > j {
			t.Errorf("%q at %d, %q at %d of %v", a, i, b, j, n.log)
		}
	}
	order("eth0 Autoconnect false", "br0 Managed true")
	order("br0 Managed true", "eth0 Managed true")
	order("eth0 Managed true", "load drawbridge-br0.nmconnection")
	order("reapply br0", "br0 Autoconnect true")
	if shielded != 2 || restored != 2 {
		t.Errorf("shielded %d times, restored %d times", shielded, restored)
	}
	for name, l := range n.links {
		if l.external || !l.auto || l.uuid != "made-for-"+name {
			t.Errorf("%s: %+v", name, *l)
		}
	}
}

// ifupdown's notes: the uplink is mapped to a stanza of ours, what is gone is not noted, and
// nobody writes while ifup is at work.
func TestIfupdownNotes(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/network/interfaces", "auto eth0\niface eth0 inet dhcp\n")
	write("etc/network/interfaces.d/drawbridge", "mapping eth0\n\tscript /bin/grep\n\tmap drawbridge-eth0\niface br0 inet dhcp\n")
	write("run/network/ifstate", "lo=lo\neth0=eth0\neth01=eth01\n")
	s := System{Root: os.DirFS(root)}
	reads := func(want string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(root, ifstate))
		if err != nil || string(data) != want {
			t.Errorf("%q, %v, not %q", data, err, want)
		}
	}
	if err := TakeOver(t.Context(), s, root, takeOver(Ifupdown), Hands{}); err != nil {
		t.Fatal(err)
	}
	reads("lo=lo\neth01=eth01\nbr0=br0\neth0=drawbridge-eth0\n")
	if data, err := os.ReadFile(filepath.Join(root, ifstate+".eth0")); err != nil || string(data) != "drawbridge-eth0\n" {
		t.Errorf("%q, %v", data, err)
	}
	if err := Tell(t.Context(), s, root, model.ManageAgain{Manager: Ifupdown, Links: []string{"br0", "eth0"}}, Hands{}); err != nil {
		t.Fatal(err)
	}
	reads("lo=lo\neth01=eth01\neth0=eth0\n")
	if _, err := os.Stat(filepath.Join(root, ifstate+".br0")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("br0 is noted still: %v", err)
	}
}
