package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"drawbridge/internal/doctor"
	"drawbridge/internal/draw"
)

// readable is the longest line of a report: longer ones are hard to follow.
const readable = 100

// printable leaves out what moves a terminal's cursor: a link may be called so.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return '\ufffd'
		}
		return r
	}, s)
}

// mostLines of facts or commands are printed of one finding: a thousand taps may share it.
const mostLines = 8

// printReport writes a report for a person, who may mend what is found where here is true.
func printReport(out io.Writer, r doctor.Report, columns int, here bool) {
	columns = lineWidth(columns)
	w := &strings.Builder{}
	defer func() { fmt.Fprint(out, printable(w.String())) }()
	for i, f := range r.Findings {
		fmt.Fprintf(w, "%d. %s, %s: %s\n", i+1, f.Severity, f.Sure, f.Name())
		paragraph(w, columns, "   ", "", f.What)
		if f.Severity != doctor.Note {
			paragraph(w, columns, "   ", "shows as  ", f.Shows)
		}
		for n, seen := range f.Seen {
			if n == mostLines && len(f.Seen) > mostLines+1 {
				fmt.Fprintf(w, "             ... %d more: --json has them\n", len(f.Seen)-n)
				break
			}
			label := "seen      "
			if n > 0 {
				label = "          "
			}
			paragraph(w, columns, "   ", label, seen)
		}
		printMend(w, columns, f, i+1, here)
		fmt.Fprintln(w)
	}
	printEnd(w, r, columns)
}

func printMend(w io.Writer, columns int, f doctor.Finding, number int, here bool) {
	if f.Mend.Says != "" {
		paragraph(w, columns, "   ", "mend      ", f.Mend.Says)
	}
	for n, c := range f.Mend.Commands {
		if n == mostLines && len(f.Mend.Commands) > mostLines+1 {
			fmt.Fprintf(w, "               ... %d more: --json has them\n", len(f.Mend.Commands)-n)
			break
		}
		first, rest, many := strings.Cut(c, "\n")
		fmt.Fprintln(w, "             $ "+first) // never wrapped: it is to be copied
		if many {
			fmt.Fprintf(w, "               ... %d lines: --json has them\n", 1+strings.Count(rest, "\n"))
		}
	}
	if f.Mend.Fixable() && here {
		fmt.Fprintf(w, "             or: drawbridge doctor --fix %d\n", number)
	}
}

// printEnd tells how much was looked at, and what could not be.
func printEnd(w io.Writer, r doctor.Report, columns int) {
	notes := len(r.Findings) - r.Wrong()
	end := "nothing is wrong"
	if r.Wrong() > 0 {
		end = counted(r.Wrong(), "thing") + " to mend"
	}
	if notes > 0 {
		end += ", " + counted(notes, "note")
	}
	fmt.Fprintf(w, "%s; checks that were made: %d\n", end, len(r.Checked))
	why := map[string][]string{}
	for _, u := range r.Unchecked {
		why[u.Why] = append(why[u.Why], u.Check)
	}
	var reasons []string
	for reason := range why {
		reasons = append(reasons, reason)
	}
	slices.Sort(reasons)
	for _, reason := range reasons {
		paragraph(w, columns, "", "not made  ", fmt.Sprintf("%s, for want of %s", strings.Join(why[reason], ", "), reason))
	}
}

func printCheck(w io.Writer, c doctor.Check, columns int) {
	columns = lineWidth(columns)
	fmt.Fprintln(w, c.ID)
	paragraph(w, columns, "   ", "", c.Title)
	paragraph(w, columns, "   ", "shows as  ", c.Shows)
	paragraph(w, columns, "   ", "known by  ", c.Knows)
	paragraph(w, columns, "   ", "mend      ", c.Mends)
}

func lineWidth(columns int) int {
	if columns == 0 || columns > readable {
		return readable
	}
	return max(columns, 40)
}

// paragraph writes text behind a label, broken at spaces, its lines one below the other.
func paragraph(w io.Writer, columns int, indent, label, text string) {
	line := indent + label
	margin := strings.Repeat(" ", len(line))
	empty := true
	for _, word := range strings.Fields(text) {
		if !empty && draw.CellWidth(line)+1+draw.CellWidth(word) > columns {
			fmt.Fprintln(w, line)
			line, empty = margin, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	fmt.Fprintln(w, line)
}
