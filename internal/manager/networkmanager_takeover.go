package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"drawbridge/internal/model"

	"github.com/godbus/dbus/v5"
)

const (
	nmService  = "org.freedesktop.NetworkManager"
	nmManager  = "/org/freedesktop/NetworkManager"
	nmSettings = "/org/freedesktop/NetworkManager/Settings"
	keyfiles   = "etc/NetworkManager/system-connections"
)

// networkManagerTakes has NetworkManager take links over without a gap. It cannot be told to
// take what is there for a profile of ours while it runs; activating one takes addresses off
// and puts them on again. But what it begins to manage and finds in place it looks on at:
// it makes a profile of what it sees, and calls the device connected (externally)
// (nm-manager.c, recheck_assume_connection). When that profile gets another owner, the
// connection is its own from then on, and nothing is done to the device
// (nm-active-connection.c, _settings_connection_flags_changed). So our file gets that
// profile's uuid, and takes its place.
func (s System) networkManagerTakes(ctx context.Context, root string, op model.TakeOver, h Hands) error {
	b, err := s.connect(ctx, NetworkManager)
	if err != nil {
		return err
	}
	defer b.close()
	for _, link := range op.Links() {
		if !s.exists(keyfileOf(link)) {
			return &Refused{NetworkManager, "there is no file of ours for " + link}
		}
	}
	if err := drop(root, NetworkManager, op.Links()); err != nil {
		return err
	}
	for _, link := range op.Links() { // before any of them may be set up by the user's profile
		if err := b.setDevice(link, "Autoconnect", false); err != nil {
			return fmt.Errorf("%s: %w", link, err)
		}
	}
	const conf = uint32(1) // NM_MANAGER_RELOAD_FLAG_CONF
	if err := b.call(nmService, nmManager, nmService+".Reload", nil, conf); err != nil {
		return err
	}
	uuids := map[string]string{}
	for _, link := range op.Links() { // a port only after its bridge
		if uuids[link], err = b.lookOn(ctx, link, h); err != nil {
			return fmt.Errorf("%s: %w", link, err)
		}
	}
	if err := s.profilesFor(uuids, h); err != nil {
		return err
	}
	for _, link := range op.Links() {
		if err := s.adopt(ctx, b, root, link, h); err != nil {
			return fmt.Errorf("%s: %w", link, err)
		}
	}
	for _, link := range op.Links() {
		if err := b.setDevice(link, "Autoconnect", true); err != nil {
			return fmt.Errorf("%s: %w", link, err)
		}
	}
	return nil
}

func keyfileOf(link string) string { return keyfiles + "/drawbridge-" + link + ".nmconnection" }

// device is the path of a link's device.
func (b *bus) device(link string) (path dbus.ObjectPath, err error) {
	err = b.call(nmService, nmManager, nmService+".GetDeviceByIpIface", &path, link)
	return path, err
}

func (b *bus) setDevice(link, property string, value any) error {
	path, err := b.device(link)
	if err != nil {
		return err
	}
	return b.call(nmService, string(path), "org.freedesktop.DBus.Properties.Set", nil, nmDevice, property, dbus.MakeVariant(value))
}

// lookOn has NetworkManager manage a device, waits until it looks on, and returns the uuid of
// the profile that it has made. It looks whenever the kernel tells of a link or an address.
func (b *bus) lookOn(ctx context.Context, link string, h Hands) (uuid string, err error) {
	if err := b.setDevice(link, "Managed", true); err != nil {
		return "", err
	}
	for n := 0; ; n++ {
		profile, file, external, err := b.connection(link)
		switch {
		case err != nil:
			return "", err
		case profile != "" && external:
			return profile, nil
		case profile != "" && strings.Contains(file, "/drawbridge-"):
			return profile, nil // it has it already
		case profile != "":
			return "", &Refused{NetworkManager, fmt.Sprintf("%s is set up by another profile, %s", link, file)}
		}
		if n%4 == 1 {
			if err := h.Show(link); err != nil {
				return "", err
			}
		}
		select {
		case <-ctx.Done():
			return "", errors.New("NetworkManager makes nothing of what it finds there")
		case <-time.After(lookAgain):
		}
	}
}

// connection is what is active on a link: its profile's uuid and file, and whether
// NetworkManager only looks on. uuid is "" while nothing is, or not wholly.
func (b *bus) connection(link string) (uuid, file string, external bool, err error) {
	path, err := b.device(link)
	if err != nil {
		return "", "", false, err
	}
	var all objects
	if err := b.call(nmService, "/org/freedesktop", "org.freedesktop.DBus.ObjectManager.GetManagedObjects", &all); err != nil {
		return "", "", false, err
	}
	device := all[path][nmDevice]
	active := all[property[dbus.ObjectPath](device, "ActiveConnection")][nmActive]
	const activated = 100 // NM_DEVICE_STATE_ACTIVATED
	if active == nil || property[uint32](device, "State") != activated {
		return "", "", false, nil
	}
	profile := all[property[dbus.ObjectPath](active, "Connection")][nmConnection]
	return property[string](active, "Uuid"), property[string](profile, "Filename"), property[uint32](active, "StateFlags")&nmExternal != 0, nil
}

