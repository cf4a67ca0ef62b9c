package manager

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"drawbridge/internal/model"

	"github.com/godbus/dbus/v5"
)

// objects are what a service tells of all its objects at once: path, interface, property.
type objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant

// The interfaces of NetworkManager's objects, and the bits that matter
// (NetworkManager's nm-dbus-interface.h).
const (
	nmDevice     = "org.freedesktop.NetworkManager.Device"
	nmActive     = "org.freedesktop.NetworkManager.Connection.Active"
	nmConnection = "org.freedesktop.NetworkManager.Settings.Connection"

	// NM_ACTIVATION_STATE_FLAG_EXTERNAL: somebody else has set the device up, and it only
	// looks on.
	nmExternal = 0x80
)

// askNetworkManager asks for all its devices, connections and profiles in one call.
func (s System) askNetworkManager(b *bus, ns *model.Namespace) (map[string]model.Manager, error) {
	var all objects
	if err := b.call("org.freedesktop.NetworkManager", "/org/freedesktop", "org.freedesktop.DBus.ObjectManager.GetManagedObjects", &all); err != nil {
		return nil, err
	}
	return networkManagerHolds(all, ns), nil
}

// networkManagerHolds are the links that it manages and has set up, or may set up.
func networkManagerHolds(all objects, ns *model.Namespace) map[string]model.Manager {
	out := map[string]model.Manager{}
	for _, o := range all {
		device, ok := o[nmDevice]
		if !ok {
			continue
		}
		name := cmp.Or(property[string](device, "IpInterface"), property[string](device, "Interface"))
		if ns.Link(name) == nil || !property[bool](device, "Managed") {
			continue
		}
		active := all[property[dbus.ObjectPath](device, "ActiveConnection")][nmActive]
		if property[uint32](active, "StateFlags")&nmExternal != 0 {
			continue
		}
		profile := all[property[dbus.ObjectPath](active, "Connection")][nmConnection]
		m := model.Manager{Profile: property[string](active, "Id"), File: property[string](profile, "Filename")}
		out[name] = m
	}
	return out
}

// property is a property's value, the zero value where there is none of that type.
func property[T any](properties map[string]dbus.Variant, name string) (value T) {
	value, _ = properties[name].Value().(T)
	return value
}

// networkManagerFiles is what it notes of each device, for when it starts anew
// (nm-config.c, nm_config_device_state_write).
func (s System) networkManagerFiles(ns *model.Namespace) map[string]model.Manager {
	out := map[string]model.Manager{}
	for _, l := range ns.Links {
		file := fmt.Sprintf("run/NetworkManager/devices/%d", l.Index)
		text := s.read(file)
		if !strings.Contains(text, "managed=true") {
			continue
		}
		out[l.Name] = model.Manager{File: "/" + cmp.Or(s.profile(valueOf(text, "connection-uuid")), file)}
	}
	return out
}

// profile is the file of a connection, "" where it may not be read.
func (s System) profile(uuid string) string {
	if uuid == "" {
		return ""
	}
	for _, dir := range []string{"etc/NetworkManager/system-connections", "run/NetworkManager/system-connections"} {
		for _, name := range s.list(dir) {
			if file := path.Join(dir, name); valueOf(s.read(file), "uuid") == uuid {
				return file
			}
		}
	}
	return ""
}
