package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drawbridge/internal/testnet"
)

// askerName is what this test binary is called as a program that has one connection, and
// asks a web server by it again and again.
const askerName = "asker"

// keepAsking tells of each answer how many milliseconds it took, until it is ended.
func keepAsking(server string) {
	fail := func(err error) {
		fmt.Println(err)
		os.Exit(1)
	}
	c, err := net.DialTimeout("tcp", server, 10*time.Second)
	if err != nil {
		fail(err)
	}
	r := bufio.NewReader(c)
	for {
		began := time.Now()
		if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
			fail(err)
		}
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			fail(err)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			fail(err)
		}
		fmt.Println(time.Since(began).Milliseconds())
		time.Sleep(20 * time.Millisecond)
	}
}

// stream is an asker in a namespace of a lab.
type stream struct {
	name    string
	answers atomic.Int64
	longest atomic.Int64 // milliseconds
	last    atomic.Value // what it said at last, if it ended
}

func (s *labSite) stream(namespace, server string) *stream {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	program := filepath.Join(s.t.TempDir(), askerName)
	if err := os.Symlink(self, program); err != nil {
		s.t.Fatal(err)
	}
	st := &stream{name: namespace + " to " + server}
	cmd := exec.Command(s.bin, "lab", "exec", "--name", s.name, namespace, "--", program, server)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var took int64
			if _, err := fmt.Sscan(lines.Text(), &took); err != nil {
				st.last.Store(lines.Text())
				continue
			}
			st.longest.Store(max(st.longest.Load(), took))
			st.answers.Add(1)
		}
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	return st
}

// goesOn waits for as many further answers, and tells the longest that one took.
func (st *stream) goesOn(t *testing.T, when string) {
	t.Helper()
	want := st.answers.Load() + 10
	testnet.Within(t, testnet.Patience, func() error {
		if last := st.last.Load(); last != nil {
			return fmt.Errorf("%s, %s: it ended: %v", st.name, when, last)
		}
		if n := st.answers.Load(); n < want {
			return fmt.Errorf("%s, %s: %d answers of %d", st.name, when, n, want)
		}
		return nil
	})
	t.Logf("%s, %s: no answer took longer than %d ms", st.name, when, st.longest.Swap(0))
}

// TestModesAreSwitched: a network is made routed and bridged again while its machine runs
// and talks, with a neighbour that knows it and with the subnet beyond: no connection ends,
// and the neighbour knows at once where the machine is now.
func TestModesAreSwitched(t *testing.T) {
	t.Parallel()
	testnet.RequireSecurity(t)
	s := newLabSite(t, "--ra-interval", "2s")
	files := map[string]string{}
	for _, mode := range []string{"bridged", "routed"} {
		files[mode] = s.file(fmt.Sprintf(autoFile, mode, "namespace"))
	}
	before := s.dump()
	// Routed first: the bridge then has a MAC address of its own, and gets the uplink's.
	s.do("host", "drawbridge up --yes "+files["routed"])
	four, six := s.learned(`^198\.18\.0\.1\d\d$`), s.learned(`^2001:db8::.*:`)
	var streams []*stream
	for _, from := range []string{"neighbour", "far"} {
		for _, to := range []string{four, six} {
			s.eventually(from, "ping -c1 -W2 "+to)
			streams = append(streams, s.stream(from, net.JoinHostPort(to, "80")))
		}
	}
	for _, st := range streams {
		st.goesOn(t, "routed at first")
	}
	const uplinks = `02:db:00:00:00:05`
	machines := regexp.MustCompile(`02:d3(:[0-9a-f]{2}){4}`).FindString(s.do("host", "drawbridge machine list"))
	for _, mode := range []string{"bridged", "routed", "bridged"} {
		at := map[string]string{"bridged": machines, "routed": uplinks}[mode]
		s.do("host", "drawbridge up --yes "+files[mode])
		for _, a := range []string{four, six} {
			if known := s.do("neighbour", "ip neigh show "+a); !strings.Contains(known, "lladdr "+at) {
				t.Errorf("%s from now on, and the neighbour does not know that the machine is at %s: %s", mode, at, known)
			}
		}
		for _, st := range streams {
			st.goesOn(t, mode+" from now on")
		}
	}
	s.do("host", "drawbridge down --yes")
	if after := s.dump(); after != before {
		t.Errorf("'down' left the host otherwise. Before:\n%s\nafter:\n%s", before, after)
	}
}
