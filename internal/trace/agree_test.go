package trace_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
	"drawbridge/internal/trace"
)

// sample is a packet that is both traced and sent.
type sample struct {
	src, dst netip.Addr
	protocol string
	port     uint16
}

func (p sample) query() trace.Query {
	return trace.Query{From: p.src.String(), To: p.dst.String(), Protocol: p.protocol, Port: p.port}
}

// frame is the sample's, with a number that it is known again by: the identification of IPv4, the
// flow label of IPv6. sport is its own port, or the number of an echo request.
func (p sample) frame(from, to net.HardwareAddr, sport, id uint16) []byte {
	protocol := map[string]byte{"icmp": 1, "tcp": 6, "udp": 17}[p.protocol]
	var inner []byte
	be := binary.BigEndian
	var sum int // where the checksum is
	switch {
	case p.protocol == "udp":
		inner = be.AppendUint16(be.AppendUint16(nil, sport), p.port)
		inner, sum = append(inner, 0, 8, 0, 0), 6
	case p.protocol == "tcp":
		inner = be.AppendUint16(be.AppendUint16(nil, sport), p.port)
		inner, sum = append(inner, 0, 0, byte(id>>8), byte(id), 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0), 16
	case p.src.Is4():
		inner, sum = be.AppendUint16([]byte{8, 0, 0, 0}, sport), 2
		inner = append(inner, 0, 1)
	default:
		protocol = 58
		inner, sum = be.AppendUint16([]byte{128, 0, 0, 0}, sport), 2
		inner = append(inner, 0, 1)
	}
	pseudo := slices.Concat(p.src.AsSlice(), p.dst.AsSlice(), []byte{0, protocol, 0, byte(len(inner))})
	if protocol == 1 {
		pseudo = nil
	}
	be.PutUint16(inner[sum:], checksum(append(pseudo, inner...)))
	head := []byte{0x45, 0, 0, byte(20 + len(inner)), byte(id >> 8), byte(id), 0, 0, 64, protocol, 0, 0}
	kind := []byte{8, 0}
	if p.src.Is6() {
		head, kind = []byte{0x60, 0, byte(id >> 8), byte(id), 0, byte(len(inner)), protocol, 64}, []byte{0x86, 0xdd}
	}
	head = slices.Concat(head, p.src.AsSlice(), p.dst.AsSlice())
	if p.src.Is4() {
		be.PutUint16(head[10:], checksum(head))
	}
	return slices.Concat(to, from, kind, head, inner)
}

// checksum is the internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	n := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		n += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}

// number is that of a frame, 0 for one that is not IP.
func number(frame []byte) uint16 {
	switch {
	case len(frame) < 34:
	case frame[12] == 8 && frame[13] == 0:
		return binary.BigEndian.Uint16(frame[18:])
	case frame[12] == 0x86 && frame[13] == 0xdd:
		return binary.BigEndian.Uint16(frame[16:])
	}
	return 0
}

