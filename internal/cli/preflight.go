package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/preflight"
	"drawbridge/internal/probe"

	"github.com/spf13/cobra"
)

// looks are the options of what is looked at before a change.
type looks struct {
	failOnFirewall bool
	listen         time.Duration
	// ignoreMACFilter: bridge also where the LAN takes frames of one MAC address only.
	ignoreMACFilter bool
	// unasked: nobody on the LAN is asked anything; what is routed stays so.
	unasked bool
}

func (l *looks) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&l.failOnFirewall, "fail-on-firewall", false, "refuse when a firewall rule names the uplink, instead of warning")
	cmd.Flags().BoolVar(&l.ignoreMACFilter, "ignore-mac-filter", false, "do not try whether the uplink's LAN takes frames of machines, and bridge all the same")
	cmd.Flags().DurationVar(&l.listen, "listen", 0, "listen for `TIME` on the uplink for what its switch says (STP every 2 s, LLDP every 30 s)")
}

// outlook is what was found before a change, and from what.
type outlook struct {
	found []preflight.Finding
	facts preflight.Facts
}

// lookAhead finds what the plan breaks on this host and cannot carry along.
func (a *app) lookAhead(ctx context.Context, s *session, p plan.Plan, l looks) (out outlook, err error) {
	moves := p.Moves()
	leaves := slices.ContainsFunc(p.Steps, func(st plan.Step) bool { _, is := st.Do.(model.DeleteAddresses); return is })
	if len(moves) == 0 && !leaves {
		return out, nil // nothing that the host is reached by is touched
	}
	after, err := p.After()
	if err != nil {
		return out, err
	}
	system := preflight.System{
		Root: os.DirFS("/"), Inside: s.kernel.Inside, Named: a.netns != "",
		Sockets: s.kernel.Sockets, Holders: s.kernel.SocketHolders, Run: s.runInside,
	}
	if l.listen > 0 {
		system.Listen = func(ctx context.Context, link string) ([]preflight.Heard, error) {
			return s.listen(ctx, link, l.listen)
		}
	}
	if out.facts, err = system.Gather(ctx, moves); err != nil {
		return out, err
	}
	out.found = preflight.Check(preflight.Input{Before: p.Before, After: after, Moves: moves, Facts: out.facts, Groups: p.Groups(), Passes: p.Passes, FailOnFirewall: l.failOnFirewall})
	return out, nil
}

func (s *session) listen(ctx context.Context, link string, d time.Duration) (out []preflight.Heard, err error) {
	err = s.kernel.Inside(func() error {
		heard, err := probe.Listen(ctx, link, d)
		for _, h := range heard {
			out = append(out, preflight.Heard{Link: link, Protocol: h.Protocol, From: model.MAC(h.From.String()), Detail: h.Detail})
		}
		return err
	})
	return out, err
}

// runInside runs a program inside the namespace; its error is what it said itself.
func (s *session) runInside(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := findProgram(name)
	if err != nil {
		return nil, err
	}
	var out, said strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := s.kernel.Inside(cmd.Start); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		if line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n"); line != "" {
			return nil, errors.New(line)
		}
		return nil, err
	}
	return []byte(out.String()), nil
}

// findProgram also looks where an ordinary user's PATH does not.
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

func printFindings(w io.Writer, found []preflight.Finding) {
	for _, f := range found {
		fmt.Fprintln(w, f)
	}
}

// refusal is the error for findings that stop a change.
func refusal(found []preflight.Finding) error {
	refused := preflight.Refused(found)
	if len(refused) == 0 {
		return nil
	}
	return withCode(exitFailed, fmt.Errorf("this would cut off what must not be cut off: %s, told above\n  nothing was changed", counted(len(refused), "reason")))
}
