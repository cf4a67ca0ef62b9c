package guest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// The descriptors that a guest in a namespace is started with.
const (
	AgentFD  = 3 // the agent's channel
	ConfigFD = 4 // a pipe with its [Config]
)

// Process runs the guest as a process that has a network namespace of its own
// already. It returns when the agent's channel ends: its shim is gone, and so is it.
func Process(ctx context.Context) error {
	// One machine of a hundred shall not have a thread for every processor.
	runtime.GOMAXPROCS(2)
	b, err := io.ReadAll(os.NewFile(ConfigFD, "config"))
	if err != nil {
		return fmt.Errorf("guest's configuration: %w", err)
	}
	config, err := DecodeConfig(b)
	if err != nil {
		return err
	}
	prepareProcess(config.Name)
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGPWR)
	defer stop()
	halt := func(why string) {
		fmt.Println("drawbridge: halt:", why)
		os.Exit(0)
	}
	g, err := newGuest(config, consoleStreams{}, halt)
	if err != nil {
		return err
	}
	g.nics.names.use()
	go func() {
		<-ctx.Done()
		halt("asked by a signal")
	}()
	return g.run(ctx, os.NewFile(AgentFD, "agent"))
}

// prepareProcess does what its other namespaces allow. Each is a nicety: a host name
// of its own, and a /proc and /sys that show this machine and not the host.
func prepareProcess(name string) {
	signal.Ignore(unix.SIGINT, unix.SIGHUP)
	own := os.Getenv(OwnNamespaces)
	if strings.Contains(own, "u") {
		_ = unix.Sethostname([]byte(name))
	}
	if !strings.Contains(own, "m") {
		return
	}
	if unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
		return
	}
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// OwnNamespaces is the name of the environment variable in which the starter tells
// which namespaces, beside the network's, it has made: letters of "um" (uts, mnt).
const OwnNamespaces = "DRAWBRIDGE_OWN_NAMESPACES"
