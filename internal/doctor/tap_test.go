package doctor

import (
	"testing"

	"drawbridge/internal/model"
)

func TestTapOffload(t *testing.T) {
	run(t, []sick{
		{"held", func(h *Host) { link(h, "tap0").Tap.VnetHeader = false }, "broken certain tap-offload:tap0", "ethtool -K tap0 tx off"},
		{"waiting for the next", func(h *Host) {
			link(h, "tap0").Tap.VnetHeader, link(h, "tap0").Tap.Holders, link(h, "tap0").Carrier = false, nil, false
			h.Snapshot.Machines = nil
		}, "risk certain tap-offload:tap0", "held by: nobody"},
		{"with a vnet header", func(*Host) {}, "", ""},
	})
}

// configured is the machine web with what it was started with, and nobody on its tap.
func configured(h *Host, c model.MachineConfig) {
	c.Name, c.NICs = "web", []model.NICConfig{{Name: "eth1", Link: "tap0", Transport: model.TransportTap}}
	h.Snapshot.Machines[0].Config = &c
	h.Snapshot.Machines[0].State = model.MachineStarting
	link(h, "tap0").Tap.Holders, link(h, "tap0").Carrier, link(h, "tap0").Port.State = nil, false, "disabled"
}

func TestTapShape(t *testing.T) {
	alice, bob := uint32(1000), uint32(1001)
	run(t, []sick{
		{"another's", func(h *Host) {
			configured(h, model.MachineConfig{VMM: "qemu", Owner: &alice})
			link(h, "tap0").Tap.Owner, link(h, "tap0").Tap.OwnerName = &bob, "bob"
		}, "broken certain tap-shape:tap0", "tap0 is for web, which runs as user 1000, and belongs to bob"},
		{"nobody's", func(h *Host) { configured(h, model.MachineConfig{VMM: "qemu", Owner: &alice}) }, "broken certain tap-shape:tap0", "belongs to root alone"},
		{"one queue for two processors", func(h *Host) { configured(h, model.MachineConfig{VMM: "qemu", CPUs: 2}) }, "broken certain tap-shape:tap0", "has one queue"},
		{"queues for one processor", func(h *Host) {
			configured(h, model.MachineConfig{VMM: "qemu"})
			link(h, "tap0").Tap.MultiQueue = true
		}, "broken certain tap-shape:tap0", "has several queues"},
		{"as it should be", func(h *Host) {
			configured(h, model.MachineConfig{VMM: "qemu", CPUs: 2, Owner: &alice})
			link(h, "tap0").Tap.Owner, link(h, "tap0").Tap.MultiQueue = &alice, true
		}, "", ""},
		{"root's", func(h *Host) { configured(h, model.MachineConfig{VMM: "uml"}) }, "", ""},
	})
}

func TestTapHolders(t *testing.T) {
	run(t, []sick{
		{"a machine that runs without its cable", func(h *Host) {
			configured(h, model.MachineConfig{VMM: "uml"})
			h.Snapshot.Machines[0].State = model.MachineRunning
		}, "broken certain tap-unheld:tap0", "eth1 of web is on tap0, which nobody holds"},
		{"one that may not be looked into has its carrier", func(h *Host) {
			configured(h, model.MachineConfig{VMM: "uml"})
			h.Snapshot.Machines[0].State, link(h, "tap0").Carrier, link(h, "tap0").Port.State = model.MachineRunning, true, "forwarding"
		}, "", ""},
		{"two programs", func(h *Host) {
			link(h, "tap0").Tap.Holders = append(link(h, "tap0").Tap.Holders, model.Holder{PID: 10, Command: "vde_plug"})
		}, "broken likely tap-shared:tap0", "held by web and by vde_plug"},
		{"two QEMUs, a queue each", func(h *Host) {
			link(h, "tap0").Tap.MultiQueue = true
			link(h, "tap0").Tap.Holders = []model.Holder{{PID: 9, Command: "qemu-system-x86"}, {PID: 10, Command: "qemu-system-x86"}}
		}, "broken certain tap-shared:tap0", "held by qemu-system-x86 (pid 9) and by qemu-system-x86 (pid 10)"},
		{"one machine's processes", func(h *Host) {
			link(h, "tap0").Tap.Holders = append(link(h, "tap0").Tap.Holders, model.Holder{PID: 10, Command: "linux.uml", Machine: "web"})
		}, "", ""},
	})
}

func TestDead(t *testing.T) {
	state := func(s string, restarts int) func(*Host) {
		return func(h *Host) {
			h.Snapshot.Machines[0].State, h.Snapshot.Machines[0].Restarts, h.Snapshot.Machines[0].Config = s, restarts, &model.MachineConfig{Name: "web"}
		}
	}
	service := func(s model.Service) func(*Host) {
		return func(h *Host) { s.Network, s.Link = "lan", "br0"; h.Snapshot.Services = []model.Service{s} }
	}
	run(t, []sick{
		{"failed", state(model.MachineFailed, 0), "broken certain machine-dead:web", "web is failed"},
		{"again and again", state(model.MachineRestarting, 3), "broken certain machine-dead:web", "started again 3 times"},
		{"once", state(model.MachineRestarting, 1), "", ""},
		{"stopped by itself", state(model.MachineStopped, 0), "", ""},
		{"service failed", service(model.Service{State: model.ServiceFailed}), "broken certain service-dead:lan", "on br0 is failed"},
		{"service in trouble", service(model.Service{State: model.ServiceRunning, Troubles: []string{"the leases' disk is full"}}), "risk certain service-trouble:lan", "has trouble"},
		{"service runs", service(model.Service{State: model.ServiceRunning}), "", ""},
	})
}
