package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/iproute"
	"drawbridge/internal/model"

	"github.com/spf13/cobra"
)

// pictureSource says what a picture is made of: the live host, where nothing is set.
type pictureSource struct {
	from, ssh    string
	since        string
	wanted       string // a file of networks
	diff, second string
	collector    bool
	trace        bool // --trace is set: the argument is its other end
}

func (p *pictureSource) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.from, "from", "", "draw what `FILE` holds (a folder, a tar, - for the standard input)")
	cmd.Flags().StringVar(&p.ssh, "ssh", "", "draw the machine `USER@HOST`, by one connection of ssh")
	cmd.Flags().StringVar(&p.diff, "diff", "", "draw the changes from `A` to the file that follows: --diff A B")
	cmd.Flags().StringVar(&p.since, "since", "", "draw what changed since `FILE` was saved")
	cmd.Flags().StringVar(&p.wanted, "wanted", "", "draw what differs from what the file `FILE` of networks wants")
	cmd.Flags().BoolVar(&p.collector, "print-collector", false, "print the shell script that collects for --from what --ssh collects")
	cmd.MarkFlagsMutuallyExclusive("from", "ssh", "diff", "print-collector", "watch")
	cmd.MarkFlagsMutuallyExclusive("since", "diff", "watch")
	for _, other := range []string{"since", "from", "ssh", "diff", "watch"} {
		cmd.MarkFlagsMutuallyExclusive("wanted", other)
	}
	for _, far := range []string{"from", "diff", "wanted"} {
		cmd.MarkFlagsMutuallyExclusive(far, "all-namespaces")
	}
}

// arguments: --diff takes a second file, and nothing else takes any.
func (p *pictureSource) arguments(cmd *cobra.Command, args []string) error {
	switch {
	case p.trace:
		if len(args) != 1 {
			return withCode(exitUsage, fmt.Errorf("--trace takes two ends, and there are %d\n  hint: drawbridge draw --trace host 198.18.0.9", 1+len(args)))
		}
		return nil
	case p.diff == "":
		return noArguments(cmd, args)
	case len(args) != 1:
		return withCode(exitUsage, fmt.Errorf("--diff takes two files, and there are %d\n  hint: drawbridge draw --diff before.json after.json", 1+len(args)))
	}
	return nil
}

// observed is what is to be drawn, with its changes where two states are compared, and
// the snapshot that it was made from.
func (a *app) observed(ctx context.Context, o drawOptions) (draw.Frame, model.Snapshot, error) {
	switch {
	case o.source.wanted != "":
		return a.differing(ctx, o)
	case o.doctor:
		return a.examined(ctx, o)
	}
	var before *model.Snapshot
	if first := o.source.since + o.source.diff; first != "" {
		s, err := a.load(first)
		if err != nil {
			return draw.Frame{}, s, err
		}
		before = &s
	}
	now, err := a.now(ctx, o)
	if err != nil {
		return draw.Frame{}, now, err
	}
	return focused(comparing(before, now), now, o)
}

// comparing is a picture of what is, with the changes from what was before.
func comparing(before *model.Snapshot, now model.Snapshot) draw.Frame {
	frame := draw.Frame{Now: model.Wire(now)}
	if before != nil {
		was := model.Wire(*before)
		frame.Before, frame.Now = &was, model.Compare(was, frame.Now)
	}
	return frame
}

// differing is what is to be drawn of a host that a file has a wish for: what is, with the
// changes from what the file wants, as 'plan' would bring it about.
func (a *app) differing(ctx context.Context, o drawOptions) (draw.Frame, model.Snapshot, error) {
	want, err := a.readFile(o.source.wanted, "")
	if err != nil {
		return draw.Frame{}, model.Snapshot{}, err
	}
	s, err := a.open()
	if err != nil {
		return draw.Frame{}, model.Snapshot{}, err
	}
	defer s.close()
	p, err := s.plan(ctx, want, looks{unasked: true})
	if err != nil {
		return draw.Frame{}, p.Before, err
	}
	wanted, err := p.After()
	if err != nil {
		return draw.Frame{}, p.Before, err
	}
	if len(p.Steps) == 0 {
		fmt.Fprintln(a.err, "everything is as wanted")
	}
	return focused(comparing(&wanted, p.Before), p.Before, o)
}

