package uml

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drawbridge/internal/model"
)

func makeReply(failed, more bool, text string) []byte {
	b := make([]byte, replyHeader, replyHeader+len(text)+1)
	if failed {
		binary.NativeEndian.PutUint32(b[0:], 1)
	}
	if more {
		binary.NativeEndian.PutUint32(b[4:], 1)
	}
	binary.NativeEndian.PutUint32(b[8:], uint32(len(text)+1))
	return append(append(b, text...), 0)
}

// fakeUML answers as a UML's mconsole does.
func fakeUML(t *testing.T, answers map[string][][]byte) mconsole {
	t.Helper()
	dir := t.TempDir()
	m := mconsole{socket: filepath.Join(dir, "m"), own: filepath.Join(dir, "c")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 1000)
		for {
			n, from, err := c.ReadFromUnix(b)
			if err != nil {
				return
			}
			if n != requestSize || binary.NativeEndian.Uint32(b) != mconsoleMagic || binary.NativeEndian.Uint32(b[4:]) != mconsoleVersion {
				continue
			}
			size := binary.NativeEndian.Uint32(b[8:])
			for _, a := range answers[string(b[12:12+size])] {
				_, _ = c.WriteToUnix(a, from)
			}
		}
	}()
	return m
}

func TestMconsole(t *testing.T) {
	m := fakeUML(t, map[string][][]byte{
		"version":                 {makeReply(false, false, "Linux vm 6.1")},
		"proc version":            {makeReply(false, true, "Linux "), makeReply(false, false, "6.1")},
		"config eth1=tuntap,tap0": {makeReply(true, false, "Device 1 already exists\n")},
		"rubbish":                 {[]byte("x")},
	})
	for command, want := range map[string]string{"version": "Linux vm 6.1", "proc version": "Linux 6.1"} {
		if got, err := m.do(t.Context(), command); err != nil || got != want {
			t.Errorf("%s: %q, %v", command, got, err)
		}
	}
	var refused *errMconsole
	if _, err := m.do(t.Context(), "config eth1=tuntap,tap0"); !errors.As(err, &refused) || refused.words != "Device 1 already exists" {
		t.Errorf("a refusal came as %v", err)
	}
	if _, err := m.do(t.Context(), "rubbish"); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("rubbish came as %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := m.do(ctx, "silence"); err == nil {
		t.Error("silence was an answer")
	}
	if _, err := m.do(t.Context(), strings.Repeat("x", mconsoleData)); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("a command that is too long: %v", err)
	}
}

// FuzzReply: whatever a UML answers, it is read or refused.
func FuzzReply(f *testing.F) {
	f.Add(makeReply(false, true, "Linux"))
	f.Add(makeReply(true, false, ""))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReply(b)
		if err == nil && len(r.text) > len(b)-replyHeader {
			t.Errorf("%d bytes of text from a reply of %d", len(r.text), len(b))
		}
	})
}
