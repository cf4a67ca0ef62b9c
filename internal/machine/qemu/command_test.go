package qemu

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func platformNamed(t *testing.T, arch string) platform {
	t.Helper()
	p, err := platformOf(arch)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestArguments(t *testing.T) {
	amd64, arm64 := platformNamed(t, "amd64"), platformNamed(t, "arm64")
	guest := launch{platform: amd64, name: "web", memory: 128 << 20, cpus: 1, agent: true, kernel: "/boot/vmlinuz", initrd: "/proc/self/fd/6", args: []string{"console=ttyS0", "quiet"}}
	image := launch{platform: amd64, kvm: true, name: "db", memory: 512 << 20, cpus: 2, sandbox: true, reboots: true, uuid: "u", disks: []disk{
		{id: "root", path: "/srv/a,b.qcow2", format: "qcow2", discard: true},
		{id: "seed", path: "/proc/self/fd/6", format: "raw", readOnly: true},
	}}
	with := func(l launch, change func(*launch)) launch { change(&l); return l }
	one := nic{port: 1, mac: "02:11:22:33:44:55", fds: []int{7}}
	many := nic{port: 3, mac: "02:11:22:33:44:66", fds: []int{7, 8}, vhost: []int{9, 10}}
	for _, c := range []struct {
		what      string
		launch    launch
		has, lack []string
	}{
		{
			"the embedded guest, emulated", guest,
			[]string{
				"-M q35 -accel tcg -cpu max -smp 1 -m 131072K", "-no-reboot", "-nodefaults -no-user-config -display none",
				"-chardev socket,id=console,fd=3 -serial chardev:console", "-chardev socket,id=monitor,fd=4 -mon chardev=monitor,mode=control",
				"-chardev socket,id=agent,fd=5 -device virtserialport,chardev=agent,name=drawbridge.agent",
				"-kernel /boot/vmlinuz -append console=ttyS0 quiet -initrd /proc/self/fd/6",
				"pcie-root-port,id=port1,chassis=1,slot=1,addr=0x8.0", "pcie-root-port,id=port8,chassis=8,slot=8,addr=0x8.7",
			},
			[]string{"-netdev", "-drive", "-sandbox", "-bios", "rng"},
		},
		{
			"an image, with KVM", image,
			[]string{
				"-accel kvm -cpu host -smp 2", "-uuid u", "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny",
				"-drive if=none,id=root,format=qcow2,file=/srv/a,,b.qcow2,snapshot=on -device virtio-blk-pci,drive=root,bootindex=1",
				"-drive if=none,id=seed,format=raw,file=/proc/self/fd/6,readonly=on -device virtio-blk-pci,drive=seed,bootindex=2", "virtio-rng-pci",
			},
			[]string{"-no-reboot", "-kernel", "virtserialport"},
		},
		{"arm64", with(guest, func(l *launch) { l.platform = arm64; l.firmware = "/usr/share/efi.fd" }), []string{"-M virt -accel tcg -cpu max", "-bios /usr/share/efi.fd"}, nil},
		{
			"a NIC", with(guest, func(l *launch) { l.nics = []nic{one} }),
			[]string{"-netdev tap,id=net1,fd=7 -device virtio-net-pci,id=nic1,netdev=net1,mac=02:11:22:33:44:55,bus=port1,romfile="},
			// What fd= forbids.
			[]string{"ifname=", "script=", "vnet_hdr=", "mq=", "vhost"},
		},
		{
			"a NIC of several queues, with vhost", with(guest, func(l *launch) { l.nics = []nic{one, many} }),
			[]string{"-netdev tap,id=net3,fds=7:8,vhost=on,vhostfds=9:10 -device virtio-net-pci,id=nic3,netdev=net3,mac=02:11:22:33:44:66,bus=port3,romfile=,mq=on,vectors=6"},
			nil,
		},
		{"a NIC of one queue, with vhost", with(guest, func(l *launch) { l.nics = []nic{{port: 1, fds: []int{7}, vhost: []int{8}}} }), []string{"tap,id=net1,fd=7,vhost=on,vhostfd=8"}, nil},
	} {
		got := strings.Join(arguments(c.launch), " ")
		for _, want := range c.has {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in\n%s", c.what, want, got)
			}
		}
		for _, bad := range c.lack {
			if strings.Contains(got, bad) {
				t.Errorf("%s: %q is in\n%s", c.what, bad, got)
			}
		}
	}
}

func TestPlatforms(t *testing.T) {
	if _, err := platformOf("riscv64"); err == nil || !strings.Contains(err.Error(), "amd64 or arm64") {
		t.Errorf("another processor: %v", err)
	}
	if p, err := platformOf(""); err != nil || !p.native() {
		t.Errorf("this host's: %+v, %v", p, err)
	}
}

func TestPorts(t *testing.T) {
	vm := &VM{ports: map[string]int{}}
	var names []string
	for _, name := range strings.Fields("a b c d e f g h") {
		if p, err := vm.takePort(name); err != nil || slices.Contains(names, string(rune(p))) {
			t.Errorf("%s: port %d, %v", name, p, err)
		}
	}
	if _, err := vm.takePort("i"); err == nil {
		t.Error("a ninth NIC has a port")
	}
	vm.freePort("c")
	if p, err := vm.takePort("i"); err != nil || p != 3 {
		t.Errorf("the freed port: %d, %v", p, err)
	}
}

func TestNoKVM(t *testing.T) {
	p := platformNamed(t, "amd64")
	p.arch = "" // of no host
	if why := noKVM(p, "/dev/null", "flags\t\t: fpu vmx"); !strings.Contains(why, "another kind") {
		t.Errorf("a foreign processor: %q", why)
	}
	own := platform{arch: runtime.GOARCH, virtualizes: []string{"vmx", "svm"}}
	for _, c := range []struct{ device, cpuinfo, want string }{
		{"/dev/kvm", "processor\t: 0\nflags\t\t: fpu sse\n", "no virtualization"},
		{"/dev/kvm", "", "no virtualization"},
		{"/nowhere/kvm", "flags\t\t: fpu svm sse\n", "there is no /nowhere/kvm"},
		{"/dev/null", "flags\t\t: fpu vmx\n", "makes no machine"},
	} {
		if why := noKVM(own, c.device, c.cpuinfo); !strings.Contains(why, c.want) {
			t.Errorf("%s, %q: got %q", c.device, c.cpuinfo, why)
		}
	}
}
