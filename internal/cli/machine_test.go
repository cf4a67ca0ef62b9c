package cli

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"drawbridge/internal/model"
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
	}
	var out bytes.Buffer
	err := printMachines(&out, list, func(name string) string {
		if name == "db" {
			return "its shim was killed"
		}
		return ""
	})
	want := `NAME  VMM        STATE    PID  NIC   MAC                CABLE  ADDRESSES
web   uml        running  42   eth1  02:11:22:33:44:55  tap0   198.18.0.100/24
                               eth2  02:11:22:33:44:66  none   
db    namespace  failed                                        

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
