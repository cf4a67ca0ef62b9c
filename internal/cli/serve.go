package cli

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"drawbridge/internal/apply"
	"drawbridge/internal/broker"
	"drawbridge/internal/model"
	"drawbridge/internal/plan"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
)

// defaultPolicy is the broker's policy file.
const defaultPolicy = "/etc/drawbridge/broker.yaml"

type serveOptions struct {
	broker bool
	socket string
	policy string
}

func newServeCommand(a *app) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "The daemon: taps for users without rights",
		Long: `Run in the foreground, until a signal ends it, what is asked for with a flag.

--broker answers at a unix socket. A user without rights asks there for a tap on a
network, with 'drawbridge exec' or as QEMU's bridge helper, and gets it if the policy
file lets him; nothing else of the host can be changed through it. SIGHUP reads the
policy anew. What was given away stays when the broker ends, and the next one goes on
from there. It takes a socket that systemd has made, where there is one.

A policy file, which only root may write:

    rules:                             # the first that speaks of user and network decides
      - users: [mallory]               # names or numbers; '*' is everybody
        networks: ['*']
        taps: 0                        # none: refused
      - groups: [kvm]
        networks: [lan]                # of drawbridge.yaml, or a bridge
        taps: 8                        # that a user may have at a time; 4 if left out
        macs: ["02:aa:00:00:00:00/24"] # that he may ask for; none: the broker chooses
        security: strict               # of the port; or mac, or off
        addresses: [dhcp]              # that the VM may send from; or any, or a list
    bridge_helper: {acl: /etc/qemu/bridge.conf, taps: 4}   # where no rule decides

Exit codes: 0 ended by a signal; 1 failed; 2 bad usage or a bad policy.`,
		Example: `  drawbridge serve --broker
  drawbridge serve --broker --policy ./broker.yaml --socket /run/lab.sock --netns lab`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.broker, "broker", false, "give taps to users without rights, as the policy lets them")
	cmd.Flags().StringVar(&o.socket, "socket", "", "the broker's `SOCKET`; default /run/drawbridge/broker.sock, or one that systemd has made")
	cmd.Flags().StringVar(&o.policy, "policy", defaultPolicy, "the broker's policy `FILE`")
	return cmd
}

// task is one thing that the daemon does, until ctx ends.
type task struct {
	name string
	run  func(ctx context.Context) error
}

