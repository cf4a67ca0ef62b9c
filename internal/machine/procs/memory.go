package procs

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Memory is what the host has, in bytes; zeros where it does not tell.
type Memory struct {
	Total     int64 // and swap space
	Available int64 // without swapping (MemAvailable), and free swap space
}

// HostMemory reads /proc/meminfo.
func HostMemory() Memory {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return Memory{}
	}
	have := kilobytes(string(b))
	return Memory{have["MemTotal"] + have["SwapTotal"], have["MemAvailable"] + have["SwapFree"]}
}

// Used is what processes use of the host's memory, in bytes: each page shared by several
// counts in parts (Pss of /proc/PID/smaps_rollup, proc(5)), and an address space that
// several share, as a UML's helpers do, once. Processes that are gone, or another user's,
// count nothing.
func Used(pids []int) int64 {
	var sum int64
	var counted []int
	for _, pid := range pids {
		if slices.ContainsFunc(counted, func(other int) bool { return sameSpace(pid, other) }) {
			continue
		}
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)); err == nil {
			counted = append(counted, pid)
			sum += kilobytes(string(b))["Pss"]
		}
	}
	return sum
}

// sameSpace tells whether two processes have one address space (kcmp(2), KCMP_VM); not
// where the kernel does not tell.
func sameSpace(a, b int) bool {
	const kcmpVM = 1
	order, _, errno := unix.RawSyscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpVM, 0, 0, 0)
	return errno == 0 && order == 0
}

// kilobytes reads lines of the form "Name:   12 kB" as bytes.
func kilobytes(text string) map[string]int64 {
	out := map[string]int64{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) != 3 || words[2] != "kB" {
			continue
		}
		if n, err := strconv.ParseInt(words[1], 10, 64); err == nil {
			out[strings.TrimSuffix(words[0], ":")] = n << 10
		}
	}
	return out
}
