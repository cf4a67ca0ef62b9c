package probe_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/apply"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"
	"drawbridge/internal/probe"
	"drawbridge/internal/spec"
	"drawbridge/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

type noMachines struct{}

func (noMachines) List(context.Context) ([]model.Machine, error) { return nil, nil }
func (noMachines) Do(context.Context, model.Operation) error     { return nil }
func address(s string, link string) model.Address {
	return model.Address{Link: link, Prefix: netip.MustParsePrefix(s), Origin: model.Static, Flags: model.AddressFlags{NoDAD: true}}
}

// lan is a host and its gateway, each in a namespace of its own.
func lan(t *testing.T) (host, gateway *testnet.Net) {
	t.Helper()
	host, gateway = testnet.New(t), testnet.New(t)
	host.Veth("eth0", gateway, "host0")
	gateway.Must(model.AddAddresses{Link: "host0", Addresses: []model.Address{address("198.18.0.1/24", "host0"), address("2001:db8::1/64", "host0")}})
	host.Must(
		model.AddAddresses{Link: "eth0", Addresses: []model.Address{address("198.18.0.5/24", "eth0"), address("2001:db8::5/64", "eth0")}},
		model.AddRoutes{Routes: []model.Route{
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("0.0.0.0/0"), Protocol: "static", Scope: "global", NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.1")}}},
			{Table: model.TableMain, Type: "unicast", Destination: netip.MustParsePrefix("::/0"), Protocol: "static", Scope: "global", Metric: 1024, NextHops: []model.NextHop{{Link: "eth0", Gateway: netip.MustParseAddr("2001:db8::1")}}},
		}})
	return host, gateway
}

// cutover carries out the move of eth0 into br0; at a step, fault happens first.
func cutover(t *testing.T, host *testnet.Net, at string, fault func()) ([]probe.Result, error) {
	t.Helper()
	want := spec.Desired{Networks: []spec.Network{{Name: "lan", Mode: spec.Bridged, Bridge: "br0", Uplink: "eth0", Host: spec.HostAddressing{Mode: spec.HostMove}}}}
	now := model.Snapshot{Host: "host", Namespaces: []model.Namespace{*host.Look()}}
	p, err := plan.Diff(now, want, plan.Owned{}, plan.Options{Seed: "seed", NoRedirect: host.CanRedirect() != nil})
	if err != nil {
		t.Fatal(err)
	}
	var results []probe.Result
	set := &probe.Set{Moves: p.Moves(), Inside: host.Kernel.Inside, Sockets: host.Sockets, Report: func(r probe.Result) { results = append(results, r) }}
	tx := &apply.Transaction{Kernel: host.Kernel, Machines: noMachines{}, Probes: set,
		Store: &apply.Store{Dir: t.TempDir(), Identity: apply.Identity{BootID: "boot", Namespace: host.Cookie()}}}
	happened := fault == nil
	tx.Progress = func(_, _ int, title string) {
		if fault != nil && strings.HasPrefix(title, at) {
			happened = true
			fault()
		}
	}
	err = tx.Run(t.Context(), p)
	if !happened {
		t.Fatalf("no step begins with %q", at)
	}
	return results, err
}

func verdicts(results []probe.Result) map[string]probe.Verdict {
	out := map[string]probe.Verdict{}
	for _, r := range results {
		out[r.Probe] = r.Verdict
	}
	return out
}

