package service

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"

	"drawbridge/internal/child"
	"drawbridge/internal/kernel"
	"drawbridge/internal/model"
	"drawbridge/internal/service/dhcp4"
	"drawbridge/internal/service/dns"
	"drawbridge/internal/service/ra"
	"drawbridge/internal/service/relay"
)

// maxMemory of a server, after which its garbage is collected the harder.
const maxMemory = 64 << 20

// RunServer is the hidden command service-server: it serves what its supervisor tells it
// to, on the sockets that it was given, until that wants it to end or has ended.
func RunServer() error {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGPIPE, unix.SIGTERM) // its supervisor decides
	debug.SetMemoryLimit(maxMemory)
	_ = unix.Close(executableFD)
	control := os.NewFile(controlFD, "control")
	conn, err := net.FileConn(control)
	control.Close()
	if err != nil {
		return fmt.Errorf("no supervisor: %w", err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	first, err := readCall(in)
	if err != nil || first.Do != callServe || first.Service == nil || len(first.Sockets) != parts {
		return fmt.Errorf("the supervisor's first word: %w", errors.Join(err, model.ErrInvalid))
	}
	w := &worker{service: *first.Service, log: log.New(os.Stderr, "", 0)}
	err = w.begin(first)
	if aerr := answer(conn, reply{Refusal: child.Refuse(err)}); err != nil || aerr != nil {
		return errors.Join(err, aerr)
	}
	return w.obey(conn, in)
}

func readCall(in *bufio.Reader) (c call, err error) {
	line, err := readLine(in)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(line, &c)
}

func answer(conn net.Conn, r reply) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(b, '\n'))
	return err
}

// worker is what serves.
type worker struct {
	service model.Service
	log     *log.Logger
	dhcp    *dhcp4.Server
	ra      *ra.Sender
	dns     *dns.Server
	relay   *relay.Relay

	stop   context.CancelFunc
	parts  sync.WaitGroup
	failed chan error

	mu    sync.Mutex
	still *model.RAConfig // what is still advertised after the end; nil: nothing is said
}

// begin takes everything that it needs in hand, gives up the rest, and serves.
func (w *worker) begin(first call) error {
	files := make([][]*os.File, len(first.Sockets))
	fd := socketsFD
	for i, n := range first.Sockets {
		for range n {
			unix.CloseOnExec(fd)
			if err := unix.SetNonblock(fd, true); err != nil {
				return fmt.Errorf("socket %d: %w", fd, err)
			}
			files[i] = append(files[i], os.NewFile(uintptr(fd), "socket"))
			fd++
		}
	}
	leasesPath := fmt.Sprintf("/proc/self/fd/%d", leasesFD)
	leases, err := os.OpenRoot(leasesPath)
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	k, err := kernel.Open()
	if err != nil {
		return err
	}
	if w.service.DHCP4 == nil {
		leasesPath = ""
	}
	if err := cage(w.service, leasesPath); err != nil {
		w.log.Printf("going on without: %v", err)
	}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	w.failed = make(chan error, len(files))
	w.make(k, leases)
	if c := w.service.Relay; c != nil && first.Facts != nil {
		w.relay = relay.New(w.service.Link, *c, *first.Facts, first.Learned, w.log.Printf)
		w.relay.Port = portFinder(k, w.service.Link)
	}
	if w.dns != nil {
		w.dns.SetUpstreams(first.Upstreams)
	}
	for i, run := range []func(context.Context, []*os.File) error{
		func(ctx context.Context, f []*os.File) error { return w.dhcp.Run(ctx, f) },
		func(ctx context.Context, f []*os.File) error { return w.ra.Run(ctx, f) },
		func(ctx context.Context, f []*os.File) error { return w.dns.Run(ctx, f) },
		func(ctx context.Context, f []*os.File) error { return w.relay.Run(ctx, f) },
	} {
		if len(files[i]) == 0 {
			continue
		}
		w.parts.Go(func() {
			if err := run(ctx, files[i]); err != nil {
				w.failed <- err
			}
		})
	}
	return nil
}

