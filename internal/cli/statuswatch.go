package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// statusOptions are the flags of status.
type statusOptions struct {
	json, neighbours, watch bool
	listen                  time.Duration
}

// neighboursListen is how long --neighbours listens by itself.
const neighboursListen = 3 * time.Second

// statusEvery is how often a watched status is told.
const statusEvery = 2 * time.Second

// watchStatus tells the status again and again, on a terminal in one place, else one after
// the other: with --json one object in a line each time. It listens meanwhile, where it may.
func (a *app) watchStatus(ctx context.Context, s *session, e *ears, o statusOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		const always = 10 * 365 * 24 * time.Hour
		_ = e.listen(ctx, s, always) // who may not listen still may look
	}()
	screen, ok := a.out.(*os.File)
	onScreen := ok && isTerminal(screen) && !o.json
	if onScreen {
		fmt.Fprint(a.out, enterScreen)
		defer fmt.Fprint(a.out, leaveScreen)
	}
	defer func() { cancel(); <-done }()
	for {
		st, err := a.look(ctx, s, e, o)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		switch {
		case o.json:
			if err := json.NewEncoder(a.out).Encode(st); err != nil {
				return err
			}
		case onScreen:
			_, _ = io.WriteString(a.out, "\x1b[H\x1b[2J")
			a.printStatus(st)
			fmt.Fprintf(a.out, "\n%s, every %s; Ctrl-C ends\n", time.Now().Format(time.TimeOnly), statusEvery)
		default:
			fmt.Fprintln(a.out, time.Now().Format(time.TimeOnly))
			a.printStatus(st)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(statusEvery):
		}
	}
}
