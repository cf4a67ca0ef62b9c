package keeper

import (
	"net/netip"
	"os"
	"testing"
	"time"
)

func TestFolder(t *testing.T) {
	f := Folder(t.TempDir())
	want := State{Lease: Lease{Uplink: "eth0", Link: "br0", Prefix: netip.MustParsePrefix("198.18.0.100/24"), ClientID: []byte{1, 2}, Timed: true}, Until: time.Unix(1000, 0).UTC()}
	if err := f.Write(want); err != nil {
		t.Fatal(err)
	}
	list, err := f.List()
	if err != nil || len(list) != 1 || list[0].Prefix != want.Prefix || list[0].Alive || !list[0].Until.Equal(want.Until) {
		t.Fatalf("%+v %v", list, err)
	}
	held, err := f.Hold("eth0")
	if err != nil || held.PID != os.Getpid() {
		t.Fatalf("%+v %v", held, err)
	}
	if list, _ := f.List(); !list[0].Alive {
		t.Error("a held lease has a keeper")
	}
	if _, err := f.Hold("eth0"); err == nil {
		t.Error("two keepers of one lease")
	}
	f.Forget("eth0")
	if list, err := f.List(); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	if err := os.WriteFile(f.post("eth1").path(noteSuffix), []byte("{cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.List(); err == nil {
		t.Error("a note that is cut off is no error")
	}
}
