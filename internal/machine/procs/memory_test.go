package procs

import (
	"os"
	"testing"
)

func TestKilobytes(t *testing.T) {
	got := kilobytes("MemTotal:       24683000 kB\nMemAvailable:   24000000 kB\nHugePages_Total:       0\n00400000-7fff rw-p 00:00 0 [rollup]\nPss:                 812 kB\n")
	if got["MemTotal"] != 24683000<<10 || got["Pss"] != 812<<10 || len(got) != 3 {
		t.Errorf("got %v", got)
	}
}

func TestMemoryOfThisHost(t *testing.T) {
	have := HostMemory()
	if have.Total <= 0 || have.Available <= 0 || have.Available > have.Total {
		t.Errorf("this host has %+v", have)
	}
	if used := Used([]int{os.Getpid(), 1 << 30}); used < 1<<20 || used > have.Total {
		t.Errorf("this process uses %d bytes", used)
	}
	if once, twice := Used([]int{os.Getpid()}), Used([]int{os.Getpid(), os.Getpid()}); twice > once*3/2 {
		t.Errorf("one address space is counted twice: %d, %d", once, twice)
	}
}
