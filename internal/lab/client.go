package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNone says that there is no such lab.
var ErrNone = errors.New("no lab is up")

// Client talks to a running lab.
type Client struct {
	name string
}

// Dial finds a lab. Without a name it is the one with the [DefaultName], else the only
// one that is up.
func Dial(name string) (*Client, error) {
	names, err := Names()
	if err != nil {
		return nil, err
	}
	if name == "" && slices.Contains(names, DefaultName) {
		name = DefaultName
	}
	if name == "" {
		switch len(names) {
		case 0:
			return nil, fmt.Errorf("%w\nHint: drawbridge lab up", ErrNone)
		case 1:
			return &Client{names[0]}, nil
		default:
			return nil, fmt.Errorf("several labs are up: choose one with --name: %s", strings.Join(names, ", "))
		}
	}
	if slices.Contains(names, name) {
		return &Client{name}, nil
	}
	return nil, fmt.Errorf("lab %q: %w\nHint: drawbridge lab up --name %s", name, ErrNone, name)
}

// Name is the lab's name.
func (c *Client) Name() string { return c.name }

func (c *Client) connect() (*net.UnixConn, error) {
	p, err := openPlace(false)
	if err != nil {
		return nil, err
	}
	defer p.close()
	conn, err := net.DialUnix("unix", nil, p.socket(c.name))
	if err != nil {
		return nil, fmt.Errorf("lab %q: %w", c.name, err)
	}
	return conn, nil
}

// call makes one request that has one answer.
func (c *Client) call(req request) (reply, int, error) {
	conn, err := c.connect()
	if err != nil {
		return reply{}, 0, err
	}
	defer conn.Close()
	if err := send(conn, req); err != nil {
		return reply{}, 0, err
	}
	var r reply
	if _, err := receive(conn, &r); err != nil {
		return r, 0, fmt.Errorf("lab %q: no answer: %w", c.name, err)
	}
	if r.Error != "" {
		return r, 0, fmt.Errorf("lab %q: %s", c.name, r.Error)
	}
	keeper, _ := peerOf(conn)
	return r, int(keeper.PID), nil
}

// Info tells about the lab.
func (c *Client) Info() (Info, error) {
	r, keeper, err := c.call(request{Op: opInfo})
	if err != nil {
		return Info{}, err
	}
	if r.Info == nil {
		return Info{}, fmt.Errorf("lab %q: answered without its facts", c.name)
	}
	r.Info.User = os.Geteuid()
	r.Info.PID = firstChild(keeper)
	return *r.Info, nil
}

// firstChild is the supervisor's pid out here, where the keeper's only child is it;
// 0 if /proc does not tell (CONFIG_PROC_CHILDREN).
func firstChild(pid int) int {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		var child int
		if n, _ := fmt.Sscan(string(b), &child); n == 1 {
			return child
		}
	}
	return 0
}

// SetUplink plugs the host's uplink into the LAN, or pulls it out.
func (c *Client) SetUplink(plugged bool) error {
	_, _, err := c.call(request{Op: opUplink, Plugged: plugged})
	return err
}

// Stop ends the lab and returns when its socket is gone, which is after everything else.
func (c *Client) Stop(ctx context.Context) error {
	if _, _, err := c.call(request{Op: opStop}); err != nil {
		return err
	}
	for {
		names, err := Names()
		if err != nil {
			return err
		}
		if !slices.Contains(names, c.name) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lab %q: still ending: %w", c.name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Command is a command to run in a lab.
type Command struct {
	Namespace string
	Args      []string
	Env       []string // os.Environ() if nil
	Dir       string   // the current one if ""
	// Standard input, output and error; nil for /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Forward are the signals of this process that are handed on to the command.
	Forward []os.Signal
}

// Run runs a command in the lab and returns its exit code: 128 plus the signal when
// one ended it. When ctx ends, the command gets a SIGINT, and is killed (its client
// hangs up) when that does not end it within 5 s. Where all three descriptors are one
// terminal's, the command has a terminal of its own, as with ssh -t.
func (c *Client) Run(ctx context.Context, cmd Command) (int, error) {
	conn, err := c.connect()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	req := request{Op: opExec, Namespace: cmd.Namespace, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir}
	if req.Env == nil {
		req.Env = os.Environ()
	}
	if req.Dir == "" {
		req.Dir, _ = os.Getwd()
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	files := []*os.File{cmp.Or(cmd.Stdin, null), cmp.Or(cmd.Stdout, null), cmp.Or(cmd.Stderr, null)}
	if isTerminal(files[0]) && isTerminal(files[1]) && isTerminal(files[2]) {
		size, err := sizeOf(files[1])
		if err == nil {
			req.Terminal = &size
		}
	}
	if req.Terminal != nil {
		err = send(conn, req)
	} else {
		err = send(conn, req, files...)
	}
	if err != nil {
		return 0, err
	}
	var started reply
	got, err := receive(conn, &started)
	defer closeAll(got)
	switch {
	case err != nil:
		return 0, fmt.Errorf("lab %q: no answer: %w", c.name, err)
	case started.Error != "":
		return 0, fmt.Errorf("lab %q: %s", c.name, started.Error)
	}
	if len(got) == 1 {
		t, err := attach(got[0], files[0], files[1])
		if err != nil {
			return 0, err
		}
		defer t.detach()
	}
	return c.follow(ctx, conn, cmd.Forward)
}

// follow hands signals on until the command's end is reported.
func (c *Client) follow(ctx context.Context, conn *net.UnixConn, forward []os.Signal) (int, error) {
	signals := make(chan os.Signal, 8)
	if len(forward) > 0 {
		signal.Notify(signals, forward...)
		defer signal.Stop(signals)
	}
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		var r reply
		_, err := receive(conn, &r)
		switch {
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("lab %q went down while the command ran", c.name)
		case err == nil && r.Error != "":
			err = fmt.Errorf("lab %q: %s", c.name, r.Error)
		}
		ended <- end{r.Code, err}
	}()
	cancelled := ctx.Done()
	var giveUp <-chan time.Time
	for {
		select {
		case e := <-ended:
			return e.code, e.err
		case sig := <-signals:
			if n, ok := sig.(unix.Signal); ok {
				_ = send(conn, toCommand{Signal: int(n)})
			}
		case <-cancelled:
			cancelled = nil
			giveUp = time.After(stopTimeout)
			_ = send(conn, toCommand{Signal: int(unix.SIGINT)})
		case <-giveUp:
			return 0, fmt.Errorf("lab %q: the command did not end: %w", c.name, ctx.Err())
		}
	}
}

// attachment copies between this terminal and the command's.
type attachment struct {
	master  *os.File
	restore func()
	resize  chan os.Signal
	output  sync.WaitGroup
}

func attach(master, in, out *os.File) (*attachment, error) {
	restore, err := makeRaw(in)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	t := &attachment{master: master, restore: restore, resize: make(chan os.Signal, 1)}
	signal.Notify(t.resize, unix.SIGWINCH)
	go func() {
		for range t.resize {
			if size, err := sizeOf(out); err == nil {
				_ = setSize(master, size)
			}
		}
	}()
	go func() { _, _ = io.Copy(master, in) }() // ends with this process
	t.output.Go(func() { _, _ = io.Copy(out, master) })
	return t, nil
}

// detach waits for the rest of the output and gives the terminal back. What still
// holds the command's terminal in the background is not waited for.
func (t *attachment) detach() {
	signal.Stop(t.resize)
	close(t.resize)
	drained := make(chan struct{})
	go func() { t.output.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(200 * time.Millisecond):
	}
	t.restore()
}
