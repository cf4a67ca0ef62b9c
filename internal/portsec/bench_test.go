package portsec_test

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// kinds of ports, the open one first.
var kinds = []struct {
	name string
	p    *model.PortSecurity
}{{"open", nil}, {"mac", &model.PortSecurity{Level: model.SecurityMAC, MACs: given.MACs}}, {"given", &given}, {"leased", &anyAddress}}

// rounds does the same work on a port of every kind, in turns, and reports what processor
// time it takes, ns for each unit: a clock on the wall would measure the machine's other work.
func rounds(b *testing.B, link string, do func(op model.Operation), units int, work func()) {
	b.Helper()
	spent := map[string]time.Duration{}
	n := 0
	for b.Loop() {
		n++
		for _, k := range kinds {
			do(model.FreePorts{Links: []string{link}})
			if k.p != nil {
				p := *k.p
				p.Link = link
				do(model.SecurePorts{Ports: []model.PortSecurity{p}})
			}
			begin := cpu()
			work()
			spent[k.name] += cpu() - begin
		}
	}
	for _, k := range kinds {
		b.ReportMetric(float64(spent[k.name].Nanoseconds())/float64(n*units), k.name+"-cpu-ns")
	}
	b.ReportMetric(float64(spent["open"])/float64(spent["given"]), "open/given")
}

func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPort is what security costs: a frame of 64 bytes from a tap to the LAN, and a
// KiB of TCP from a machine to the LAN.
func BenchmarkPort(b *testing.B) {
	b.Run("frame", func(b *testing.B) {
		s := newSite(b)
		f := ether(gatewayMAC, ownMAC, typeIPv4, ip4(own4, gateway4, udpNumber, 0, false, udp(4000, 4002, make([]byte, 22))))
		const frames = 20_000
		rounds(b, "tap0", func(op model.Operation) { s.host.Must(op) }, frames, func() {
			for range frames {
				if _, err := s.tap.Write(f); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("tcp-KiB", func(b *testing.B) {
		g := newGuest(b, given, "198.18.0.2/24")
		var l net.Listener
		g.lan.Inside(func() (err error) { l, err = net.Listen("tcp", "198.18.0.1:0"); return err })
		defer l.Close()
		back := make(chan int64)
		const size = 64 << 20
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			for {
				n, _ := io.Copy(io.Discard, io.LimitReader(c, size))
				if n == 0 {
					return
				}
				back <- n
			}
		}()
		var c net.Conn
		g.own.Inside(func() (err error) { c, err = net.Dial("tcp", l.Addr().String()); return err })
		defer c.Close()
		buf := make([]byte, 1<<20)
		rounds(b, "port0", func(op model.Operation) { g.host.Must(op) }, size>>10, func() {
			for range size / len(buf) {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			<-back
		})
	})
}
