package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/trace"
)

// untraced are the formats that neither draw nor tell a trace: their readers lay them out.
var untraced = []string{"mermaid", "dot"}

// traceQuery reads SRC and DST[:PORT/PROTOCOL].
func traceQuery(from, to string, size int) (trace.Query, error) {
	q := trace.Query{From: from, To: to, Size: size}
	at := strings.LastIndexByte(to, ':')
	if at < 0 || !strings.Contains(to[at:], "/") {
		return q, nil
	}
	port, protocol, _ := strings.Cut(to[at+1:], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || protocol != "tcp" && protocol != "udp" {
		return q, fmt.Errorf("--trace: no port %q\n  hint: as in 198.18.0.9:80/tcp, or [2001:db8::9]:53/udp", to[at+1:])
	}
	q.To, q.Port, q.Protocol = strings.Trim(to[:at], "[]"), uint16(n), protocol
	return q, nil
}

// traced traces a packet through what is drawn.
func (a *app) traced(snap *model.Snapshot, o drawOptions) (*trace.Trace, error) {
	q, err := traceQuery(o.trace, o.source.second, o.size)
	if err != nil {
		return nil, withCode(exitUsage, err)
	}
	var r trace.Router
	if o.source.live() {
		routes := &liveRoutes{app: a, open: map[string]*kernel.Kernel{}}
		defer routes.close()
		r = routes
	}
	t, err := trace.Compute(snap, q, r)
	if errors.Is(err, trace.ErrQuery) {
		return nil, withCode(exitUsage, fmt.Errorf("--trace: %w", err))
	}
	return t, err
}

// withTrace puts a trace to a picture in a format that only tells one.
func withTrace(t *trace.Trace, f format, p picture, data []byte) ([]byte, error) {
	switch f.name {
	case "json":
		// The wiring keeps its order: the trace is one more member before its last brace.
		told, err := json.MarshalIndent(t, "  ", "  ")
		if err != nil {
			return nil, err
		}
		body, ok := bytes.CutSuffix(bytes.TrimSpace(data), []byte("\n}"))
		if !ok {
			return nil, errors.New("the wiring is no JSON object")
		}
		return slices.Concat(body, []byte(",\n  \"trace\": "), told, []byte("\n}\n")), nil
	case "text":
		return append([]byte(strings.Join(tellTrace(t, 1<<10), "\n")+"\n\n"), data...), nil
	case "terminal", "ascii":
	default: // it is in the picture
		return data, nil
	}
	width := p.width
	if width <= 0 {
		width = 80
	}
	lines := strings.Join(tellTrace(t, width), "\n") + "\n"
	if f.name == "ascii" {
		lines = strings.NewReplacer("✗", "X", "·", "-", "…", "...").Replace(lines)
	}
	return append(append(data, '\n'), lines...), nil
}

func tellTrace(t *trace.Trace, width int) []string {
	return trace.Tell(t, width, func(text string, width int) []string { return draw.WrapCells(draw.Clean(text), max(20, width)) })
}

// live tells whether the picture is of this machine, now.
func (p *pictureSource) live() bool {
	return p.from == "" && p.ssh == "" && p.diff == "" && p.since == ""
}

// liveRoutes asks the kernels of the namespaces that have a name.
type liveRoutes struct {
	app  *app
	open map[string]*kernel.Kernel
}

func (l *liveRoutes) Lookup(namespace string, q model.RouteQuery) (model.RouteAnswer, bool) {
	k, known := l.open[namespace]
	if !known {
		name := namespace
		if name == "" {
			name = l.app.netns
		}
		if !strings.Contains(name, ":") { // a container's has no name in /run/netns
			k, _ = kernel.OpenNamed(name)
		}
		l.open[namespace] = k
	}
	if k == nil {
		return model.RouteAnswer{}, false
	}
	answer, err := k.LookupRoute(q)
	return answer, err == nil
}

func (l *liveRoutes) close() {
	for _, k := range l.open {
		if k != nil {
			_ = k.Close()
		}
	}
}

// traceable tells whether a format can show a trace.
func (f format) traceable() error {
	if !slices.Contains(untraced, f.name) {
		return nil
	}
	return withCode(exitUsage, fmt.Errorf("the format %s does not show a trace\n  hint: all do but %s", f.name, strings.Join(untraced, ", ")))
}

// deepSnapshot is snapshot with the firewall's rules.
func (s *session) deepSnapshot(ctx context.Context, all bool) (model.Snapshot, error) {
	return s.snapshotWith(ctx, kernel.What{All: all, Ruleset: true})
}
