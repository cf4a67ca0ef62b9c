package probe_test

import (
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"drawbridge/internal/probe"
	"drawbridge/internal/testnet"
)

// The frames of a switch: an RSTP BPDU, and LLDP with chassis, port and system name.
const (
	bpduFrame = "0180c2000000" + "02aabbccdd01" + "0027" + "424203" + "0000" + "02" + "02" + "3c" +
		"800002aabbccdd00" + "00000000" + "800002aabbccdd00" + "8001" + "0000" + "1400" + "0200" + "0f00" + "00"
	lldpFrame = "0180c200000e" + "02aabbccdd01" + "88cc" + "0207" + "04" + "02aabbccdd00" + "0405" + "05" + "70303037" + "0a04" + "73770a31" + "0602" + "0078" + "0000"
)

func TestListen(t *testing.T) {
	host, gateway := testnet.New(t), testnet.New(t)
	host.Veth("eth0", gateway, "host0")
	stop := make(chan struct{})
	stopped := make(chan struct{})
	gateway.Inside(func() error {
		ifi, err := net.InterfaceByName("host0")
		if err != nil {
			return err
		}
		c, err := packet.Listen(ifi, packet.Raw, 0x88cc, nil)
		if err != nil {
			return err
		}
		go func() {
			defer close(stopped)
			defer c.Close()
			for {
				for _, text := range []string{bpduFrame, lldpFrame, "0180c200000e02aabbccdd0188cc02", "0180c200000002aabbccdd010003424203"} {
					f, _ := hex.DecodeString(text)
					_, _ = c.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]})
				}
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}()
		return nil
	})
	var heard []probe.Heard
	host.Inside(func() (err error) {
		heard, err = probe.Listen(t.Context(), "eth0", 400*time.Millisecond)
		return err
	})
	close(stop)
	<-stopped
	got := map[string]string{}
	for _, h := range heard {
		got[h.Detail] = h.Protocol + " " + h.From.String()
	}
	if got["RSTP, root 8000.02aabbccdd00"] != "stp 02:aa:bb:cc:dd:01" || got["sw?1 port p007"] != "lldp 02:aa:bb:cc:dd:01" {
		t.Errorf("%v", heard)
	}
	if len(heard) > 3 { // each saying once; the cut-off LLDPDU is one too
		t.Errorf("%d sayings: %v", len(heard), heard)
	}
	host.Inside(func() error {
		if _, err := probe.Listen(t.Context(), "eth7", time.Second); err == nil || !strings.Contains(err.Error(), "eth7") {
			t.Errorf("%v", err)
		}
		return nil
	})
}