// make makes the parts, which know of each other's names.
func (w *worker) make(k *kernel.Kernel, leases *os.Root) {
	s := w.service
	if s.DNS != nil {
		w.dns = &dns.Server{Config: *s.DNS, Link: s.Link, Log: w.log.Printf}
		if s.DHCP4 != nil {
			w.dns.Static = s.DHCP4.Static
		}
		w.dns.SetLeases(nil)
	}
	if s.RA != nil {
		w.ra = &ra.Sender{Config: *s.RA, Link: s.Link, Log: w.log.Printf, Final: w.final}
	}
	if s.DHCP4 != nil {
		w.dhcp = &dhcp4.Server{Config: *s.DHCP4, Link: s.Link, Leases: leases, Log: w.log.Printf, Port: portFinder(k, s.Link)}
		if w.dns != nil {
			w.dhcp.Leased = w.dns.SetLeases
			for _, n := range s.DNS.Names {
				w.dhcp.Names = append(w.dhcp.Names, n.Name)
			}
		}
	}
}

// portFinder tells the port of a bridge where a MAC address is; of a plain tap, the tap.
func portFinder(k *kernel.Kernel, link string) func(model.MAC) string {
	return func(mac model.MAC) string {
		port, err := k.PortOf(link, mac)
		if err != nil {
			return link
		}
		return port
	}
}

// final is what is still advertised after the end.
func (w *worker) final() (model.RAConfig, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.still == nil {
		return model.RAConfig{}, false
	}
	return *w.still, true
}

// obey does what the supervisor says until it wants the end, or ends.
func (w *worker) obey(conn net.Conn, in *bufio.Reader) error {
	calls := make(chan call)
	lost := make(chan error, 1)
	go func() {
		for {
			c, err := readCall(in)
			if err != nil {
				lost <- err
				return
			}
			calls <- c
		}
	}()
	for {
		select {
		case err := <-w.failed:
			return err
		case err := <-lost:
			return fmt.Errorf("the supervisor has ended: %w", err)
		case c := <-calls:
			r := reply{}
			switch c.Do {
			case callStatus:
				r.Service = w.status()
			case callRelay:
				if w.relay != nil && c.Facts != nil {
					w.relay.SetFacts(*c.Facts)
					report := w.relay.Report()
					r.Relay = &report
				}
			case callUpstreams:
				if w.dns != nil {
					w.dns.SetUpstreams(c.Upstreams)
				}
			case callStop:
				w.end(c.Next)
				return answer(conn, r)
			default:
				r.Refusal = child.Refuse(fmt.Errorf("call %q: %w", c.Do, model.ErrInvalid))
			}
			if err := answer(conn, r); err != nil {
				return err
			}
		}
	}
}

// end ends all parts; next are the servers that follow.
func (w *worker) end(next *model.Service) {
	still := model.RAConfig{}
	if next != nil && next.Link == w.service.Link && next.RA != nil {
		still = *next.RA
	}
	w.mu.Lock()
	w.still = &still
	w.mu.Unlock()
	w.stop()
	w.parts.Wait()
}

// status is what only the server knows.
func (w *worker) status() *model.Service {
	s := &model.Service{Network: w.service.Network}
	troubled := func(t string) {
		if t != "" {
			s.Troubles = append(s.Troubles, t)
		}
	}
	if w.dhcp != nil {
		s.Leases = w.dhcp.Current()
		troubled(w.dhcp.Trouble())
		troubled(w.dhcp.Denied())
	}
	if w.ra != nil {
		troubled(w.ra.Trouble())
	}
	if w.dns != nil {
		troubled(w.dns.Trouble())
	}
	if w.relay != nil {
		s.Learned = w.relay.Learned()
		s.Troubles = append(s.Troubles, w.relay.Troubles()...)
	}
	return s
}
