// Command testsummary runs the tests and tells what ran: which packages passed while
// it goes, the output of what failed, how many tests ran on the real kernel and how
// many were skipped and why, and at the end "N passed, N failed, N skipped".
//
// A test is a real-kernel test when it, or a test that it is a part of, calls
//
//	t.Attr("drawbridge", "real-kernel")
//
// Where CI=true a skipped test is a failure: a need that is missing there is a fault of
// the set-up, not a reason to look away. It exits 1 when anything failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	race := flag.String("race", "", "`PACKAGES` to run with the race detector, comma-separated, as ./internal/apply or ./internal/machine/...")
	timeout := flag.String("timeout", "15m", "how long the tests of one package may take")
	flag.Parse()
	// An interrupt is for the tests: they clean up, and this program tells the result.
	// (Ignoring it would be inherited by them.)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := run(*race, *timeout, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
}

func run(race, timeout string, patterns []string) error {
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	all, err := list(patterns)
	if err != nil {
		return err
	}
	var raced []string
	switch {
	case race == "":
	case !haveC():
		fmt.Println("no C compiler: the tests run without the race detector (Debian: apt install gcc libc6-dev)")
	default:
		if raced, err = list(strings.Split(race, ",")); err != nil {
			return err
		}
	}
	plain := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return slices.Contains(raced, p) })
	raced = slices.DeleteFunc(raced, func(p string) bool { return !slices.Contains(all, p) })

	s := newSummary(os.Stdout)
	var failed error
	// Those that say so run side by side, twice as many as there are processors: they wait for
	// the kernel most of the time.
	for _, part := range []struct {
		packages []string
		flags    []string
		env      string
	}{
		{plain, nil, "CGO_ENABLED=0"},
		{raced, []string{"-race"}, "CGO_ENABLED=1"},
	} {
		if len(part.packages) == 0 {
			continue
		}
		args := append([]string{"test", "-json", "-timeout", timeout, "-parallel", strconv.Itoa(2 * runtime.GOMAXPROCS(0))}, part.flags...)
		if err := s.goTest(append(args, part.packages...), part.env); err != nil {
			failed = err
		}
	}
	if !s.finish(os.Getenv("CI") == "true") {
		return errors.New("not all tests passed")
	}
	return failed
}

// goTest runs the go command and reads its events as they come.
func (s *summary) goTest(args []string, env string) error {
	cmd := exec.CommandContext(context.Background(), "go", args...)
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := s.read(out); err != nil {
		return err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && s.anyFailed() {
		return nil // told already, test by test
	}
	return err
}

// list names the packages that patterns stand for.
func list(patterns []string) ([]string, error) {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"list"}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", strings.Join(patterns, " "), err)
	}
	return strings.Fields(string(out)), nil
}

// haveC tells whether there is what the race detector's run-time is linked with.
func haveC() bool {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "gcc"
	}
	cmd := exec.CommandContext(context.Background(), cc, "-xc", "-fsyntax-only", "-")
	cmd.Stdin = strings.NewReader("#include <stdlib.h>\n")
	return cmd.Run() == nil
}
