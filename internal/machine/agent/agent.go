// Package agent is the talk between a machine's shim and its guest: JSON lines over
// one channel, a serial line for UML and a socket pair for the namespace machine.
//
// In: an io.ReadWriteCloser. Out: [Client] for the shim, [Serve] for the guest.
// Lines that are no JSON are ignored: a serial line may carry a kernel's message.
// It imports model only.
package agent

import (
	"context"
	"encoding/json"
	"time"

	"drawbridge/internal/model"
)

// MaxRequest is the longest request in bytes, with its newline. A UML's line that has
// once throttled (n_tty keeps 4096 bytes) is never read again by its kernel: more than
// this at once would silence the guest for ever. Answers have no such limit.
const MaxRequest = 3500

// The requests.
const (
	Hello     = "hello"     // who are you: sent by the guest unasked, once, when it is up
	Status    = "status"    // -> Namespace
	Configure = "configure" // NIC: name it, raise it, give it addresses -> Carrier
	Release   = "release"   // Target: the NIC's name; its addresses go and it is taken down
	Ping      = "ping"      // Target: an address or name -> RTT
	Send      = "send"      // Target, Data: one echo request with that in it; nobody waits for its answer
	Get       = "get"       // Target: a URL -> Code, Body
	Halt      = "halt"
)

// Request asks the guest for one thing.
type Request struct {
	ID     uint64           `json:"id"`
	Do     string           `json:"do"`
	NIC    *model.NICConfig `json:"nic,omitempty"`
	Target string           `json:"target,omitempty"`
	Data   []byte           `json:"data,omitempty"`
	// Timeout is how long the guest may take; 0 for its own choice.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Response is the guest's answer to the request of the same ID.
type Response struct {
	ID    uint64 `json:"id"`
	Do    string `json:"do,omitempty"` // of a hello only
	Error string `json:"error,omitempty"`
	// Release of the kernel that the guest runs on, in a hello.
	Release string `json:"release,omitempty"`
	// Namespace is the guest's own network, as it observed it.
	Namespace *model.Namespace `json:"namespace,omitempty"`
	// Carrier of the configured NIC.
	Carrier bool          `json:"carrier,omitempty"`
	RTT     time.Duration `json:"rtt,omitempty"`
	Code    int           `json:"code,omitempty"` // HTTP status
	Body    string        `json:"body,omitempty"`
}

// Handler carries a request out.
type Handler func(ctx context.Context, r Request) (Response, error)

// RemoteError is the guest's own refusal, as opposed to a broken channel.
type RemoteError struct{ Message string }

func (e *RemoteError) Error() string { return "in the guest: " + e.Message }

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}
