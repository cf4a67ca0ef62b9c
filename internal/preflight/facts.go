package preflight

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"drawbridge/internal/manager"
	"drawbridge/internal/model"
)

// Facts are what [Check] needs beside the snapshots.
type Facts struct {
	Sockets []model.Socket
	// Holders are the processes of the sockets that matter, by inode; those of other
	// users may be missing.
	Holders     map[uint64]model.Holder
	Session     Session // not valid: no SSH session
	Processes   []manager.Process
	Memberships []Membership
	Firewall    Firewall
	Mounts      []Mount
	ISCSI       bool
	Heard       []Heard
}

// System is how facts are gathered. All of it is about the namespace of the links.
type System struct {
	// Root is the file system. What it reads below proc/thread-self/net belongs to the
	// namespace of the thread that reads.
	Root fs.FS
	// Inside runs a function on a thread inside the namespace.
	Inside func(func() error) error
	// Named: the namespace was asked for by name, and the host's state files are of
	// another one.
	Named   bool
	Sockets func(context.Context) ([]model.Socket, error)
	Holders func(inodes map[uint64]bool) (map[uint64]model.Holder, error)
	// Run gives the standard output of a program; exec.ErrNotFound where there is none.
	Run func(ctx context.Context, name string, args ...string) ([]byte, error)
	// Listen hears what switches say on a link; nil: nobody listens.
	Listen func(ctx context.Context, link string) ([]Heard, error)
}

// runTime bounds a program that lists rules.
const runTime = 5 * time.Second

// Gather collects the facts about the links that the moves leave. A fact that cannot be
// had, for want of rights or of a program, is left out.
func (s System) Gather(ctx context.Context, moves []model.Move) (f Facts, err error) {
	if f.Sockets, err = s.Sockets(ctx); err != nil {
		return f, err
	}
	if inodes := interesting(f.Sockets, moves); len(inodes) > 0 { // every process is looked into
		if f.Holders, err = s.Holders(inodes); err != nil {
			return f, err
		}
	}
	f.Session = s.session()
	err = s.Inside(func() error {
		f.Memberships = s.Memberships()
		f.Processes = manager.System{Root: s.Root, Named: s.Named}.Processes()
		return nil
	})
	if err != nil {
		return f, err
	}
	f.Mounts = s.mounts()
	sessions, _ := fs.ReadDir(s.Root, "sys/class/iscsi_session")
	f.ISCSI = len(sessions) > 0
	f.Firewall = s.FirewallRules(ctx)
	for _, m := range moves {
		if s.Listen == nil || !m.Plug {
			continue
		}
		heard, err := s.Listen(ctx, m.From)
		if err != nil {
			return f, fmt.Errorf("listening on %s: %w", m.From, err)
		}
		f.Heard = append(f.Heard, heard...)
	}
	return f, nil
}

// interesting are the sockets whose processes are worth looking for.
func interesting(sockets []model.Socket, moves []model.Move) map[uint64]bool {
	out := map[uint64]bool{}
	for _, s := range sockets {
		bound := slices.ContainsFunc(moves, func(m model.Move) bool { return m.From == s.Bound })
		if bound || s.State == "established" && s.Protocol == "tcp" {
			out[s.Inode] = true
		}
	}
	return out
}

func (s System) read(name string) string {
	b, _ := fs.ReadFile(s.Root, name)
	return string(b)
}

// session looks for SSH_CONNECTION in the environment of this process and those that
// started it: sudo(8) takes it out of its child's.
func (s System) session() Session {
	pid := "self"
	for range 32 {
		for v := range strings.SplitSeq(s.read(path.Join("proc", pid, "environ")), "\x00") {
			if value, ok := strings.CutPrefix(v, "SSH_CONNECTION="); ok {
				if session, ok := ParseSession(value); ok {
					return session
				}
			}
		}
		// The name in parentheses may hold anything (proc_pid_stat(5)).
		stat := s.read(path.Join("proc", pid, "stat"))
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 || fields[1] == "0" {
			break
		}
		pid = fields[1]
	}
	return Session{}
}

// Memberships lists the multicast groups that links have joined, in the namespace of the
// thread that asks.
func (s System) Memberships() []Membership {
	return append(parseIGMP(s.read("proc/thread-self/net/igmp")), parseIGMP6(s.read("proc/thread-self/net/igmp6"))...)
}

// parseIGMP reads /proc/net/igmp: a line for each link, indented ones with its groups.
// The group is the number of a big-endian address as this machine reads it
// (igmp_mc_seq_show).
func parseIGMP(text string) []Membership {
	var out []Membership
	link := ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] == "Idx" {
			continue
		}
		if !strings.HasPrefix(line, "\t") {
			link = strings.TrimSuffix(words[1], ":")
			continue
		}
		n, err := strconv.ParseUint(words[0], 16, 32)
		if err != nil {
			continue
		}
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], uint32(n))
		out = append(out, Membership{link, netip.AddrFrom4(b)})
	}
	return out
}

// parseIGMP6 reads /proc/net/igmp6: index, link, group, users.
func parseIGMP6(text string) []Membership {
	var out []Membership
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 {
			continue
		}
		b, err := hex.DecodeString(words[2])
		if a, ok := netip.AddrFromSlice(b); err == nil && ok && a.IsMulticast() {
			out = append(out, Membership{words[1], a})
		}
	}
	return out
}

func (s System) mounts() []Mount {
	var out []Mount
	for line := range strings.Lines(s.read("proc/self/mounts")) {
		if f := strings.Fields(line); len(f) >= 4 {
			out = append(out, Mount{f[0], f[1], f[2], f[3]})
		}
	}
	return out
}

// noProtocol is what nft(8) says on a kernel that has no nf_tables, and so no rules
// (EPROTONOSUPPORT of NETLINK_NETFILTER).
const noProtocol = "Protocol not supported"

// FirewallRules lists the rules of whatever firewall is installed.
func (s System) FirewallRules(ctx context.Context) (f Firewall) {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	out, err := s.Run(ctx, "nft", "list", "ruleset")
	nft := err == nil
	switch {
	case nft:
		f = ParseNft(string(out))
	case strings.Contains(err.Error(), noProtocol), errors.Is(err, exec.ErrNotFound):
	default:
		f.Unread = append(f.Unread, "nftables could not be read ("+oneLine(err)+")")
	}
	// Of the two kinds of iptables the one does not tell of the other's rules. Legacy's
	// -save reads what is there, and makes no tables (/proc/net/ip_tables_names).
	for _, tool := range []string{"iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy"} {
		out, err := s.Run(ctx, tool+"-save")
		if err != nil {
			if !errors.Is(err, exec.ErrNotFound) {
				f.Unread = append(f.Unread, tool+" could not be read ("+oneLine(err)+")")
			}
			continue
		}
		if rules, managed := ParseIptables(strings.TrimSuffix(tool, "-legacy"), string(out)); !managed || !nft {
			f.merge(rules)
		}
	}
	return f
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
