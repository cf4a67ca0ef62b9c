package kernel_test

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// container starts a process with network and UTS namespaces of its own, as a container
// runtime does, and plugs it into a bridge of the host.
func container(t *testing.T, host *testnet.Net, name, bridge, port string) (pid int) {
	t.Helper()
	cmd := exec.Command("unshare", "--net", "--uts", "sh", "-c", "hostname "+name+"; echo ready; exec sleep 60")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// No Pdeathsig: the thread that starts it may be one that ends (see Enter).
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(cmd.Process.Pid)},
		{"link", "set", port, "master", bridge, "up"},
	} {
		if out, err := exec.Command("ip", append([]string{"-n", host.Name()}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", args, err, out)
		}
	}
	if out, err := exec.Command("nsenter", "--net", "--target", strconv.Itoa(cmd.Process.Pid), "ip", "link", "set", "eth0", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	return cmd.Process.Pid
}

// Containers on two networks, with namespaces that nobody named: all of them in one
// picture, each on its bridge.
func TestContainersAreFoundByTheirProcesses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: other processes' namespaces are entered")
	}
	host := testnet.New(t)
	for _, bridge := range []string{"docker0", "br-shop"} {
		host.Must(model.CreateBridge{Name: bridge}, model.SetUp{Link: bridge, Up: true})
	}
	suffix := "-" + host.Name()[len(host.Name())-6:] // other tests may run
	where := map[string]string{"web": "docker0", "db": "br-shop", "cache": "br-shop"}
	for name, bridge := range where {
		container(t, host, name+suffix, bridge, "veth-"+name)
	}
	all, _, err := kernel.ObserveAll(t.Context(), host.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	s := model.Snapshot{Host: "host"}
	for _, n := range all {
		if n.Name == "" || n.Container != nil && strings.HasSuffix(n.Container.Name, suffix) {
			s.Namespaces = append(s.Namespaces, n)
		}
	}
	if len(s.Namespaces) != 4 {
		t.Fatalf("%d namespaces", len(s.Namespaces))
	}
	s.Sort()
	w := model.Wire(s)
	picture := svg.Render(draw.Draw(draw.Options{}, draw.Frame{Now: w}), svg.Options{})
	for name, bridge := range where {
		inside, port := w.Interface("netns:process:"+name+suffix+"/eth0"), w.Interface("host/veth-"+name)
		if inside == nil || port == nil {
			t.Errorf("%s: %v %v", name, inside, port)
			continue
		}
		if port.HostEnd.ID != "bridge:"+bridge || inside.WireEnd != port.WireEnd {
			t.Errorf("%s: the port %+v, inside %+v", name, port, inside)
		}
		if st := w.Stack(inside.Stack); st.Name != name+suffix || st.Kind != "process" {
			t.Errorf("%+v", st)
		}
		if !bytes.Contains(picture, []byte(">"+name+suffix+"<")) {
			t.Errorf("%s is not in the picture", name)
		}
	}
}
