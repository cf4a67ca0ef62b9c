package kernel

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzSocket: a message of another kernel, or cut off, is refused and does not panic.
func FuzzSocket(f *testing.F) {
	whole := make([]byte, sizeofDiagMsg)
	whole[0], whole[1] = unix.AF_INET6, 1
	whole = slices.Concat(whole, []byte{140, 0, inetDiagInfo, 0}, make([]byte, 136))
	f.Add(whole)
	f.Add(whole[:sizeofDiagMsg+60])
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := parseSocket(b, unix.IPPROTO_TCP)
		if err == nil && (s.TCP != nil) && s.State != "established" {
			t.Errorf("%+v", s)
		}
	})
}

func TestSocketOfAnOlderKernel(t *testing.T) {
	b := make([]byte, sizeofDiagMsg)
	b[0], b[1] = unix.AF_INET, 1
	b = slices.Concat(b, []byte{104, 0, inetDiagInfo, 0}, make([]byte, 100))
	if s, _, err := parseSocket(b, unix.IPPROTO_TCP); err != nil || s.TCP != nil {
		t.Errorf("a short tcp_info is taken for a whole one: %+v %v", s, err)
	}
	if _, _, err := parseSocket(b[:50], unix.IPPROTO_TCP); err == nil {
		t.Error("half a message is taken for a whole one")
	}
	if _, ok := socketInode("pipe:[7]"); ok {
		t.Error("a pipe is no socket")
	}
}
