package draw

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes a name fit to be shown: control characters, and those that turn the
// direction of what follows, become U+FFFD. A link's name can hold anything but
// '/', white space and ':' (dev_valid_name in net/core/dev.c); a VM's can hold more.
func Clean(s string) string {
	if !strings.ContainsFunc(s, unprintable) && utf8.ValidString(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func unprintable(r rune) bool {
	switch {
	case r == 0x200E, r == 0x200F, r >= 0x2028 && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0xFEFF:
		return true
	case r >= 0xFFFE && r <= 0xFFFF, r >= 0xFFF9 && r <= 0xFFFB: // no characters of XML, or invisible
		return true
	}
	return unicode.IsControl(r)
}

// CellWidth is the number of terminal cells that s takes.
func CellWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeCells(r)
	}
	return n
}

// runeCells is wcwidth(3) in little: combining marks take none, East Asian wide
// characters and emoji (UAX #11) take two.
func runeCells(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me), r >= 0x200B && r <= 0x200D:
		return 0
	case r >= 0x1100 && r <= 0x115F, r >= 0x2E80 && r <= 0xA4CF && r != 0x303F, r >= 0xAC00 && r <= 0xD7A3,
		r >= 0xF900 && r <= 0xFAFF, r >= 0xFE30 && r <= 0xFE6F, r >= 0xFF00 && r <= 0xFF60, r >= 0xFFE0 && r <= 0xFFE6,
		r >= 0x1F300 && r <= 0x1F64F, r >= 0x1F680 && r <= 0x1F6FF, r >= 0x1F900 && r <= 0x1FAFF, r >= 0x20000 && r <= 0x3FFFD:
		return 2
	}
	return 1
}

// wrap breaks text at spaces into lines no wider than width. A word that is wider
// than that is broken where it has to be.
func wrap(m *Metrics, s Style, text string, width float64) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && m.Measure(s, line+" "+word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for m.Measure(s, word) > width {
			n := fitting(m, s, word, width)
			lines = append(lines, word[:n])
			word = word[n:]
		}
		line = word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// fitting is the number of bytes of word that fit into width, at least one character.
func fitting(m *Metrics, s Style, word string, width float64) int {
	last := 0
	for i, r := range word {
		end := i + utf8.RuneLen(r)
		if last > 0 && m.Measure(s, word[:end]) > width {
			break
		}
		last = end
	}
	if at := strings.LastIndexByte(word[:last], ':'); m.Terse && at > 0 && last < len(word) {
		return at + 1 // an address
	}
	return last
}
