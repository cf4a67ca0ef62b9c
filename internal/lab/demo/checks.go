package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"drawbridge/internal/lab"
	"drawbridge/internal/lab/flow"
	"drawbridge/internal/model"
)

// check is one line at the end: what was to be shown, and the measured figure.
type check struct {
	name string
	do   func(*demo, context.Context) (figure string, err error)
}

func checks() []check {
	return []check{
		{"the machine has an address from the LAN's DHCP server", (*demo).hasLease},
		{"the neighbour pings it and fetches its page", (*demo).neighbourReachesIt},
		{"it reaches the second subnet", (*demo).reachesFar},
		{"the LAN sees the machine's own MAC", (*demo).macOnLAN},
		{"the host still answers at its address", (*demo).hostAnswers},
		{"the story page and the pictures are written", (*demo).filesWritten},
		{"'down' brought the host back, equal to the snapshot before", (*demo).restored},
	}
}

// check goes through all checks, whatever fails.
func (d *demo) check(ctx context.Context) error {
	var broken []string
	for i, c := range checks() {
		letter := string(rune('a' + i))
		figure, err := c.do(d, ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		mark := d.paint(green, "✓")
		if err != nil {
			mark, figure = d.paint(red, "✗"), err.Error()
			broken = append(broken, "("+letter+") "+c.name)
		}
		d.printf("(%s) %s %s: %s\n", letter, mark, c.name, strings.ReplaceAll(figure, "\n", "\n      "))
	}
	if broken != nil {
		return errors.New(strings.Join(broken, "; "))
	}
	return nil
}

// The parts of "drawbridge status --json" that are read here.
type statusReport struct {
	Machines []machineStatus `json:"machines"`
}

type machineStatus struct {
	Name string      `json:"name"`
	NICs []nicStatus `json:"nics"`
}

type nicStatus struct {
	Name      string         `json:"name"`
	MAC       model.MAC      `json:"mac"`
	Link      string         `json:"link"`
	Addresses []netip.Prefix `json:"addresses"`
}

// readStatus asks the program itself, as another program would.
func (d *demo) readStatus(ctx context.Context) error {
	out, err := d.client.Output(ctx, "host", "drawbridge", "status", "--json")
	if err != nil {
		return err
	}
	var report statusReport
	if err := json.Unmarshal(out, &report); err != nil {
		return fmt.Errorf("drawbridge status --json: %w", err)
	}
	i := slices.IndexFunc(report.Machines, func(m machineStatus) bool { return m.Name == machineName })
	if i < 0 {
		return fmt.Errorf("drawbridge status --json knows no machine %s", machineName)
	}
	d.machine = report.Machines[i]
	if _, ok := dhcpAddress(d.nic()); !ok {
		return fmt.Errorf("%s has no address from DHCP on %s", machineName, nicName)
	}
	return nil
}

func (d *demo) nic() nicStatus {
	for _, n := range d.machine.NICs {
		if n.Name == nicName {
			return n
		}
	}
	return nicStatus{}
}

// address is the machine's, invalid if it has none.
func (d *demo) address() netip.Addr {
	p, _ := dhcpAddress(d.nic())
	return p.Addr()
}

func (d *demo) hasLease(ctx context.Context) (string, error) {
	if err := d.readStatus(ctx); err != nil {
		return "", err
	}
	info, err := d.client.Info()
	if err != nil {
		return "", err
	}
	a, _ := dhcpAddress(d.nic())
	for _, l := range info.Leases {
		if l.Address == a.Addr() && model.MAC(l.MAC) == d.nic().MAC {
			d.facts.DHCPAddress = a.Addr().String()
			d.facts.NIC, err = d.cabling(ctx)
			return fmt.Sprintf("%s, by %s", a, d.facts.NIC), err
		}
	}
	return "", fmt.Errorf("%s has %s, but the server gave no such lease to %s", machineName, a, d.nic().MAC)
}

// cabling tells how the machine's NIC hangs on the host.
func (d *demo) cabling(ctx context.Context) (string, error) {
	var host model.Namespace
	if err := d.client.Observe(ctx, "host", &host); err != nil {
		return "", err
	}
	l := host.Link(d.nic().Link)
	switch {
	case l == nil:
		return "", fmt.Errorf("the host has no link %s", d.nic().Link)
	case d.vmm == vmmNamespace:
		return "a veth pair", nil
	case l.Kind == model.Veth:
		return "UML's vector raw transport on a veth pair", nil
	case d.kernel.Vector:
		return "UML's vector NIC on a tap", nil
	default:
		return "UML's legacy tuntap NIC on a tap", nil
	}
}

func (d *demo) neighbourReachesIt(ctx context.Context) (string, error) {
	if !d.address().IsValid() {
		return "", errors.New("it has no address")
	}
	p, err := d.client.Ping(ctx, "neighbour", d.address())
	if err != nil {
		return "", err
	}
	d.facts.PingMS = p.MS
	page, err := d.client.Get(ctx, "neighbour", fmt.Sprintf("http://%s/", d.address()))
	if err != nil {
		return "", err
	}
	d.facts.Page = plainText(page.Body)
	if page.Code != 200 || !strings.Contains(page.Body, machineName) {
		return "", fmt.Errorf("status %d, and the page does not say who it is: %q", page.Code, d.facts.Page)
	}
	return fmt.Sprintf("%.2f ms; %q", p.MS, shortened(d.facts.Page, 40)), nil
}

var tags = regexp.MustCompile(`(?s)<title>.*?</title>|<[^>]*>`)

// plainText is a page without its markup.
func plainText(page string) string {
	return strings.Join(strings.Fields(tags.ReplaceAllString(page, " ")), " ")
}

func (d *demo) reachesFar(ctx context.Context) (string, error) {
	out, err := d.client.Output(ctx, "host", "drawbridge", "lab", GuestCommand, machineName, "get", fmt.Sprintf("http://%s/", lab.FarAddress))
	if err != nil {
		return "", err
	}
	var a lab.GetAnswer
	if err := json.Unmarshal(out, &a); err != nil {
		return "", err
	}
	d.facts.SecondSubnet = plainText(a.Body)
	// Routed, not translated: the server sees the machine's own address.
	if a.Code != 200 || !strings.Contains(a.Body, "You are "+d.address().String()) {
		return "", fmt.Errorf("status %d, and the server there saw somebody else: %q", a.Code, d.facts.SecondSubnet)
	}
	return fmt.Sprintf("%q", d.facts.SecondSubnet), nil
}

// macOnLAN asks the neighbour's ARP table, and the switch: behind which port is it?
func (d *demo) macOnLAN(ctx context.Context) (string, error) {
	var neighbour, lan model.Namespace
	if err := errors.Join(d.client.Observe(ctx, "neighbour", &neighbour), d.client.Observe(ctx, "lan", &lan)); err != nil {
		return "", err
	}
	i := slices.IndexFunc(neighbour.Neighbours, func(n model.Neighbour) bool { return n.Address == d.address() })
	if i < 0 {
		return "", fmt.Errorf("the neighbour knows no %s", d.address())
	}
	mac := neighbour.Neighbours[i].MAC
	d.facts.VMMACOnLAN = string(mac)
	if mac != d.nic().MAC {
		return "", fmt.Errorf("the neighbour knows it as %s, but its own is %s", mac, d.nic().MAC)
	}
	for _, e := range lan.FDB {
		if e.MAC == mac && e.Link == lab.HostPort {
			return fmt.Sprintf("%s, behind the switch's port to the host", mac), nil
		}
	}
	return "", fmt.Errorf("the switch has not learned %s behind the host's port", mac)
}

func (d *demo) hostAnswers(ctx context.Context) (string, error) {
	for _, a := range []netip.Addr{lab.HostAddress, lab.HostAddress6} {
		if _, err := d.client.Ping(ctx, "neighbour", a); err != nil {
			return "", err
		}
	}
	var lines []string
	for _, r := range d.facts.Flows {
		if r.Error != "" {
			return "", fmt.Errorf("%s: %s", r.Name, r.Error)
		}
		lines = append(lines, flowLine(r))
	}
	return fmt.Sprintf("%s; lost at the cutover:\n%s", lab.HostAddress, strings.Join(lines, "\n")), nil
}

func flowLine(r flow.Result) string {
	if r.Network == "tcp" {
		return fmt.Sprintf("%-16s %5d round trips, longest stall %.1f ms", r.Name, r.Sent, r.LongestGapMS)
	}
	return fmt.Sprintf("%-16s %5d probes, %d lost, longest gap %.1f ms", r.Name, r.Sent, r.Lost, r.LongestGapMS)
}

func (d *demo) filesWritten(context.Context) (string, error) {
	want := []string{storyPage}
	for _, s := range stages() {
		if s.picture != "" {
			want = append(want, s.picture+".svg")
		}
	}
	size := int64(0)
	for _, name := range want {
		fi, err := os.Stat(filepath.Join(d.work, name))
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, errors.Unwrap(err))
		}
		if fi.Size() == 0 {
			return "", fmt.Errorf("%s is empty", name)
		}
		size += fi.Size()
	}
	return fmt.Sprintf("%s and %d pictures in %s, %d kB", storyPage, len(want)-1, d.options.Out, size/1000), nil
}

