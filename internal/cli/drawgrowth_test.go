package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// TestGrowth: eight times as many links take about eight times as long in every format, not
// sixty-four times: nothing in them looks through all for each. What counts is the time of the
// processor in this thread, which a loaded machine does not stretch.
func TestGrowth(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // collecting is not drawing
	const few, many, most = 1000, 8000, 24.0         // n·log n would be 10.4, n² 64
	small, large := hostOf(few), hostOf(many)
	for _, f := range drawFormats {
		for _, expand := range [][]string{nil, {"all"}} {
			if f.name == "png" && expand != nil {
				continue // a matter of its pixels
			}
			// The mean of as many as take long enough for a clock that ticks each 4 ms.
			render := func(s model.Snapshot) float64 {
				runtime.GC()
				n, begin := 0, threadTime(t)
				for threadTime(t)-begin < 0.06 {
					p := picture{snap: s, frame: draw.Frame{Now: model.Wire(s)}, layout: draw.Options{Expand: expand}, scale: 1, width: 80}
					if _, err := f.render(p); err != nil {
						t.Fatal(err)
					}
					n++
				}
				return (threadTime(t) - begin) / float64(n)
			}
			a, b := render(small), render(large)
			t.Logf("%s %v: %.1f ms, %.1f ms", f.name, expand, 1000*a, 1000*b)
			if b > most*a {
				t.Errorf("%s %v: %d links take %.1f ms, %d take %.1f ms", f.name, expand, few, 1000*a, many, 1000*b)
			}
		}
	}
}

// hostOf is a bridge with n taps, every other one held by a VM.
func hostOf(n int) model.Snapshot {
	s := model.Snapshot{Host: "host", Namespaces: make([]model.Namespace, 1)}
	ns := s.Here()
	ns.Links = []model.Link{{Name: "br0", Kind: model.Bridged, Up: true, Carrier: true, Bridge: &model.Bridge{}}, {Name: "eth0", Kind: model.Physical, Up: true, Carrier: true, Master: "br0"}}
	for i := range n {
		tap := fmt.Sprintf("tap%d", i)
		ns.Links = append(ns.Links, model.Link{Name: tap, Kind: model.TapKind, Up: true, Master: "br0", Tap: &model.Tap{}})
		if i%2 == 0 {
			s.Machines = append(s.Machines, model.Machine{Name: "vm-" + tap, VMM: "qemu", State: "running", NICs: []model.MachineNIC{{Name: "eth0", Link: model.Ref{Name: tap}}}})
		}
	}
	return s
}

// threadTime is the processor's time that this thread has had, in seconds.
func threadTime(t *testing.T) float64 {
	t.Helper()
	const thisThread = 1 // RUSAGE_THREAD, getrusage(2)
	var u syscall.Rusage
	if err := syscall.Getrusage(thisThread, &u); err != nil {
		t.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
