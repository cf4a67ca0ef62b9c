// Package dns answers for the names of one network of this host, and forwards every other
// question to the host's own name servers.
//
// In: model.DNSConfig, the leases of the network's DHCP server, the addresses of the
// host's name servers, and sockets that somebody with the right to has opened ([Open]).
// Out: answers, by UDP and TCP.
//
// It resolves for the network's own hosts and for this host, for nobody else: a question
// that comes in by another link is not answered at all. It keeps no cache: the host's own
// resolver has one.
package dns
