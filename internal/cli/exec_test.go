package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"drawbridge/internal/broker"
)

func TestWishesOfACommand(t *testing.T) {
	o := execOptions{networks: []string{"lan", "private"}, macs: []string{"02:aa:00:00:00:01"}, name: "web"}
	got, err := o.wishes([]string{"qemu", "tap,id=a,fd=%FD%", "tap,id=b,fd=%FD2%", "mac=%MAC%", "100%", "%PATH%"})
	want := []broker.Request{
		{Network: "lan", Machine: "web", Kind: broker.KindDescriptor, VnetHeader: true, MAC: "02:aa:00:00:00:01"},
		{Network: "private", Machine: "web", Kind: broker.KindDescriptor, VnetHeader: true},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	// A User-Mode Linux expects bare frames at a descriptor.
	got, err = execOptions{networks: []string{"lan"}}.wishes([]string{"linux.uml", "vec0:transport=fd,fd=%FD1%,vec=0"})
	if err != nil || got[0].VnetHeader {
		t.Errorf("%+v %v", got, err)
	}
	got, err = execOptions{networks: []string{"lan"}}.wishes([]string{"linux.uml", "vec0:transport=tap,ifname=%TAP%"})
	if err != nil || got[0].Kind != broker.KindNamed {
		t.Errorf("%+v %v", got, err)
	}
	for _, tc := range []struct {
		o    execOptions
		argv string
		want string
	}{
		{execOptions{}, "qemu %FD%", "which network?"},
		{execOptions{networks: []string{"lan"}}, "", "no command"},
		{execOptions{networks: []string{"lan"}}, "qemu -nic none", "does not say where the NIC on lan goes"},
		{execOptions{networks: []string{"lan"}}, "qemu mac=%MAC%", "does not say where the NIC on lan goes"},
		{execOptions{networks: []string{"lan", "private"}}, "qemu %FD%", "the NIC on private goes"},
		{execOptions{networks: []string{"lan"}}, "qemu %FD2%", "%FD2%: there is no such network: 1 network in all"},
		{execOptions{networks: []string{"lan"}}, "qemu %FD0%", "%FD0%: there is no such network: 1 network in all"},
		{execOptions{networks: []string{"lan"}}, "qemu %FD% %TAP%", "a descriptor or a name, not both"},
		{execOptions{networks: []string{"lan"}, macs: []string{"a", "b"}}, "qemu %FD%", "2 MAC addresses for 1 network"},
	} {
		if _, err := tc.o.wishes(strings.Fields(tc.argv)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v lacks %q", tc.argv, err, tc.want)
		}
	}
}

func TestFillIn(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	replies := []broker.Reply{{Tap: "dbtap0", MAC: "02:aa:00:00:00:01"}, {Tap: "dbtap1", MAC: "02:aa:00:00:00:02"}}
	argv := []string{"q", "fd=%FD%,mac=%MAC%", "%TAP2%", "%MAC2%", "%FD9%", "50%", "%%"}
	got := fillIn(argv, replies, []*os.File{f, nil})
	want := []string{"q", fmt.Sprintf("fd=%d,mac=02:aa:00:00:00:01", f.Fd()), "dbtap1", "02:aa:00:00:00:02", "%FD9%", "50%", "%%"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if argv[1] != "fd=%FD%,mac=%MAC%" {
		t.Error("the caller's words were changed")
	}
}
