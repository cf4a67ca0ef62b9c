package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"drawbridge/internal/kernel"
	"drawbridge/internal/lab/flow"
)

// Targets are the four flows to the host by which a cutover is judged.
func Targets() []flow.Target {
	return flow.Standard(neighbourNS, farNS, HostAddress, HostAddress6)
}

// echo is the stage that answers probes in the host until it is told to end.
func echo() error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := flow.Serve(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// probeReport is a line on the standard output of the flows stage.
type probeReport struct {
	Ready   bool          `json:"ready,omitempty"`
	Results []flow.Result `json:"results,omitempty"`
}

// flows is the stage that measures targets (as JSON in its one argument) until its
// standard input ends.
func flows(args []string) error {
	if len(args) != 1 {
		return errors.New("an inner command, see: drawbridge lab probe --help")
	}
	var targets []flow.Target
	if err := json.Unmarshal([]byte(args[0]), &targets); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	signal.Ignore(unix.SIGINT) // a Ctrl-C ends the measuring by way of our client
	out := json.NewEncoder(os.Stdout)
	inside := func(namespace string, fn func() error) error {
		return kernel.Enter(filepath.Join(netnsDir, namespace), fn)
	}
	results := flow.Run(ctx, targets, inside, func() { _ = out.Encode(probeReport{Ready: true}) })
	return out.Encode(probeReport{Results: results})
}

// Measurement is probes on their way.
type Measurement struct {
	stdin   *os.File
	reports *json.Decoder
	stdout  *os.File
	exited  chan error
}

// Measure begins to send probes and returns when each flow had its first answer.
func (c *Client) Measure(ctx context.Context, targets []flow.Target) (*Measurement, error) {
	arg, err := json.Marshal(targets)
	if err != nil {
		return nil, err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		closeAll([]*os.File{inR, inW})
		return nil, err
	}
	m := &Measurement{stdin: inW, stdout: outR, reports: json.NewDecoder(outR), exited: make(chan error, 1)}
	go func() {
		code, err := c.Run(ctx, Command{
			Namespace: neighbourNS, Args: internalArgs(stageFlows, string(arg)),
			Stdin: inR, Stdout: outW, Stderr: os.Stderr,
		})
		closeAll([]*os.File{inR, outW})
		if err == nil && code != 0 {
			err = fmt.Errorf("the prober ended with code %d", code)
		}
		m.exited <- err
	}()
	var first probeReport
	if err := m.reports.Decode(&first); err != nil {
		m.close()
		return nil, fmt.Errorf("probes: %w", errors.Join(err, <-m.exited))
	}
	return m, nil
}

// Stop ends the measuring and returns what became of the probes, in the order of the targets.
func (m *Measurement) Stop() ([]flow.Result, error) {
	_ = m.stdin.Close()
	defer m.stdout.Close()
	var last probeReport
	err := m.reports.Decode(&last)
	if exit := <-m.exited; err == nil {
		err = exit
	}
	if err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	return last.Results, nil
}

func (m *Measurement) close() { closeAll([]*os.File{m.stdin, m.stdout}) }
