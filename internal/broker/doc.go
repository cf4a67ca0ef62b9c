// Package broker gives taps to users without rights.
//
// A user's process asks over a unix socket for a tap on a network; the policy file says
// who may plug into what, how many taps he may have and with which MAC addresses. In: one
// JSON request of a peer whom the kernel names (SO_PEERCRED). Out: one JSON reply, and
// with it an open tap (SCM_RIGHTS), or the name of one that the user may open.
//
// Who decides ([Decide]) and what is over ([Reap]) are functions of plain values. What
// the broker does to the host goes through [Host] and [State]: it imports neither the
// kernel package nor apply, and a broker that ends, ends nothing: what it gave away is
// in the kernel and in the state folder, and the next one goes on from there.
package broker
