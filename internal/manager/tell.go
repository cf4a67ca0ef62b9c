package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/model"

	"github.com/godbus/dbus/v5"
)

// Unheard is that a manager has its file, and did not answer when it was told to read it.
type Unheard struct {
	Manager string
	Err     error
}

func (e *Unheard) Error() string {
	return fmt.Sprintf("%s could not be told (%v): it reads %s when it starts anew", e.Manager, e.Err, model.BesideFile(e.Manager))
}

func (e *Unheard) Unwrap() error { return e.Err }

// takeBack is how long a manager may take to have a link again that it is given back.
const takeBack = 5 * time.Second

// Tell carries out a LeaveAlone or a ManageAgain: writes or takes away the file below root,
// and has the manager read it. The error is an [Unheard] where only the latter was in vain.
func Tell(ctx context.Context, s System, root string, op model.Operation, h Hands) error {
	var name string
	var change func(have []string) []string
	var links []string
	leave, taken := false, false
	switch op := op.(type) {
	case model.LeaveAlone:
		name, links, leave, taken = op.Manager, op.Links, true, op.Taken
		change = func(have []string) []string { return append(have, links...) }
	case model.ManageAgain:
		name, links = op.Manager, op.Links
		change = func(have []string) []string {
			return slices.DeleteFunc(have, func(l string) bool { return slices.Contains(links, l) })
		}
	default:
		return fmt.Errorf("%s: %w: nothing that a manager is told", op.Op(), model.ErrInvalid)
	}
	switch {
	case name == Ifupdown:
		return s.ifupdownForgets(root, links)
	case !model.CanBeTold(name):
		return fmt.Errorf("%s: %w: it cannot be told", name, model.ErrInvalid)
	}
	if len(links) == 0 {
		return nil
	}
	changed, err := rewrite(filepath.Join(root, model.BesideFile(name)), name, change)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !changed && !leave {
		return nil // it was never told
	}
	if o, ok := op.(model.LeaveAlone); ok && o.Unread {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, AskTime+takeBack)
	defer cancel()
	if taken && name == Networkd {
		err = s.networkdLetsGo(ctx, root, links)
	} else {
		s.keepNoMore(root, links)
		if err = s.forgetNetplan(ctx, name, h); err != nil {
			return &Unheard{name, err}
		}
		err = s.reload(ctx, name, links, leave, h)
	}
	if err != nil {
		return &Unheard{name, err}
	}
	return nil
}

// rewrite changes the links of our file; one without any is taken away.
func rewrite(path, name string, change func([]string) []string) (changed bool, err error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	links := change(model.BesideLinks(string(old)))
	slices.Sort(links)
	links = slices.Compact(links)
	if len(links) == 0 {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return true, err
	}
	text := model.BesideText(name, links)
	if text == string(old) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as its manager makes it: networkd reads it as a user of its own
		return false, err
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil { //nolint:gosec // the same
		return false, err
	}
	return true, os.Rename(path+".new", path)
}

// reload has a manager read its files, and waits until it has done what they say.
func (s System) reload(ctx context.Context, name string, links []string, leave bool, h Hands) error {
	b, err := s.connect(ctx, name)
	if err != nil {
		return err
	}
	defer b.close()
	if name == Networkd {
		return b.call("org.freedesktop.network1", "/org/freedesktop/network1", "org.freedesktop.network1.Manager.Reload", nil)
	}
	if !leave {
		if err := s.forgetProfiles(b); err != nil {
			return err
		}
	}
	const conf = uint32(1) // NM_MANAGER_RELOAD_FLAG_CONF
	if err := b.call("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager.Reload", nil, conf); err != nil {
		return err
	}
	for _, link := range links {
		if err := b.setManaged(link, !leave, h); err != nil {
			return fmt.Errorf("%s: %w", link, err)
		}
	}
	return nil
}

// forgetProfiles has NetworkManager forget the profiles of ours whose files were taken away.
// It has them in memory until it is told, and would activate them on what it is given back.
func (s System) forgetProfiles(b *bus) error {
	var all objects
	if err := b.call("org.freedesktop.NetworkManager", "/org/freedesktop", "org.freedesktop.DBus.ObjectManager.GetManagedObjects", &all); err != nil {
		return err
	}
	for _, o := range all {
		file := property[string](o[nmConnection], "Filename")
		if !strings.HasPrefix(path.Base(file), "drawbridge-") {
			continue
		}
		if _, err := fs.Stat(s.Root, strings.TrimPrefix(file, "/")); errors.Is(err, fs.ErrNotExist) {
			return b.call("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager/Settings", "org.freedesktop.NetworkManager.Settings.ReloadConnections", nil)
		}
	}
	return nil
}

// await waits until a manager has its name on the bus: one that starts has read its files
// before.
func (b *bus) await(name string) (err error) {
	for _, d := range daemons {
		for end := time.Now().Add(AskTime); d.name == name; time.Sleep(50 * time.Millisecond) {
			if _, err = b.pid(d.service); err == nil || b.ctx.Err() != nil || time.Now().After(end) {
				return err
			}
		}
	}
	return nil
}

// setManaged has NetworkManager let a device go as it is, or take it up. The file alone does
// not make it let go of one that it has set up.
func (b *bus) setManaged(link string, managed bool, h Hands) (err error) {
	path, err := b.device(link)
	var refused dbus.Error
	if errors.As(err, &refused) && refused.Name == "org.freedesktop.NetworkManager.UnknownDevice" {
		return nil // it is yet to be made, or gone
	}
	if err != nil {
		return err
	}
	// A TakeOver that did not end well has switched it off.
	if err := b.setDevice(link, "Autoconnect", true); err != nil {
		return err
	}
	if managed {
		restore, err := b.keepIPv6(link, h)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	if err := b.setDevice(link, "Managed", managed); err != nil {
		return err
	}
	// NM_DEVICE_STATE_UNMANAGED; disconnected is as far as it comes without a profile.
	const unmanaged, disconnected, activated, failed = 10, 30, 100, 120
	quiet := 0
	for end := time.Now().Add(takeBack); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var state dbus.Variant
		if err := b.call("org.freedesktop.NetworkManager", string(path), "org.freedesktop.DBus.Properties.Get", &state, nmDevice, "State"); err != nil {
			return err
		}
		switch now, _ := state.Value().(uint32); {
		case !managed && now == unmanaged, managed && (now == activated || now == failed):
			return nil
		case managed && now == disconnected:
			if quiet++; quiet > 25 { // it has found no profile for it within half a second
				return nil
			}
		}
	}
	return nil
}
