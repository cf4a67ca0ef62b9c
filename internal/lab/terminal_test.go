package lab

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// clientMain is "lab exec NAMESPACE -- /bin/sh -c SCRIPT" with this process's terminal.
func clientMain(name, namespace, script string) int {
	c, err := Dial(name)
	if err != nil {
		return exitNoEnter
	}
	code, err := c.Run(context.Background(), Command{Namespace: namespace, Args: []string{"/bin/sh", "-c", script}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		return exitNoEnter
	}
	return code
}

// screen is what a terminal shows.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) read(f *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		s.mu.Lock()
		s.text.Write(buf[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *screen) shows(words string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), words)
}

// onTerminal runs a script in the lab's host from a terminal of 30 by 100.
func onTerminal(t *testing.T, name, script string) (*os.File, *screen, *exec.Cmd) {
	t.Helper()
	master, slave, err := openTerminal(windowSize{Rows: 30, Columns: 100})
	if err != nil {
		lacking(t, err.Error())
	}
	defer slave.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"drawbridge", "lab", "test-client", name, "host", script},
		Stdin: slave, Stdout: slave, Stderr: slave,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true},
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &screen{}
	go s.read(master)
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = master.Close() })
	return master, s, cmd
}

func TestTerminal(t *testing.T) {
	l, _ := startLab(t, Options{})
	master, s, cmd := onTerminal(t, l.Name(), `stty size; test -t 0 && test -t 1 && echo both; echo -n "go on? "; read x </dev/tty; echo "got $x"; trap 'stty size; exit 5' WINCH; while :; do sleep 0.05; done`)
	waitFor(t, "a question", func() bool { return s.shows("30 100") && s.shows("both") && s.shows("go on? ") })
	_, _ = master.WriteString("yes\r")
	waitFor(t, "the answer", func() bool { return s.shows("got yes") })
	if err := setSize(master, windowSize{Rows: 40, Columns: 120}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the new size", func() bool { return s.shows("40 120") })
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 5 {
		t.Errorf("code %d", code)
	}
}

// Ctrl-C is a key of the command's own terminal.
func TestControlC(t *testing.T) {
	l, _ := startLab(t, Options{})
	master, s, cmd := onTerminal(t, l.Name(), "echo ready; sleep 60")
	waitFor(t, "the command", func() bool { return s.shows("ready") })
	time.Sleep(100 * time.Millisecond)
	_, _ = master.Write([]byte{3})
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("code %d", code)
	}
}

// A terminal that is hung up takes its command along.
func TestTerminalHangUp(t *testing.T) {
	l, _ := startLab(t, Options{})
	_, s, cmd := onTerminal(t, l.Name(), "echo ready; exec sleep 7373")
	waitFor(t, "the command", func() bool { return s.shows("ready") })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	waitFor(t, "its end", func() bool { return inLab(l, "sleep 7373") == 0 })
}
