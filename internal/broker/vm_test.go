package broker_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawbridge/internal/lab/router"
	"drawbridge/internal/machine/agent"
	"drawbridge/internal/machine/guest"
	"drawbridge/internal/machine/initrd"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

const lanPolicy = `
rules:
  - {users: [12345], networks: [br0], taps: 4, macs: ["02:aa:00:00:00:00/24"]}
`

// Two virtual machines of a user without rights, a User-Mode Linux and a QEMU, each
// started by one command of the user's: both are given addresses by the LAN's DHCP
// server, and reach the host, and each other.
func TestVirtualMachinesOfAUserWithoutRights(t *testing.T) {
	r := newRig(t)
	uml := testnet.RequireCommand(t, "linux.uml", "user-mode-linux")
	qemu := testnet.RequireCommand(t, "qemu-system-x86_64", "qemu-system-x86")
	var kernels []string
	testnet.RequirePackage(t, func() error {
		if kernels, _ = filepath.Glob("../../bin/packages/linux-image-cloud-*/boot/vmlinuz-*"); len(kernels) == 0 {
			return fmt.Errorf("needs a kernel in bin/packages (scripts/need.sh test)")
		}
		return nil
	})
	r.write(r.policy, lanPolicy, 0o644)
	if err := r.server.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.logged("a new policy is in force")
	dhcp := r.serveDHCP()

	inUML := r.boot("u", []string{"setarch", "-R", uml, "mem=128M", "initrd=%INITRD%", "umid=broker-%PID%", "uml_dir=%DIR%", "con=null", "con0=fd:0,fd:1", "ssl=null", "ssl0=fd:3,fd:3",
		"initcall_blacklist=raid6_select_algo,init_zswap", "panic=1", "quiet", "vec1:transport=tap,ifname=%TAP%,depth=128,gro=1,mac=%MAC%"},
		"02:aa:00:00:00:01", "/dev/ttyS0", umlModules(t))
	kernel, err := filepath.Abs(kernels[0])
	if err != nil {
		t.Fatal(err)
	}
	release := strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-")
	modules, err := initrd.ReadModules(filepath.Join(filepath.Dir(kernel), "../lib/modules", release))
	if err != nil {
		t.Fatal(err)
	}
	files, missing := modules.InOrder("ipv6", "virtio_pci", "virtio_net", "virtio_console")
	if len(missing) > 0 {
		t.Fatal(missing)
	}
	image := filepath.Join(r.dir, "vmlinuz")
	b, err := os.ReadFile(kernel)
	if err != nil {
		t.Fatal(err)
	}
	r.write(image, string(b), 0o644)
	inQEMU := r.boot("q", []string{qemu, "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "192", "-no-reboot",
		"-kernel", image, "-initrd", "%INITRD%", "-append", "console=ttyS0 quiet panic=1 tsc=unstable", "-serial", "file:%DIR%/console",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,fd=3", "-device", "virtserialport,chardev=agent,name=drawbridge.agent",
		"-netdev", "tap,id=n,fd=%FD%", "-device", "virtio-net-pci,netdev=n,mac=%MAC%"},
		"02:aa:00:00:00:02", "/dev/vport0p1", files)

	var address [2]string
	for i, c := range []*agent.Client{inUML, inQEMU} {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		if _, err := c.WaitHello(ctx); err != nil {
			t.Fatal(err)
		}
		testnet.Within(t, time.Minute, func() error {
			a, err := c.Do(ctx, agent.Request{Do: agent.Status, Timeout: 10 * time.Second})
			if err != nil {
				return err
			}
			for _, x := range a.Namespace.AddressesOf("eth1") {
				if x.Prefix.Addr().Is4() {
					address[i] = x.Prefix.Addr().String()
					return nil
				}
			}
			return fmt.Errorf("no address yet: %v", a.Namespace.Addresses)
		})
	}
	for _, l := range dhcp.Leases() {
		t.Logf("%s has %s", l.MAC, l.Address)
	}
	for _, p := range []struct {
		from *agent.Client
		to   string
	}{{inUML, "198.18.0.1"}, {inQEMU, "198.18.0.1"}, {inUML, address[1]}, {inQEMU, address[0]}} {
		testnet.Within(t, 30*time.Second, func() error {
			_, err := p.from.Do(t.Context(), agent.Request{Do: agent.Ping, Target: p.to, Timeout: 5 * time.Second})
			return err
		})
	}
	taps := r.taps()
	slices.SortFunc(taps, func(a, b listed) int { return strings.Compare(string(a.MAC), string(b.MAC)) })
	if len(taps) != 2 || taps[0].HeldBy == nil || taps[0].HeldBy.Machine != "u" || taps[1].HeldBy == nil || taps[1].HeldBy.Machine != "q" {
		t.Errorf("%+v", taps)
	}
	// They end, and with them everything.
	for _, c := range []*agent.Client{inUML, inQEMU} {
		if _, err := c.Do(t.Context(), agent.Request{Do: agent.Halt, Timeout: 10 * time.Second}); err != nil {
			t.Error(err)
		}
	}
	testnet.Within(t, time.Minute, func() error {
		if taps := r.taps(); len(taps) > 0 {
			return fmt.Errorf("%+v", taps)
		}
		return nil
	})
	r.noTaps()
}