// questions are what random rules ask; some are not understood, and so are answered maybe.
var questions = []string{
	`iifname "in"`, `iifname != "in"`, `iifname "i*"`, `oifname "out"`, `oifname { "out", "x*" }`, `oifname != { "x", "y" }`, `iif "in"`, `oif != "in"`,
	"ip saddr 198.18.1.9", "ip saddr != 198.18.1.9", "ip saddr 198.18.1.0/29", "ip daddr 198.18.0.8-198.18.0.9", "ip daddr != 198.18.0.8-198.18.0.9",
	"ip saddr 198.18.1.9 ip daddr 198.18.0.9", "ip daddr { 198.18.0.9, 198.18.0.64/26 }", "ip daddr != { 198.18.0.0-198.18.0.9 }", "ip daddr { 198.18.0.10-255.255.255.255 }",
	"ip6 saddr 2001:db8:1::9", "ip6 daddr 2001:db8::/64", "ip6 daddr { 2001:db8::a-2001:db8::f }", "ip6 nexthdr udp",
	"meta nfproto ipv4", "meta protocol ip6", "ip protocol icmp", "meta l4proto { tcp, udp }", "meta l4proto != udp",
	"tcp dport 80", "udp dport 53", "tcp dport != 80", "tcp dport { 53, 80-90 }", "udp dport 0-79", "udp dport > 79", "th dport 80", "meta l4proto { tcp, udp } th dport 53",
	"tcp dport { 80-65535 }", "tcp flags syn", "tcp flags & (syn|ack) == ack", "udp sport 1-100", "ip saddr . udp dport { 198.18.1.9 . 53, 198.18.1.10 . 80 }",
	"ip daddr . tcp dport { 198.18.0.0/28 . 80-90 }", "ip saddr . tcp dport != { 198.18.1.9 . 80 }",
	"icmp type echo-request", "icmp type { echo-reply, destination-unreachable }", "icmpv6 type echo-request",
	"ct state new", "ct state established,related", "ct state != invalid", "ct state { new, untracked }", "ct direction original", "ct status dnat", "ct status != dnat",
	"meta mark 0x1", "meta mark != 0", "meta mark & 0x3 == 0x2", "meta mark 1-2", "ct mark 0x5", "ct mark 0",
	"fib daddr type unicast", "fib daddr type local", "fib saddr type != local", "fib saddr . iif oif exists", "fib saddr . iif oif missing",
	"meta pkttype host", "limit rate 10000/second", "ip ttl > 10", "meta length > 20", "ether type ip", "@th,16,16 80",
}

// actions are what they do.
var actions = []string{
	"accept", "accept", "drop", "drop", "jump a", "jump b", "goto a", "goto b", "return", "counter", "continue", "meta mark set 0x1", "meta mark set meta mark or 0x2", "ct mark set 0x5",
	"meta mark set ct mark", "tcp dport vmap { 80 : drop, 53 : jump b }", "ip saddr vmap { 198.18.1.9 : accept, 198.18.1.10-198.18.1.20 : jump b }", "meta l4proto vmap { icmp : accept, udp : jump b, * : continue }",
	"ip daddr . udp dport vmap { 198.18.0.9 . 53 : drop }", "jump { udp dport 53 accept; tcp dport 80 drop; }",
}

// ruleset makes a random one: three base chains, and two that are jumped to.
func ruleset(r *rand.Rand) string {
	var out strings.Builder
	out.WriteString("flush ruleset\ntable inet t {\n")
	chain := func(name, hook string, most int, actions []string) {
		fmt.Fprintf(&out, "chain %s {\n", name)
		if hook != "" {
			fmt.Fprintf(&out, "type filter hook %s; policy %s;\nip daddr 198.18.0.250 accept\nip6 daddr 2001:db8::fa accept\n", hook, []string{"accept", "accept", "accept", "drop"}[r.IntN(4)])
		}
		for range r.IntN(most + 1) {
			var words []string
			for range 1 + r.IntN(2) {
				q := questions[r.IntN(len(questions))]
				if strings.Contains(q, "iif oif") && strings.HasPrefix(hook, "post") { // not there
					q = "ct state new"
				}
				words = append(words, q)
			}
			words = append(words, actions[r.IntN(len(actions))])
			for len(slices.DeleteFunc(slices.Clone(words), isPlain)) > 1 { // nft(8) refuses what contradicts itself
				words = words[1:]
			}
			fmt.Fprintln(&out, strings.Join(words, " "))
		}
		fmt.Fprintln(&out, "}")
	}
	leaf := func(drop ...string) (list []string) {
		for _, a := range actions {
			keep := true
			for _, d := range drop {
				keep = keep && !strings.Contains(a, d)
			}
			if keep {
				list = append(list, a)
			}
		}
		return list
	}
	chain("b", "", 4, leaf("jump", "goto"))
	chain("a", "", 4, leaf("jump a", "goto"))
	chain("before", "prerouting priority -150", 3, leaf("drop"))
	chain("main", "forward priority 0", 8, actions)
	chain("after", "postrouting priority 10", 2, leaf("drop", "jump", "goto"))
	out.WriteString("}\n")
	return out.String()
}

