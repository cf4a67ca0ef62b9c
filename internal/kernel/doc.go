// Package kernel observes one network namespace and carries operations out in it.
// It is the only package that speaks netlink.
//
// In: a namespace (the process's own, one of /run/netns, or a path) and a
// model.Operation. Out: a model.Namespace, or the kernel's refusal as one of the
// model's errors, with the kernel's own words and the object's name.
//
// Messages are encoded and decoded here, over plain AF_NETLINK sockets: a dump of
// 1,000 links is parsed in a tenth of the time that a general library takes, every
// attribute of a route survives a move, and many messages leave in one sendmsg.
//
// Rules that every file here keeps:
//   - an index is looked up at the moment of use and never kept;
//   - a dump that the kernel marks as interrupted is thrown away and read again;
//   - a goroutine that enters a namespace never unlocks its thread, which ends with it.
//
// It imports model, and neither plans nor draws.
package kernel
