package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"drawbridge/internal/kernel"
	"drawbridge/internal/lab/booted"
	"drawbridge/internal/lab/router"
	"drawbridge/internal/model"
	"drawbridge/internal/persist"

	"github.com/spf13/cobra"
)

func newPersistVerifyCommand(a *app) *cobra.Command {
	var o persistOptions
	limit := 60 * time.Second
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Try the next boot in namespaces, and compare",
		Long: `Try the next boot: this host's own files, with those that 'persist write' writes, are
booted as a host of its own in namespaces, with the real network manager and a pretend
LAN at its uplink. What comes up is compared with what is up now. Nothing of this host
is touched: what the pretend host writes is gone with it.

What our own unit does at boot (machines, port security) is not tried. Needs root and
systemd, and a plain Ethernet interface as the uplink.

Exit codes: 0 the next boot brings back what is up now; 1 it does not, or it cannot be
tried here; 2 bad usage or a bad file.`,
		Example: `  drawbridge persist verify && drawbridge persist write
  drawbridge persist verify lab.yaml --manager networkd`,
		Args: fileArgument(&o.file),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.persistVerify(cmd.Context(), o, limit) },
	}
	o.flags(cmd)
	cmd.Flags().DurationVar(&limit, "timeout", limit, "how long the pretend host may take to come up as it should")
	return cmd
}

func (a *app) persistVerify(ctx context.Context, o persistOptions, limit time.Duration) error {
	if err := a.notInNamespace(); err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	w, err := a.planFiles(ctx, s, o)
	if err != nil {
		return err
	}
	if len(w.ahead) > 0 {
		return withCode(exitFailed, fmt.Errorf("this host is not as the file wants it: %q comes first\n  hint: drawbridge up", w.ahead[0].Title))
	}
	t, err := newTrial(ctx, w)
	if err != nil {
		return withCode(exitFailed, fmt.Errorf("the next boot cannot be tried here: %w", err))
	}
	defer t.end(a)
	differences, err := t.run(ctx, limit)
	if err != nil {
		return withCode(exitFailed, err)
	}
	if o.json {
		err := printJSON(a.out, struct {
			Manager     string   `json:"manager"`
			Differences []string `json:"differences"`
			NotTried    []string `json:"not_tried,omitempty"`
		}{w.Manager, append([]string{}, differences...), w.Left})
		if err != nil || len(differences) == 0 {
			return err
		}
		return withCode(exitFailed, errors.New(""))
	}
	if len(w.Left) > 0 {
		fmt.Fprintf(a.err, "note: not tried, for %s does it at boot: %s\n", persist.UnitName, strings.Join(w.Left, ", "))
	}
	if len(differences) > 0 {
		for _, d := range differences {
			fmt.Fprintln(a.out, "differs:", d)
		}
		return withCode(exitFailed, fmt.Errorf("the next boot would not bring back what is up now: %s, told above\n  hint: 'drawbridge persist show' tells where each file comes from", counted(len(differences), "difference")))
	}
	fmt.Fprintf(a.err, "verified: %s, started afresh, made of the files what is up now\n", w.Manager)
	return nil
}

// trial is a boot of this host's files in namespaces.
type trial struct {
	written
	manager   persist.Manager
	name, lan string // namespaces
	host      *kernel.Kernel
	servers   []server
	stop      context.CancelFunc
}

// server gives the address of a lease to whoever asks, and knows who did.
type server struct {
	bridge string
	dhcp   *router.DHCP
	wanted []byte // the client identifier, nil if it is not known
}

// newTrial makes the namespaces, with a twin of each uplink and what is at its other end.
func newTrial(ctx context.Context, w written) (*trial, error) {
	if err := booted.Check(); err != nil {
		return nil, err
	}
	m, err := persist.Find(w.Manager)
	if err != nil {
		return nil, err
	}
	if m.Name == persist.OwnUnit {
		return nil, errors.New("our own unit comes behind whoever brings the uplink up, and who that is is not known\n  hint: --manager tries a manager's files")
	}
	for _, b := range w.wish.Bridges {
		if l := w.live.Here().Link(b.Uplink); b.Uplink != "" && (l == nil || l.Kind != model.Physical && l.Kind != model.Veth) {
			return nil, fmt.Errorf("the uplink %s is not a plain Ethernet interface, and its twin would be", b.Uplink)
		}
	}
	name := fmt.Sprintf("drawbridge-verify-%d", os.Getpid())
	t := &trial{written: w, manager: m, name: name, lan: name + "-lan"}
	ctx, t.stop = context.WithCancel(ctx)
	if err := t.build(ctx); err != nil {
		return nil, errors.Join(err, t.remove())
	}
	return t, nil
}

func (t *trial) build(ctx context.Context) error {
	for _, name := range []string{t.name, t.lan} {
		if err := kernel.CreateNamespace(name); err != nil {
			return err
		}
	}
	var err error
	if t.host, err = kernel.OpenNamed(t.name); err != nil {
		return err
	}
	lan, err := kernel.OpenNamed(t.lan)
	if err != nil {
		return err
	}
	defer lan.Close()
	for i, b := range t.wish.Bridges {
		l := t.live.Here().Link(b.Uplink)
		if l == nil {
			continue
		}
		end := fmt.Sprintf("wire%d", i)
		if _, err := t.host.Do(ctx, model.CreateVeth{Name: b.Uplink, MAC: l.MAC, MTU: l.MTU, Peer: model.Ref{Namespace: t.lan, Name: end}}); err != nil {
			return err
		}
		if _, err := lan.Do(ctx, model.SetUp{Link: end, Up: true}); err != nil {
			return err
		}
		if err := t.serve(ctx, lan, b, end); err != nil {
			return err
		}
	}
	return nil
}

