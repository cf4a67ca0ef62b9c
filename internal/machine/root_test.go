package machine_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
	"drawbridge/internal/testnet"
)

// guestRoot makes the folder of a small guest that is not ours: busybox, with what it
// loads, whose process 1 writes down what it finds and then stays.
func guestRoot(t *testing.T) string {
	t.Helper()
	busybox := testnet.RequireCommand(t, "busybox", "busybox")
	dir := t.TempDir()
	for _, d := range []string{"bin", "sbin", "etc", "proc", "sys", "dev", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put := func(from, to string) {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(busybox, "/bin/busybox")
	out, _ := exec.Command("ldd", busybox).Output() // of a static one: nothing
	for _, lib := range regexp.MustCompile(`/[^ ]+`).FindAllString(string(out), -1) {
		put(lib, lib)
	}
	for _, link := range []string{"bin/sh", "bin/cat", "bin/touch", "bin/ls", "bin/sleep", "bin/hostname", "bin/mount", "sbin/poweroff"} {
		if err := os.Symlink("/bin/busybox", filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\nif touch /written; then echo root-is-writable; else echo root-is-read-only; fi\n" +
		"[ -e /before ] && echo it-was-here-before\ntouch /before\n" +
		"echo booted as $(hostname)\nexec /bin/busybox init\n"
	if err := os.WriteFile(filepath.Join(dir, "sbin/init"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/inittab"), []byte("tty1::respawn:-/bin/sh\n::ctrlaltdel:/sbin/poweroff\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// guestImage makes an ext4 image of such a folder.
func guestImage(t *testing.T) string {
	t.Helper()
	mkfs := testnet.RequireCommand(t, "mkfs.ext4", "e2fsprogs")
	path := filepath.Join(t.TempDir(), "guest.img")
	if out, err := exec.Command(mkfs, "-q", "-d", guestRoot(t), path, "24M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	return path
}

func (h *house) console(name string) string {
	b, _ := os.ReadFile(filepath.Join(h.dir, name, "console.log"))
	return string(b)
}

// said waits until a machine's console has said something.
func (h *house) said(name, what string) {
	h.t.Helper()
	testnet.Eventually(h.t, func() error {
		if text := h.console(name); !strings.Contains(text, what) {
			return errors.New("its console does not say " + what + ":\n" + text)
		}
		return nil
	})
}

func rootConfig(root, writes string, nics ...model.NICConfig) model.MachineConfig {
	c := umlConfig(nics...)
	c.Root, c.Writes = root, writes
	return c
}

// TestForeignRoots: a guest that is not ours has its name and address from us, is reached,
// takes a NIC while it runs, and its root is written to as the file says.
func TestForeignRoots(t *testing.T) {
	needUML(t)
	folder, image := guestRoot(t), guestImage(t)
	before := fileState(t, image)
	for _, c := range []struct {
		root, writes string
		says         string
	}{
		{"hostfs:" + folder, "none", "root-is-read-only"},
		{"hostfs:" + folder, "discard", "root-is-writable"},
		{image, "discard", "root-is-writable"},
		{image, "none", "root-is-read-only"},
	} {
		t.Run(filepath.Base(c.root)+" "+c.writes, func(t *testing.T) {
			h := newHouse(t)
			h.tap("tap0", "198.18.0.1/24")
			h.tap("tap1", "198.18.1.1/24")
			nic := model.NICConfig{Name: "eth1", MAC: "02:11:22:33:44:55", Link: "tap0", Addresses: prefixes("198.18.0.2/24")}
			h.do(model.StartMachine{Machine: rootConfig(c.root, c.writes, nic)})
			h.ping("web", "198.18.0.1")
			h.said("web", c.says)
			h.said("web", "booted as web")
			if m := h.one("web"); m.Inside == nil || m.Inside.Link("eth1") == nil {
				t.Errorf("listed as %+v", m)
			}
			// Its own shell is on the console.
			var out lockedBuffer
			if err := h.Console(t.Context(), "web", strings.NewReader("cat /proc/1/comm; ls /written\n"), &out); err != nil || !strings.Contains(out.String(), "init") {
				t.Errorf("console: %v\n%s", err, out.String())
			}
			h.do(model.PlugNIC{Machine: "web", NIC: model.NICConfig{Name: "lan", Link: "tap1", Addresses: prefixes("198.18.1.2/24")}})
			h.ping("web", "198.18.1.1")
			overlay, err := os.Readlink(filepath.Join(h.dir, "web", "overlay"))
			if (err == nil) != (c.root == image && c.writes == "discard") {
				t.Errorf("its overlay: %v", err)
			}
			h.do(model.StopMachine{Name: "web"})
			h.noTrace()
			if _, err := os.Stat(overlay); overlay != "" && err == nil {
				t.Errorf("left over: %s", overlay)
			}
			if _, err := os.Stat(filepath.Join(folder, "written")); err == nil {
				t.Error("the folder was written to")
			}
			if now := fileState(t, image); now != before {
				t.Errorf("the image has changed: %s, was %s", now, before)
			}
		})
	}
}

func fileState(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("sha256sum", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[0]
}

// TestKeptOverlay: what a guest writes is there at its next start, and the image stays
// as it is; an image that has changed is refused.
func TestKeptOverlay(t *testing.T) {
	needUML(t)
	h := newHouse(t)
	image := guestImage(t)
	before := fileState(t, image)
	h.Kept = filepath.Join(t.TempDir(), "kept")
	for round := range 2 {
		h.do(model.StartMachine{Machine: rootConfig(image, "keep")})
		h.said("web", "booted as web")
		if again := strings.Contains(h.console("web"), "it-was-here-before"); again != (round == 1) {
			t.Errorf("round %d: it was here before: %v\n%s", round, again, h.console("web"))
		}
		if round == 0 { // two machines on one image, each with an overlay of its own
			other := rootConfig(image, "keep")
			other.Name = "db"
			h.do(model.StartMachine{Machine: other})
			h.do(model.StopMachine{Name: "db"})
			if err := h.Ready(t.Context(), model.StartMachine{Machine: rootConfig(image, "keep")}); !errors.Is(err, model.ErrBusy) {
				t.Errorf("an overlay in use: %v", err)
			}
			if err := h.Ready(t.Context(), model.StartMachine{Machine: rootConfig(image, "through")}); !errors.Is(err, model.ErrBusy) || !strings.Contains(err.Error(), "linux") {
				t.Errorf("an image in use: %v", err)
			}
		}
		h.do(model.StopMachine{Name: "web"})
	}
	if now := fileState(t, image); now != before {
		t.Error("the image has changed")
	}
	later := []unix.Timeval{{Sec: 1}, {Sec: 1}}
	if err := unix.Utimes(image, later); err != nil {
		t.Fatal(err)
	}
	if err := h.Manager.Do(t.Context(), model.StartMachine{Machine: rootConfig(image, "keep")}); !errors.Is(err, model.ErrInvalid) || !strings.Contains(err.Error(), "no longer fits") {
		t.Errorf("an image that has changed: %v", err)
	}
	h.noTrace()
}

// TestRootsThatCannotBe: what is wrong is told before anything is touched.
func TestRootsThatCannotBe(t *testing.T) {
	needUMLBinary(t)
	h := newHouse(t)
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	head := strings.Repeat("\x00", 1080) + "\x53\xef" + strings.Repeat("\x00", 4000)
	image := file("image", head, 0o600)
	locked, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	for _, c := range []struct {
		root, writes string
		kind         error
		says         string
	}{
		{"/nowhere/debian.img", "", model.ErrNotFound, "no such image"},
		{"hostfs:/nowhere", "", model.ErrNotFound, "no such folder"},
		{"hostfs:" + image, "", model.ErrInvalid, "no folder"},
		{dir, "", model.ErrInvalid, "hostfs:"},
		{file("qcow2", "QFI\xfb"+head, 0o600), "", model.ErrInvalid, "qemu-img convert"},
		{file("empty", "", 0o600), "", model.ErrInvalid, "no disk image"},
		{file("a,b", head, 0o600), "", model.ErrInvalid, "comma"},
		{"/dev/null", "", model.ErrInvalid, "regular"},
	} {
		for _, err := range []error{
			h.Ready(t.Context(), model.StartMachine{Machine: rootConfig(c.root, c.writes)}),
			h.Manager.Do(context.WithoutCancel(t.Context()), model.StartMachine{Machine: rootConfig(c.root, c.writes)}),
		} {
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", c.root, err)
			}
		}
		h.noTrace()
	}
	// Read by one is no hindrance to an overlay; written by another is.
	lock := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(locked.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	if err := h.Ready(t.Context(), model.StartMachine{Machine: rootConfig(image, "discard")}); err != nil {
		t.Errorf("read by another: %v", err)
	}
	if err := h.Ready(t.Context(), model.StartMachine{Machine: rootConfig(image, "through")}); !errors.Is(err, model.ErrBusy) {
		t.Errorf("read by another, to be written to: %v", err)
	}
}