func TestGatewayVanishesDuringUp(t *testing.T) {
	host, gateway := lan(t)
	before := host.Look().AddressesOf("eth0")
	_, err := cutover(t, host, "Take the addresses off", func() {
		gateway.Must(model.DeleteAddresses{Link: "host0", Addresses: []model.Address{address("198.18.0.1/24", "host0")}})
	})
	if err == nil {
		t.Fatal("a host without its gateway was committed")
	}
	for _, part := range []string{"gateway 198.18.0.1: asked on the wire of br0", "no answer", "the host is as before"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
	if strings.Contains(err.Error(), "2001:db8::1") {
		t.Errorf("the IPv6 gateway is still there, and is named:\n%v", err)
	}
	if host.Look().Link("br0") != nil || model.SplitAddresses(host.Look().AddressesOf("eth0")) != model.SplitAddresses(before) {
		t.Errorf("not as before: %v", host.Look().AddressesOf("eth0"))
	}
}

func TestWhatFailedBeforeIsNotRequired(t *testing.T) {
	host, gateway := lan(t)
	gateway.Must(model.DeleteAddresses{Link: "host0", Addresses: []model.Address{address("198.18.0.1/24", "host0")}})
	results, err := cutover(t, host, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := verdicts(results)
	if got["gateway 198.18.0.1"] != probe.NotRequired || got["gateway 2001:db8::1"] != probe.Passed {
		t.Errorf("%v", results)
	}
}

// connect opens a connection to the host from its gateway, and gives both ends.
func connect(t *testing.T, host, gateway *testnet.Net, port string) (server, client net.Conn) {
	t.Helper()
	var l net.Listener
	host.Inside(func() (err error) { l, err = net.Listen("tcp", "198.18.0.5:"+port); return err })
	defer l.Close()
	gateway.Inside(func() (err error) { client, err = net.Dial("tcp", "198.18.0.5:"+port); return err })
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

func TestFlowsAreJudged(t *testing.T) {
	host, gateway := lan(t)
	busy, reader := connect(t, host, gateway, "2222")
	_, _ = connect(t, host, gateway, "2223") // idle
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			if _, err := reader.Read(buf); err != nil {
				return
			}
		}
	}()
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := busy.Write(make([]byte, 100)); err != nil {
					return
				}
			}
		}
	}()
	results, err := cutover(t, host, "", nil)
	close(stop)
	reader.Close()
	<-done
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	got := verdicts(results)
	if v := got["TCP 198.18.0.5:2222 - "+busy.RemoteAddr().String()]; v != probe.Passed {
		t.Errorf("the busy connection: %q of %v", v, results)
	}
	idle := 0
	for name, v := range got {
		if strings.HasPrefix(name, "TCP 198.18.0.5:2223") && v == probe.NotJudged {
			idle++
		}
	}
	if idle != 1 {
		t.Errorf("the idle connection: %v", results)
	}
}

// TestStuckFlowRollsBack: the gateway drops what comes for one connection only, as a
// stateful firewall that has seen too much would. Everything else is well.
func TestStuckFlowRollsBack(t *testing.T) {
	host, gateway := lan(t)
	server, client := connect(t, host, gateway, "2222")
	_, err := cutover(t, host, "Take the addresses off", func() {
		// The peer's route back is gone: its acknowledgements have no way, ARP has.
		gateway.Must(model.AddRoutes{Routes: []model.Route{{Table: model.TableMain, Type: "blackhole", Destination: netip.MustParsePrefix("198.18.0.5/32"), Protocol: "static", Scope: "global"}}})
		if _, err := server.Write(make([]byte, 1000)); err != nil {
			t.Error(err)
		}
	})
	_ = client
	if err == nil {
		t.Fatal("a connection without an answer was committed")
	}
	if !strings.Contains(err.Error(), "TCP "+server.LocalAddr().String()) || !strings.Contains(err.Error(), "1000 bytes unacknowledged after") {
		t.Errorf("the error does not name the connection:\n%v", err)
	}
	if strings.Contains(err.Error(), "gateway") {
		t.Errorf("the gateway answers ARP, and is named:\n%v", err)
	}
}

