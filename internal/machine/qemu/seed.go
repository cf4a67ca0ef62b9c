package qemu

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"drawbridge/internal/model"
)

// seedFiles are what cloud-init reads at a machine's first boot, where it finds a disk
// labelled cidata (cloud-init, datasource NoCloud): who the machine is, who may log in,
// and its addresses. JSON is YAML.
func seedFiles(m model.MachineConfig) (map[string][]byte, error) {
	user := []byte("#cloud-config\n")
	if m.UserData != "" {
		own, err := os.ReadFile(m.UserData)
		if err != nil {
			return nil, fmt.Errorf("user-data: %w", err)
		}
		user = own
	} else {
		config := map[string]any{"hostname": m.Name, "preserve_hostname": false}
		if len(m.SSHKeys) > 0 {
			config["ssh_authorized_keys"] = m.SSHKeys
		}
		b, err := json.MarshalIndent(config, "", "  ")
		if err != nil {
			return nil, err
		}
		user = append(user, append(b, '\n')...)
	}
	network, err := json.MarshalIndent(seedNetwork(m), "", "  ")
	if err != nil {
		return nil, err
	}
	// Another instance is configured anew: so it is when what it is told has changed.
	sum := sha256.New()
	sum.Write(user)
	sum.Write(network)
	meta, err := json.Marshal(map[string]string{"instance-id": fmt.Sprintf("%s-%x", m.Name, sum.Sum(nil)[:6]), "local-hostname": m.Name})
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"meta-data": append(meta, '\n'), "user-data": user, "network-config": append(network, '\n')}, nil
}

// seedNetwork is the configuration of a machine's NICs in cloud-init's words (version 2).
// Each is found by its MAC and gets its name of the file; a NIC that has no cable yet is
// configured all the same, and the guest does not wait for it.
func seedNetwork(m model.MachineConfig) map[string]any {
	nics := map[string]any{}
	for _, n := range m.NICs {
		nic := map[string]any{"match": map[string]string{"macaddress": string(n.MAC)}, "set-name": n.Name, "dhcp4": n.DHCP}
		if n.Link == "" {
			nic["optional"] = true
		}
		var addresses []string
		for _, p := range n.Addresses {
			addresses = append(addresses, p.String())
		}
		if addresses != nil {
			nic["addresses"] = addresses
		}
		var routes []any
		for _, gw := range []netip.Addr{n.Gateway, n.Gateway6} {
			if !gw.IsValid() {
				continue
			}
			to := "0.0.0.0/0"
			if gw.Is6() {
				to = "::/0"
			}
			routes = append(routes, map[string]string{"to": to, "via": gw.String()})
		}
		if routes != nil {
			nic["routes"] = routes
		}
		nics[n.Name] = nic
	}
	return map[string]any{"version": 2, "ethernets": nics}
}

const sector = 2048

// iso9660 makes a file system of a few files in one folder (ECMA-119), labelled as
// cloud-init looks for it. Names are written in capitals, as the standard wants them:
// Linux reads them small (fs/isofs, map=normal). Without a date: equal files make equal images.
func iso9660(label string, names []string, files map[string][]byte) []byte {
	const (
		primary    = 16 // sectors 0 to 15 are for whoever boots from it
		terminator = 17
		littlePath = 18
		bigPath    = 19
		folder     = 20
		first      = 21
	)
	place := first
	var entries [][]byte
	content := map[int][]byte{}
	for _, name := range names {
		data := files[name]
		entries = append(entries, isoRecord([]byte(strings.ToUpper(name)+";1"), place, len(data), 0))
		content[place] = data
		place += max(1, (len(data)+sector-1)/sector)
	}
	out := make([]byte, place*sector)
	at := func(n int) []byte { return out[n*sector:] }
	for n, data := range content {
		copy(at(n), data)
	}
	const isFolder = 2
	self := isoRecord([]byte{0}, folder, sector, isFolder)
	parent := isoRecord([]byte{1}, folder, sector, isFolder)
	dir := at(folder)
	for _, e := range append([][]byte{self, parent}, entries...) {
		dir = dir[copy(dir, e):]
	}
	path := []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0} // one folder, its own parent
	little, big := at(littlePath), at(bigPath)
	copy(little, path)
	binary.LittleEndian.PutUint32(little[2:], folder)
	binary.LittleEndian.PutUint16(little[6:], 1)
	copy(big, path)
	binary.BigEndian.PutUint32(big[2:], folder)
	binary.BigEndian.PutUint16(big[6:], 1)

	pvd := at(primary)
	copy(pvd, "\x01CD001\x01")
	blank(pvd[8:72])
	copy(pvd[40:72], label)
	both32(pvd[80:], uint32(place))
	both16(pvd[120:], 1)
	both16(pvd[124:], 1)
	both16(pvd[128:], sector)
	both32(pvd[132:], uint32(len(path)))
	binary.LittleEndian.PutUint32(pvd[140:], littlePath)
	binary.BigEndian.PutUint32(pvd[148:], bigPath)
	copy(pvd[156:], self)
	blank(pvd[190:813])
	for _, date := range []int{813, 830, 847, 864} {
		copy(pvd[date:], "0000000000000000\x00")
	}
	pvd[881] = 1
	copy(at(terminator), "\xffCD001\x01")
	return out
}

// isoRecord is a directory record.
func isoRecord(name []byte, place, size int, flags byte) []byte {
	length := 33 + len(name)
	length += length % 2
	r := make([]byte, length)
	r[0] = byte(length)
	both32(r[2:], uint32(place))
	both32(r[10:], uint32(size))
	r[25] = flags
	both16(r[28:], 1)
	r[32] = byte(len(name))
	copy(r[33:], name)
	return r
}

// both32 and both16 write a number in both byte orders.
func both32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

func both16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func blank(b []byte) {
	for i := range b {
		b[i] = ' '
	}
}
