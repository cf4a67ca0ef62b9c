package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"

	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/service"
)

// The DHCP servers that are measured.
const (
	serverOurs   = "drawbridge"
	serverPings  = "dnsmasq"
	serverNoPing = "dnsmasq --no-ping"
)

var dhcpServers = []string{serverOurs, serverNoPing, serverPings}

// dhcpFigures are what one server needs for a burst.
type dhcpFigures struct {
	First, All, CPU series // seconds: until the first client has its address, all have; the servers' processor time
	Repeated        series // messages that a client sent again
	Missing         series // clients that got none
}

const (
	dhcpServer = "198.18.0.1/20"
	dhcpFirst  = "198.18.2.1"
	dhcpLast   = "198.18.9.254"
	// dhcpAgain is how long a client waits for its first answer, then twice as long, each
	// time up to a second more or less (RFC 2131, 4.1); dhcpPatience is how long all do.
	dhcpAgain    = 4 * time.Second
	dhcpPatience = 30 * time.Second
)

// insideDHCP lets a burst of clients ask each server in turn, on a bridge of its own with
// one port, whose other end sends what the clients do.
func insideDHCP(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("inside-dhcp", flag.ContinueOnError)
	clients := flags.Int("clients", 1000, "how many")
	repeat := flags.Int("repeat", 5, "repetitions")
	drawbridge := flags.String("drawbridge", "", "binary")
	if err := flags.Parse(args); err != nil {
		return err
	}
	k, err := kernel.Open()
	if err != nil {
		return err
	}
	defer k.Close()
	for _, op := range []model.Operation{
		model.CreateBridge{Name: "br1", MAC: "02:00:00:00:07:01"}, model.AddAddresses{Link: "br1", Addresses: []model.Address{{Prefix: netip.MustParsePrefix(dhcpServer), Origin: model.Static}}},
		model.CreateVeth{Name: "port0", Peer: model.Ref{Name: "vms0"}}, model.SetMaster{Link: "port0", Master: "br1"},
		model.SetUp{Link: "port0", Up: true}, model.SetUp{Link: "vms0", Up: true}, model.WaitUp{Link: "br1", Timeout: 5000},
	} {
		if _, err := k.Do(ctx, op); err != nil {
			return err
		}
	}
	figures := map[string]*dhcpFigures{}
	for i := range *repeat {
		for _, name := range dhcpServers {
			if name != serverOurs && !installed("dnsmasq") || name == serverPings && i > 0 { // half a minute
				continue
			}
			if figures[name] == nil {
				figures[name] = &dhcpFigures{}
			}
			if err := figures[name].once(ctx, name, *drawbridge, *clients); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(figures)
}

// once starts a server that knows nobody, lets the burst come, and stops it.
func (f *dhcpFigures) once(ctx context.Context, name, drawbridge string, clients int) error {
	dir, err := os.MkdirTemp("", "bench-dhcp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	pids, stop, err := startDHCP(ctx, name, dir, drawbridge, clients)
	if err != nil {
		return err
	}
	defer stop()
	b, err := newBurst(clients)
	if err != nil {
		return err
	}
	defer b.conn.Close()
	if err := b.awaitServer(); err != nil {
		return err
	}
	before := processorTime(pids)
	if err := b.run(ctx); err != nil {
		return err
	}
	f.CPU = append(f.CPU, processorTime(pids)-before)
	f.First, f.All = append(f.First, b.first.Seconds()), append(f.All, b.all.Seconds())
	f.Repeated, f.Missing = append(f.Repeated, float64(b.repeated)), append(f.Missing, float64(clients-b.done))
	return nil
}

func startDHCP(ctx context.Context, name, dir, drawbridge string, clients int) (pids []int, stop func(), err error) {
	if name == serverOurs {
		m := service.NewManager(filepath.Join(dir, "services"))
		m.Executable, m.Leases = drawbridge, filepath.Join(dir, "leases")
		err := m.Do(ctx, model.StartService{Service: model.Service{Network: "bench", Link: "br1", DHCP4: &model.DHCP4Config{Server: netip.MustParsePrefix(dhcpServer),
			First: netip.MustParseAddr(dhcpFirst), Last: netip.MustParseAddr(dhcpLast), Router: netip.MustParsePrefix(dhcpServer).Addr(), PerPort: clients + 10}}})
		if err != nil {
			return nil, nil, err
		}
		list, err := m.List(ctx)
		if err != nil || len(list) != 1 {
			return nil, nil, errors.Join(err, errors.New("it does not serve"))
		}
		return []int{list[0].PID}, func() { _ = m.Do(context.WithoutCancel(ctx), model.StopService{Network: "bench"}) }, nil
	}
	cmd := exec.CommandContext(ctx, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--no-hosts", "--no-resolv", "--port=0", "--interface=br1", "--bind-interfaces",
		"--except-interface=lo", "--quiet-dhcp", "--dhcp-authoritative", fmt.Sprintf("--dhcp-lease-max=%d", clients+10), "--pid-file="+filepath.Join(dir, "pid"),
		"--dhcp-leasefile="+filepath.Join(dir, "leases"), fmt.Sprintf("--dhcp-range=%s,%s,255.255.240.0,1h", dhcpFirst, dhcpLast))
	if name == serverNoPing {
		cmd.Args = append(cmd.Args, "--no-ping")
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	return []int{cmd.Process.Pid}, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // killed, that is how it ends
	}, nil
}

// processorTime is what processes have used, in seconds.
func processorTime(pids []int) (sum float64) {
	for _, pid := range pids {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			continue
		}
		// The name in parentheses may hold anything (proc_pid_stat(5)).
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		for _, i := range []int{11, 12} { // utime, stime
			n, _ := strconv.ParseFloat(fields[i], 64)
			sum += n / 100
		}
	}
	return sum
}

// burst is many clients behind one card.
type burst struct {
	conn       *packet.Conn
	clients    []burstClient
	begun      time.Time
	first, all time.Duration
	done       int
	repeated   int
}

type burstClient struct {
	message []byte // the last that it sent, as a frame
	again   time.Time
	wait    time.Duration
	bound   bool
}

var everybody = &packet.Addr{HardwareAddr: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}

func newBurst(clients int) (*burst, error) {
	ifi, err := net.InterfaceByName("vms0")
	if err != nil {
		return nil, err
	}
	conn, err := packet.Listen(ifi, packet.Raw, 0x0800, nil)
	if err != nil {
		return nil, err
	}
	if err := conn.SetPromiscuous(true); err != nil {
		conn.Close()
		return nil, err
	}
	if rc, err := conn.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 8<<20)
		})
	}
	return &burst{conn: conn, clients: make([]burstClient, clients)}, nil
}

