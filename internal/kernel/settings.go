package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

const sysctlDir = "/proc/sys/net"

// linkSetting is a sysctl that every link has a value of. The link dump carries them
// all as arrays (IFLA_INET_CONF, IFLA_INET6_CONF): reading 14 files of each of 1,000
// links would take longer than all the rest.
type linkSetting struct {
	name string
	at   int // place in the array
}

// IPV4_DEVCONF_* less 1 (include/uapi/linux/ip.h; inet_fill_link_af leaves 0 out).
var settings4 = []linkSetting{
	{"forwarding", 0}, {"proxy_arp", 2}, {"rp_filter", 7}, {"arp_filter", 12}, {"arp_announce", 17},
	{"arp_ignore", 18}, {"promote_secondaries", 19}, {"accept_local", 22}, {"route_localnet", 25},
}

// DEVCONF_* (include/uapi/linux/ipv6.h).
var settings6 = []linkSetting{
	{"forwarding", 0}, {"accept_ra", 3}, {"autoconf", 5}, {"use_tempaddr", 10}, {"accept_ra_defrtr", 17}, {"accept_ra_pinfo", 18},
	{"accept_ra_rtr_pref", 19}, {"proxy_ndp", 22}, {"disable_ipv6", 26}, {"accept_dad", 27}, {"addr_gen_mode", 47},
	{"force_forwarding", 59}, // Linux 6.17: one link forwards, whatever all/forwarding says
}

// single are the settings of the whole namespace.
var single = []string{
	"ipv4/ip_forward", "bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables", "bridge/bridge-nf-call-arptables",
	// Limits of the whole machine: only its first namespace has those of the neighbours.
	"ipv4/neigh/default/gc_thresh1", "ipv4/neigh/default/gc_thresh2", "ipv4/neigh/default/gc_thresh3",
	"ipv6/neigh/default/gc_thresh1", "ipv6/neigh/default/gc_thresh2", "ipv6/neigh/default/gc_thresh3", "netfilter/nf_conntrack_max",
}

// linkSettings adds a link's own settings to out.
func (l *rawLink) linkSettings(out map[string]string) {
	add := func(prefix string, settings []linkSetting, conf []byte) {
		for _, s := range settings {
			if 4*s.at+4 <= len(conf) {
				out[prefix+s.name] = decimal(int32(native.Uint32(conf[4*s.at:])))
			}
		}
	}
	add("ipv4/conf/"+l.Name+"/", settings4, l.conf4)
	add("ipv6/conf/"+l.Name+"/", settings6, l.conf6)
}

var smallNumbers = [...]string{"0", "1", "2", "3"}

func decimal(n int32) string {
	if n >= 0 && int(n) < len(smallNumbers) {
		return smallNumbers[n]
	}
	return strconv.Itoa(int(n))
}

// namespaceSettings reads what belongs to no link. What is not there (no IPv6, no
// br_netfilter) is left out.
func (k *Kernel) namespaceSettings(out map[string]string) error {
	paths := append([]string(nil), single...)
	for _, which := range []string{"all", "default"} {
		for _, s := range settings4 {
			paths = append(paths, "ipv4/conf/"+which+"/"+s.name)
		}
		for _, s := range settings6 {
			paths = append(paths, "ipv6/conf/"+which+"/"+s.name)
		}
	}
	return k.inside(func() error {
		for _, p := range paths {
			b, err := os.ReadFile(filepath.Join(sysctlDir, p))
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				continue
			}
			if err != nil {
				return fmt.Errorf("setting %s: %w", p, err)
			}
			out[p] = strings.TrimSpace(string(b))
		}
		return nil
	})
}

// setSetting writes a sysctl. /proc/sys/net shows the namespace of the thread that
// opens it, whatever namespace /proc was mounted in (net_ctl_root).
func (k *Kernel) setSetting(o model.SetSetting) error {
	if o.Path == "" || path.IsAbs(o.Path) || path.Clean(o.Path) != o.Path || strings.HasPrefix(o.Path, "..") {
		return fmt.Errorf("setting %q: %w: not a path below %s", o.Path, model.ErrInvalid, sysctlDir)
	}
	return k.inside(func() error {
		f, err := os.OpenFile(filepath.Join(sysctlDir, o.Path), os.O_WRONLY, 0)
		if err != nil {
			return refusal("setting "+o.Path, err)
		}
		defer f.Close()
		if _, err := f.WriteString(o.Value); err != nil {
			return refusal(fmt.Sprintf("setting %s to %q", o.Path, o.Value), err)
		}
		return nil
	})
}
