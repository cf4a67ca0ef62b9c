package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/probe"
	"drawbridge/internal/trace"
)

// A marked packet is sent by the way that was traced, and looked for at the interfaces of the
// host and of the namespaces that are drawn. Nothing is changed: sockets listen, and end with
// this process.

// sightTime is how long it is looked for where it is not seen to arrive and to be answered.
const sightTime = 2 * time.Second

// mostWatched is how many interfaces are looked at beside those of the way.
const mostWatched = 256

// canSend tells early whether a packet can be sent at all.
func (o drawOptions) canSend() error {
	switch {
	case !o.send:
		return nil
	case o.trace == "":
		return withCode(exitUsage, errors.New("--send sends the packet of a trace\n  hint: drawbridge draw --trace host 198.18.0.9 --send"))
	case !o.source.live():
		return withCode(exitUsage, errors.New("--send: no packet can be sent through what was saved, or is far away\n  hint: run it there, or leave --send out"))
	}
	return nil
}

// sendMarked sends it, and notes in the trace where it was seen.
func (a *app) sendMarked(ctx context.Context, snap *model.Snapshot, t *trace.Trace) error {
	if !t.From.Address.IsValid() {
		return fmt.Errorf("--send: %s has no address to send from, as the trace tells", t.From.Name)
	}
	m := probe.NewMarked(t.From.Address, t.To.Address, t.Protocol, t.Port, t.Size)
	send, err := a.sender(ctx, m, t)
	if err != nil {
		return err
	}
	w := watch{app: a, at: map[string]*probe.Watcher{}, names: map[string]string{}}
	defer w.close()
	if err := w.begin(snap, m, t); err != nil {
		return err
	}
	refused := trace.Refused{}
	switch err := send(); {
	case errors.Is(err, unix.EMSGSIZE):
		refused = trace.Refused{Says: fmt.Sprintf("%s itself says: a packet of %d bytes is too long for its link", t.From.Name, t.Size), TooLong: true}
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM):
		refused.Says = fmt.Sprintf("%s itself says: %v", t.From.Name, errno(err)) // no route, or its own firewall
	case err != nil:
		return fmt.Errorf("--send: %w", err)
	}
	w.wait(ctx, t)
	at, says := w.seen()
	if says != "" {
		refused = trace.Refused{Says: says, TooLong: strings.HasSuffix(says, probe.TooBig4) || strings.HasSuffix(says, probe.TooBig6)}
	}
	t.Confirm(at, w.names, refused)
	return nil
}

// errno is the kernel's own word in an error.
func errno(err error) syscall.Errno {
	var e syscall.Errno
	errors.As(err, &e)
	return e
}

// sender is what sends the packet from where it begins.
func (a *app) sender(ctx context.Context, m *probe.Marked, t *trace.Trace) (func() error, error) {
	switch where, name, _ := strings.Cut(t.From.Stack, ":"); {
	case where == "host":
		return func() error { return a.inNamespace("", func() error { return m.Send(ctx) }) }, nil
	case where == "netns" && !strings.Contains(name, ":"):
		return func() error { return a.inNamespace(name, func() error { return m.Send(ctx) }) }, nil
	case where == "vm" && t.Protocol != "icmp":
		return nil, withCode(exitUsage, fmt.Errorf("--send: a machine sends echo requests only, and %s is to send %s\n  hint: leave :PORT/PROTOCOL out", t.From.Name, t.Protocol))
	case where == "vm":
		return func() error { return a.sendFromMachine(ctx, name, m) }, nil
	case where == "":
		return nil, withCode(exitUsage, fmt.Errorf("--send: %s is outside of this machine, and no packet can be sent from there\n  hint: trace from host, from a namespace or from a machine; the answer takes the way back", t.From.Name))
	}
	return nil, withCode(exitUsage, fmt.Errorf("--send: %s cannot be entered by a name, and so no packet is sent from there\n  hint: trace from host, or from a namespace of /run/netns", t.From.Name))
}

func (a *app) sendFromMachine(ctx context.Context, name string, m *probe.Marked) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if err = s.machines.SendEcho(ctx, name, m.Destination.String(), m.Data()); err != nil {
		return fmt.Errorf("%s does not send it: %w\n  hint: a machine with the embedded guest sends; else send it from host", name, err)
	}
	return nil
}

// inNamespace runs fn in a namespace by its name, or in that which is drawn.
func (a *app) inNamespace(name string, fn func() error) error {
	if name == "" {
		name = a.netns
	}
	if name == "" {
		return fn()
	}
	return kernel.Enter("/run/netns/"+name, fn)
}

// watch looks at interfaces, by the wiring's ids.
type watch struct {
	app   *app
	at    map[string]*probe.Watcher
	names map[string]string
}

// begin looks at the interfaces of the way, and of the others in the same stacks.
func (w *watch) begin(snap *model.Snapshot, m *probe.Marked, t *trace.Trace) error {
	wiring := model.Wire(*snap)
	onWay := map[string]bool{}
	for _, h := range t.Hops {
		onWay[h.Interface] = true
	}
	list := slices.Clone(wiring.Interfaces)
	slices.SortStableFunc(list, func(a, b model.Interface) int { // those of the way first
		switch {
		case onWay[a.ID] == onWay[b.ID]:
			return 0
		case onWay[a.ID]:
			return -1
		}
		return 1
	})
	for _, i := range list {
		where, name, _ := strings.Cut(i.Stack, ":")
		if where != "host" && where != "netns" || strings.Contains(name, ":") || !i.Up || i.Name == "lo" || len(w.at) >= mostWatched && !onWay[i.ID] {
			continue
		}
		err := w.app.inNamespace(name, func() (err error) {
			w.at[i.ID], err = m.Watch(i.Name)
			return err
		})
		if err != nil {
			delete(w.at, i.ID)
		}
		switch {
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("--send: %w\n  hint: it takes root (CAP_NET_RAW) to see what passes an interface", err)
		case err != nil && onWay[i.ID]:
			return fmt.Errorf("--send: %w", err)
		}
		w.names[i.ID] = i.Name
		if where == "netns" {
			w.names[i.ID] = i.Name + " of " + name
		}
	}
	return nil
}

// wait ends as soon as the sender has an answer, or the time is over.
func (w *watch) wait(ctx context.Context, t *trace.Trace) {
	ctx, cancel := context.WithTimeout(ctx, sightTime)
	defer cancel()
	for {
		at, _ := w.seen()
		for _, h := range t.Hops {
			if is, watched := at[h.Interface]; watched {
				if is.Answer > 0 {
					time.Sleep(20 * time.Millisecond) // the other interfaces' readers have it by then
					return
				}
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *watch) seen() (at map[string]trace.Sighting, says string) {
	at = map[string]trace.Sighting{}
	for id, x := range w.at {
		request, answer, told := x.Seen()
		at[id] = trace.Sighting{Packet: request, Answer: answer}
		if told != "" {
			says = told
		}
	}
	return at, says
}

func (w *watch) close() {
	for _, x := range w.at {
		_ = x.Close()
	}
}