// restored takes everything down again, and compares the host with what it was, in
// the one normalisation of what changes by itself.
func (d *demo) restored(ctx context.Context) (string, error) {
	if err := d.drawbridge(ctx, "down", "--yes"); err != nil {
		return "", err
	}
	var after model.Namespace
	if err := d.client.Observe(ctx, "host", &after); err != nil {
		return "", err
	}
	was, is := d.before.Normalised(), after.Normalised()
	if diff := differences(was, is); diff != "" {
		return "", errors.New("it differs from before:\n" + diff)
	}
	d.facts.Restored = true
	return fmt.Sprintf("%d links, %d addresses, %d routes, %d rules", len(is.Links), len(is.Addresses), len(is.Routes), len(is.Rules)), nil
}

// differences lists what one has and the other has not, a line each.
func differences(was, is model.Namespace) string {
	var out []string
	for _, part := range []struct {
		name    string
		was, is any
	}{
		{"links", was.Links, is.Links}, {"addresses", was.Addresses, is.Addresses}, {"routes", was.Routes, is.Routes},
		{"rules", was.Rules, is.Rules}, {"neighbours", was.Neighbours, is.Neighbours}, {"forwarding", was.FDB, is.FDB}, {"settings", was.Settings, is.Settings},
	} {
		a, errA := json.Marshal(part.was)
		b, errB := json.Marshal(part.is)
		if string(a) != string(b) || errA != nil || errB != nil {
			out = append(out, fmt.Sprintf("%s: before %s\n%s  now    %s", part.name, a, strings.Repeat(" ", len(part.name)), b))
		}
	}
	return strings.Join(out, "\n")
}
