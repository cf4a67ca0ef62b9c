// Package portsec turns a port's security into rules of nftables.
//
// In: a model.PortSecurity. Out: chains, sets and rules as plain values, from which
// internal/kernel makes netlink messages and internal/plan the text for nft(8): one
// source for what is done and what is told. It is pure: no I/O, no netlink.
//
// The rules are in the netdev family, at the ingress of the link: there every frame
// passes that the wire end sends, whether the link is a bridge's port or a plain tap in
// the stack (which the bridge family never sees), and before the bridge learns from it.
// What is not accepted is dropped.
package portsec
