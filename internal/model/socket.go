package model

import "net/netip"

// Socket is an Internet socket of a namespace, as the kernel lists it (sock_diag(7)).
// It is no part of a Snapshot: sockets come and go with every request.
type Socket struct {
	Protocol string `json:"protocol"` // tcp or udp
	// State in the words of ss(8): established, listen ... "unconnected" for UDP.
	State  string         `json:"state"`
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// Bound is the link that the socket is tied to, by SO_BINDTODEVICE or by the zone
	// of a link-local address (sk_bound_dev_if is either); "" for none.
	Bound string `json:"bound,omitempty"`
	// Cookie identifies the socket until the machine is started anew.
	Cookie uint64 `json:"-"`
	Inode  uint64 `json:"-"`
	UID    uint32 `json:"uid"`
	// Queued are the bytes that were written, and not yet acknowledged or sent.
	Queued uint32 `json:"queued,omitempty"`
	// TCP is set for established TCP connections.
	TCP *TCPInfo `json:"-"`
}

// TCPInfo is what of the kernel's struct tcp_info tells whether a connection gets through.
type TCPInfo struct {
	// Retransmits in a row without an acknowledgement (icsk_retransmits).
	Retransmits uint8
	// TotalRetransmits since the connection began, in segments.
	TotalRetransmits uint32
	Unacknowledged   uint32 // segments on their way
	// Bytes that the peer has acknowledged, and that came from it.
	Acknowledged, Received uint64
}

// Flow names a connection by its two ends.
func (s Socket) Flow() string { return s.Local.String() + " - " + s.Remote.String() }