func TestInterruptedWhileJudged(t *testing.T) {
	host, gateway := lan(t)
	set := &probe.Set{Moves: []model.Move{{From: "eth0", To: "br0", Plug: true, Host: true}}, Inside: host.Kernel.Inside}
	snap := model.Snapshot{Namespaces: []model.Namespace{*host.Look()}}
	if err := set.Choose(t.Context(), snap); err != nil {
		t.Fatal(err)
	}
	gateway.Must(model.SetUp{Link: "host0"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := set.Judge(ctx, snap); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%v", err)
	}
}

func TestOwnProbes(t *testing.T) {
	host, gateway := lan(t)
	var web, closed net.Listener
	gateway.Inside(func() (err error) {
		if web, err = net.Listen("tcp", "198.18.0.1:8080"); err != nil {
			return err
		}
		closed, err = net.Listen("tcp", "198.18.0.1:8081")
		return err
	})
	closed.Close()
	defer web.Close()
	go serveStatus(web)
	for _, c := range []struct{ kind, target, fails string }{
		{probe.Ping, "198.18.0.1", ""},
		{probe.Ping, "2001:db8::1", ""},
		{probe.Ping, "198.18.0.77", "no answer within 400ms"},
		{probe.TCP, "198.18.0.1:8080", ""},
		{probe.TCP, "198.18.0.1:8081", "connection refused"},
		{probe.HTTP, "http://198.18.0.1:8080/well", ""},
		{probe.HTTP, "http://198.18.0.1:8080/ill", "answered with status 503"},
		{probe.HTTP, "http://nowhere.invalid/", "failed before the change"},
		{probe.Command, "ip -o link show eth0", ""}, // inside the namespace
		{probe.Command, "echo first; echo last >&2; exit 7", "exit status 7: last"},
		{probe.Command, "sleep 5 & sleep 5", "no answer within 400ms"},
	} {
		var got []probe.Result
		timeout := 5 * time.Second // on a busy machine an answer may take its time
		if strings.Contains(c.fails, "within 400ms") {
			timeout = 400 * time.Millisecond
		}
		set := &probe.Set{Inside: host.Kernel.Inside, Servers: []netip.Addr{netip.MustParseAddr("198.18.0.1")}, Report: func(r probe.Result) { got = append(got, r) },
			Own: []probe.Own{{Name: "own", Kind: c.kind, Target: c.target, Timeout: timeout}}}
		snap := model.Snapshot{Namespaces: []model.Namespace{*host.Look()}}
		if err := set.Choose(t.Context(), snap); err != nil {
			t.Fatal(err)
		}
		if err := set.Judge(t.Context(), snap); err != nil {
			t.Errorf("%s %s: %v", c.kind, c.target, err)
		}
		if len(got) != 1 || (got[0].Verdict == probe.Passed) != (c.fails == "") || !strings.Contains(got[0].Saw, c.fails) {
			t.Errorf("%s %s: %v, not %q", c.kind, c.target, got, c.fails)
		}
	}
}

// serveStatus answers every request by its path, until the listener is closed.
func serveStatus(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		buf := make([]byte, 1024)
		n, _ := c.Read(buf)
		status := "200 OK"
		if strings.Contains(string(buf[:n]), "/ill") {
			status = "503 Service Unavailable"
		}
		fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status)
		c.Close()
	}
}

func TestNameServerIsAsked(t *testing.T) {
	host, gateway := lan(t)
	var l net.PacketConn
	gateway.Inside(func() (err error) { l, err = net.ListenPacket("udp", "198.18.0.1:53"); return err })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			buf[2] |= 0x80 // a response, RFC 1035, section 4.1.1
			_, _ = l.WriteTo(buf[:n], from)
		}
	}()
	servers := probe.Servers([]byte("# of the lab\nnameserver 198.18.0.1\nnameserver 198.18.0.1\noptions edns0\nnameserver nonsense\nnameserver 127.0.0.53\n"))
	if len(servers) != 2 {
		t.Fatalf("%v", servers)
	}
	var got []probe.Result
	set := &probe.Set{Inside: host.Kernel.Inside, Servers: servers, Moves: []model.Move{{From: "eth0", To: "br0", Plug: true, Host: true}}, Report: func(r probe.Result) { got = append(got, r) }}
	snap := model.Snapshot{Namespaces: []model.Namespace{*host.Look()}}
	if err := set.Choose(t.Context(), snap); err != nil {
		t.Fatal(err)
	}
	if len(got) != 0 {
		t.Fatalf("before: %v", got)
	}
	l.Close()
	err := set.Judge(t.Context(), snap)
	if err == nil || !strings.Contains(err.Error(), "name server 198.18.0.1: ") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}