func (a *app) serve(ctx context.Context, o serveOptions) error {
	if !o.broker {
		return withCode(exitUsage, errors.New("nothing to serve\n  hint: drawbridge serve --broker"))
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if a.netns != "" {
		go endWith(ctx, s.anchor(), stop)
	}
	logger := log.New(a.err, "", log.LstdFlags)
	if os.Getenv("JOURNAL_STREAM") != "" { // the journal notes the time itself
		logger.SetFlags(0)
	}
	var tasks []task
	if o.broker {
		b, err := a.newBroker(ctx, s, o, logger)
		if err != nil {
			return err
		}
		tasks = append(tasks, b)
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	return runTasks(ctx, tasks)
}

// runTasks runs them all until ctx ends; where one ends before, all do.
func runTasks(ctx context.Context, tasks []task) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(tasks))
	var all sync.WaitGroup
	for i, s := range tasks {
		all.Go(func() {
			defer stop()
			if err := s.run(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", s.name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// newBroker prepares everything that can fail: a broker that runs, answers.
func (a *app) newBroker(ctx context.Context, s *session, o serveOptions, logger *log.Logger) (task, error) {
	policy, err := readPolicy(o.policy)
	if err != nil {
		return task{}, withCode(exitUsage, err)
	}
	if err := errors.Join(s.kernel.CheckRights(), s.kernel.CanMakeTap()); err != nil {
		return task{}, err
	}
	state := brokerState{a, s}
	server := &broker.Server{Host: s.kernel, State: state, Seed: seed(), Namespace: s.kernel.Inode(), Log: logger.Printf}
	if _, err := s.kernel.CanSecure(); err != nil {
		server.NoSecurity = err.Error()
		logger.Printf("broker: ports are not secured: %v", err)
	}
	server.SetPolicy(policy)
	bell, err := s.kernel.Watch(ctx)
	if err != nil {
		return task{}, err
	}
	l, where, err := brokerListener(o.socket)
	if err != nil {
		return task{}, err
	}
	logger.Printf("broker: taps of %s at %s, %s", s.name, where, counted(len(policy.Rules), "rule"))
	return task{"broker", func(ctx context.Context) error {
		var all sync.WaitGroup
		all.Go(func() { server.Watch(ctx, bell) })
		all.Go(func() { rereadPolicy(ctx, server, o.policy, logger) })
		defer all.Wait()
		return server.Serve(ctx, l)
	}}, nil
}

// brokerListener is the socket that systemd has made, or one of our own.
func brokerListener(path string) (l *net.UnixListener, where string, err error) {
	if files := activation.Files(true); len(files) > 0 && path == "" {
		for _, f := range files[1:] {
			f.Close()
		}
		l, err := broker.Inherited(files[0])
		return l, "the socket of the service manager", err
	}
	if path == "" {
		path = filepath.Join(stateBase(), brokerSocketName)
		// Others may go through to the socket; what else is in there stays to ourselves.
		if err := os.MkdirAll(stateBase(), 0o711); err != nil {
			return nil, "", err
		}
		if err := os.Chmod(stateBase(), 0o711); err != nil {
			return nil, "", err
		}
	}
	l, err = broker.Listen(path)
	return l, path, err
}

// rereadPolicy reads the policy anew at SIGHUP. One with mistakes is told, and the old one
// stays in force.
func rereadPolicy(ctx context.Context, server *broker.Server, path string, logger *log.Logger) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		policy, err := readPolicy(path)
		if err != nil {
			logger.Printf("the old policy stays in force: %v", err)
			continue
		}
		server.SetPolicy(policy)
		logger.Printf("a new policy is in force: %s", counted(len(policy.Rules), "rule"))
	}
}

func readPolicy(path string) (broker.Policy, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return broker.Policy{}, fmt.Errorf("%w\n  hint: the policy says who may plug into what; drawbridge serve --help shows one", err)
	}
	if err != nil {
		return broker.Policy{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return broker.Policy{}, err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && (st.Mode().Perm()&0o022 != 0 || sys.Uid != 0 && int(sys.Uid) != os.Geteuid()) {
		return broker.Policy{}, fmt.Errorf("%s: others may write to it\n  hint: chown root %s; chmod 644 %s", path, path, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return broker.Policy{}, err
	}
	return broker.ParsePolicy(path, data, broker.Accounts{
		User: func(name string) (uint32, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return 0, err
			}
			return numberOf(u.Uid)
		},
		Group: func(name string) (uint32, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return 0, err
			}
			return numberOf(g.Gid)
		},
	})
}

func numberOf(id string) (uint32, error) {
	n, err := strconv.ParseUint(id, 10, 32)
	return uint32(n), err
}

// brokerState is a session as the broker sees it.
type brokerState struct {
	app *app
	s   *session
}

func (b brokerState) Begin(context.Context) (end func(), err error) {
	if err := b.app.lock(b.s); err != nil {
		return nil, err
	}
	return b.s.store.Unlock, nil
}

func (b brokerState) Owned() (plan.Owned, error)       { return b.s.store.Owned() }
func (b brokerState) SaveOwned(owned plan.Owned) error { return b.s.store.SaveOwned(owned) }

func (b brokerState) Observe(ctx context.Context) (model.Snapshot, error) {
	return b.s.snapshot(ctx, false)
}

func (b brokerState) Run(ctx context.Context, p plan.Plan) error {
	t := &apply.Transaction{Kernel: b.s.kernel, Machines: b.s.machines, Services: b.s.services, Store: b.s.store}
	return t.Run(ctx, p)
}

const brokerSocketName = "broker.sock"

// brokerSocket is where a client finds its broker: the environment's, root's, or else one
// of the user's own.
func brokerSocket() string {
	if path := os.Getenv("DRAWBRIDGE_BROKER"); path != "" {
		return path
	}
	const roots = "/run/drawbridge/" + brokerSocketName
	own := filepath.Join(stateBase(), brokerSocketName)
	if _, err := os.Stat(roots); err != nil {
		if _, err := os.Stat(own); err == nil {
			return own
		}
	}
	return roots
}
