// Package nft has the words that rules of nftables are made of, as plain values, and their
// text for nft(8).
//
// internal/portsec and internal/forward make such values; internal/kernel makes netlink
// messages of them, internal/plan the command of a step: one source for what is done and
// what is told. It is pure: no I/O, no netlink.
package nft
