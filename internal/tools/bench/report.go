package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// section is one part of the report.
type section struct {
	title string
	text  string
}

type report struct {
	options
	began      time.Time
	loadBefore string
	sections   []section
}

func (r report) markdown() string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nWritten by `make bench`; what is measured and how is in `internal/tools/bench`. ")
	b.WriteString("Everything runs side by side in one run, repetition by repetition, in namespaces of a lab.\n")
	b.WriteString("A cell is the median and, in brackets, the least and the most. A ratio is the median of the repetitions' own ratios: what disturbs one side disturbs the other.\n\n")
	fmt.Fprintf(&b, "| machine | |\n|---|---|\n")
	for _, f := range r.facts() {
		fmt.Fprintf(&b, "| %s | %s |\n", f[0], f[1])
	}
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s", s.title, s.text)
	}
	return b.String()
}

func (r report) facts() [][2]string {
	repeat := "`make bench`"
	if r.quick {
		repeat = "(quick: the figures mean nothing)"
	}
	return [][2]string{
		{"date", r.began.UTC().Format("2006-01-02 15:04 UTC") + ", took " + time.Since(r.began).Round(time.Second).String()},
		{"processors", fmt.Sprintf("%d (%s)", runtime.NumCPU(), processor())},
		{"kernel", kernelRelease()},
		{"iproute2", output("ip", "-V")},
		{"drawbridge", output(r.drawbridge, "version")},
		{"load average", fmt.Sprintf("%s before, %s after (the bench itself is in the latter)", r.loadBefore, loadAverage())},
		{"repeat with", repeat},
	}
}

func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernelRelease() string {
	var u syscall.Utsname
	if err := syscall.Uname(&u); err != nil {
		return "unknown"
	}
	var b []byte
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return "Linux " + string(b)
}

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

// output is the first line that a command prints.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return string(line)
}
