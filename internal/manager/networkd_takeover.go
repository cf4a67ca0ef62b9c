package manager

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/model"
)

// keepFile has networkd keep what is on a bridge that it takes over: it takes off otherwise
// what stands in no file, a lease and what routers have advertised too, and gets those only a
// second later again (networkd-address.c, link_drop_foreign_addresses). It is in force for
// this boot.
const (
	keepFile = "90-drawbridge-keep.conf"
	keepText = "# Written by drawbridge, for this boot only: what is on it stays when networkd takes it over.\n[Network]\nKeepConfiguration=yes\n"
)

// keepLess is what is in force afterwards where a bridge's file is netplan's, which writes it
// anew at every 'netplan generate': of a file that has changed networkd applies "yes" by taking
// all off first (networkd-link.c, link_reconfigure_impl), and there is no word for both kinds
// of addresses, those that stand in it and those that it gets.
func keepLess(file string) string {
	word := "static"
	for line := range strings.Lines(file) {
		if how, ok := strings.CutPrefix(strings.TrimSpace(line), "DHCP="); ok && how != "no" {
			word = "dhcp"
		}
	}
	return strings.Replace(keepText, "=yes", "="+word, 1)
}

// netplanFile is what networkd's files are made of, in netplan's words.
const netplanFile = "etc/netplan/90-drawbridge.yaml"

// The files by which networkd has a link of ours: in our own words, and as netplan makes
// them of ours.
var (
	networkdFolders = []string{"etc/systemd/network", "run/systemd/network"}
	networkdNames   = []string{"*drawbridge-LINK.network", "10-netplan-LINK.network"}
)

// networkdTakes has networkd read its files anew, without the one that tells it to leave the
// links alone: what it finds as they say it leaves as it is.
func (s System) networkdTakes(ctx context.Context, root string, op model.TakeOver, h Hands) error {
	b, err := s.connect(ctx, Networkd)
	if err != nil {
		return err
	}
	defer b.close()
	if s.exists(netplanFile) {
		if err := h.Run(ctx, "netplan", "generate"); err != nil {
			return err
		}
	}
	files := map[string]string{}
	for _, link := range op.Bridges {
		all := s.ours(link, networkdFolders, networkdNames...)
		if len(all) == 0 {
			return &Refused{Networkd, "there is no file of ours for " + link}
		}
		files[link] = all[0]
		if err := keep(root, all[0], keepText); err != nil {
			return err
		}
	}
	if err := drop(root, Networkd, op.Links()); err != nil {
		return err
	}
	if err := b.call("org.freedesktop.network1", "/org/freedesktop/network1", "org.freedesktop.network1.Manager.Reload", nil); err != nil {
		return err
	}
	if err := b.awaitLinks(ctx, op, h); err != nil {
		return err
	}
	for _, file := range files {
		if strings.Contains(file, "netplan") {
			if err := keep(root, file, keepLess(s.read(file))); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetNetplan has netplan make networkd's files anew where they are of a file of ours still
// that was taken away.
func (s System) forgetNetplan(ctx context.Context, name string, h Hands) error {
	if name != Networkd || s.exists(netplanFile) || len(s.ours("*", []string{"run/systemd/network"}, "10-netplan-*drawbridge-LINK.network")) == 0 {
		return nil
	}
	return h.Run(ctx, "netplan", "generate")
}

func keep(root, file, text string) error {
	dir := filepath.Join(root, "run/systemd/network", path.Base(file)+".d")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // networkd reads it as a user of its own
		return err
	}
	return os.WriteFile(filepath.Join(dir, keepFile), []byte(text), 0o644) //nolint:gosec // the same
}

// keepNoMore takes the drop-ins of links away.
func (s System) keepNoMore(root string, links []string) {
	for _, link := range links {
		for _, dir := range s.ours(link, []string{"run/systemd/network"}, "*drawbridge-LINK.network.d", "10-netplan-LINK.network.d") {
			_ = os.Remove(filepath.Join(root, dir, keepFile))
			_ = os.Remove(filepath.Join(root, dir)) // only if it is empty
		}
	}
}

// portsTime is how long networkd may take for the ports, once it has the bridges. One
// without a carrier it may never end with.
const portsTime = 2 * time.Second

// awaitLinks waits until networkd has the links. It does what it has put off when it hears
// of a link: without that some ports are "configuring" for ever.
func (b *bus) awaitLinks(ctx context.Context, op model.TakeOver, h Hands) error {
	var bridges time.Time // since when it has them
	for n := 1; ; n++ {
		var text string
		if err := b.call("org.freedesktop.network1", "/org/freedesktop/network1", "org.freedesktop.network1.Manager.Describe", &text); err != nil {
			return err
		}
		left, begun, err := networkdLacks([]byte(text), op)
		switch {
		case err != nil:
			return err
		case left != "":
		case len(begun) == 0 || !bridges.IsZero() && time.Since(bridges) > portsTime:
			return nil
		case bridges.IsZero():
			bridges = time.Now()
		}
		for _, link := range begun {
			if n%4 != 0 {
				break
			}
			if err := h.Show(link); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return &Refused{Networkd, fmt.Sprintf("%s after %v", left, takeOverTime)}
		case <-time.After(lookAgain):
		}
	}
}

// networkdLacks tells what networkd has not taken over yet, "" for nothing, and the ports
// that it has begun with; the error is that it will not.
func networkdLacks(description []byte, op model.TakeOver) (left string, begun []string, err error) {
	var d struct {
		Interfaces []struct{ Name, AdministrativeState, NetworkFile string }
	}
	if err := json.Unmarshal(description, &d); err != nil {
		return "", nil, fmt.Errorf("its description: %w", err)
	}
	for _, i := range d.Interfaces {
		if !slices.Contains(op.Links(), i.Name) {
			continue
		}
		switch state := i.AdministrativeState; {
		case state == "failed":
			return "", nil, &Refused{Networkd, i.Name + " has failed ('journalctl -u systemd-networkd' tells why)"}
		case state == "unmanaged":
			return i.Name + " is unmanaged still", nil, nil
		case !strings.Contains(path.Base(i.NetworkFile), "drawbridge-") && !strings.Contains(path.Base(i.NetworkFile), "netplan"):
			return i.Name + " is by " + i.NetworkFile + " still", nil, nil
		case state == "configured":
		case slices.Contains(op.Bridges, i.Name):
			return i.Name + " is " + state + " still", nil, nil
		default:
			begun = append(begun, i.Name)
		}
	}
	return "", begun, nil
}

// networkdLetsGo starts networkd anew when it is told already to leave links alone: it keeps
// what is there of what it has given, and would take it off at a reload (networkd-link.c,
// link_reconfigure_impl).
func (s System) networkdLetsGo(ctx context.Context, root string, links []string) error {
	s.keepNoMore(root, links)
	b, err := s.bus(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	before, _ := b.pid("org.freedesktop.network1")
	var job string
	if err := b.call("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager.RestartUnit", &job, "systemd-networkd.service", "replace"); err != nil {
		return err
	}
	for {
		if now, err := b.pid("org.freedesktop.network1"); err == nil && now != before {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}
