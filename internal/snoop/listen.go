package snoop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

const etherTypeAll = 0x0003 // ETH_P_ALL

// Filter keeps everything but ARP, neighbour discovery with router advertisements, and
// what comes from the port of DHCP servers in the kernel.
var Filter = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeARP, SkipTrue: 14},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv6, SkipFalse: 5},
	// IPv6: ICMPv6 of type 134 to 136.
	bpf.LoadAbsolute{Off: etherLen + 6, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpv6, SkipFalse: 12},
	bpf.LoadAbsolute{Off: etherLen + ip6Len, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 134, SkipTrue: 10},
	bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 136, SkipTrue: 9, SkipFalse: 8},
	// IPv4: UDP, no later fragment, from port 67.
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv4, SkipFalse: 8},
	bpf.LoadAbsolute{Off: etherLen + 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: udpNumber, SkipFalse: 6},
	bpf.LoadAbsolute{Off: etherLen + 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: etherLen},
	bpf.LoadIndirect{Off: etherLen, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 67, SkipFalse: 1},
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

// Listen tells what is seen on the Ethernet of a link until ctx ends; of a bridge, on all
// its ports. It must be called in the link's namespace.
func Listen(ctx context.Context, link string, tell func(Sighting)) error {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return fmt.Errorf("%s: %w", link, err)
	}
	filter, err := bpf.Assemble(Filter)
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	c, err := packet.Listen(ifi, packet.Raw, etherTypeAll, &packet.Config{Filter: filter})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", link, err)
	}
	defer c.Close()
	// A bridge hands what it forwards to its own interface, too, while that is promiscuous
	// (br_handle_frame_finish); the kernel ends it with the socket.
	if err := c.SetPromiscuous(true); err != nil {
		return fmt.Errorf("listen on %s: %w", link, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("listen on %s: %w", link, err)
		}
		for _, s := range Parse(buf[:n]) {
			tell(s)
		}
	}
}
