package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is one line of "go test -json" (cmd/test2json, and for builds "go help buildjson").
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build events
	Test        string
	Elapsed     float64 // seconds
	Output      string
	Key, Value  string // of attr events
	FailedBuild string
}

// test is one test or subtest.
type test struct {
	result string // pass, fail, skip, "" when it never ended
	output []string
	kernel bool
}

// suite is the tests of one package.
type suite struct {
	name   string
	tests  map[string]*test
	order  []string
	output []string // outside of any test
	result string
	built  bool
}

type summary struct {
	out    io.Writer
	suites map[string]*suite
	order  []string
	build  map[string][]string // the compiler's words by import path
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, suites: map[string]*suite{}, build: map[string][]string{}}
}

// read takes the events of one "go test -json".
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				s.take(e)
			} else {
				fmt.Fprintf(s.out, "%s", line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the tests' output: %w", err)
		}
	}
}

func (s *summary) take(e event) {
	if e.Package == "" {
		if e.Action == "build-output" {
			s.build[e.ImportPath] = append(s.build[e.ImportPath], e.Output)
		}
		return
	}
	p := s.suite(e.Package)
	if e.Test == "" {
		p.packageEvent(s, e)
		return
	}
	t := p.test(e.Test)
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case "attr":
		if e.Key == "drawbridge" && e.Value == "real-kernel" {
			t.kernel = true
		}
	case "pass", "fail", "skip":
		t.result = e.Action
	}
}

func (s *summary) suite(name string) *suite {
	p := s.suites[name]
	if p == nil {
		p = &suite{name: name, tests: map[string]*test{}, built: true}
		s.suites[name] = p
		s.order = append(s.order, name)
	}
	return p
}

func (p *suite) test(name string) *test {
	t := p.tests[name]
	if t == nil {
		t = &test{}
		p.tests[name] = t
		p.order = append(p.order, name)
	}
	return t
}

func (p *suite) packageEvent(s *summary, e event) {
	switch e.Action {
	case "output":
		p.output = append(p.output, e.Output)
	case "pass", "fail", "skip":
		p.result = e.Action
		p.built = e.FailedBuild == ""
		if !p.built {
			p.output = append(s.build[e.FailedBuild], p.output...)
		}
		p.tell(s.out, time.Duration(e.Elapsed*float64(time.Second)))
	}
}

// tell prints a package when it is done: a line, and what failed with its output.
func (p *suite) tell(out io.Writer, took time.Duration) {
	c := p.count()
	switch {
	case p.result == "skip" || p.result == "pass" && len(p.tests) == 0:
		return // no tests in it
	case p.result == "pass":
		fmt.Fprintf(out, "ok    %-40s %6.1fs  %s\n", p.name, took.Seconds(), c)
		return
	}
	fmt.Fprintf(out, "FAIL  %-40s %6.1fs  %s\n", p.name, took.Seconds(), c)
	told := false
	for _, name := range p.order {
		if t := p.tests[name]; t.result != "pass" && t.result != "skip" {
			told = true
			fmt.Fprint(out, indented(t.output))
		}
	}
	// A panic outside of a test, a leak found by TestMain, a build that failed.
	if !told || slices.ContainsFunc(p.output, func(l string) bool { return strings.Contains(l, "panic:") }) {
		fmt.Fprint(out, indented(p.output))
	}
}

func indented(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		if strings.HasPrefix(l, "=== ") {
			continue
		}
		b.WriteString("      " + strings.TrimRight(l, "\n") + "\n")
	}
	return b.String()
}

// counts are of single tests: a test with subtests counts as those.
type counts struct {
	passed, failed, skipped int
	kernel, kernelSkipped   int
	skips                   []string // each with its reason
}

func (c counts) String() string {
	text := fmt.Sprintf("%d passed", c.passed)
	if c.failed > 0 {
		text += fmt.Sprintf(", %d failed", c.failed)
	}
	if c.skipped > 0 {
		text += fmt.Sprintf(", %d skipped", c.skipped)
	}
	if c.kernel > 0 {
		text += fmt.Sprintf(", %d on the real kernel", c.kernel)
	}
	return text
}

func (p *suite) count() counts {
	var c counts
	failedBelow := map[string]bool{}
	parent := map[string]bool{}
	for _, name := range p.order {
		for up := above(name); up != ""; up = above(up) {
			parent[up] = true
			if r := p.tests[name].result; r == "fail" || r == "" {
				failedBelow[up] = true
			}
		}
	}
	for _, name := range p.order {
		t := p.tests[name]
		failed := t.result == "fail" || t.result == ""
		if parent[name] && (!failed || failedBelow[name]) {
			continue
		}
		kernel := p.kernel(name)
		switch {
		case failed:
			c.failed++
		case t.result == "skip":
			c.skipped++
			c.skips = append(c.skips, p.name+" "+name+": "+reason(t.output))
			if kernel {
				c.kernelSkipped++
			}
			continue
		default:
			c.passed++
		}
		if kernel {
			c.kernel++
		}
	}
	if p.result == "fail" && c.failed == 0 {
		c.failed = 1 // the package as a whole: its build, TestMain, a panic
	}
	return c
}

func (p *suite) kernel(name string) bool {
	for ; name != ""; name = above(name) {
		if t := p.tests[name]; t != nil && t.kernel {
			return true
		}
	}
	return false
}

// above is the test that a subtest is a part of, "" for none.
func above(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ""
	}
	return name[:i]
}

// reason is what a skipped test said last: "    file_test.go:12: needs root".
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "===") {
			continue
		}
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok := strings.Cut(after, ": "); ok {
				return text
			}
		}
		return line
	}
	return "no reason given"
}

func (s *summary) anyFailed() bool {
	return slices.ContainsFunc(s.order, func(name string) bool { return s.suites[name].result == "fail" })
}

// finish prints the end of the run, and tells whether all is well. Where strict, a
// skipped test is not.
func (s *summary) finish(strict bool) bool {
	var sum counts
	for _, name := range s.order {
		p := s.suites[name]
		if p.result == "" { // the run was ended from outside
			p.result = "fail"
			p.tell(s.out, 0)
		}
		c := p.count()
		sum.passed += c.passed
		sum.failed += c.failed
		sum.skipped += c.skipped
		sum.kernel += c.kernel
		sum.kernelSkipped += c.kernelSkipped
		sum.skips = append(sum.skips, c.skips...)
	}
	fmt.Fprintln(s.out)
	for _, text := range sum.skips {
		fmt.Fprintln(s.out, "skipped:", text)
	}
	if strict && sum.skipped > 0 {
		fmt.Fprintln(s.out, "CI=true: what a test needs must be there; a skipped test is a failure")
	}
	fmt.Fprintf(s.out, "real-kernel tests: %d ran, %d skipped\n", sum.kernel, sum.kernelSkipped)
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, sum.skipped)
	return sum.failed == 0 && (!strict || sum.skipped == 0)
}
