package main

import (
	"strings"
	"testing"
)

// events are of "go test -json" (Go 1.26), shortened.
const events = `{"Action":"start","Package":"m/good"}
{"Action":"run","Package":"m/good","Test":"TestPlain"}
{"Action":"pass","Package":"m/good","Test":"TestPlain","Elapsed":0}
{"Action":"run","Package":"m/good","Test":"TestKernel"}
{"Action":"attr","Package":"m/good","Test":"TestKernel","Key":"drawbridge","Value":"real-kernel"}
{"Action":"run","Package":"m/good","Test":"TestKernel/bridge"}
{"Action":"run","Package":"m/good","Test":"TestKernel/tap"}
{"Action":"output","Package":"m/good","Test":"TestKernel/tap","Output":"=== RUN   TestKernel/tap\n"}
{"Action":"output","Package":"m/good","Test":"TestKernel/tap","Output":"    k_test.go:7: needs /dev/net/tun: permission denied\n"}
{"Action":"output","Package":"m/good","Test":"TestKernel/tap","Output":"--- SKIP: TestKernel/tap (0.00s)\n"}
{"Action":"skip","Package":"m/good","Test":"TestKernel/tap","Elapsed":0}
{"Action":"pass","Package":"m/good","Test":"TestKernel/bridge","Elapsed":0}
{"Action":"pass","Package":"m/good","Test":"TestKernel","Elapsed":0}
{"Action":"pass","Package":"m/good","Elapsed":0.5}
{"Action":"start","Package":"m/none"}
{"Action":"skip","Package":"m/none","Elapsed":0}
`

const failing = `{"Action":"start","Package":"m/bad"}
{"Action":"run","Package":"m/bad","Test":"TestA"}
{"Action":"run","Package":"m/bad","Test":"TestA/x"}
{"Action":"output","Package":"m/bad","Test":"TestA/x","Output":"    a_test.go:3: seen 2, want 1\n"}
{"Action":"fail","Package":"m/bad","Test":"TestA/x","Elapsed":0}
{"Action":"fail","Package":"m/bad","Test":"TestA","Elapsed":0}
{"Action":"run","Package":"m/bad","Test":"TestHangs"}
{"Action":"output","Package":"m/bad","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"m/bad","Elapsed":1}
{"ImportPath":"m/broken","Action":"build-output","Output":"x.go:1:1: syntax error\n"}
{"ImportPath":"m/broken","Action":"build-fail"}
{"Action":"start","Package":"m/broken"}
{"Action":"output","Package":"m/broken","Output":"FAIL\tm/broken [build failed]\n"}
{"Action":"fail","Package":"m/broken","Elapsed":0,"FailedBuild":"m/broken"}
`

func TestSummary(t *testing.T) {
	for _, tc := range []struct {
		name, events string
		strict, good bool
		want         []string
	}{
		{"good", events, false, true, []string{
			"ok    m/good", "skipped: m/good TestKernel/tap: needs /dev/net/tun: permission denied",
			"real-kernel tests: 1 ran, 1 skipped\n2 passed, 0 failed, 1 skipped\n"}},
		{"skips in CI", events, true, false, []string{"a skipped test is a failure"}},
		{"bad", events + failing, false, false, []string{
			"FAIL  m/bad", "a_test.go:3: seen 2, want 1", "panic: test timed out", "x.go:1:1: syntax error",
			"2 passed, 3 failed, 1 skipped\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			s := newSummary(&out)
			if err := s.read(strings.NewReader(tc.events)); err != nil {
				t.Fatal(err)
			}
			if good := s.finish(tc.strict); good != tc.good {
				t.Errorf("finish = %v, want %v", good, tc.good)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}
		})
	}
}
