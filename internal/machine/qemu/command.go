package qemu

import (
	"fmt"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// maxNICs is how many NICs a machine takes: each has a PCIe port of its own, for only
// into one of those can a NIC be plugged while the machine runs, and a slot has eight.
const maxNICs = 8

// The descriptors that a QEMU is started with. Those of the files and taps follow.
const (
	consoleFD  = 3
	monitorFD  = 4
	agentFD    = 5
	firstFD    = 6
	agentPort  = "drawbridge.agent"
	agentLine  = "/dev/vport0p1" // what the guest's kernel calls it
	rootDrive  = "root"
	seedDrive  = "seed"
	portPrefix = "port"
)

// launch is all that a command line is made of.
type launch struct {
	platform
	kvm     bool
	name    string
	uuid    string
	memory  int64 // bytes
	cpus    int
	sandbox bool // the QEMU was built with seccomp
	agent   bool
	reboots bool // a guest that resets starts again, instead of ending the machine

	kernel, initrd string // paths
	args           []string
	firmware       string
	disks          []disk
	nics           []nic
}

// disk is a drive of the machine.
type disk struct {
	id, path, format string
	readOnly         bool
	// discard what is written, when the machine ends: it goes to a file without a name.
	discard bool
}

// nic is a NIC with its open tap: one descriptor a queue, and as many of vhost-net
// where the host has that.
type nic struct {
	port  int
	mac   model.MAC
	fds   []int
	vhost []int
}

func (n nic) netdev() string { return "net" + strconv.Itoa(n.port) }
func (n nic) device() string { return "nic" + strconv.Itoa(n.port) }

// arguments is the command line.
func arguments(l launch) []string {
	cpu, accel := l.emulated, "tcg"
	if l.kvm {
		cpu, accel = "host", "kvm"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-name", l.name,
		"-M", l.machine, "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(l.cpus), "-m", fmt.Sprintf("%dK", l.memory>>10),
	}
	if l.uuid != "" {
		args = append(args, "-uuid", l.uuid)
	}
	if l.sandbox {
		// It has its descriptors already: it need not start anything, nor become anybody.
		args = append(args, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny")
	}
	if !l.reboots {
		args = append(args, "-no-reboot")
	}
	args = append(args,
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", consoleFD), "-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", monitorFD), "-mon", "chardev=monitor,mode=control",
	)
	args = append(args, l.boot()...)
	for i := 1; i <= maxNICs; i++ {
		// One slot with eight functions. Without I/O ports: eight bridges would take them
		// all, and virtio needs none.
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=%s%d,chassis=%d,slot=%d,addr=0x8.%d,multifunction=on,io-reserve=0", portPrefix, i, i, i, i-1))
	}
	if l.agent {
		args = append(args,
			"-device", "virtio-serial-pci",
			"-chardev", fmt.Sprintf("socket,id=agent,fd=%d", agentFD), "-device", "virtserialport,chardev=agent,name="+agentPort)
	}
	for i, d := range l.disks {
		args = append(args, "-drive", d.option(), "-device", fmt.Sprintf("virtio-blk-pci,drive=%s,bootindex=%d", d.id, i+1))
	}
	if len(l.disks) > 0 {
		// A distribution's first boot makes keys: without a source of chance it waits.
		args = append(args, "-device", "virtio-rng-pci")
	}
	for _, n := range l.nics {
		args = append(args, "-netdev", options(n.netdevArguments(numbers(n.fds), numbers(n.vhost))), "-device", options(n.deviceArguments()))
	}
	return args
}

func (l launch) boot() []string {
	var args []string
	if l.firmware != "" {
		args = append(args, "-bios", l.firmware)
	}
	if l.kernel != "" {
		args = append(args, "-kernel", l.kernel)
		if len(l.args) > 0 {
			args = append(args, "-append", strings.Join(l.args, " "))
		}
	}
	if l.initrd != "" {
		args = append(args, "-initrd", l.initrd)
	}
	return args
}

func (d disk) option() string {
	// A comma in a path is written twice (qemu(1), -drive).
	o := fmt.Sprintf("if=none,id=%s,format=%s,file=%s", d.id, d.format, strings.ReplaceAll(d.path, ",", ",,"))
	if d.readOnly {
		o += ",readonly=on"
	}
	if d.discard {
		o += ",snapshot=on"
	}
	return o
}

// pair is a key and a value of an option, which QMP wants in JSON's types.
type pair struct {
	key   string
	value any
}

// netdevArguments describe the host's end of a NIC. With fd= neither ifname=, script=
// nor vnet_hdr= may be given: the tap's own shape is taken (net_init_tap).
func (n nic) netdevArguments(fds, vhost []string) []pair {
	fd, vhostFD := "fd", "vhostfd"
	if len(fds) > 1 {
		fd, vhostFD = "fds", "vhostfds"
	}
	out := []pair{{"type", "tap"}, {"id", n.netdev()}, {fd, strings.Join(fds, ":")}}
	if len(vhost) > 0 {
		out = append(out, pair{"vhost", true}, pair{vhostFD, strings.Join(vhost, ":")})
	}
	return out
}

// deviceArguments describe the guest's end. No boot from the network: its ROM is in a
// package of its own, which need not be there.
func (n nic) deviceArguments() []pair {
	out := []pair{
		{"driver", "virtio-net-pci"}, {"id", n.device()}, {"netdev", n.netdev()}, {"mac", string(n.mac)},
		{"bus", portPrefix + strconv.Itoa(n.port)}, {"romfile", ""},
	}
	if queues := len(n.fds); queues > 1 {
		// A vector for each direction of a queue, and two for the device.
		out = append(out, pair{"mq", true}, pair{"vectors", 2*queues + 2})
	}
	return out
}

// options writes pairs as the command line has them: the first without its key.
func options(pairs []pair) string {
	var out []string
	for i, p := range pairs {
		value := fmt.Sprint(p.value)
		if b, is := p.value.(bool); is {
			value = map[bool]string{true: "on", false: "off"}[b]
		}
		if i > 0 {
			value = p.key + "=" + value
		}
		out = append(out, value)
	}
	return strings.Join(out, ",")
}

// object writes pairs as QMP has them.
func object(pairs []pair) map[string]any {
	out := map[string]any{}
	for _, p := range pairs {
		out[p.key] = p.value
	}
	return out
}

func numbers(fds []int) (out []string) {
	for _, fd := range fds {
		out = append(out, strconv.Itoa(fd))
	}
	return out
}

// descriptorPath is a file that the QEMU has open, for options that take a path only.
func descriptorPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
