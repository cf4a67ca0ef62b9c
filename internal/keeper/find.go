package keeper

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Client is a DHCP client that was found running.
type Client struct {
	Name string
	PID  int
	args []string
}

func (c Client) String() string { return fmt.Sprintf("%s (process %d)", c.Name, c.PID) }

// clients are those that are known, by the name of their process. What each may do to the
// uplink is internal/manager's to tell.
var clients = []string{"dhclient", "udhcpc", "dhcpcd", "systemd-network", "NetworkManager"}

// Clients finds the DHCP clients of an uplink among the processes of this network
// namespace (its inode): those whose arguments name the uplink, and those that see to all
// links.
func Clients(namespace uint64, uplink string) []Client {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []Client
	for _, dir := range dirs {
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil || !slices.Contains(clients, strings.TrimSpace(string(comm))) {
			continue
		}
		var st syscall.Stat_t
		if syscall.Stat(filepath.Join(dir, "ns/net"), &st) != nil || st.Ino != namespace {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		args := strings.FieldsFunc(string(line), func(r rune) bool { return r == 0 || r == ' ' })
		pid, _ := strconv.Atoi(filepath.Base(dir))
		c := Client{Name: strings.TrimSpace(string(comm)), PID: pid, args: args}
		if c.serves(uplink) {
			out = append(out, c)
		}
	}
	return out
}

// serves tells whether the arguments name the uplink, or no link at all.
func (c Client) serves(uplink string) bool {
	if slices.Contains(c.args, uplink) || slices.Contains(c.args, "-i"+uplink) {
		return true
	}
	switch c.Name {
	case "systemd-network", "NetworkManager":
		return true
	case "udhcpc":
		return uplink == "eth0" && !slices.Contains(c.args, "-i") // its default
	case "dhcpcd":
		return slices.Contains(c.args, "[manager]") || slices.Contains(c.args, "[master]")
	default:
		return false
	}
}

// Note is what a client has written down of its lease of an address.
type Note struct {
	ClientID []byte
	Hostname string
}

// Noted looks for an address in the lease files of the clients that are known; false if
// none has it.
func Noted(found []Client, uplink string, index int, address netip.Addr) (Note, bool) {
	files := []string{"/var/lib/dhcp/dhclient.leases", "/var/lib/dhcp/dhclient." + uplink + ".leases",
		"/var/lib/dhclient/dhclient.leases", "/var/lib/dhclient/dhclient-" + uplink + ".leases"}
	for _, c := range found {
		if i := slices.Index(c.args, "-lf"); i >= 0 && i+1 < len(c.args) {
			files = append([]string{c.args[i+1]}, files...)
		}
	}
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			if n, ok := parseDhclient(data, uplink, address); ok {
				return n, true
			}
		}
	}
	for _, file := range []string{"/var/lib/dhcpcd/" + uplink + ".lease", "/run/dhcpcd/" + uplink + ".lease", "/var/lib/dhcpcd5/dhcpcd-" + uplink + ".lease"} {
		if data, err := os.ReadFile(file); err == nil {
			if m, err := dhcpv4.FromBytes(data); err == nil && m.YourIPAddr.Equal(address.AsSlice()) {
				return Note{ClientID: m.Options.Get(dhcpv4.OptionClientIdentifier)}, true
			}
		}
	}
	nm, _ := filepath.Glob("/var/lib/NetworkManager/internal-*-" + uplink + ".lease")
	for _, file := range append(nm, fmt.Sprintf("/run/systemd/netif/leases/%d", index)) {
		if data, err := os.ReadFile(file); err == nil {
			if n, ok := parseNetworkd(data, address); ok {
				return n, true
			}
		}
	}
	return Note{}, false
}

// DUIDs are the unique identifiers (RFC 8415, 11) that clients here have made themselves.
func DUIDs() [][]byte {
	var out [][]byte
	for _, file := range []string{"/var/lib/dhcpcd/duid", "/etc/dhcpcd.duid"} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(data)), ":", "")); err == nil {
			out = append(out, b)
		}
	}
	return out
}

// parseDhclient reads dhclient.leases(5): the last lease of an address counts.
func parseDhclient(data []byte, uplink string, address netip.Addr) (n Note, ok bool) {
	var lease Note
	var link, fixed string
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		line := strings.TrimSuffix(strings.TrimSpace(lines.Text()), ";")
		key, value, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "lease "):
			lease, link, fixed = Note{}, "", ""
		case key == "interface":
			link = strings.Trim(value, `"`)
		case key == "fixed-address":
			fixed = value
		case strings.HasPrefix(line, "option dhcp-client-identifier "):
			lease.ClientID = parseOctets(strings.TrimPrefix(line, "option dhcp-client-identifier "))
		case strings.HasPrefix(line, "option host-name "):
			lease.Hostname = strings.Trim(strings.TrimPrefix(line, "option host-name "), `"`)
		case line == "}" && link == uplink && fixed == address.String():
			n, ok = lease, true
		}
	}
	return n, ok
}

// parseOctets reads 1:2:aa or "text".
func parseOctets(s string) []byte {
	if text, ok := strings.CutPrefix(s, `"`); ok {
		return []byte(strings.TrimSuffix(text, `"`))
	}
	var out []byte
	for part := range strings.SplitSeq(s, ":") {
		v, err := strconv.ParseUint(part, 16, 8)
		if err != nil {
			return nil
		}
		out = append(out, byte(v))
	}
	return out
}

// parseNetworkd reads KEY=VALUE, as systemd's DHCP client writes a lease.
func parseNetworkd(data []byte, address netip.Addr) (n Note, ok bool) {
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ADDRESS":
			ok = value == address.String()
		case "CLIENTID":
			n.ClientID, _ = hex.DecodeString(value)
		case "HOSTNAME":
			n.Hostname = value
		}
	}
	return n, ok
}