// translations are random rules of nat.
func translations(r *rand.Rand) string {
	var out strings.Builder
	questions := []string{"", "", "ip saddr 198.18.1.9", "udp dport 53", "tcp dport 80", `iifname "in"`, "ip daddr 198.18.0.9", "ip protocol icmp", "meta mark 0x1"}
	chain := func(name, hook string, actions ...string) {
		fmt.Fprintf(&out, "chain %s {\ntype nat hook %s; policy accept;\nip daddr 198.18.0.250 accept\n", name, hook)
		for range r.IntN(4) {
			q, a := questions[r.IntN(len(questions))], actions[r.IntN(len(actions))]
			if !isPlain(q+" ") && !isPlain(a) {
				q = ""
			}
			fmt.Fprintln(&out, q, a)
		}
		fmt.Fprintln(&out, "}")
	}
	out.WriteString("table ip n {\n")
	chain("pre", "prerouting priority -100", "dnat to 198.18.0.10", "tcp dport 53 dnat to 198.18.0.80:80", "udp dport 53 dnat to :90", "dnat to tcp dport map { 80 : 198.18.0.9, 53 : 198.18.0.10 }", "ip daddr 198.18.0.9 dnat to 198.18.0.80", "accept")
	chain("late", "prerouting priority -90", "dnat to 198.18.0.9", "accept")
	chain("post", "postrouting priority 100", "masquerade", "ip saddr 198.18.1.9 snat to 198.18.0.1", "snat to ip saddr map { 198.18.1.10 : 198.18.0.7 }", "accept")
	out.WriteString("}\n")
	return out.String()
}

// What random rules of iptables ask and do.
var (
	xtQuestions = []string{
		"-i in", "! -i in", "-i i+", "-o out", "! -o out", "-o o+", "-s 198.18.1.9", "! -s 198.18.1.9", "-s 198.18.1.0/29", "-d 198.18.0.9,198.18.0.80", "! -d 198.18.0.0/28",
		"-p tcp", "-p udp --dport 53", "-p tcp ! --dport 80", "-p tcp --dport 80:100", "-p udp ! --dport 0:79", "-p tcp --syn", "-p tcp ! --syn", "-p tcp --tcp-flags SYN,ACK ACK", "-p icmp",
		"-p icmp --icmp-type 8", "-p icmp ! --icmp-type 8", "-p icmp --icmp-type 3", "-p tcp -m multiport --dports 53,80:85", "-p udp -m multiport ! --dports 53", "-p tcp -m multiport --sports 1:100",
		"-m conntrack --ctstate NEW", "-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack ! --ctstate INVALID", "-m conntrack --ctstate DNAT", "-m conntrack ! --ctstate DNAT", "-m conntrack --ctstate NEW,UNTRACKED",
		"-m mark --mark 0x1", "-m mark ! --mark 0x0", "-m mark --mark 0x2/0x3", "-m connmark --mark 0x5", "-m addrtype --dst-type UNICAST", "-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type LOCAL",
		"-m comment --comment x", "-m limit --limit 10000/sec --limit-burst 10000", "-m ttl --ttl-gt 10", "-m iprange --src-range 198.18.1.1-198.18.1.9",
	}
	xtActions = []string{
		"-j ACCEPT", "-j ACCEPT", "-j DROP", "-j REJECT", "-j RETURN", "-j a", "-j b", "-g a", "-j LOG",
	}
	xtMangle = []string{"-j MARK --set-mark 0x1", "-j MARK --or-mark 0x2", "-j MARK --set-xmark 0x0/0x1", "-j CONNMARK --set-mark 0x5", "-j CONNMARK --restore-mark", "-j CONNMARK --save-mark", "-j ACCEPT", "-j b"}
)

