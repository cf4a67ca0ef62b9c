package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Severity tells whether a finding stops the run.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Code is the kind of a finding, for programs.
type Code string

// The codes. The JSON schema finds unknown keys, wrong types and bad values too;
// it knows nothing of the others.
const (
	CodeSyntax    Code = "syntax"        // not YAML, or more of it than a file needs
	CodeUnknown   Code = "unknown-key"   // a key that no table has
	CodeDuplicate Code = "duplicate-key" // a key that stands there twice
	CodeType      Code = "wrong-type"    // a list where a word belongs
	CodeValue     Code = "bad-value"     // not written as such a value is
	CodeUnfit     Code = "unfit-value"   // well written, and of no use: the address of a network itself
	CodeNotYet    Code = "not-yet"       // known, and not in this version
	CodeConflict  Code = "conflict"      // good by itself, wrong with the rest of the file
)

// Diagnostic is one finding about a file.
type Diagnostic struct {
	File string `json:"file"`
	Pos
	// Path is the key's: machines.web.nics.eth1.tap. "" for the file as a whole.
	Path     string   `json:"path,omitempty"`
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	// Hint says what to write instead, "" where there is nothing to say.
	Hint string `json:"hint,omitempty"`

	source string // the line that Pos is in
}

// String is the finding as compilers write it, with the hint on a line of its own.
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", d.File, d.Line, d.Column)
	if d.Severity == Warning {
		b.WriteString("warning: ")
	}
	if d.Path != "" {
		b.WriteString(d.Path + ": ")
	}
	b.WriteString(d.Message)
	if d.Hint != "" {
		b.WriteString("\n    hint: " + d.Hint)
	}
	return b.String()
}

// Excerpt is the line of the file with a caret below the place.
func (d Diagnostic) Excerpt() string {
	const before, after = 60, 60 // a long line is cut around the place
	runes := []rune(d.source)
	column := min(d.Column-1, len(runes))
	from, to := max(0, column-before), min(len(runes), column+after)
	var line, caret strings.Builder
	for i, r := range runes[from:to] {
		switch {
		case r == '\t':
		case unicode.IsControl(r):
			r = unicode.ReplacementChar // a file must not talk to the terminal
		}
		line.WriteRune(r)
		if from+i < column {
			if r != '\t' {
				r = ' '
			}
			caret.WriteRune(r)
		}
	}
	number := fmt.Sprintf("%5d", d.Line)
	return number + " | " + line.String() + "\n" + strings.Repeat(" ", len(number)) + " | " + caret.String() + "^"
}

// Diagnostics are the findings about a file, in its order.
type Diagnostics []Diagnostic

// HasErrors tells whether any of them stops the run.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// Warnings are those that do not stop the run.
func (ds Diagnostics) Warnings() Diagnostics {
	return slices.DeleteFunc(slices.Clone(ds), func(d Diagnostic) bool { return d.Severity == Error })
}

// Text is all of them, a line feed at the end of each; with the lines of the file
// and a caret when asked for.
func (ds Diagnostics) Text(excerpts bool) string {
	var b strings.Builder
	for _, d := range ds {
		b.WriteString(d.String() + "\n")
		if excerpts {
			b.WriteString(d.Excerpt() + "\n")
		}
	}
	return b.String()
}

// Err is nil when the file can be used, else an [*InvalidError] with all findings.
func (ds Diagnostics) Err() error {
	if !ds.HasErrors() {
		return nil
	}
	return &InvalidError{ds}
}

// InvalidError is a file that cannot be used.
type InvalidError struct{ Diagnostics Diagnostics }

func (e *InvalidError) Error() string {
	return strings.TrimSuffix(e.Diagnostics.Text(false), "\n")
}

func (ds Diagnostics) sort() {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
}
