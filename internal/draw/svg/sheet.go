package svg

import (
	"image/color"
	"slices"
	"strconv"
	"strings"
)

// Sheet is the style sheet, read: other formats look alike from this one source.
type Sheet struct {
	colours map[string]string // custom properties
	rules   []rule
}

// rule is one selector with its declarations: classes of an ancestor, then of the element.
type rule struct {
	above, on []string
	props     map[string]string
}

// ReadSheet reads the style sheet of a theme; not of Auto, which is two in one.
func ReadSheet(t Theme) *Sheet {
	sh := &Sheet{colours: map[string]string{}}
	for _, block := range strings.Split(Style(t), "}") {
		selectors, body, ok := strings.Cut(block, "{")
		if !ok {
			continue
		}
		props := map[string]string{}
		for _, d := range strings.Split(body, ";") {
			if k, v, ok := strings.Cut(d, ":"); ok {
				props[strings.TrimSpace(k)] = strings.TrimSpace(v)
			}
		}
		for _, sel := range strings.Split(selectors, ",") {
			words := strings.Fields(sel)
			if len(words) == 1 {
				for k, v := range props {
					if strings.HasPrefix(k, "--") {
						sh.colours[k] = v
					}
				}
				continue
			}
			r := rule{on: classes(words[len(words)-1]), props: props}
			if len(words) == 3 {
				r.above = classes(words[1])
			}
			sh.rules = append(sh.rules, r)
		}
	}
	// The cascade: more classes win, then the later rule.
	slices.SortStableFunc(sh.rules, func(a, b rule) int { return a.weight() - b.weight() })
	return sh
}

func classes(s string) []string { return strings.Split(strings.TrimPrefix(s, "."), ".") }

func (r rule) weight() int {
	if len(r.on) == 1 && r.on[0] == "text" {
		return 0
	}
	return len(r.above) + len(r.on)
}

// Declarations are what an element looks like: by CSS property.
type Declarations map[string]string

// Of computes the style of an element by its classes and its group's.
func (sh *Sheet) Of(group, classes []string) Declarations {
	out := Declarations{}
	has := func(set, want []string) bool {
		for _, c := range want {
			if !slices.Contains(set, c) {
				return false
			}
		}
		return true
	}
	for _, r := range sh.rules {
		if has(classes, r.on) && has(group, r.above) {
			for k, v := range r.props {
				out[k] = v
			}
		}
	}
	return out
}

// Paint is a colour of a style, false for none.
func (sh *Sheet) Paint(s Declarations, prop string) (color.NRGBA, bool) {
	v := s[prop]
	if name, ok := strings.CutPrefix(v, "var("); ok {
		v = sh.colours[strings.TrimSuffix(name, ")")]
	}
	if len(v) == 4 {
		v = "#" + strings.Repeat(v[1:2], 2) + strings.Repeat(v[2:3], 2) + strings.Repeat(v[3:], 2)
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(v, "#"), 16, 32)
	if err != nil {
		return color.NRGBA{}, false
	}
	return color.NRGBA{uint8(n >> 16), uint8(n >> 8), uint8(n), 255}, true
}

// Number is a length in CSS pixels, 0 if there is none.
func (s Declarations) Number(prop string) float64 {
	f, _ := strconv.ParseFloat(strings.TrimSuffix(s[prop], "px"), 64)
	return f
}

// Dashes is stroke-dasharray.
func (s Declarations) Dashes() []float64 {
	var out []float64
	for _, w := range strings.Fields(s["stroke-dasharray"]) {
		if f, err := strconv.ParseFloat(w, 64); err == nil && f > 0 {
			out = append(out, f)
		}
	}
	return out
}