var uuidLine = regexp.MustCompile(`(?m)^uuid=.*$`)

// profilesFor gives our keyfiles the uuids.
func (s System) profilesFor(uuids map[string]string, h Hands) error {
	contents := map[string]string{}
	for link, uuid := range uuids {
		was := s.read(keyfileOf(link))
		if text := uuidLine.ReplaceAllString(was, "uuid="+uuid); text != was {
			contents["/"+keyfileOf(link)] = text
		}
	}
	return h.Rewrite(contents)
}

// adopt has our profile take the place of the one that NetworkManager has made. Of two files
// with one uuid the one in /run counts: it goes.
func (s System) adopt(ctx context.Context, b *bus, root, link string, h Hands) error {
	uuid, file, external, err := b.connection(link)
	if err != nil {
		return err
	}
	load := func(file string) error {
		return b.call(nmService, nmSettings, nmService+".Settings.LoadConnections", nil, []string{file})
	}
	if err := load("/" + keyfileOf(link)); err != nil {
		return err
	}
	if external && strings.HasPrefix(file, "/run/") {
		if err := gone(os.Remove(filepath.Join(root, file))); err != nil {
			return err
		}
		if err := load(file); err != nil {
			return err
		}
	}
	for {
		now, file, external, err := b.connection(link)
		switch {
		case err != nil:
			return err
		case now == uuid && !external && file == "/"+keyfileOf(link):
			return s.bringIntoForce(ctx, b, link, h)
		case now == "":
			return &Refused{NetworkManager, link + " was taken down"}
		}
		select {
		case <-ctx.Done():
			return errors.New("its profile does not take the place of the one that NetworkManager has made")
		case <-time.After(lookAgain):
		}
	}
}

// keepIPv6 keeps NetworkManager from switching IPv6 off and on again on a link, for the
// moment: it does so when it takes IPv6 over from the kernel (nm-device.c,
// _dev_addrgenmode6_set), and all addresses go, to come back after duplicate address
// detection.
func (b *bus) keepIPv6(link string, h Hands) (restore func() error, err error) {
	pid, err := b.pid(nmService)
	if err != nil {
		return nil, err
	}
	restore, err = h.Shield(pid, "ipv6/conf/"+link+"/disable_ipv6")
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil // a kernel without IPv6, or a link without it
	}
	return restore, err
}

// bringIntoForce makes the settings of the profile those that are in force.
func (s System) bringIntoForce(ctx context.Context, b *bus, link string, h Hands) (err error) {
	restore, err := b.keepIPv6(link, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	if err := b.reapply(link); err != nil {
		return err
	}
	// It begins a moment after its answer. What it does then it does in one go: the next
	// answer comes after that.
	mode := "proc/sys/net/ipv6/conf/" + link + "/addr_gen_mode"
	const none = "1" // IN6_ADDR_GEN_MODE_NONE
	for end := time.Now().Add(time.Second); strings.TrimSpace(s.read(mode)) != none && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	_, _, _, err = b.connection(link)
	return err
}

// reapply makes the profile's settings those that are in force: until then NetworkManager
// goes by what it saw. What is there and is none of its own stays. The MAC address is what
// cannot be applied to an active device, and it is as the profile says.
func (b *bus) reapply(link string) error {
	path, err := b.device(link)
	if err != nil {
		return err
	}
	var all objects
	if err := b.call(nmService, "/org/freedesktop", "org.freedesktop.DBus.ObjectManager.GetManagedObjects", &all); err != nil {
		return err
	}
	active := all[property[dbus.ObjectPath](all[path][nmDevice], "ActiveConnection")][nmActive]
	var applied, wanted map[string]map[string]dbus.Variant
	var version uint64
	if err := b.callAll(nmService, string(path), nmDevice+".GetAppliedConnection", []any{&applied, &version}, uint32(0)); err != nil {
		return err
	}
	if err := b.call(nmService, string(property[dbus.ObjectPath](active, "Connection")), nmConnection+".GetSettings", &wanted); err != nil {
		return err
	}
	for _, setting := range []string{"802-3-ethernet", "tun", "bridge-port"} { // as they are in force
		delete(wanted, setting)
		if s, ok := applied[setting]; ok {
			wanted[setting] = s
		}
	}
	for _, family := range []string{"ipv4", "ipv6"} { // they are in address-data and route-data
		delete(wanted[family], "addresses")
		delete(wanted[family], "routes")
	}
	for _, key := range []string{"master", "slave-type", "controller", "port-type"} {
		delete(wanted["connection"], key)
		if v, ok := applied["connection"][key]; ok {
			wanted["connection"][key] = v
		}
	}
	const preserveExternalIP = uint32(1) // NM_DEVICE_REAPPLY_FLAGS_PRESERVE_EXTERNAL_IP, since 1.42
	err = b.call(nmService, string(path), nmDevice+".Reapply", nil, wanted, version, preserveExternalIP)
	if err != nil {
		return fmt.Errorf("reapply: %w", err)
	}
	return nil
}
