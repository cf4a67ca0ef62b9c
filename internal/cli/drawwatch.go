package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/story"
	"drawbridge/internal/model"
)

// markedFor is how long a change stays marked in a watched picture.
const markedFor = 5 * time.Second

// Control sequences of terminals (xterm's ctlseqs; 2026 is "synchronized output").
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	beginFrame  = "\x1b[?2026h\x1b[H"
	endFrame    = "\x1b[J\x1b[?2026l"
	restOfLine  = "\x1b[K"
)

// watching is the picture on a terminal, drawn anew as the kernel changes.
type watching struct {
	app     *app
	options drawOptions
	format  format
	session *session
	screen  *os.File

	now     model.Wiring
	snap    model.Snapshot
	before  *model.Wiring // what the marks compare with, nil for no marks
	changes []string      // of the last change, in words
	changed time.Time
	trouble error
	top     int // the first line shown
	shown   string
}

// watch draws until q is pressed. A change in the kernel rings; everything is read again.
func (a *app) watch(ctx context.Context, f format, o drawOptions) error {
	in, ok := a.in.(*os.File)
	screen, ok2 := a.out.(*os.File)
	if !ok || !ok2 || !isTerminal(in) || !isTerminal(screen) || o.output != "" || f.name != "terminal" && f.name != "ascii" {
		return withCode(exitUsage, fmt.Errorf("--watch draws on a terminal, and there is none\n  hint: to a file, draw again and again: watch -n 1 drawbridge draw -o host.svg"))
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rings, err := s.kernel.Watch(ctx)
	if err != nil {
		return err
	}
	w := &watching{app: a, options: o, format: f, session: s, screen: screen}
	if err := w.look(ctx); err != nil {
		return err
	}
	raw, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	defer term.Restore(int(in.Fd()), raw) //nolint:errcheck // there is nothing left to do about it
	_, _ = io.WriteString(screen, enterScreen)
	defer io.WriteString(screen, leaveScreen) //nolint:errcheck // as above
	return w.run(ctx, rings, keys(in))
}

func (w *watching) run(ctx context.Context, rings <-chan struct{}, pressed <-chan string) error {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	fade := time.NewTimer(markedFor)
	defer fade.Stop()
	for {
		w.draw()
		select {
		case <-ctx.Done():
			return nil
		case key, open := <-pressed:
			if !open || w.press(key) {
				return nil
			}
		case <-resized:
		case <-fade.C:
			w.before, w.changes = nil, nil
		case _, open := <-rings:
			if !open {
				return nil
			}
			if w.trouble = w.look(ctx); w.before != nil {
				fade.Reset(time.Until(w.changed.Add(markedFor)))
			}
		}
	}
}

// look reads everything again, and notes what has changed.
func (w *watching) look(ctx context.Context) error {
	snap, err := w.session.snapshot(ctx, w.options.all)
	if err != nil {
		return err
	}
	now := model.Wire(snap)
	if w.options.focus != "" {
		if now, err = draw.Focus(now, w.options.focus); err != nil {
			return err
		}
	}
	if w.snap.Namespaces != nil {
		if words := story.Words(w.now, now); len(words) > 0 {
			if w.before == nil {
				was := w.now
				w.before = &was
			}
			w.changes, w.changed = words, time.Now()
		}
	}
	w.now, w.snap = now, snap
	return nil
}

// draw writes one frame, if it is not the one that is shown.
func (w *watching) draw() {
	columns, rows, err := term.GetSize(int(w.screen.Fd()))
	if err != nil || rows < 2 {
		columns, rows = 80, 24
	}
	frame := draw.Frame{Title: w.options.title, Subtitle: w.options.subtitle, Key: w.options.legend, Now: w.now}
	if w.before != nil {
		frame.Before, frame.Now = w.before, model.Compare(*w.before, w.now)
	}
	p := picture{snap: w.snap, frame: frame, layout: draw.Options{Expand: w.options.expand}, width: columns, colour: wantsColour(w.screen)}
	data, err := w.format.render(p)
	if err != nil {
		w.trouble = err
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	w.top = max(0, min(w.top, len(lines)-(rows-1)))
	var b strings.Builder
	for _, l := range lines[w.top:min(len(lines), w.top+rows-1)] {
		b.WriteString(l + restOfLine + "\r\n")
	}
	b.WriteString("\x1b[7m" + w.status(columns, len(lines) > rows-1) + "\x1b[0m" + restOfLine)
	if b.String() != w.shown {
		w.shown = b.String()
		_, _ = io.WriteString(w.screen, beginFrame+w.shown+endFrame)
	}
}

// status is the last line: what changed, and how to go on.
func (w *watching) status(columns int, scrolls bool) string {
	text := " q quits"
	if scrolls {
		text += ", arrows scroll"
	}
	switch {
	case w.trouble != nil:
		text += " · " + strings.SplitN(w.trouble.Error(), "\n", 2)[0]
	case len(w.changes) > 0:
		text += " · " + w.changed.Format(time.TimeOnly) + " " + strings.Join(w.changes, "; ")
	}
	line := []rune(draw.Clean(text) + " ")
	return string(line[:min(len(line), columns)])
}

// press takes a key, and tells whether it ends the watching.
func (w *watching) press(key string) (quit bool) {
	_, rows, err := term.GetSize(int(w.screen.Fd()))
	if err != nil {
		rows = 24
	}
	switch key {
	case "q", "Q", "\x03", "\x04":
		return true
	case "\x1b[A", "\x1bOA", "k":
		w.top--
	case "\x1b[B", "\x1bOB", "j":
		w.top++
	case "\x1b[5~":
		w.top -= rows - 2
	case "\x1b[6~", " ":
		w.top += rows - 2
	case "\x1b[H", "\x1b[1~", "g":
		w.top = 0
	case "\x1b[F", "\x1b[4~", "G":
		w.top = 1 << 20
	}
	return false
}

// keys reads what is pressed; a terminal gives the bytes of one key in one read. The
// channel is closed when the terminal is.
func keys(in io.Reader) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		buf := make([]byte, 64)
		for {
			n, err := in.Read(buf)
			if err != nil {
				return
			}
			out <- string(buf[:n])
		}
	}()
	return out
}