// serve plays the LAN that gave the host its addresses.
func (t *trial) serve(ctx context.Context, lan *kernel.Kernel, b persist.Bridge, end string) error {
	quiet := log.New(io.Discard, "", 0)
	here := t.live.Here()
	for _, x := range here.AddressesOf(b.Name) {
		switch {
		case x.Prefix.Addr().Is4() && b.DHCP4 != nil && (x.Origin == model.DHCP || !isStatic(b, x)):
			gateway := gatewayIn(here, b.Name, x.Prefix)
			if _, err := lan.Do(ctx, model.AddAddresses{Link: end, Addresses: []model.Address{{Prefix: netip.PrefixFrom(gateway, x.Prefix.Bits()), Origin: model.Static}}}); err != nil {
				return err
			}
			d := router.NewDHCP(router.DHCPConfig{Server: netip.PrefixFrom(gateway, x.Prefix.Bits()), First: x.Prefix.Addr(), Last: x.Prefix.Addr(), Gateway: gateway, LeaseTime: time.Hour}, quiet)
			if err := lan.Inside(func() error { return d.Start(ctx, end) }); err != nil {
				return err
			}
			t.servers = append(t.servers, server{b.Name, d, b.DHCP4.ClientID})
		case x.Prefix.Addr().Is6() && b.RA && !isStatic(b, x):
			c := router.AdvertConfig{Link: end, Prefix: x.Prefix.Masked(), Interval: 2 * time.Second, Lifetime: 30 * time.Minute}
			if err := lan.Inside(func() error { return router.Advertise(ctx, c, quiet) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func isStatic(b persist.Bridge, x model.Address) bool {
	for _, s := range b.Addresses {
		if s.Prefix == x.Prefix {
			return true
		}
	}
	return x.Origin == model.LinkLocal || x.Flags.Temporary
}

// gatewayIn is the gateway by a link within a subnet, or another address of the subnet.
func gatewayIn(ns *model.Namespace, link string, subnet netip.Prefix) netip.Addr {
	for _, r := range ns.RoutesOf(link) {
		if r.IsDefault() && subnet.Contains(r.Gateway()) {
			return r.Gateway()
		}
	}
	if other := subnet.Masked().Addr().Next(); other != subnet.Addr() {
		return other
	}
	return subnet.Addr().Next()
}

// run boots, and waits until what comes up is what is up now, or the time is over.
func (t *trial) run(ctx context.Context, limit time.Duration) ([]string, error) {
	files, err := configuration()
	if err != nil {
		return nil, err
	}
	for _, f := range t.Files.Files {
		if f.Link == "" {
			files[strings.TrimPrefix(f.Path, "/")] = f.Content
		}
	}
	h, err := booted.Boot(ctx, booted.Options{Namespace: filepath.Join("/run/netns", t.name), Files: files, Units: t.manager.Units})
	if err != nil {
		return nil, err
	}
	defer h.Close()
	live := withoutRouters(*t.live.Here())
	live.Secured = nil // our own unit's
	for deadline := time.Now().Add(limit); ; time.Sleep(lookAgain) {
		now, err := t.host.Observe(ctx)
		if err != nil {
			return nil, err
		}
		differences := append(t.wish.Differences(live, withoutRouters(now)), t.identities()...)
		if len(differences) == 0 || time.Now().After(deadline) || ctx.Err() != nil {
			return differences, ctx.Err()
		}
	}
}

// identities tells where a DHCP server would not know the host again.
func (t *trial) identities() (out []string) {
	for _, s := range t.servers {
		for _, l := range s.dhcp.Leases() {
			if len(s.wanted) > 0 && l.ClientID != hex.EncodeToString(s.wanted) {
				out = append(out, fmt.Sprintf("%s: the DHCP client calls itself %s, and called itself %x", s.bridge, l.ClientID, s.wanted))
			}
		}
	}
	return out
}

// withoutRouters leaves out which router sent an advertisement: the pretend LAN's has an
// address of its own.
func withoutRouters(n model.Namespace) model.Namespace {
	n = n.Clone()
	for i := range n.Routes {
		if r := &n.Routes[i]; r.Protocol == "ra" && len(r.NextHops) > 0 {
			r.NextHops[0].Gateway = netip.Addr{}
		}
	}
	return n
}

// configuration are the files by which this host's managers go, by their paths without
// the leading slash.
func configuration() (map[string]string, error) {
	out := map[string]string{}
	for _, dir := range []string{"etc/systemd/network", "etc/netplan", "etc/network", "etc/NetworkManager/system-connections", "etc/NetworkManager/NetworkManager.conf", "etc/NetworkManager/conf.d"} {
		err := fs.WalkDir(os.DirFS("/"), dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return fs.SkipAll
			}
			if err != nil || d.IsDir() {
				return err
			}
			info, err := os.Stat("/" + path)
			if err != nil {
				return nil //nolint:nilerr // a link that leads nowhere is as good as nothing
			}
			out[path] = "" // a link to /dev/null masks a file, and so does an empty one
			if info.Mode().IsRegular() {
				data, err := os.ReadFile("/" + path)
				out[path] = string(data)
				return err
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *trial) end(a *app) {
	if err := t.remove(); err != nil {
		fmt.Fprintln(a.err, "drawbridge:", err)
	}
}

func (t *trial) remove() error {
	t.stop()
	if t.host != nil {
		t.host.Close()
	}
	var errs []error
	for _, name := range []string{t.name, t.lan} {
		if err := kernel.DeleteNamespace(name); err != nil && !errors.Is(err, model.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
