package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// The limits of a file. A file of a thousand machines is a tenth of each; what is
// beyond them was not written by a person.
const (
	maxBytes       = 1 << 20
	maxNodes       = 100_000 // as the walk meets them: an alias counts each time
	maxDepth       = 32
	maxDiagnostics = 200
)

// Parse reads a file: what it asks for, and all that is wrong with it. The Desired
// is to be used only when [Diagnostics.Err] is nil; the diagnostics may hold
// warnings even then. Name is the file's, for the messages.
func Parse(name string, data []byte) (Desired, Diagnostics) {
	p := &parser{file: name, lines: splitLines(data)}
	var want Desired
	if doc := p.load(data); doc != nil {
		file, _ := p.object(doc, at{Pos: p.pos(doc)}, &root)
		want = p.build(file)
	}
	p.found.sort()
	return want, p.found
}

// parser collects what is found in one file.
type parser struct {
	file  string
	lines []string
	found Diagnostics
	nodes int // visited so far
	full  bool
}

// at is a place in the file, and what stands there.
type at struct {
	Pos
	path string
}

// under is the place of a key below this one.
func (a at) under(name string, pos Pos) at {
	unclear := func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(`. []"`, r) }
	if name == "" || strings.ContainsFunc(name, unclear) {
		name = strconv.Quote(clip(name))
	}
	if a.path != "" {
		name = a.path + "." + name
	}
	return at{pos, name}
}

func (a at) item(i int, pos Pos) at {
	return at{pos, fmt.Sprintf("%s[%d]", a.path, i)}
}

func (p *parser) report(a at, code Code, severity Severity, message, hint string) {
	if len(p.found) >= maxDiagnostics {
		if !p.full {
			p.full = true
			p.found = append(p.found, Diagnostic{File: p.file, Pos: a.Pos, Code: CodeSyntax, Severity: Error, source: p.line(a.Line),
				Message: fmt.Sprintf("more than %d mistakes: the rest is not told", maxDiagnostics)})
		}
		return
	}
	p.found = append(p.found, Diagnostic{File: p.file, Pos: a.Pos, Path: a.path, Code: code, Severity: severity, Message: message, Hint: hint, source: p.line(a.Line)})
}

func (p *parser) errorf(a at, code Code, hint, format string, args ...any) {
	p.report(a, code, Error, fmt.Sprintf(format, args...), hint)
}

func (p *parser) warnf(a at, code Code, hint, format string, args ...any) {
	p.report(a, code, Warning, fmt.Sprintf(format, args...), hint)
}

func (p *parser) line(n int) string {
	if n < 1 || n > len(p.lines) {
		return ""
	}
	return p.lines[n-1]
}

// pos is the place of a node, held inside the file whatever the YAML parser says.
func (p *parser) pos(n *yaml.Node) Pos {
	return p.inside(n.Line, n.Column)
}

func (p *parser) inside(line, column int) Pos {
	line = min(max(line, 1), len(p.lines))
	column = min(max(column, 1), utf8.RuneCountInString(p.line(line))+1)
	return Pos{line, column}
}

// splitLines breaks where the YAML parser does, so that line numbers agree
// (yaml.org/spec/1.2.2 5.4, and NEL, LS and PS of YAML 1.1).
func splitLines(data []byte) []string {
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(string(data))
	return strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
}

// load parses the YAML and returns the one document's content, nil when there is none.
func (p *parser) load(data []byte) *yaml.Node {
	start := at{Pos: Pos{1, 1}}
	if len(data) > maxBytes {
		p.errorf(start, CodeSyntax, "", "the file has %d bytes; %d is the limit", len(data), maxBytes)
		return nil
	}
	if pos, what := p.badBytes(); what != "" {
		p.errorf(at{Pos: pos}, CodeSyntax, "write the file in UTF-8, with spaces instead of control characters", "%s", what)
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithUniqueKeys(false))
	if err != nil {
		p.errorf(start, CodeSyntax, "", "%v", err)
		return nil
	}
	var doc, more yaml.Node
	err = loader.Load(&doc)
	switch {
	case errors.Is(err, io.EOF) || err == nil && isNull(doc):
		p.errorf(start, CodeSyntax, "drawbridge schema tells what may be in it; networks: and machines: are a start", "the file is empty")
		return nil
	case err != nil:
		p.syntax(err)
		return nil
	}
	switch err := loader.Load(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.syntax(err)
	default:
		p.errorf(at{Pos: p.pos(&more)}, CodeSyntax, "take the --- out, or make it a file of its own", "a second document begins here; a file is one")
	}
	return doc.Content[0]
}

func isNull(doc yaml.Node) bool {
	return len(doc.Content) == 0 || doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].Tag == "!!null"
}

// syntax reports what the YAML parser says, in its words but for the commonest slip.
func (p *parser) syntax(err error) {
	var one *yaml.LoadError
	if !errors.As(err, &one) {
		p.errorf(at{Pos: Pos{1, 1}}, CodeSyntax, "", "%v", err)
		return
	}
	pos := p.inside(one.Mark.Line, one.Mark.Column)
	message, hint := "not YAML: "+one.Message, ""
	if one.ContextMsg != "" {
		message += ", " + one.ContextMsg
		if one.ContextMark.Line > 0 {
			message += fmt.Sprintf(" that began in line %d", one.ContextMark.Line)
		}
	}
	line := p.line(pos.Line)
	switch {
	case strings.Contains(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t"):
		hint = "indent with spaces: YAML does not take tabs"
	case strings.Contains(one.Message, "mapping values are not allowed"):
		hint = "look at the indentation, and for a second colon in the line; a text with a colon goes in quotes"
	case strings.Contains(one.Message, "unknown anchor"):
		hint = "a word that begins with * refers to an anchor; put it in quotes if it is a text"
	}
	p.errorf(at{Pos: pos}, CodeSyntax, hint, "%s", message)
}

// badBytes finds what the YAML parser refuses without telling where: bytes that are
// not UTF-8, and control characters.
func (p *parser) badBytes() (Pos, string) {
	for i, line := range p.lines {
		column := 0
		for rest := line; rest != ""; {
			r, size := utf8.DecodeRuneInString(rest)
			column++
			switch {
			case r == utf8.RuneError && size == 1:
				return Pos{i + 1, column}, fmt.Sprintf("a byte that is not UTF-8: %#02x", rest[0])
			case r < ' ' && r != '\t', r >= 0x7f && r < 0xa0, r == 0xfffe, r == 0xffff:
				return Pos{i + 1, column}, fmt.Sprintf("a control character: %U", r)
			}
			rest = rest[size:]
		}
	}
	return Pos{}, ""
}