// xtRuleset is one for iptables-restore(8).
func xtRuleset(r *rand.Rand) string {
	var out strings.Builder
	rules := func(chain string, most int, actions []string) {
		for range r.IntN(most + 1) {
			q := xtQuestions[r.IntN(len(xtQuestions))]
			if r.IntN(3) == 0 {
				if second := xtQuestions[r.IntN(len(xtQuestions))]; second[:2] != q[:2] && (second[:2] == "-m") {
					q += " " + second
				}
			}
			if chain == "PREROUTING" && strings.Contains(q, "-o ") {
				q = "-i in"
			}
			fmt.Fprintf(&out, "-A %s %s %s\n", chain, q, actions[r.IntN(len(actions))])
		}
	}
	without := func(actions []string, words ...string) []string {
		return slices.DeleteFunc(slices.Clone(actions), func(a string) bool { return slices.Contains(words, a) })
	}
	out.WriteString("*mangle\n:PREROUTING ACCEPT\n:b - [0:0]\n-A PREROUTING -d 198.18.0.250 -j ACCEPT\n")
	rules("PREROUTING", 5, xtMangle)
	out.WriteString("-A b -j MARK --or-mark 0x2\nCOMMIT\n*filter\n")
	fmt.Fprintf(&out, ":FORWARD %s\n:a - [0:0]\n:b - [0:0]\n-A FORWARD -d 198.18.0.250 -j ACCEPT\n", []string{"ACCEPT", "ACCEPT", "DROP"}[r.IntN(3)])
	rules("FORWARD", 8, xtActions)
	rules("a", 4, without(xtActions, "-j a", "-g a"))
	rules("b", 4, without(xtActions, "-j a", "-g a", "-j b"))
	out.WriteString("COMMIT\n")
	return out.String()
}

// isPlain tells whether words are about no protocol.
func isPlain(words string) bool {
	return !slices.ContainsFunc([]string{"ip ", "ip6 ", "tcp ", "udp ", "icmp", "proto", "th ", "th,", "ether "}, func(w string) bool { return strings.Contains(words, w) })
}

// path is a router between two namespaces, plain.
type path struct {
	host, near, far    *testnet.Net
	nearMAC, hostMAC   net.HardwareAddr // the host's on the way there
	farMAC             net.HardwareAddr
	sending, receiving *packet.Conn
	port               uint16 // of the sender, the last one
}

