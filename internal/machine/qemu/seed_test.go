package qemu

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"drawbridge/internal/model"

	"go.yaml.in/yaml/v4"
)

func TestSeed(t *testing.T) {
	m := model.MachineConfig{Name: "db", SSHKeys: []string{"ssh-ed25519 AAAA alice"}, NICs: []model.NICConfig{
		{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", DHCP: true},
		{Name: "eth2", MAC: "02:11:22:33:44:66", Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.9/24")}, Gateway: netip.MustParseAddr("198.18.0.1")},
	}}
	files, err := seedFiles(m)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) (v map[string]any) {
		t.Helper()
		if err := yaml.Unmarshal(files[name], &v); err != nil {
			t.Errorf("%s: %v\n%s", name, err, files[name])
		}
		return v
	}
	if u := read("user-data"); !bytes.HasPrefix(files["user-data"], []byte("#cloud-config\n")) || u["hostname"] != "db" || !reflect.DeepEqual(u["ssh_authorized_keys"], []any{"ssh-ed25519 AAAA alice"}) {
		t.Errorf("user-data: %v", u)
	}
	first := read("meta-data")["instance-id"]
	n := read("network-config")["ethernets"].(map[string]any)
	if want := (map[string]any{"match": map[string]any{"macaddress": "02:11:22:33:44:55"}, "set-name": "eth1", "dhcp4": true}); !reflect.DeepEqual(n["eth1"], want) {
		t.Errorf("eth1: %v", n["eth1"])
	}
	want := map[string]any{"match": map[string]any{"macaddress": "02:11:22:33:44:66"}, "set-name": "eth2", "dhcp4": false, "optional": true,
		"addresses": []any{"198.18.0.9/24"}, "routes": []any{map[string]any{"to": "0.0.0.0/0", "via": "198.18.0.1"}}}
	if !reflect.DeepEqual(n["eth2"], want) {
		t.Errorf("eth2: %v", n["eth2"])
	}
	m.NICs[1].Addresses[0] = netip.MustParsePrefix("198.18.0.10/24")
	if files, err = seedFiles(m); err != nil || read("meta-data")["instance-id"] == first {
		t.Errorf("what has changed is the same instance: %v, %v", first, err)
	}
	m.UserData = filepath.Join(t.TempDir(), "user-data")
	if _, err := seedFiles(m); err == nil {
		t.Error("user-data that is not there")
	}
	if err := os.WriteFile(m.UserData, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if files, err = seedFiles(m); err != nil || string(files["user-data"]) != "#!/bin/sh\n" {
		t.Errorf("own user-data: %q, %v", files["user-data"], err)
	}
}

// TestISO9660 reads the file system as ECMA-119 has it.
func TestISO9660(t *testing.T) {
	files := map[string][]byte{"meta-data": []byte("m"), "user-data": []byte(strings.Repeat("u", 3000)), "network-config": nil}
	b := iso9660("cidata", []string{"meta-data", "network-config", "user-data"}, files)
	if len(b)%sector != 0 || !bytes.Equal(b, iso9660("cidata", []string{"meta-data", "network-config", "user-data"}, files)) {
		t.Error("no whole number of sectors, or two of them differ")
	}
	pvd := b[16*sector:]
	if string(pvd[:6]) != "\x01CD001" || strings.TrimSpace(string(pvd[40:72])) != "cidata" || binary.LittleEndian.Uint32(pvd[80:]) != uint32(len(b)/sector) {
		t.Errorf("volume descriptor: %q", pvd[:80])
	}
	record := func(r []byte) (place, size int) {
		if binary.LittleEndian.Uint32(r[2:]) != binary.BigEndian.Uint32(r[6:]) || binary.LittleEndian.Uint32(r[10:]) != binary.BigEndian.Uint32(r[14:]) {
			t.Error("the two byte orders differ")
		}
		return int(binary.LittleEndian.Uint32(r[2:])), int(binary.LittleEndian.Uint32(r[10:]))
	}
	at, size := record(pvd[156:])
	got := map[string][]byte{}
	for dir := b[at*sector : at*sector+size]; dir[0] != 0; dir = dir[dir[0]:] {
		name := string(dir[33 : 33+int(dir[32])])
		if dir[25]&2 == 0 {
			at, size := record(dir)
			got[strings.ToLower(strings.TrimSuffix(name, ";1"))] = b[at*sector : at*sector+size]
		}
	}
	for name, want := range files {
		if have, ok := got[name]; !ok || !bytes.Equal(have, want) {
			t.Errorf("%s: %d bytes, %v", name, len(have), ok)
		}
	}
}

func TestUUID(t *testing.T) {
	a, b := uuid(model.MachineConfig{Name: "a"}), uuid(model.MachineConfig{Name: "b"})
	if a == b || a != uuid(model.MachineConfig{Name: "a"}) || len(a) != 36 || a[14] != '8' {
		t.Errorf("%s and %s", a, b)
	}
	if _, err := json.Marshal(a); err != nil {
		t.Error(err)
	}
}
