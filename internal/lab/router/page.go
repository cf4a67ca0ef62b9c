package router

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// ServePage serves a small page on port 80 of this thread's namespace, IPv4 and IPv6,
// until ctx ends: who it is, and whom it sees.
func ServePage(ctx context.Context, name, words string) error {
	l, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           page(name, words),
		ReadHeaderTimeout: 5 * time.Second,
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
	return nil
}

func page(name, words string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			peer = r.RemoteAddr
		}
		// A dual-stack socket sees IPv4 clients as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2).
		peer = strings.TrimPrefix(peer, "::ffff:")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprintf(w, "This is %s: %s.\nYou are %s.\n", name, words, peer)
	})
}
