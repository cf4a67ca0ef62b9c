package main

import (
	"net"

	"drawbridge/internal/kernel"

	"github.com/rogpeppe/go-internal/testscript"
)

// login is the script command "login NAMESPACE ADDRESS FROM ADDRESS": a connection to the
// SSH port of one namespace from another, each address with the zone that it has there. It
// stays until the script ends.
func login(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: login NAMESPACE ADDRESS FROM ADDRESS")
	}
	in := func(namespace string, fn func() error) { ts.Check(kernel.Enter("/run/netns/"+namespace, fn)) }
	var l net.Listener
	in(args[0], func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(args[1], "22"))
		return err
	})
	defer l.Close()
	var client net.Conn
	in(args[2], func() (err error) {
		client, err = net.Dial("tcp", net.JoinHostPort(args[3], "22"))
		return err
	})
	server, err := l.Accept()
	ts.Check(err)
	ts.Defer(func() { client.Close(); server.Close() })
}
