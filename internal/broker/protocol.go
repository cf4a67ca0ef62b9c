package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"drawbridge/internal/model"
)

// Version of the protocol. A request of another one is refused with the versions named.
const Version = 1

// MaxMessage is the longest request and reply in bytes. A socket of type SOCK_SEQPACKET
// keeps the borders: one message is one request.
const MaxMessage = 4096

// The kinds of a tap.
const (
	// KindDescriptor is an open descriptor, sent with the reply (SCM_RIGHTS). The tap is
	// there for as long as somebody has that descriptor open.
	KindDescriptor = "descriptor"
	// KindNamed is a persistent tap that the user opens by its name, as a User-Mode Linux
	// does. It is there for as long as the process that asked is: that process becomes
	// the VMM (execve(2)).
	KindNamed = "named"
)

// Request asks for one tap.
type Request struct {
	Version int `json:"version"`
	// Network is one of the file's in force, or a bridge.
	Network string `json:"network"`
	// Kind is [KindDescriptor] or [KindNamed].
	Kind string `json:"kind"`
	// MAC that the VM's NIC shall have; "" lets the broker choose.
	MAC model.MAC `json:"mac,omitempty"`
	// Machine is what the VM is called in status and pictures, "" for its process's name.
	Machine string `json:"machine,omitempty"`
	// VnetHeader: frames carry a virtio-net header. For a descriptor; who opens a tap by
	// name says it then.
	VnetHeader bool `json:"vnet_header,omitempty"`
	// Helper: a qemu-bridge-helper asks, which knows nothing of MAC addresses.
	Helper bool `json:"helper,omitempty"`
}

// Reply is the answer: a tap, or an error with its kind and a hint.
type Reply struct {
	Version int       `json:"version"`
	Tap     string    `json:"tap,omitempty"`
	Bridge  string    `json:"bridge,omitempty"`
	MAC     model.MAC `json:"mac,omitempty"` // that the VM's NIC is to have
	MTU     int       `json:"mtu,omitempty"` // bytes
	Error   string    `json:"error,omitempty"`
	Kind    string    `json:"kind,omitempty"`
	Hint    string    `json:"hint,omitempty"`
}

// Refusal is a request that was not granted.
type Refusal struct {
	// Kind is one of the Kind* below.
	Kind   string
	Reason string
	Hint   string
}

// The kinds of a refusal.
const (
	KindInvalid = "invalid" // not a request
	KindDenied  = "denied"  // the policy does not let this user
	KindQuota   = "quota"   // the user has as many taps as the policy lets him
	KindTaken   = "taken"   // the MAC address or the name is somebody else's
	KindBusy    = "busy"    // too much at once, or a change of the host goes on: try again
	KindFailed  = "failed"  // the kernel refused, or the broker could not
)

func (r *Refusal) Error() string {
	if r.Hint == "" {
		return r.Reason
	}
	return r.Reason + "\n  hint: " + r.Hint
}

func refuse(kind, hint, format string, args ...any) *Refusal {
	return &Refusal{kind, fmt.Sprintf(format, args...), hint}
}

// maxName is the longest name of a network or a machine in bytes.
const maxName = 63

// DecodeRequest reads a request from a client that is not trusted: one JSON object, no
// unknown keys, every value within its bounds. The error is a [*Refusal].
func DecodeRequest(data []byte) (Request, error) {
	var r Request
	if len(data) > MaxMessage {
		return r, refuse(KindInvalid, "", "a request of more than %d bytes", MaxMessage)
	}
	// The version first: what a later one looks like is not known here.
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return r, refuse(KindInvalid, "one JSON object in one message", "not a request: %v", err)
	}
	if version.Version != Version {
		return r, refuse(KindInvalid, "client and broker should be of one release", "protocol version %d: this broker speaks %d", version.Version, Version)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, refuse(KindInvalid, "", "not a request: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return r, refuse(KindInvalid, "", "not a request: something follows it")
	}
	r.MAC = model.MAC(strings.ToLower(string(r.MAC)))
	switch {
	case !isNetwork(r.Network):
		return r, refuse(KindInvalid, "", "network %q: not a name", r.Network)
	case r.Machine != "" && !isName(r.Machine):
		return r, refuse(KindInvalid, "letters, digits, '-', '_' and '.'", "machine %q: not a name", r.Machine)
	case r.Kind != KindDescriptor && r.Kind != KindNamed:
		return r, refuse(KindInvalid, "", "kind %q: neither %s nor %s", r.Kind, KindDescriptor, KindNamed)
	case r.MAC != "" && !r.MAC.Unicast():
		return r, refuse(KindInvalid, "six octets, the first of them even: 02:11:22:33:44:55", "MAC %q: not the address of a NIC", r.MAC)
	}
	return r, nil
}

// isNetwork: a network of the file, or whatever a bridge may be called in visible characters.
func isNetwork(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '/' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// isName keeps out of logs and pictures what is no name of a thing.
func isName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '-' || s[0] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

func (r Reply) encode() []byte {
	r.Version = Version
	b, err := json.Marshal(r)
	if err != nil || len(b) > MaxMessage { // plain strings; the reason may be long
		b, _ = json.Marshal(Reply{Version: Version, Error: r.Error[:min(len(r.Error), MaxMessage/8)], Kind: KindFailed})
	}
	return b
}

func replyTo(err error) Reply {
	var r *Refusal
	if errors.As(err, &r) {
		return Reply{Error: r.Reason, Kind: r.Kind, Hint: r.Hint}
	}
	return Reply{Error: err.Error(), Kind: KindFailed}
}

// err is the reply's error as a client sees it.
func (r Reply) err() error {
	if r.Error == "" {
		return nil
	}
	return &Refusal{r.Kind, r.Error, r.Hint}
}

func encodeRequest(r Request) ([]byte, error) {
	b, err := json.Marshal(r)
	if err == nil && len(b) > MaxMessage {
		err = refuse(KindInvalid, "", "a request of more than %d bytes", MaxMessage)
	}
	return b, err
}

func decodeReply(data []byte) (Reply, error) {
	var r Reply
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("the broker's answer: %w", err)
	}
	if r.Version != Version {
		return r, fmt.Errorf("the broker speaks version %d of the protocol, this program %d", r.Version, Version)
	}
	return r, nil
}
