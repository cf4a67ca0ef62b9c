package router

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// nameTTL is how long an answer may be kept, in seconds.
const nameTTL = 60

// ServeNames answers DNS queries (UDP port 53 of this thread's namespace) for a fixed
// list of names until ctx ends. Any other name does not exist: the lab has no way out.
func ServeNames(ctx context.Context, names map[string][]netip.Addr, logger *log.Logger) error {
	conn, err := net.ListenPacket("udp", ":53")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1232)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				if ctx.Err() == nil {
					logger.Printf("dns: %v", err)
				}
				return
			}
			answer, err := answerName(buf[:n], names)
			if err != nil {
				logger.Printf("dns: from %v: %v", from, err)
				continue
			}
			if _, err := conn.WriteTo(answer, from); err != nil {
				logger.Printf("dns: to %v: %v", from, err)
			}
		}
	}()
	return nil
}

func answerName(query []byte, names map[string][]netip.Addr) ([]byte, error) {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil {
		return nil, fmt.Errorf("bad query: %w", err)
	}
	q, err := p.Question()
	if err != nil || head.Response {
		return nil, fmt.Errorf("bad query: %w", err)
	}
	addresses, known := names[strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))]
	reply := dnsmessage.Header{ID: head.ID, Response: true, Authoritative: true, OpCode: head.OpCode, RecursionDesired: head.RecursionDesired, RecursionAvailable: true}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, reply)
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: nameTTL}
	for _, a := range addresses {
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			err = b.AResource(h, dnsmessage.AResource{A: a.As4()})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			err = b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
		if err != nil {
			return nil, err
		}
	}
	return b.Finish()
}