// burstMAC is a client's; one with the number 0xffff is nobody's.
func burstMAC(n int) net.HardwareAddr {
	return net.HardwareAddr{2, 0xbe, 0, 0, byte(n >> 8), byte(n)}
}

// awaitServer asks in the name of one who is not counted until the server answers.
func (b *burst) awaitServer() error {
	frame, err := discover(0xffff)
	if err != nil {
		return err
	}
	buf := make([]byte, 2048)
	for end := time.Now().Add(dhcpPatience); time.Now().Before(end); {
		if _, err := b.conn.WriteTo(frame, everybody); err != nil {
			return err
		}
		_ = b.conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, _, err := b.conn.ReadFrom(buf)
			if err != nil {
				break
			}
			if m, who := parseAnswer(buf[:n]); m != nil && who == 0xffff {
				return nil
			}
		}
	}
	return errors.New("it does not answer")
}

func discover(n int) ([]byte, error) {
	m, err := dhcpv4.NewDiscovery(burstMAC(n))
	if err != nil {
		return nil, err
	}
	m.SetBroadcast()
	return frameOf(burstMAC(n), m), nil
}

// run sends what all clients say first, as fast as it goes, and answers offers.
func (b *burst) run(ctx context.Context) error {
	for i := range b.clients {
		frame, err := discover(i)
		if err != nil {
			return err
		}
		b.clients[i].message, b.clients[i].wait = frame, dhcpAgain
	}
	b.begun = time.Now()
	for i := range b.clients {
		if err := b.send(i); err != nil {
			return err
		}
	}
	buf := make([]byte, 2048)
	for look := time.Now().Add(time.Second); b.done < len(b.clients) && time.Since(b.begun) < dhcpPatience && ctx.Err() == nil; {
		_ = b.conn.SetReadDeadline(look)
		n, _, err := b.conn.ReadFrom(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			look = time.Now().Add(20 * time.Millisecond)
			if err := b.sendAgain(); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		if err := b.hear(buf[:n]); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (b *burst) send(i int) error {
	c := &b.clients[i]
	c.again = time.Now().Add(c.wait - time.Second + rand.N(2*time.Second))
	c.wait *= 2
	_, err := b.conn.WriteTo(c.message, everybody)
	return err
}

func (b *burst) sendAgain() error {
	for i := range b.clients {
		if c := &b.clients[i]; !c.bound && time.Now().After(c.again) {
			b.repeated++
			if err := b.send(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *burst) hear(frame []byte) error {
	m, i := parseAnswer(frame)
	if m == nil || i >= len(b.clients) || b.clients[i].bound {
		return nil
	}
	c := &b.clients[i]
	switch m.MessageType() {
	case dhcpv4.MessageTypeOffer:
		request, err := dhcpv4.NewRequestFromOffer(m)
		if err != nil {
			return err
		}
		request.SetBroadcast()
		c.message, c.wait = frameOf(burstMAC(i), request), dhcpAgain
		return b.send(i)
	case dhcpv4.MessageTypeNak: // it begins anew
		frame, err := discover(i)
		if err != nil {
			return err
		}
		c.message, c.wait = frame, dhcpAgain
		return b.send(i)
	case dhcpv4.MessageTypeAck:
		c.bound = true
		b.done++
		b.all = time.Since(b.begun)
		if b.done == 1 {
			b.first = b.all
		}
	default:
	}
	return nil
}

// frameOf makes the Ethernet frame of a client's message; without a checksum, which a
// datagram over IPv4 need not have.
func frameOf(mac net.HardwareAddr, m *dhcpv4.DHCPv4) []byte {
	payload := m.ToBytes()
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	f = append(f, 8, 0)
	ip := make([]byte, 28)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(payload)))
	copy(ip[16:], []byte{255, 255, 255, 255})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	ip[21], ip[23] = 68, 67
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(payload)))
	return append(append(f, ip...), payload...)
}

// parseAnswer reads a server's message, and whose it is.
func parseAnswer(f []byte) (m *dhcpv4.DHCPv4, client int) {
	const headers = 14 + 20 + 8
	if len(f) < headers || f[23] != 17 || f[35] != 67 || f[37] != 68 {
		return nil, 0
	}
	m, err := dhcpv4.FromBytes(f[headers:])
	if err != nil || len(m.ClientHWAddr) != 6 {
		return nil, 0
	}
	return m, int(binary.BigEndian.Uint16(m.ClientHWAddr[4:]))
}

func measureDHCP(ctx context.Context, o options) (section, error) {
	clients, repeat := 1000, 3
	if o.quick {
		clients, repeat = 20, 1
	}
	l, err := o.lab(ctx)
	if err != nil {
		return section{}, err
	}
	defer l.down()
	figures := map[string]dhcpFigures{}
	if err := l.inner(ctx, "host", &figures, "inside-dhcp", "-clients", strconv.Itoa(clients), "-repeat", strconv.Itoa(repeat), "-drawbridge", o.drawbridge); err != nil {
		return section{}, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d clients whom the server does not know send their DHCPDISCOVER at once, from one port of a bridge; each asks for what it is offered, and repeats what is not answered after %s, then twice that (RFC 2131, 4.1), for half a minute. "+
		"drawbridge asks by ARP whether an address is in use before it offers it (0.4 s, all at the same time); dnsmasq by ICMP, unless told not to, for a few of them. Leases are on disk before they are given, by either. What a server does not read in time is lost at its socket, whose buffer the kernel bounds; drawbridge asks for a larger one.\n\n", clients, dhcpAgain)
	t := table{head: []string{"server", "the first has its address", "all have", "ratio to `dnsmasq --no-ping`", "processor time", "messages repeated", "clients without"}}
	for _, name := range dhcpServers {
		f, ok := figures[name]
		if !ok {
			continue
		}
		t.row(name, f.First.spread(seconds), f.All.spread(seconds), ratios(f.All, figures[serverNoPing].All).spread(times), f.CPU.spread(seconds), f.Repeated.spread(whole), f.Missing.spread(whole))
	}
	b.WriteString(t.String())
	if _, ok := figures[serverPings]; !ok {
		b.WriteString("\nLeft out: dnsmasq, which is not here (apt install --no-install-recommends dnsmasq-base).\n")
	}
	return section{"DHCP: a burst of clients", b.String()}, nil
}
