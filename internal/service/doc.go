// Package service gives the servers of networks their lives: start, change, stop, list.
//
// In: a model.Operation on a service. Out: servers that serve, or an error that wraps one
// of the model's.
//
// Each network has a folder below the manager's, and two processes. The *supervisor*
// ([RunSupervisor], the hidden command service-shim) has the rights of who started it: it
// opens the sockets, starts the server, starts it again when it ends by itself, and answers
// on a unix socket. It reads nothing that comes from the network. The *server*
// ([RunServer], the hidden command service-server) has no rights at all but to those
// sockets and to the folder of its leases, and is where every foreign byte is read. It ends
// with the supervisor.
//
//	services/private/config.json   what is served
//	                 lock          held by the supervisor while it lives
//	                 sock          the supervisor's socket
//	                 shim.log      bounded
//
// Below: dhcp4, ra and dns (what is served), lease (who has which address). It may import
// model, kernel and child.
package service
