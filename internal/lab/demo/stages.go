package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/lab"
)

// state of a stage.
type state string

const (
	pending state = "pending"
	running state = "running"
	done    state = "done"
	failed  state = "failed"
)

// stage is one part of the demo. Those with a picture are states of the walkthrough,
// and their words are its words.
type stage struct {
	picture string // the walkthrough state's name, "" for none
	title   string // for those without a picture
	do      func(*demo, context.Context) error
	state   state
}

// stages are all of the demo, in order.
func stages() []stage {
	return []stage{
		{picture: "1-host-alone", do: (*demo).hostAlone},
		{picture: "2-host-on-lan", do: (*demo).hostOnLAN},
		{picture: "3-vm-dangling", do: (*demo).vmDangling},
		{picture: "4-vm-cabled", do: (*demo).vmCabled},
		{picture: "5-bridge-made", do: (*demo).bridgeMade},
		{picture: "6-bridged", do: (*demo).bridged},
		{title: "What became of it", do: (*demo).check},
	}
}

// words are a state's title and sentence.
func words(picture string) (title, sentence string) {
	for _, s := range walkthrough.States() {
		if s.Name == picture {
			return s.Title, s.Subtitle
		}
	}
	return picture, ""
}

// runStages goes through the list, and stops at the first stage that fails.
func (d *demo) runStages(ctx context.Context) error {
	list := stages()
	for i := range list {
		list[i].state = pending
	}
	for i := range list {
		s := &list[i]
		title, sentence := s.title, ""
		if s.picture != "" {
			title, sentence = words(s.picture)
		}
		s.state = running
		d.headline(title, i, list)
		err := s.do(d, ctx)
		if err == nil && s.picture != "" {
			err = d.show(ctx, s.picture, title, sentence)
		}
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			s.state = failed
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted at %q: %w", title, context.Cause(ctx))
			}
			d.facts.Failed = append(d.facts.Failed, title)
			return fmt.Errorf("failed at %q: %w", title, err)
		}
		s.state = done
	}
	return nil
}

// show draws the live host: on the screen, and as a file.
func (d *demo) show(ctx context.Context, picture, title, sentence string) error {
	d.printf("\n%s\n", wrapped(sentence, 78))
	code, err := d.client.Run(ctx, lab.Command{
		Namespace: "host", Args: []string{"drawbridge", "draw"}, Stdout: d.screen, Stderr: d.screen,
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("drawbridge draw: ended with code %d", code)
	}
	if err != nil {
		return err
	}
	file := filepath.Join(d.work, picture+".svg")
	_, err = d.client.Output(ctx, "host", "drawbridge", "draw", "-o", file, "--title", title, "--subtitle", sentence)
	return err
}

// hostAlone brings the lab up with the host's uplink pulled out.
func (d *demo) hostAlone(ctx context.Context) error {
	l, err := lab.Start(ctx, lab.Options{Name: fmt.Sprintf("demo-%d", os.Getpid()), Unplugged: true})
	if err != nil {
		return err
	}
	d.lab = l
	d.client, err = lab.Dial(l.Name())
	return err
}

// hostOnLAN plugs it in. This is what "down" must bring back, and where the story begins.
func (d *demo) hostOnLAN(ctx context.Context) error {
	if err := d.client.SetUplink(true); err != nil {
		return err
	}
	err := retry(ctx, 5*time.Second, func() error {
		_, err := d.client.Ping(ctx, "host", lab.Router)
		return err
	})
	if err != nil {
		return err
	}
	if err := d.client.Observe(ctx, "host", &d.before); err != nil {
		return err
	}
	if err := d.writeFiles(); err != nil {
		return err
	}
	_, err = d.client.Output(ctx, "host", "drawbridge", "story", d.file(fileBridged), "-o", filepath.Join(d.work, storyPage))
	return err
}

func (d *demo) vmDangling(ctx context.Context) error { return d.up(ctx, fileDangling) }

// vmCabled plugs the machine's NIC in: host and machine can talk.
func (d *demo) vmCabled(ctx context.Context) error {
	if err := d.up(ctx, fileCabled); err != nil {
		return err
	}
	return retry(ctx, 10*time.Second, func() error {
		p, err := d.client.Ping(ctx, "host", guestPlain.Addr())
		if err == nil {
			d.printf("  the host pings the machine at %s: %.2f ms\n", guestPlain.Addr(), p.MS)
		}
		return err
	})
}

func (d *demo) bridgeMade(ctx context.Context) error { return d.up(ctx, fileBridgeMade) }

// bridged is the cutover, with probes running from before to after it.
func (d *demo) bridged(ctx context.Context) error {
	// Of its own context: it is ended by Stop, and with the lab.
	m, err := d.client.Measure(context.WithoutCancel(ctx), lab.Targets())
	if err != nil {
		return err
	}
	d.printf("  1,000 probes a second go to the host from the neighbour, and from behind the router\n")
	pause(ctx, settleTime)
	err = d.up(ctx, fileBridged)
	pause(ctx, settleTime)
	results, probeErr := m.Stop()
	if err := errors.Join(err, probeErr); err != nil {
		return err
	}
	d.facts.Flows = results
	d.facts.Probes = Probes{results[0].Sent, results[0].Lost, results[0].LongestGapMS}
	// The address comes when the LAN's DHCP server gives it.
	return retry(ctx, 20*time.Second, func() error { return d.readStatus(ctx) })
}

// settleTime is how long probes run before and after the cutover.
const settleTime = 700 * time.Millisecond

func (d *demo) up(ctx context.Context, file string) error {
	return d.drawbridge(ctx, "up", d.file(file), "--yes")
}

// retry tries until it works or the time is over.
func retry(ctx context.Context, limit time.Duration, try func() error) error {
	for end := time.Now().Add(limit); ; pause(ctx, 50*time.Millisecond) {
		err := try()
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
	}
}

func pause(ctx context.Context, t time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(t):
	}
}

// dhcpAddress is the address of a NIC that lies in the LAN's subnet.
func dhcpAddress(n nicStatus) (netip.Prefix, bool) {
	for _, a := range n.Addresses {
		if lab.InPool(a.Addr()) {
			return a, true
		}
	}
	return netip.Prefix{}, false
}
