package uml

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// The management console's protocol: arch/um/drivers/mconsole.h.
const (
	mconsoleMagic   = 0xcafebabe
	mconsoleVersion = 2
	mconsoleData    = 512 // MCONSOLE_MAX_DATA, with a final NUL in a request
	requestSize     = 12 + mconsoleData
	replyHeader     = 12
)

// mconsole talks to the management console of a running UML: one datagram asked, one
// or more answered. The zero timeout is 3 s.
type mconsole struct {
	socket string // the UML's socket
	own    string // the path to bind our end to: the UML answers there
	// who the UML runs as, and with whose rights it is spoken to: what lies in its folder
	// is its user's to replace, by a link to another's socket, too.
	who procs.User
}

// errMconsole is the UML's own refusal.
type errMconsole struct{ command, words string }

func (e *errMconsole) Error() string { return fmt.Sprintf("mconsole %s: %s", e.command, e.words) }

// dial binds our end and connects it. Permissions are asked at that time only.
func (m mconsole) dial() (c *net.UnixConn, err error) {
	err = m.who.Do(func() error {
		if err := os.Remove(m.own); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		c, err = net.DialUnix("unixgram", &net.UnixAddr{Name: m.own, Net: "unixgram"}, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
		return err
	})
	return c, err
}

// do sends a command: version, cad, halt, config DEV=..., remove DEV, proc FILE, log TEXT.
func (m mconsole) do(ctx context.Context, command string) (string, error) {
	request, err := encodeRequest(command)
	if err != nil {
		return "", err
	}
	word, _, _ := strings.Cut(command, " ")
	c, err := m.dial()
	if err != nil {
		return "", fmt.Errorf("mconsole %s: %w", word, err)
	}
	defer os.Remove(m.own)
	defer c.Close()
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(3 * time.Second)
	}
	_ = c.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	if _, err := c.Write(request); err != nil {
		return "", fmt.Errorf("mconsole %s: %w", word, err)
	}
	var text strings.Builder
	buf := make([]byte, replyHeader+mconsoleData+1)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return text.String(), fmt.Errorf("mconsole %s: %w", word, err)
		}
		r, err := decodeReply(buf[:n])
		if err != nil {
			return text.String(), fmt.Errorf("mconsole %s: %w", word, err)
		}
		text.WriteString(r.text)
		if r.more {
			continue
		}
		if r.failed {
			return "", &errMconsole{command, strings.TrimSpace(text.String())}
		}
		return text.String(), nil
	}
}

func encodeRequest(command string) ([]byte, error) {
	if len(command) >= mconsoleData {
		return nil, fmt.Errorf("mconsole: %w: a command of %d bytes, the most is %d", model.ErrInvalid, len(command), mconsoleData-1)
	}
	b := make([]byte, requestSize)
	binary.NativeEndian.PutUint32(b[0:], mconsoleMagic)
	binary.NativeEndian.PutUint32(b[4:], mconsoleVersion)
	binary.NativeEndian.PutUint32(b[8:], uint32(len(command)))
	copy(b[12:], command)
	return b, nil
}

type mconsoleReply struct {
	failed, more bool
	text         string
}

// decodeReply reads struct mconsole_reply: err, more, len, data.
func decodeReply(b []byte) (mconsoleReply, error) {
	if len(b) < replyHeader {
		return mconsoleReply{}, fmt.Errorf("a reply of %d bytes: %w", len(b), model.ErrInvalid)
	}
	r := mconsoleReply{
		failed: binary.NativeEndian.Uint32(b[0:]) != 0,
		more:   binary.NativeEndian.Uint32(b[4:]) != 0,
	}
	size := binary.NativeEndian.Uint32(b[8:])
	data := b[replyHeader:]
	if uint64(size) > uint64(len(data)) {
		return mconsoleReply{}, fmt.Errorf("a reply that says %d bytes and has %d: %w", size, len(data), model.ErrInvalid)
	}
	r.text, _, _ = strings.Cut(string(data[:size]), "\x00")
	return r, nil
}
