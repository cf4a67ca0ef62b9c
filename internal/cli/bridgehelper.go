package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"drawbridge/internal/broker"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// A link or a copy of this program of the name that QEMU calls is QEMU's bridge helper.
const (
	helperName    = "qemu-bridge-helper"
	helperCommand = "bridge-helper"
)

type helperOptions struct {
	bridge  string
	fd      int
	useVnet bool
}

func newBridgeHelperCommand(a *app) *cobra.Command {
	var o helperOptions
	cmd := &cobra.Command{
		Use:   helperCommand + " --br=BRIDGE --fd=N [--use-vnet]",
		Short: "Be QEMU's bridge helper, by the broker instead of a set-user-ID bit",
		Long: `Do what qemu-bridge-helper does, with its command line and its access file: ask the
broker for a tap on a bridge, and hand its descriptor to QEMU. It needs no rights of its
own, and refuses to run set-user-ID. A link of this program named qemu-bridge-helper
does the same.

The broker decides, by its policy, or where that says bridge_helper:, by QEMU's access
file (/etc/qemu/bridge.conf: allow, deny, include), read with the rights of the user.

Exit codes: 0 done; 1 failed or refused, and nothing is changed; 2 bad usage.`,
		Example: `  qemu-system-x86_64 disk.img -netdev bridge,id=n,br=br0,helper="/usr/local/bin/drawbridge bridge-helper" -device virtio-net-pci,netdev=n
  ln -s /usr/local/bin/drawbridge /usr/local/lib/qemu-bridge-helper
  qemu-system-x86_64 disk.img -nic bridge,br=br0,helper=/usr/local/lib/qemu-bridge-helper`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.bridgeHelper(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.bridge, "br", "", "the `BRIDGE`")
	cmd.Flags().IntVar(&o.fd, "fd", -1, "the descriptor `N` of a unix socket that the tap is sent to")
	cmd.Flags().BoolVar(&o.useVnet, "use-vnet", false, "frames carry a virtio-net header")
	return cmd
}

func (a *app) bridgeHelper(ctx context.Context, o helperOptions) error {
	if o.bridge == "" || o.fd < 0 {
		return withCode(exitUsage, errors.New("usage: qemu-bridge-helper [--use-vnet] --br=BRIDGE --fd=N\n  hint: QEMU calls it: -netdev bridge,br=br0,helper=PATH"))
	}
	if kind, err := unix.GetsockoptInt(o.fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || kind != unix.AF_UNIX {
		return withCode(exitUsage, fmt.Errorf("--fd=%d: not a unix socket\n  hint: QEMU calls it: -netdev bridge,br=%s,helper=PATH", o.fd, o.bridge))
	}
	_, tap, err := askPatiently(ctx, brokerSocket(), broker.Request{Network: o.bridge, Kind: broker.KindDescriptor, VnetHeader: o.useVnet, Helper: true}, 10*time.Second)
	if err != nil {
		return fmt.Errorf("a tap on %s: %w", o.bridge, err)
	}
	defer tap.Close()
	return handOver(o.fd, tap)
}

// handOver sends a descriptor as QEMU expects it: with one byte of no meaning.
func handOver(socket int, tap *os.File) error {
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(tap.Fd())), nil, 0); err != nil {
		return fmt.Errorf("handing the tap over: %w", err)
	}
	return nil
}
