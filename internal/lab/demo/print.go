package demo

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The colours are SGR numbers (ECMA-48).
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (d *demo) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(d.say, format, args...)
}

// paint colours words, on a terminal only.
func (d *demo) paint(color, s string) string {
	if !d.color {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// headline begins a stage: its title, how far we are, and how long it took so far.
func (d *demo) headline(title string, i int, list []stage) {
	progress := ""
	for _, s := range list {
		switch s.state {
		case done:
			progress += "●"
		case running:
			progress += "◐"
		case failed:
			progress += "✗"
		default:
			progress += "○"
		}
	}
	right := fmt.Sprintf("%s %d of %d, %.1f s", progress, i+1, len(list), time.Since(d.begin).Seconds())
	line := strings.Repeat("─", max(2, 76-len([]rune(title))-len([]rune(right))))
	d.printf("\n%s %s %s\n", d.paint(bold, title), d.paint(dim, line), d.paint(dim, right))
}

// conclude is the last line.
func (d *demo) conclude(err error) {
	if err != nil {
		d.printf("\n%s after %.1f s. What was written so far is in %s.\n", d.paint(red, "Failed"), d.facts.Seconds, d.options.Out)
		return
	}
	d.printf("\n%s in %.1f s. Nothing is left of the lab. The whole story: %s%s/%s\n", d.paint(green, "All shown"), d.facts.Seconds, openHint(), d.options.Out, storyPage)
}

// indent writes lines a little to the right.
type indent struct {
	w    io.Writer
	open bool // in the middle of a line
}

func indented(w io.Writer) io.Writer { return &indent{w: w} }

func (i *indent) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if !i.open {
			if _, err := io.WriteString(i.w, "    "); err != nil {
				return 0, err
			}
		}
		if _, err := i.w.Write(line); err != nil {
			return 0, err
		}
		i.open = !bytes.HasSuffix(line, []byte("\n"))
	}
	return len(b), nil
}

// wrapped breaks a sentence into lines.
func wrapped(s string, width int) string {
	var b strings.Builder
	n := 0
	for _, word := range strings.Fields(s) {
		l := len([]rune(word))
		switch {
		case n > 0 && n+1+l > width:
			b.WriteString("\n")
			n = 0
		case n > 0:
			b.WriteString(" ")
			n++
		}
		b.WriteString(word)
		n += l
	}
	return b.String()
}

func shortened(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "..."
	}
	return s
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS) //nolint:gosec // a descriptor fits an int
	return err == nil
}
