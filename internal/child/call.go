package child

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// ErrGone says that the folder is there, and its shim is not.
var ErrGone = errors.New("its shim is gone")

// Dial connects to the shim of a folder. An error wraps model.ErrNotFound where there is
// none; [ErrGone] as well where there is its folder.
func Dial(dir string) (*net.UnixConn, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, model.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if !Alive(dir) {
		return nil, fmt.Errorf("%w: %w", ErrGone, model.ErrNotFound)
	}
	// By descriptor: a unix socket's path has 108 bytes, the folder's may have more.
	path := filepath.Join("/proc/self/fd", strconv.Itoa(fd), SocketFile)
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			return conn, nil
		}
		// It has its lock, and is not listening yet, or no more.
		if !Alive(dir) {
			return nil, fmt.Errorf("%w: %w", ErrGone, model.ErrNotFound)
		}
		if time.Now().After(end) {
			return nil, err
		}
	}
}

// Exchange sends a line, and reads one into reply. What follows it is in the reader.
func Exchange(conn net.Conn, call, reply any) (*bufio.Reader, error) {
	b, err := json.Marshal(call)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(b, '\n')); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	return in, json.Unmarshal(line, reply)
}

// Refusal is an error as it goes over a socket.
type Refusal struct {
	Error string `json:"error,omitempty"`
	Kind  string `json:"kind,omitempty"`
}

// kinds carry the model's refusals.
var kinds = map[string]error{
	"exists": model.ErrExists, "not-found": model.ErrNotFound, "busy": model.ErrBusy,
	"invalid": model.ErrInvalid, "not-ours": model.ErrNotOurs, "denied": model.ErrDenied,
}

// remoteError is an error that came over the socket: the words, and what they mean.
type remoteError struct {
	words string
	kind  error
}

func (e *remoteError) Error() string { return e.words }
func (e *remoteError) Unwrap() error { return e.kind }

// Refuse is err on its way over a socket; empty for none.
func Refuse(err error) Refusal {
	if err == nil {
		return Refusal{}
	}
	r := Refusal{Error: err.Error()}
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			r.Kind = name
		}
	}
	return r
}

// Err is the error that has come, nil for none.
func (r Refusal) Err() error {
	if r.Error == "" {
		return nil
	}
	return &remoteError{r.Error, kinds[r.Kind]}
}
