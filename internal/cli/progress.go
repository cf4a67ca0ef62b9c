package cli

import (
	"fmt"
	"io"
	"time"
)

// progress tells of many machines that start or stop: on a terminal in one line that
// changes, elsewhere in a line for each. In the end it says how long all of them took,
// and what they use.
type progress struct {
	w        io.Writer
	terminal bool
	begin    time.Time
	open     bool // the cursor stands behind an unfinished line
	used     func() int64
}

func (p *progress) machines(done, of int, name string) {
	if done == 0 {
		p.begin = time.Now()
	}
	switch {
	case p.terminal:
		// Clear to the end: the name before may have been longer.
		fmt.Fprintf(p.w, "\r       %d of %d  %s\x1b[K", done, of, name)
		p.open = true
	case done > 0:
		fmt.Fprintf(p.w, "       %d of %d  %s\n", done, of, name)
	}
	if done < of {
		return
	}
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.open = false
	fmt.Fprintf(p.w, "       %d in %.1f s", of, time.Since(p.begin).Seconds())
	if used := p.used(); used > 0 {
		fmt.Fprintf(p.w, "; the machines here use %d MiB", used>>20)
	}
	fmt.Fprintln(p.w)
}

// finish ends a line that was not finished.
func (p *progress) finish() {
	if p.open {
		fmt.Fprintln(p.w)
	}
	p.open = false
}
