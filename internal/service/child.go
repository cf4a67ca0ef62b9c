package service

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// server is a server's process, as its supervisor has it.
type server struct {
	cmd  *exec.Cmd
	gone chan struct{}
	end  error // of the process; after gone

	mu   sync.Mutex // one question at a time
	conn net.Conn
	in   *bufio.Reader
}

// startServer starts a server with its sockets. It serves nothing before it is told to.
func startServer(c config, sockets []*os.File, log *boundedLog) (*server, error) {
	leases, err := leasesFolder(c.Leases)
	if err != nil {
		return nil, err
	}
	defer leases.Close()
	executable, err := os.Open(c.Executable)
	if err != nil {
		return nil, fmt.Errorf("own executable: %w", err)
	}
	defer executable.Close()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "server")
	defer theirs.Close()
	ours := os.NewFile(uintptr(pair[0]), "control")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer in.Close()
	run := func() (*server, error) {
		cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", executableFD))
		cmd.Args = []string{"drawbridge", ServerCommand}
		cmd.Dir, cmd.Env = "/", []string{"GOTRACEBACK=single"}
		cmd.Stdout, cmd.Stderr = in, in
		cmd.ExtraFiles = append([]*os.File{theirs, leases, executable}, sockets...)
		s := &server{cmd: cmd, gone: make(chan struct{}), conn: conn, in: bufio.NewReader(conn)}
		ended := make(chan error, 1)
		if err := startWithout(cmd, ended); err != nil {
			return nil, err
		}
		go func() {
			s.end = <-ended
			conn.Close()
			close(s.gone)
		}()
		return s, nil
	}
	s, err := run()
	if err != nil {
		conn.Close()
		out.Close()
		if errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("%w\n  hint: servers run as another user than root, who must be allowed to run %s: chmod o+rx", err, c.Executable)
		}
		return nil, fmt.Errorf("start the server: %w", err)
	}
	go log.follow(out)
	return s, nil
}

// leasesFolder makes the folder of a network's leases, which is the server's own, below
// one that nobody else may enter.
func leasesFolder(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("leases: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("leases: %w", err)
	}
	if nobodyHere() {
		if err := f.Chown(nobody, nobody); err != nil {
			f.Close()
			return nil, fmt.Errorf("leases: %w", err)
		}
	}
	return f, nil
}

// ask asks the server for one thing.
func (s *server) ask(c call, patience time.Duration) (r reply, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := json.Marshal(c)
	if err != nil {
		return r, err
	}
	_ = s.conn.SetDeadline(time.Now().Add(patience))
	if _, err := s.conn.Write(append(b, '\n')); err != nil {
		return r, err
	}
	line, err := readLine(s.in)
	if err != nil {
		s.conn.Close() // a late answer would be taken for that of the next question
		return r, err
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, err
	}
	return r, r.Err()
}

// readLine reads a line that is not too long.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxLine:
			return nil, errors.New("a line that does not end")
		}
	}
}

// kill ends the process, and returns when it is gone.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.gone
}

// how tells how it ended. After gone.
func (s *server) how() string {
	if s.end == nil {
		return "it ended by itself"
	}
	return s.end.Error()
}

// early is why a server ended before it served, where it did.
func (s *server) early() error {
	var exit *exec.ExitError
	if errors.As(s.end, &exit) && exit.ExitCode() > 0 {
		return s.end
	}
	return nil
}
