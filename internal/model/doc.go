// Package model says what is: the network of one machine as plain, sorted
// values, and the picture that this program is about.
//
// In: nothing; the values are filled by internal/kernel (live), internal/machine
// (virtual machines) or by hand (tests). Out:
//
//   - [Snapshot]: namespaces with their links, addresses, routes, rules,
//     neighbours and forwarding entries, and the machines that hold taps;
//   - [Wiring]: the stacks, segments and two-ended interfaces made from it;
//   - [Changes]: what differs between two wirings;
//   - [Operation]: one thing that can be done to it, and [Snapshot.Apply], what
//     the kernel makes of it.
//
// It may import the standard library only, and does no I/O.
package model
