package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drawbridge/internal/broker"
	"drawbridge/internal/model"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

type execOptions struct {
	networks []string
	macs     []string
	name     string
	socket   string
	wait     time.Duration
	quiet    bool
}

func newExecCommand(a *app) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec --network NET -- COMMAND...",
		Short: "Become a VMM with its NIC on a network, without being root",
		Long: `Ask the broker for a tap on a network, and become the command, which uses it. In the
command's words these stand for what the broker gave:

  %FD%   an open descriptor of the tap, for who takes one (QEMU's fd=)
  %TAP%  a tap that the command opens by its name (a User-Mode Linux does)
  %MAC%  the MAC address that the VM's NIC is to have

With several networks, %FD%, %TAP% and %MAC% are the first one's, %FD2% the second's.
A tap is gone when the VM is. The broker runs elsewhere: drawbridge serve --broker.

Exit codes: the command's own; before it runs: 1 failed or refused, and nothing is
changed; 2 bad usage.`,
		Example: `  drawbridge exec --network lan -- qemu-system-x86_64 -m 512 disk.img -netdev tap,id=n,fd=%FD% -device virtio-net-pci,netdev=n,mac=%MAC%
  drawbridge exec --network lan --name web -- linux.uml mem=64M vec0:transport=tap,ifname=%TAP%,depth=128,gro=1,mac=%MAC% root=/dev/root rootfstype=hostfs
  drawbridge exec --network lan --network private -- qemu-system-x86_64 ... fd=%FD% ... fd=%FD2%`,
		RunE: func(cmd *cobra.Command, argv []string) error { return a.exec(cmd.Context(), o, argv) },
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringArrayVar(&o.networks, "network", nil, "the network, or bridge, that the VM's NIC is plugged into: `NET`; once for each NIC")
	cmd.Flags().StringArrayVar(&o.macs, "mac", nil, "the `MAC` for the NIC, if the policy lets this user choose; once for each NIC")
	cmd.Flags().StringVar(&o.name, "name", "", "what the VM is called in status and pictures: `NAME`")
	cmd.Flags().StringVar(&o.socket, "socket", "", "the broker's `SOCKET`; default $DRAWBRIDGE_BROKER, or /run/drawbridge/broker.sock")
	cmd.Flags().DurationVar(&o.wait, "wait", 10*time.Second, "how long to ask again while the broker is busy: `TIME`")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "do not tell which tap it is")
	return cmd
}

// placeholder is %FD%, %TAP2%, %MAC3% ...
var placeholder = regexp.MustCompile(`%(FD|TAP|MAC)([0-9]*)%`)

// wishes are the requests that a command's words come to, one for each network.
func (o execOptions) wishes(argv []string) ([]broker.Request, error) {
	if len(o.networks) == 0 {
		return nil, errors.New("which network?\n  hint: --network lan")
	}
	if len(argv) == 0 {
		return nil, errors.New("no command\n  hint: drawbridge exec --network lan -- qemu-system-x86_64 ... -netdev tap,id=n,fd=%FD%")
	}
	if len(o.macs) > len(o.networks) {
		return nil, fmt.Errorf("%d MAC addresses for %s", len(o.macs), counted(len(o.networks), "network"))
	}
	out := make([]broker.Request, len(o.networks))
	for i, network := range o.networks {
		out[i] = broker.Request{Network: network, Machine: o.name, VnetHeader: true}
		if i < len(o.macs) {
			out[i].MAC = model.MAC(o.macs[i])
		}
	}
	for _, word := range argv {
		for _, m := range placeholder.FindAllStringSubmatch(word, -1) {
			i, err := placeholderIndex(m[2], len(out))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m[0], err)
			}
			kind := map[string]string{"FD": broker.KindDescriptor, "TAP": broker.KindNamed}[m[1]]
			if kind == "" {
				continue
			}
			if out[i].Kind != "" && out[i].Kind != kind {
				return nil, fmt.Errorf("%s: a NIC has a descriptor or a name, not both", m[0])
			}
			out[i].Kind = kind
			// A User-Mode Linux expects bare frames at a descriptor.
			if kind == broker.KindDescriptor && strings.Contains(word, "transport=fd") {
				out[i].VnetHeader = false
			}
		}
	}
	for i := range out {
		if out[i].Kind == "" {
			return nil, fmt.Errorf("the command does not say where the NIC on %s goes\n  hint: %%FD%% stands for an open tap, %%TAP%% for the name of one; drawbridge exec --help", out[i].Network)
		}
	}
	return out, nil
}

func placeholderIndex(number string, networks int) (int, error) {
	if number == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > networks {
		return 0, fmt.Errorf("there is no such network: %s in all", counted(networks, "network"))
	}
	return n - 1, nil
}

func (a *app) exec(ctx context.Context, o execOptions, argv []string) error {
	if a.netns != "" {
		return withCode(exitUsage, errors.New("--netns is the broker's: it says in which namespace the taps are"))
	}
	wishes, err := o.wishes(argv)
	if err != nil {
		return withCode(exitUsage, err)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	socket := o.socket
	if socket == "" {
		socket = brokerSocket()
	}
	var replies []broker.Reply
	var taps []*os.File
	for _, w := range wishes {
		reply, tap, err := askPatiently(ctx, socket, w, o.wait)
		if err != nil {
			return fmt.Errorf("a tap on %s: %w", w.Network, err)
		}
		if !o.quiet {
			fmt.Fprintf(a.err, "%s on %s, MAC %s\n", reply.Tap, w.Network, reply.MAC)
		}
		replies, taps = append(replies, reply), append(taps, tap)
	}
	for _, t := range taps {
		if t == nil {
			continue
		}
		if _, err := unix.FcntlInt(t.Fd(), unix.F_SETFD, 0); err != nil { // it outlives execve
			return err
		}
	}
	err = syscall.Exec(path, fillIn(argv, replies, taps), os.Environ())
	runtime.KeepAlive(taps)
	return fmt.Errorf("%s: %w", path, err)
}

func fillIn(argv []string, replies []broker.Reply, taps []*os.File) []string {
	out := make([]string, len(argv))
	for i, word := range argv {
		out[i] = placeholder.ReplaceAllStringFunc(word, func(s string) string {
			m := placeholder.FindStringSubmatch(s)
			n, err := placeholderIndex(m[2], len(replies))
			if err != nil {
				return s
			}
			switch m[1] {
			case "FD":
				return strconv.Itoa(int(taps[n].Fd()))
			case "TAP":
				return replies[n].Tap
			default:
				return string(replies[n].MAC)
			}
		})
	}
	return out
}

// askPatiently asks again while the broker is busy.
func askPatiently(ctx context.Context, socket string, r broker.Request, wait time.Duration) (broker.Reply, *os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, max(wait, time.Second)+20*time.Second)
	defer cancel()
	for end, pause := time.Now().Add(wait), 50*time.Millisecond; ; pause = min(2*pause, time.Second) {
		reply, tap, err := broker.Ask(ctx, socket, r)
		var no *broker.Refusal
		if err == nil || !errors.As(err, &no) || no.Kind != broker.KindBusy || time.Now().After(end) {
			return reply, tap, err
		}
		select {
		case <-ctx.Done():
			return broker.Reply{}, nil, err
		case <-time.After(pause):
		}
	}
}
