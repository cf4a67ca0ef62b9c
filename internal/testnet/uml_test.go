package testnet

import (
	"fmt"
	"strings"
	"testing"
)

func TestOfALongOutputOnlyTheFailuresAreTold(t *testing.T) {
	var out strings.Builder
	for i := range 200 {
		fmt.Fprintf(&out, "line %d\n", i)
		if i == 100 {
			out.WriteString("FAIL: testdata/a.txtar:3: no\n")
		}
	}
	told := failures(out.String())
	for _, want := range []string{"line 90\n", "FAIL: testdata/a.txtar:3: no\n", "line 110\n"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not told:\n%s", want, told)
		}
	}
	if strings.Contains(told, "line 10\n") || strings.Contains(told, "line 190\n") {
		t.Errorf("too much is told:\n%s", told)
	}
	if all := "panic of the kernel\n"; failures(all) != all {
		t.Error("without a failure that is named, not all is told")
	}
}
