package cli

import (
	"context"
	"fmt"
	"strings"

	"drawbridge/internal/doctor"
	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// examined is what is to be drawn of a host with what is wrong with it. What has no place in
// the picture is told all the same.
func (a *app) examined(ctx context.Context, o drawOptions) (draw.Frame, model.Snapshot, error) {
	h, err := a.patient(ctx, doctorOptions{from: o.source.from, ssh: o.source.ssh})
	if err != nil {
		return draw.Frame{}, h.Snapshot, err
	}
	frame := comparing(nil, h.Snapshot)
	r := doctor.Examine(h)
	markFindings(&frame.Now, r)
	for _, f := range r.Findings {
		if f.Severity != doctor.Note {
			fmt.Fprintf(a.err, "%s, %s: %s: %s\n", f.Severity, f.Sure, f.Name(), strings.Join(strings.Fields(f.What), " "))
		}
	}
	if r.Wrong() == 0 {
		fmt.Fprintln(a.err, "nothing is wrong")
	}
	return focused(frame, h.Snapshot, o)
}

// markFindings writes down at the host's interfaces what was found wrong with them.
func markFindings(w *model.Wiring, r doctor.Report) {
	for i := range w.Interfaces {
		itf := &w.Interfaces[i]
		if itf.ID != "host/"+itf.Name {
			continue
		}
		for _, f := range r.Findings {
			if f.Object == itf.Name && f.Severity != doctor.Note {
				itf.Findings = append(itf.Findings, string(f.Severity)+": "+f.Check)
			}
		}
	}
}
