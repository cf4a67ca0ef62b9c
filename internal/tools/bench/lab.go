package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"

	"drawbridge/internal/lab/flow"
)

// pretend is a lab of this run's own: namespaces and a /run that nobody else has.
type pretend struct {
	options
	name string
	// dir holds the files that commands inside read: a lab sees the machine's files.
	dir string
}

var labs atomic.Int32

func (o options) lab(ctx context.Context) (*pretend, error) {
	dir, err := os.MkdirTemp("", "drawbridge-bench-")
	if err != nil {
		return nil, err
	}
	l := &pretend{options: o, dir: dir, name: fmt.Sprintf("bench-%d-%d", os.Getpid(), labs.Add(1))}
	if out, err := exec.CommandContext(ctx, o.drawbridge, "lab", "up", "--name", l.name).CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("lab up: %w: %s", err, out)
	}
	return l, nil
}

func (l *pretend) down() {
	// Without the context: it is for an interrupted run that labs are to be taken down.
	if out, err := exec.Command(l.drawbridge, "lab", "down", "--name", l.name).CombinedOutput(); err != nil {
		fmt.Fprintf(l.log, "lab down: %v: %s\n", err, out)
	}
	os.RemoveAll(l.dir)
}

func (l *pretend) command(ctx context.Context, namespace string, args ...string) *exec.Cmd {
	args = append([]string{"lab", "exec", "--name", l.name, namespace, "--"}, args...)
	cmd := exec.CommandContext(ctx, l.drawbridge, args...)
	// An interrupted command ends itself, and what it has started inside.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd
}

// exec runs a command inside, and fails with what it printed.
func (l *pretend) exec(ctx context.Context, namespace string, args ...string) error {
	out, err := l.command(ctx, namespace, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// inner runs this program inside, as another part of itself that answers in JSON.
func (l *pretend) inner(ctx context.Context, namespace string, answer any, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := l.command(ctx, namespace, append([]string{self}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, l.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return json.Unmarshal(out.Bytes(), answer)
}

// probe measures the four flows to the host for some seconds, while fn is at work.
func (l *pretend) probe(ctx context.Context, length string, fn func() error) ([]flow.Result, error) {
	cmd := exec.CommandContext(ctx, l.drawbridge, "lab", "probe", "--name", l.name, "--for", length, "--json")
	var out bytes.Buffer
	cmd.Stdout = &out
	said, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	words := bufio.NewReader(said)
	line, err := words.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "probing") {
		rest, _ := io.ReadAll(words)
		_ = cmd.Wait()
		return nil, fmt.Errorf("lab probe: %s%s", line, rest)
	}
	did := fn()
	rest, _ := io.ReadAll(words)
	err = cmd.Wait()
	if did != nil {
		return nil, did
	}
	if err != nil {
		return nil, fmt.Errorf("lab probe: %w: %s", err, rest)
	}
	var results []flow.Result
	return results, json.Unmarshal(out.Bytes(), &results)
}