// focused narrows a picture down to what was asked for.
func focused(frame draw.Frame, now model.Snapshot, o drawOptions) (draw.Frame, model.Snapshot, error) {
	var err error
	if o.focus == "" {
		return frame, now, nil
	}
	frame.Now, err = draw.Focus(frame.Now, o.focus)
	if err != nil {
		return frame, now, withCode(exitUsage, fmt.Errorf("--focus: %w", err))
	}
	return frame, now, nil
}

func (a *app) now(ctx context.Context, o drawOptions) (model.Snapshot, error) {
	switch {
	case o.source.diff != "":
		return a.load(o.source.second)
	case o.source.from != "":
		return a.load(o.source.from)
	case o.source.ssh != "":
		return a.collect(ctx, o.source.ssh, o.all)
	}
	s, err := a.open()
	if err != nil {
		return model.Snapshot{}, err
	}
	defer s.close()
	look := s.snapshot
	if o.trace != "" {
		look = s.deepSnapshot
	}
	snap, err := look(ctx, o.all)
	if errors.Is(err, fs.ErrPermission) && snap.Here().Links != nil {
		// Only the machines' folder is closed to us (XDG_RUNTIME_DIR of another user, after
		// su): who holds which tap can still be found by looking at the processes.
		fmt.Fprintf(a.err, "note: %v: machines are drawn as the processes that they are\n", err)
		err = nil
	}
	if err == nil {
		s.askAround(ctx, snap.Here())
		_ = s.tellManagers(ctx, snap.Here()) // who cannot be told of is not drawn
	}
	if snap.Unseen > 0 {
		fmt.Fprintf(a.err, "note: %d processes and namespaces of others may not be looked at: as root, they are drawn too\n", snap.Unseen)
	}
	return snap, err
}

// load reads a saved picture or a bundle, and says what it lacks.
func (a *app) load(path string) (model.Snapshot, error) {
	files, err := readFiles(path, a.in)
	if err != nil {
		return model.Snapshot{}, withCode(exitUsage, fmt.Errorf("%s: %w", path, err))
	}
	s, err := a.read(files)
	if err != nil {
		return s, withCode(exitUsage, fmt.Errorf("%s: %w\n  hint: save a picture with 'drawbridge draw --format json', or run the script of 'drawbridge draw --print-collector' there", path, err))
	}
	return s, nil
}

func (a *app) read(files []iproute.File) (model.Snapshot, error) {
	s, missing, err := iproute.Load(files...)
	for _, m := range missing {
		fmt.Fprintf(a.err, "note: there is nothing about %s\n", m)
	}
	return s, err
}

// readFiles reads a file, a folder of files, a tar archive, or the standard input.
func readFiles(path string, in io.Reader) ([]iproute.File, error) {
	if path == "-" {
		data, err := io.ReadAll(io.LimitReader(in, iproute.Longest))
		if err != nil {
			return nil, err
		}
		return iproute.Unpack("", data)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if info.IsDir() {
		return readFolder(os.DirFS(path))
	}
	if info.Size() > iproute.Longest {
		return nil, fmt.Errorf("it has %d MB; the most that is read is %d MB", info.Size()>>20, iproute.Longest>>20)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return iproute.Unpack(filepath.Base(path), data)
}

func readFolder(dir fs.FS) ([]iproute.File, error) {
	var files []iproute.File
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := fs.ReadFile(dir, name)
		files = append(files, iproute.File{Name: name, Data: data})
		return err
	})
	return files, err
}

// collect runs the collector on another machine. ssh may ask for what it needs: its
// terminal is the user's.
func (a *app) collect(ctx context.Context, host string, all bool) (model.Snapshot, error) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return model.Snapshot{}, fmt.Errorf("--ssh: %w\n  hint: install ssh (Debian: openssh-client)", err)
	}
	var out, said bytes.Buffer
	shell := "sh -s"
	if all {
		shell += " all"
	}
	cmd := exec.CommandContext(ctx, ssh, "-T", "--", host, shell)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(iproute.Collector), &out, io.MultiWriter(a.err, &said)
	if err := cmd.Run(); err != nil {
		return model.Snapshot{}, fmt.Errorf("ssh %s: %w\n  hint: does 'ssh %s ip link' work?", host, err, host)
	}
	s, err := a.read([]iproute.File{{Data: out.Bytes()}})
	if err != nil {
		return s, fmt.Errorf("%s: %w\n  hint: are ip and bridge (iproute2, 4.20 or later) installed there?", host, err)
	}
	return s, nil
}
