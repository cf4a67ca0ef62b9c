// Package forward turns what goes between a network of ours and the world beyond its host
// into rules of nftables.
//
// In: a model.Forwarding. Out: chains as plain values, from which internal/kernel makes
// netlink messages and internal/plan the text for nft(8). It is pure: no I/O, no netlink.
//
// All of it is in one table, inet drawbridge. Each network has base chains of its own, so
// that one is changed or taken away without the others. A packet passes those of all
// networks: an accept lets it go on to the next, a drop is the end of it.
package forward
