package cli

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/model"
	"drawbridge/internal/spec"
)

func TestPrintMachines(t *testing.T) {
	list := []model.Machine{
		{
			Name: "web", VMM: "uml", State: "running", PID: 42,
			NICs: []model.MachineNIC{
				{Name: "eth1", MAC: "02:11:22:33:44:55", Link: model.Ref{Name: "tap0"}},
				{Name: "eth2", MAC: "02:11:22:33:44:66", Declared: true},
			},
			Inside: &model.Namespace{Addresses: []model.Address{
				{Link: "eth1", Prefix: netip.MustParsePrefix("198.18.0.100/24"), Origin: model.DHCP},
				{Link: "eth1", Prefix: netip.MustParsePrefix("fe80::1/64"), Origin: model.LinkLocal},
			}},
		},
		{Name: "db", VMM: "namespace", State: "failed"},
		{Name: "os", VMM: "qemu", Accel: "tcg", State: "running", PID: 43},
	}
	var out bytes.Buffer
	err := printMachines(&out, list, func(name string) string {
		if name == "db" {
			return "its shim was killed"
		}
		return ""
	})
	want := `NAME  VMM         STATE    PID  NIC   MAC                CABLE  ADDRESSES
web   uml         running  42   eth1  02:11:22:33:44:55  tap0   198.18.0.100/24
                                eth2  02:11:22:33:44:66  none   
db    namespace   failed                                        
os    qemu (tcg)  running  43                                   

db: its shim was killed
`
	if err != nil || out.String() != want {
		t.Errorf("%v, got\n%s", err, out.String())
	}
	out.Reset()
	if err := printMachinesJSON(&out, nil); err != nil || strings.TrimSpace(out.String()) != "[]" {
		t.Errorf("no machines as JSON: %q, %v", out.String(), err)
	}
}

func TestPlugOptions(t *testing.T) {
	declared := &model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.9/24")}}
	for _, c := range []struct {
		what     string
		o        plugOptions
		declared *model.NICConfig
		want     string // its addressing; "" for a refusal
	}{
		{"as declared", plugOptions{}, declared, "198.18.0.9/24"},
		{"a new one", plugOptions{}, nil, "dhcp"},
		{"with addresses", plugOptions{addresses: []string{"198.18.8.2/30", "2001:db8::2/64"}, gateway: "198.18.8.1"}, declared, "198.18.8.2/30 2001:db8::2/64 via 198.18.8.1"},
		{"with none", plugOptions{addresses: []string{"none"}}, declared, "none"},
		{"with both", plugOptions{addresses: []string{"dhcp", "2001:db8::2/64"}}, nil, "dhcp 2001:db8::2/64"},
		{"without a length", plugOptions{addresses: []string{"198.18.8.2"}}, nil, ""},
		{"a gateway alone", plugOptions{gateway: "198.18.8.1"}, nil, ""},
		{"a gateway elsewhere", plugOptions{addresses: []string{"198.18.8.2/30"}, gateway: "198.18.9.1"}, nil, ""},
		{"no gateway at all", plugOptions{addresses: []string{"198.18.8.2/30"}, gateway: "there"}, nil, ""},
	} {
		c.o.nic, c.o.link = "eth1", "tap0"
		nic, err := c.o.config(c.declared)
		if (err != nil) != (c.want == "") {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if err == nil && (addressing(nic) != c.want || nic.Link != "tap0" || c.declared != nil && nic.MAC != declared.MAC) {
			t.Errorf("%s: %+v", c.what, nic)
		}
	}
	if _, err := (plugOptions{nic: "a/b"}).config(nil); err == nil {
		t.Error("a NIC of no name that a link can have")
	}
}

func addressing(n model.NICConfig) string {
	var words []string
	if n.DHCP {
		words = append(words, "dhcp")
	}
	for _, p := range n.Addresses {
		words = append(words, p.String())
	}
	if n.Gateway.IsValid() {
		words = append(words, "via", n.Gateway.String())
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, " ")
}

func TestSSHKeys(t *testing.T) {
	dir := t.TempDir()
	key, none := filepath.Join(dir, "id.pub"), filepath.Join(dir, "id")
	if err := os.WriteFile(key, []byte("# mine\nssh-ed25519 AAAA alice@host\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(none, []byte("-----BEGIN OPENSSH PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := spec.Desired{Machines: []spec.Machine{{Name: "db", VMM: spec.QEMU, Root: "disk.img", Kernel: "vmlinuz", UserData: "own.yaml", SSHKeys: []string{"id.pub", "ecdsa-sha2-nistp256 BBBB"}}}}
	fileRelative(&want, filepath.Join(dir, "drawbridge.yaml"))
	if err := readSSHKeys(&want); err != nil {
		t.Fatal(err)
	}
	m := want.Machines[0]
	if !slices.Equal(m.SSHKeys, []string{"ssh-ed25519 AAAA alice@host", "ecdsa-sha2-nistp256 BBBB"}) || m.Kernel != filepath.Join(dir, "vmlinuz") || m.UserData != filepath.Join(dir, "own.yaml") {
		t.Errorf("%+v", m)
	}
	for _, path := range []string{none, filepath.Join(dir, "nothing")} {
		want.Machines[0].SSHKeys = []string{path}
		if err := readSSHKeys(&want); err == nil || !strings.Contains(err.Error(), "machines.db.ssh-keys") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
