package mermaid_test

import (
	"regexp"
	"strings"
	"testing"

	"drawbridge/internal/draw/mermaid"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
)

// line is every line that a flowchart of ours may have: in a label are letters,
// numbered characters, and the line break between a name and its addresses.
var line = regexp.MustCompile(`^(flowchart TB| *end| *subgraph gs\d+\["(L)*"\]| *[sited]+\d+(\["(L|<br/>)*"\]|\(\["(L)*"\]\)|\{\{"(L)*"\}\})| *[sited]+\d+ (---|-\.-|===) [sited]+\d+(\(\(" "\)\)|\(\["(L)*"\]\))?)$`)

func init() {
	line = regexp.MustCompile(strings.ReplaceAll(line.String(), "L", `[\pL\pN ./]|#\d+;`))
}

// FuzzName looks that a name stays text: whatever it holds, the lines have the same shape.
func FuzzName(f *testing.F) {
	for _, s := range []string{"eth0", `"];evil`, "%%{init: {}}%%", "click i0 href \"javascript:alert(1)\"", "<img src=x>", "a\nb", "]]>", "`**x**`", "🦊", "\u202eabc", "ＷＩＤＥ", "1. x", "end", "#quot;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		w := model.Wire(walkthrough.States()[6].Snapshot)
		w.Stacks[0].Name = name
		w.Segments[0].Name = name
		w.Interfaces = append([]model.Interface{}, w.Interfaces...)
		w.Interfaces[0].Name = name
		for _, l := range strings.Split(strings.TrimSuffix(string(mermaid.Render(w)), "\n"), "\n") {
			if !line.MatchString(l) {
				t.Errorf("the name %q made the line %q", name, l)
			}
		}
	})
}