// umlModules: Debian's UML has IPv6 as a module.
func umlModules(t *testing.T) []string {
	t.Helper()
	dirs, _ := filepath.Glob("/usr/lib/uml/modules/*")
	if len(dirs) == 0 {
		return nil
	}
	modules, err := initrd.ReadModules(dirs[len(dirs)-1])
	if err != nil {
		t.Fatal(err)
	}
	files, _ := modules.InOrder("ipv6")
	return files
}

// serveDHCP makes br0 a LAN with a DHCP server at 198.18.0.1.
func (r *rig) serveDHCP() *router.DHCP {
	r.t.Helper()
	r.host.Must(model.AddAddresses{Link: "br0", Addresses: []model.Address{{Prefix: netip.MustParsePrefix("198.18.0.1/24"), Origin: model.Static}}})
	dhcp := router.NewDHCP(router.DHCPConfig{Server: netip.MustParsePrefix("198.18.0.1/24"), First: netip.MustParseAddr("198.18.0.100"), Last: netip.MustParseAddr("198.18.0.120"), LeaseTime: time.Hour},
		log.New(r.t.Output(), "dhcp: ", 0))
	ctx, stop := context.WithCancel(context.Background())
	r.t.Cleanup(stop)
	r.host.Inside(func() error { return dhcp.Start(ctx, "br0") })
	return dhcp
}

// boot starts alice's VM by drawbridge exec, with our guest inside, and returns the line
// to the guest's agent.
func (r *rig) boot(name string, argv []string, mac model.MAC, line string, modules []string) *agent.Client {
	r.t.Helper()
	dir := filepath.Join(r.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	config, err := guest.NewConfig(model.MachineConfig{Name: name, NICs: []model.NICConfig{{Name: "eth1", MAC: mac, Link: "by the broker", DHCP: true}}}, line).Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(dir, "initrd")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := (initrd.Initrd{Init: r.bin, Config: config, Modules: modules}).Write(f); err != nil {
		r.t.Fatal(err)
	}
	f.Close()
	if err := os.Chown(dir, aliceUID, aliceUID); err != nil {
		r.t.Fatal(err)
	}
	fill := strings.NewReplacer("%INITRD%", path, "%DIR%", dir, "%PID%", fmt.Sprint(os.Getpid()))
	for i := range argv {
		argv[i] = fill.Replace(argv[i])
	}
	ours, theirs, err := procs.SocketPair("agent")
	if err != nil {
		r.t.Fatal(err)
	}
	vm := r.asWith(aliceUID, []*os.File{theirs}, append([]string{r.bin, "exec", "--network", "br0", "--mac", string(mac), "--name", name, "--"}, argv...)...)
	theirs.Close()
	r.t.Cleanup(func() {
		if r.t.Failed() {
			console, _ := os.ReadFile(filepath.Join(dir, "console"))
			r.t.Logf("%s said:\n%s\n%s\nthe broker:\n%s", name, vm.out, console, r.log)
		}
	})
	client := agent.NewClient(ours)
	r.t.Cleanup(func() {
		client.Close()
		<-client.Gone()
	})
	return client
}