func newPath(t *testing.T) path {
	t.Helper()
	p := path{host: testnet.New(t), near: testnet.New(t), far: testnet.New(t), port: 20000}
	p.host.Veth("in", p.near, "eth0")
	p.host.Veth("out", p.far, "eth0")
	for _, line := range []string{
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.in.rp_filter=0",
		"ip addr add 198.18.1.1/24 dev in", "ip addr add 198.18.0.1/24 dev out",
		"ip addr add 2001:db8:1::1/64 dev in nodad", "ip addr add 2001:db8::1/64 dev out nodad",
	} {
		run(t, p.host, line)
	}
	for _, a := range []string{"198.18.1.9/24", "198.18.1.10/24", "2001:db8:1::9/64"} {
		run(t, p.near, "ip addr add "+a+" dev eth0 nodad")
	}
	run(t, p.near, "ip route add default via 198.18.1.1")
	run(t, p.near, "ip -6 route add default via 2001:db8:1::1")
	for _, a := range []string{"198.18.0.9", "198.18.0.10", "198.18.0.80", "198.18.0.250", "2001:db8::9", "2001:db8::a", "2001:db8::fa"} {
		bits := "/24 dev eth0"
		if strings.Contains(a, ":") {
			bits = "/64 dev eth0 nodad"
		}
		run(t, p.far, "ip addr add "+a+bits)
	}
	run(t, p.far, "ip route add default via 198.18.0.1")
	run(t, p.far, "ip -6 route add default via 2001:db8::1")
	mac := func(n *testnet.Net, link string) net.HardwareAddr {
		m, err := net.ParseMAC(string(n.Look().Link(link).MAC))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	p.nearMAC, p.hostMAC, p.farMAC = mac(p.near, "eth0"), mac(p.host, "in"), mac(p.far, "eth0")
	for _, a := range p.far.Look().Addresses { // nobody is asked on the way
		if a.Link == "eth0" && !a.Prefix.Addr().IsLinkLocalUnicast() {
			run(t, p.host, fmt.Sprintf("ip neigh replace %s lladdr %s dev out nud permanent", a.Prefix.Addr(), p.farMAC))
		}
	}
	open := func(n *testnet.Net) (c *packet.Conn) {
		n.Inside(func() error {
			link, err := net.InterfaceByName("eth0")
			if err == nil {
				const all = 3 // ETH_P_ALL
				c, err = packet.Listen(link, packet.Raw, all, nil)
			}
			return err
		})
		t.Cleanup(func() { c.Close() })
		return c
	}
	p.sending, p.receiving = open(p.near), open(p.far)
	return p
}

// snapshot is the three together, as draw sees them.
func (p path) snapshot(t *testing.T) *model.Snapshot {
	t.Helper()
	s := model.Snapshot{Host: "host"}
	for _, n := range []*testnet.Net{p.host, p.near, p.far} {
		list, _, err := kernel.ObserveWith(context.Background(), n.Kernel, kernel.What{Ruleset: true})
		if err != nil {
			t.Fatal(err)
		}
		ns := list[0]
		for i := range ns.Links {
			if peer := ns.Links[i].Peer; peer != nil {
				switch {
				case n != p.host:
					*peer = model.Ref{Name: map[*testnet.Net]string{p.near: "in", p.far: "out"}[n]}
				case ns.Links[i].Name == "in":
					*peer = model.Ref{Namespace: p.near.Name(), Name: "eth0"}
				default:
					*peer = model.Ref{Namespace: p.far.Name(), Name: "eth0"}
				}
			}
		}
		if n != p.host {
			ns.Name = n.Name()
		}
		s.Namespaces = append(s.Namespaces, ns)
	}
	s.Sort()
	return &s
}

// addressed is from whom a frame's packet is, and for whom: an address, and where it has ports
// that of the destination.
func addressed(f []byte) string {
	src, dst, port := netip.AddrFrom4([4]byte(f[26:30])), netip.AddrFrom4([4]byte(f[30:34])), uint16(0)
	protocol, ports := f[23], f[34:]
	if f[12] == 0x86 {
		src, dst, protocol, ports = netip.AddrFrom16([16]byte(f[22:38])), netip.AddrFrom16([16]byte(f[38:54])), f[20], f[54:]
	}
	if protocol == 6 || protocol == 17 {
		port = binary.BigEndian.Uint16(ports[2:])
	}
	return fmt.Sprintf("%s > %s", src, netip.AddrPortFrom(dst, port))
}

// toldAddresses is the same by the trace: as the packet began, and what the rules have made of it.
func toldAddresses(x sample, tr *trace.Trace) string {
	src, dst := x.src.String(), netip.AddrPortFrom(x.dst, x.port).String()
	for _, h := range tr.Hops {
		for _, d := range h.Decisions {
			words := strings.Fields(d.Text)
			switch {
			case h.Answer || d.By != trace.ByFirewall || len(words) < 3:
			case words[1] == "becomes":
				if dst = words[2]; x.port == 0 {
					dst = netip.AddrPortFrom(netip.MustParseAddr(dst), 0).String()
				}
			case strings.Contains(d.Text, " goes on as "):
				src = strings.TrimSuffix(words[4], ",")
			}
		}
	}
	return src + " > " + dst
}

// send sends probes, and tells which came out, and as what: a last one that every rule lets through tells
// that they all have been decided about.
func (p *path) send(t *testing.T, probes []sample) (arrived map[int]string) {
	t.Helper()
	last := sample{netip.MustParseAddr("198.18.1.9"), netip.MustParseAddr("198.18.0.250"), "udp", 9}
	for i, x := range append(probes, last) {
		p.port++ // each is a connection of its own
		if _, err := p.sending.WriteTo(x.frame(p.nearMAC, p.hostMAC, p.port, uint16(i+1)), &packet.Addr{HardwareAddr: p.hostMAC}); err != nil {
			t.Fatal(err)
		}
	}
	arrived = map[int]string{}
	_ = p.receiving.SetReadDeadline(time.Now().Add(testnet.Patience))
	buf := make([]byte, 2048)
	for {
		n, _, err := p.receiving.ReadFrom(buf)
		if err != nil {
			t.Fatal("the last one does not come: ", err)
		}
		if string(buf[:6]) != string(p.farMAC) {
			continue // what it answers, with a number of its own that may be one of ours
		}
		id := int(number(buf[:n]))
		if id == len(probes)+1 && bytes.Contains(buf[:n], last.dst.AsSlice()) {
			return arrived
		}
		if id > 0 && id <= len(probes) {
			arrived[id-1] = addressed(buf[:n])
		}
	}
}

// Random rules, random packets: where the trace says that one arrives, or dies, it does; and it
// knows of most.
func TestVerdictsAgree(t *testing.T) {
	testnet.RequireCommand(t, "nft", "nftables")
	testnet.RequireCommand(t, "iptables-nft-restore", "iptables")
	t.Parallel()
	p := newPath(t)
	var probes []sample
	for _, src := range []string{"198.18.1.9", "198.18.1.10"} {
		for _, dst := range []string{"198.18.0.9", "198.18.0.10", "198.18.0.80"} {
			for _, port := range []uint16{53, 80, 90} {
				for _, protocol := range []string{"udp", "tcp"} {
					probes = append(probes, sample{netip.MustParseAddr(src), netip.MustParseAddr(dst), protocol, port})
				}
			}
			probes = append(probes, sample{netip.MustParseAddr(src), netip.MustParseAddr(dst), "icmp", 0})
		}
	}
	for _, dst := range []string{"2001:db8::9", "2001:db8::a"} {
		src := netip.MustParseAddr("2001:db8:1::9")
		probes = append(probes, sample{src, netip.MustParseAddr(dst), "udp", 53}, sample{src, netip.MustParseAddr(dst), "tcp", 80}, sample{src, netip.MustParseAddr(dst), "icmp", 0})
	}
	known, asked, lost, translated := 0, 0, 0, 0
	for seed := range uint64(45) {
		r := rand.New(rand.NewPCG(seed, 48))
		rules, tool := ruleset(r), []string{"nft", "-f", "-"}
		switch seed % 3 {
		case 1:
			rules += translations(r)
		case 2:
			run(t, p.host, "nft flush ruleset")
			rules, tool = xtRuleset(r), []string{"iptables-nft-restore"}
		}
		p.host.Inside(func() error {
			cmd := exec.Command(tool[0], tool[1:]...)
			cmd.Stdin = strings.NewReader(rules)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s\n%s", err, out, rules)
			}
			return nil
		})
		s := p.snapshot(t)
		arrived := p.send(t, probes)
		for i, x := range probes {
			tr, err := trace.Compute(s, x.query(), nil)
			if err != nil {
				t.Fatal(err)
			}
			asked++
			switch told := there(tr); {
			case told == trace.May:
				continue
			case (told == trace.Pass) != (arrived[i] != ""), told == trace.Pass && toldAddresses(x, tr) != arrived[i]:
				t.Errorf("seed %d: %+v: arrived: %q, and the trace says %s\n%s\n%s", seed, x, arrived[i], toldAddresses(x, tr), tell(tr), rules)
			case told != trace.Pass:
				lost++
			case !strings.HasPrefix(arrived[i], x.src.String()+" ") || !strings.HasSuffix(arrived[i], " "+netip.AddrPortFrom(x.dst, x.port).String()):
				translated++
			}
			known++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of %d decided, %d of them lost, %d translated", known, asked, lost, translated)
	if known < asked*6/10 || lost < known/10 || lost > known*9/10 || translated < known/50 {
		t.Errorf("of %d packets %d were decided about, %d of them lost: this proves too little", asked, known, lost)
	}
}

// there is the result of the way there only.
func there(tr *trace.Trace) trace.Result {
	out := trace.Pass
	for _, h := range tr.Hops {
		if h.Answer {
			break
		}
		if h.Result == trace.Dies {
			return trace.Dies
		}
		if h.Result == trace.May {
			out = trace.May
		}
	}
	return out
}

func tell(tr *trace.Trace) string {
	return strings.Join(trace.Tell(tr, 100, func(s string, _ int) []string { return []string{s} }), "\n")
}
