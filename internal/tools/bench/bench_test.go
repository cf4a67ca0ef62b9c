package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"drawbridge/internal/testnet"
)

// TestMain lets the test's binary be what a bench starts inside a lab.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if inner, ok := inners[os.Args[1]]; ok {
			if err := inner(context.Background(), os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// It runs, with tiny numbers, and every table has its rows. No figure is asserted: a
// busy machine is not a fault.
func TestBenchRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("labs, floods and some seconds")
	}
	testnet.RequireTap(t)
	binary := filepath.Join(t.TempDir(), "drawbridge")
	build := exec.Command("go", "build", "-o", binary, "drawbridge/cmd/drawbridge")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	output := filepath.Join(t.TempDir(), "benchmarks.md")
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	o := options{drawbridge: binary, output: output, quick: true, log: log}
	if err := measure(t.Context(), o); err != nil {
		_, _ = log.Seek(0, io.SeekStart)
		said, _ := io.ReadAll(log)
		t.Fatalf("%v\n%s", err, said)
	}
	text, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## Observe and draw", "## Making and deleting taps", "## Cutover", "| 6 | drawbridge |", "**drawbridge down**", "LAN to host", "## Start of a User-Mode Linux", "## Through mode: nat", "## DHCP: a burst of clients", "## Thefts", "| drawbridge |"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestStatistics(t *testing.T) {
	s := series{3, 1, 2}
	if got := s.spread(whole); got != "2 [1–3]" {
		t.Error(got)
	}
	if got := (series{1, 2}).median(); got != 1.5 {
		t.Error(got)
	}
	if got := (series{}).spread(seconds); got != "–" {
		t.Error(got)
	}
	if got := (series{5, 5}).spread(whole); got != "5" {
		t.Error(got)
	}
	// The repetition that was disturbed is disturbed on both sides.
	if got := ratios(series{1, 10, 1}, series{2, 20, 2}).spread(times); got != "0.50" {
		t.Error(got)
	}
	for v, want := range map[float64]string{0.0123: "12.3 ms", 1.5: "1.50 s", 20.04: "20.0 s"} {
		if got := seconds(v); got != want {
			t.Errorf("%v: %s", v, got)
		}
	}
}
