package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/iproute"
	"drawbridge/internal/model"

	"github.com/spf13/cobra"
)

type drawOptions struct {
	output   string
	format   string
	all      bool
	expand   []string
	title    string
	subtitle string
	theme    string
	scale    float64
	focus    string
	legend   bool
	watch    bool
	doctor   bool
	trace    string
	size     int
	send     bool
	source   pictureSource
}

func newDrawCommand(a *app) *cobra.Command {
	var o drawOptions
	cmd := &cobra.Command{
		Use:   "draw",
		Short: "The live host as a picture",
		Long: `Draw how this host is wired now: its stacks, its Ethernets, and each interface with
its two ends. Without -o the picture goes to the terminal. Nothing is changed, and no
rights are needed; without root the processes of others that hold taps stay unknown.

--ssh draws another machine: one connection of ssh(1), nothing is installed there, and only
read. --from draws what somebody sent: a picture saved by --format json, or the text that
'drawbridge draw --print-collector' (a shell script) printed there, or just the outputs of
'ip -d -j addr', 'ip -j route' and the like in one file, a folder or a tar archive.
--diff A B and --since FILE draw what changed between two such files, or since one.
--wanted FILE draws what differs from what the file of networks wants: what somebody has
taken away since 'up' is a ghost where it was, with the mark of what is gone.

--doctor marks the interfaces that 'drawbridge doctor' finds something wrong with, each with the
name of the check, and tells what it is.

--trace SRC DST draws the way of a packet along the wires, and that of its answer, and tells
below the picture, hop by hop, the route, neighbour, forwarding entry, firewall rule or sysctl
that decides at each, with a cross where it dies. In a terminal it is told only. SRC and DST
are an address, the name of a machine or a namespace, "host", or "lan" for somebody on the LAN.
What cannot be known is told with a question mark: root is needed to read the firewall.
Nothing is sent, but with --send: one marked packet, from SRC, which is looked for at every
interface that is drawn, for 2 seconds at most. Each hop then tells whether it was seen there, and
the end whether that is what the trace says. Nothing else is touched. It takes root, and a SRC that
is here: the host, a namespace, or a machine with the embedded guest (which sends echo requests).

Formats, chosen by --format or by the ending of -o FILE:

` + formatHelp() + `

Exit codes: 0 drawn; 1 failed; 2 bad usage.`,
		Example: `  drawbridge draw
  drawbridge draw -o host.svg
  drawbridge draw --all-namespaces --format ascii
  drawbridge draw --ssh admin@198.18.0.5 -o far.svg
  drawbridge draw --format json -o before.json; ...; drawbridge draw --since before.json
  drawbridge draw --wanted drawbridge.yaml -o drift.svg
  ip -d -j addr | drawbridge draw --from -
  drawbridge draw --all-namespaces --focus web
  drawbridge draw --watch
  drawbridge draw --doctor -o host.svg
  drawbridge draw --trace web 198.18.0.9:80/tcp
  sudo drawbridge draw --trace web 198.18.0.9 --send
  drawbridge draw --all-namespaces --trace lan host -o way.svg
  drawbridge draw --legend -o host.svg
  drawbridge draw --format json | jq '.interfaces[] | select(.wire_end.in == "nothing").name'`,
		Args: func(cmd *cobra.Command, args []string) error {
			o.source.trace = cmd.Flags().Changed("trace")
			return o.source.arguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.source.second = strings.Join(args, "")
			return a.draw(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write the picture to `FILE`; its ending tells the format")
	cmd.Flags().StringVar(&o.format, "format", "", "one of "+strings.Join(formatNames(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formatNames(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().BoolVar(&o.all, "all-namespaces", false, "draw every other network namespace as well: those of /run/netns, containers, pods")
	cmd.Flags().StringSliceVar(&o.expand, "expand", nil, "draw every port of the bridge `NAME`, or of all, however many")
	cmd.Flags().StringVar(&o.focus, "focus", "", "draw only `NAME` (an interface, a VM, a bridge, an address) and what is around it")
	cmd.Flags().StringVar(&o.title, "title", "", "`TEXT` above the picture")
	cmd.Flags().StringVar(&o.subtitle, "subtitle", "", "`TEXT` below the title")
	cmd.Flags().StringVar(&o.theme, "theme", "", "light or dark; without it what the viewer prefers, for a png light")
	cmd.Flags().Float64Var(&o.scale, "scale", 1, "pixels of a png for each of the picture's")
	cmd.Flags().BoolVar(&o.legend, "legend", false, "explain the signs below the picture")
	cmd.Flags().BoolVar(&o.watch, "watch", false, "draw again in the terminal as the kernel changes; q quits")
	cmd.Flags().BoolVar(&o.doctor, "doctor", false, "mark what 'drawbridge doctor' finds wrong")
	cmd.Flags().StringVar(&o.trace, "trace", "", "draw the way of a packet from `SRC` to what follows: --trace SRC DST[:PORT/PROTOCOL]")
	cmd.Flags().IntVar(&o.size, "size", 0, "of a traced packet in `BYTES`; without it a small one, then one of the first link's MTU")
	cmd.Flags().BoolVar(&o.send, "send", false, "with --trace: send one marked packet that way, and tell where it was seen")
	o.source.addFlags(cmd)
	exclusiveInDraw(cmd)
	return cmd
}

// exclusiveInDraw refuses what cannot be in one picture.
func exclusiveInDraw(cmd *cobra.Command) {
	for _, other := range []string{"all-namespaces", "diff", "since", "wanted", "watch", "trace", "print-collector"} {
		cmd.MarkFlagsMutuallyExclusive("doctor", other)
	}
	for _, other := range []string{"diff", "since", "wanted", "watch", "focus", "print-collector"} {
		cmd.MarkFlagsMutuallyExclusive("trace", other)
	}
}

// formatOf chooses the format: as told, else by the file's ending, else for a terminal.
func (o drawOptions) formatOf() (format, error) {
	f, err := findFormat(o.format, o.output)
	if err != nil {
		return format{}, withCode(exitUsage, err)
	}
	if o.theme != "" && o.theme != string(svg.Light) && o.theme != string(svg.Dark) {
		return format{}, withCode(exitUsage, fmt.Errorf("no theme %q\n  hint: light or dark", o.theme))
	}
	if o.scale < 0.1 || o.scale > 16 {
		return format{}, withCode(exitUsage, fmt.Errorf("no scale %v\n  hint: from 0.1 to 16", o.scale))
	}
	if o.legend && !f.legend {
		return format{}, withCode(exitUsage, fmt.Errorf("the format %s has no legend\n  hint: %s have one", f.name, strings.Join(legendFormats(), ", ")))
	}
	return f, nil
}

func (a *app) draw(ctx context.Context, o drawOptions) error {
	f, err := o.formatOf()
	if err != nil {
		return err
	}
	if o.source.collector {
		_, err := a.out.Write([]byte(iproute.Collector))
		return err
	}
	if o.watch {
		return a.watch(ctx, f, o)
	}
	if err := o.canSend(); err != nil {
		return err
	}
	if o.trace != "" {
		if err := f.traceable(); err != nil {
			return err
		}
	}
	frame, snap, err := a.observed(ctx, o)
	if err != nil {
		return err
	}
	if o.trace != "" {
		if frame.Trace, err = a.traced(&snap, o); err != nil {
			return err
		}
		if o.send {
			if err := a.sendMarked(ctx, &snap, frame.Trace); err != nil {
				return err
			}
		}
	}
	data, err := a.render(frame, snap, f, o)
	if err == nil && frame.Trace != nil {
		data, err = withTrace(frame.Trace, f, picture{width: width(a.out)}, data)
	}
	if err != nil {
		return err
	}
	if o.output != "" {
		return writeFile(o.output, data)
	}
	_, err = a.out.Write(data)
	return err
}

func (a *app) render(frame draw.Frame, snap model.Snapshot, f format, o drawOptions) ([]byte, error) {
	frame.Title, frame.Subtitle, frame.Key = o.title, o.subtitle, o.legend
	p := picture{snap: snap, frame: frame, layout: draw.Options{Expand: o.expand}, theme: svg.Theme(o.theme), scale: o.scale}
	if o.output == "" {
		p.width, p.colour = width(a.out), wantsColour(a.out)
	}
	return f.render(p)
}

// wiringJSON is the wiring for other programs, with the snapshot that it was made from.
func wiringJSON(w model.Wiring, snap model.Snapshot) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		model.Wiring
		Snapshot model.Snapshot `json:"snapshot"`
	}{w, snap})
	return buf.Bytes(), err
}

// writeFile replaces a file as a whole: a picture that fails half-way leaves the old one.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) { // of the name that was given, not of the temporary one
			err = at.Err
		}
		return fmt.Errorf("%s: %w\n  hint: is its folder there, and may you write in it?", path, err)
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
