package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mdlayher/packet"
)

// Heard is what a switch says of itself.
type Heard struct {
	Protocol string // stp or lldp
	From     net.HardwareAddr
	Detail   string
}

const etherTypeAll = 0x0003 // ETH_P_ALL, include/uapi/linux/if_ether.h

// Listen hears what switches say on the Ethernet of a link, each saying once, for a time.
// A switch sends BPDUs every 2 s, LLDP every 30 s. It must run in the namespace of link.
func Listen(ctx context.Context, link string, d time.Duration) ([]Heard, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	c, err := packet.Listen(ifi, packet.Raw, etherTypeAll, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	defer c.Close()
	// A NIC filters groups that nobody has joined; the kernel ends this with the socket.
	if err := c.SetPromiscuous(true); err != nil {
		return nil, fmt.Errorf("%s: %w", link, err)
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var out []Heard
	seen := map[string]bool{}
	buf := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("%s: %w", link, err)
		}
		h, ok := parseSwitchFrame(buf[:n])
		if key := fmt.Sprint(h); ok && !seen[key] && !bytes.Equal(h.From, ifi.HardwareAddr) {
			seen[key] = true
			out = append(out, h)
		}
	}
}

// The group addresses of IEEE 802.1D-2004, table 7-10, and 802.1AB, 7.1.
var (
	bridgeGroup  = []byte{0x01, 0x80, 0xc2, 0, 0, 0x00}
	nearestGroup = []byte{0x01, 0x80, 0xc2, 0, 0, 0x0e}
)

const etherTypeLLDP = 0x88cc

// parseSwitchFrame reads a BPDU (802.1D, clause 9) or an LLDPDU (802.1AB, clause 8).
func parseSwitchFrame(f []byte) (h Heard, ok bool) {
	if len(f) < etherLen {
		return h, false
	}
	h.From = append(net.HardwareAddr(nil), f[6:12]...)
	body, size := f[etherLen:], int(binary.BigEndian.Uint16(f[12:]))
	switch {
	case bytes.Equal(f[:6], bridgeGroup) && size <= 1500 && bytes.HasPrefix(body, []byte{0x42, 0x42, 0x03, 0, 0}):
		h.Protocol, h.Detail = "stp", bpdu(body[3:])
		return h, true
	case size == etherTypeLLDP && bytes.HasPrefix(f, nearestGroup[:3]):
		h.Protocol, h.Detail = "lldp", lldp(body)
		return h, true
	}
	return h, false
}

// bpdu tells the version, and the root bridge where the BPDU is long enough to have one.
func bpdu(b []byte) string {
	name := "STP"
	if len(b) > 2 && b[2] >= 2 {
		name = map[byte]string{2: "RSTP", 3: "MSTP"}[b[2]]
		if name == "" {
			name = fmt.Sprintf("version %d", b[2])
		}
	}
	if len(b) < 13 {
		return name
	}
	return fmt.Sprintf("%s, root %x.%x", name, b[5:7], b[7:13])
}

// lldp tells the system's name and the port.
func lldp(b []byte) string {
	var system, chassis, port string
	for len(b) >= 2 {
		typ, n := b[0]>>1, int(b[0]&1)<<8|int(b[1])
		if typ == 0 || len(b) < 2+n {
			break
		}
		v := b[2 : 2+n]
		switch typ {
		case 1:
			chassis = lldpID(v, 4)
		case 2:
			port = lldpID(v, 3)
		case 5:
			system = printable(v)
		}
		b = b[2+n:]
	}
	if system == "" {
		system = chassis
	}
	if system == "" {
		system = "a switch"
	}
	if port != "" {
		system += " port " + port
	}
	return system
}

// lldpID reads a chassis or port id, whose first byte says what it is; mac is the number
// that stands for a MAC address.
func lldpID(v []byte, mac byte) string {
	if len(v) < 2 {
		return ""
	}
	if v[0] == mac {
		return net.HardwareAddr(v[1:]).String()
	}
	return printable(v[1:])
}

// printable: what comes by the wire goes to a terminal.
func printable(v []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(v))
}
