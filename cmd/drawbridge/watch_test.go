package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/testnet"
)

// What 'draw --watch' shows on a terminal: the picture, a new tap as it comes, what is
// out of sight after an arrow; and q leaves the terminal as it was.
func TestWatchOnATerminal(t *testing.T) {
	testnet.RequireTap(t)
	host, _ := site(t)
	master, slave := openTerminal(t)
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 90}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(build(t), "drawbridge"), "draw", "--watch", "--netns", host.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(cmd.Environ(), "NO_COLOR=1", "TERM=xterm")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	slave.Close()
	var mu sync.Mutex
	var written strings.Builder
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := master.Read(buf)
			mu.Lock()
			written.Write(buf[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	shows := func(what string) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			mu.Lock()
			text := written.String()
			mu.Unlock()
			if strings.Contains(text, what) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("never showed %q:\n%q", what, text)
			}
		}
	}
	shows("\x1b[?1049h")
	shows("[eth0]")
	shows("q quits")
	if out, err := exec.Command("ip", "-n", host.Name(), "tuntap", "add", "tap9", "mode", "tap").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	shows("+[tap9]")
	if _, err := master.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	shows("\x1b[?25h\x1b[?1049l")
	mu.Lock()
	defer mu.Unlock()
	if frames := strings.Count(written.String(), "\x1b[?2026h"); frames > 6 {
		t.Errorf("%d frames were written for one change", frames)
	}
}
