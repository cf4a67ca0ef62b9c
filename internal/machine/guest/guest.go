package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"drawbridge/internal/kernel"
	"drawbridge/internal/machine/agent"
	"drawbridge/internal/model"
)

// guest is one running guest.
type guest struct {
	config  Config
	kernel  *kernel.Kernel
	nics    *nics
	console io.ReadWriter
	// halt ends the machine; it returns only where the guest's own process 1 is asked to.
	halt func(why string)
}

// newGuest opens the namespace and raises the loopback.
func newGuest(c Config, console io.ReadWriter, halt func(string)) (*guest, error) {
	k, err := kernel.Open()
	if err != nil {
		return nil, err
	}
	if _, err := k.Do(context.Background(), model.SetUp{Link: "lo", Up: true}); err != nil {
		return nil, err
	}
	g := &guest{config: c, kernel: k, console: console, halt: halt}
	g.nics = newNICs(k, c.Name, g.log)
	return g, nil
}

// log writes a line to the console, where its log keeps it.
func (g *guest) log(format string, args ...any) {
	fmt.Fprintf(g.console, "drawbridge: "+format+"\n", args...)
}

// run does all that a guest does, until the agent's channel ends.
func (g *guest) run(ctx context.Context, line io.ReadWriter) error {
	go g.nics.watch(ctx)
	for _, nic := range g.config.NICs {
		go func() {
			if _, err := g.nics.configure(ctx, nic); err != nil {
				g.log("%s: %v", nic.Name, err)
			}
		}()
	}
	if g.config.Root == nil { // else console and ports are the guest's own
		go g.servePage(ctx)
		go g.prompt(ctx)
	}
	return agent.Serve(ctx, line, agent.Response{Release: release()}, g.answer)
}

// answer carries out a request of the agent's channel.
func (g *guest) answer(ctx context.Context, r agent.Request) (agent.Response, error) {
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	switch r.Do {
	case agent.Hello:
		return agent.Response{Release: release()}, nil
	case agent.Status:
		ns, err := g.kernel.Observe(ctx)
		if err != nil {
			return agent.Response{}, err
		}
		return agent.Response{Namespace: &ns}, nil
	case agent.Configure:
		if r.NIC == nil {
			return agent.Response{}, errors.New("configure: no NIC given")
		}
		carrier, err := g.nics.configure(ctx, *r.NIC)
		return agent.Response{Carrier: carrier}, err
	case agent.Release:
		return agent.Response{}, g.nics.release(ctx, r.Target)
	case agent.Ping:
		rtt, err := ping(ctx, r.Target)
		return agent.Response{RTT: rtt}, err
	case agent.Send:
		return agent.Response{}, send(r.Target, r.Data)
	case agent.Get:
		code, body, err := get(ctx, r.Target)
		return agent.Response{Code: code, Body: body}, err
	case agent.Halt:
		// The answer leaves first.
		time.AfterFunc(50*time.Millisecond, func() { g.halt("asked by the host") })
		return agent.Response{}, nil
	default:
		return agent.Response{}, fmt.Errorf("unknown request %q", r.Do)
	}
}

// release is the kernel's version.
func release() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// uptime of the kernel, or of this process where the kernel is the host's.
func (g *guest) uptime() time.Duration { return time.Since(started).Round(time.Second) }

var started = time.Now()
