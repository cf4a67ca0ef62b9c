// Package router is what a LAN's router does besides routing: a DHCP server, router
// advertisements, a name server, and a small web page.
//
// In: addresses and times. Out: answers on the wire of the network namespace that the
// calling thread is in when a service is started; its sockets stay there. It makes no
// links, addresses or routes. Each service ends with the context that it was given.
package router
