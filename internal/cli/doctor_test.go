package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"drawbridge/internal/doctor"
)

func report(commands int) doctor.Report {
	f := doctor.Finding{Check: "mtu-mismatch", Object: "br\x1b[2J", Severity: doctor.Risk, Sure: doctor.Certain, What: "a b", Shows: strings.Repeat("word ", 40), Seen: []string{"x"}}
	for i := range commands {
		f.Mend.Commands = append(f.Mend.Commands, fmt.Sprintf("ip link set tap%d mtu 1500", i))
	}
	f.Mend.Says = "make them equal"
	return doctor.Report{Findings: []doctor.Finding{f}, Checked: []string{"mtu-mismatch"}, Unchecked: []doctor.Unchecked{{Check: "a-b", Why: "c"}, {Check: "d-e", Why: "c"}}}
}

func TestPrintReport(t *testing.T) {
	var out bytes.Buffer
	printReport(&out, report(20), 60, true)
	text := out.String()
	if strings.ContainsRune(text, '\x1b') {
		t.Error("a link's name moves the cursor")
	}
	for line := range strings.Lines(text) {
		if len([]rune(strings.TrimSuffix(line, "\n"))) > 60 {
			t.Errorf("longer than the terminal: %q", line)
		}
	}
	for _, want := range []string{"$ ip link set tap7 mtu 1500\n               ... 12 more: --json has them\n", "1 thing to mend; checks that were made: 1\nnot made  a-b, d-e, for want of c\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	out.Reset()
	if err := doctorJSON(&out, report(20)); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Version, Wrong int
		Findings       []struct {
			N       int
			Check   string
			Fixable bool
			Mend    doctor.Mend
		}
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.Version != 1 || back.Wrong != 1 || len(back.Findings) != 1 || back.Findings[0].N != 1 || back.Findings[0].Fixable || len(back.Findings[0].Mend.Commands) != 20 {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestChooseFinding(t *testing.T) {
	r := report(1)
	r.Findings = append(r.Findings, doctor.Finding{Check: "mtu-mismatch", Object: "br1"}, doctor.Finding{Check: "bridge-stp", Object: "br0"})
	for which, want := range map[string]string{"3": "bridge-stp:br0", "bridge-stp": "bridge-stp:br0", "mtu-mismatch:br1": "mtu-mismatch:br1"} {
		if f, err := choose(r, which); err != nil || f.Name() != want {
			t.Errorf("%s: %s, %v", which, f.Name(), err)
		}
	}
	for which, says := range map[string]string{"0": "there are 3", "4": "there are 3", "mtu-mismatch": "there are 2 of it", "bridge-full": "nothing of that kind", "bridge": "no such check", "": "no such check"} {
		if _, err := choose(r, which); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", which, err)
		}
	}
}
