package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"drawbridge/internal/machine/initrd"
	"drawbridge/internal/model"
)

// guestModules are what the embedded guest needs of its kernel.
var guestModules = []string{"virtio_pci", "virtio_net", "virtio_console"}

// guestKernel is a kernel for the embedded guest.
type guestKernel struct {
	path    string
	release string
	modules []string // files, in the order of loading
}

// findKernel finds the kernel at path, or where path is "" the newest of this host,
// and its modules.
func findKernel(p platform, path string, dirs ...string) (guestKernel, error) {
	if path == "" {
		if !p.native() {
			return guestKernel{}, fmt.Errorf("kernel: %w: name one for %s (hint: kernel: FILE, and its modules beside it in ../lib/modules)", model.ErrNotFound, p.arch)
		}
		found, err := newestKernel(dirs...)
		if err != nil {
			return guestKernel{}, err
		}
		path = found
	}
	release, err := releaseOf(path)
	if err != nil {
		return guestKernel{}, err
	}
	k := guestKernel{path: path, release: release}
	for _, dir := range []string{filepath.Dir(path), filepath.Join(filepath.Dir(path), "../lib/modules", release), filepath.Join(filepath.Dir(path), "../usr/lib/modules", release), filepath.Join("/lib/modules", release)} {
		modules, err := initrd.ReadModules(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return k, err
		}
		if _, missing := modules.InOrder(guestModules...); len(missing) > 0 {
			return k, fmt.Errorf("kernel %s: %w: neither built in nor among its modules in %s: %s", path, model.ErrInvalid, dir, strings.Join(missing, ", "))
		}
		// Without IPv6 it is a machine, too.
		k.modules, _ = modules.InOrder(append([]string{"ipv6"}, guestModules...)...)
		return k, nil
	}
	// A kernel that somebody built for himself may have it all built in: the guest says
	// so if not.
	return k, nil
}

// newestKernel is the newest of the distribution's kernels; a cloud's first, for it has
// the least that a guest does not need.
func newestKernel(dirs ...string) (string, error) {
	var found []string
	for _, dir := range dirs {
		files, _ := filepath.Glob(filepath.Join(dir, "vmlinuz-*"))
		found = append(found, files...)
	}
	found = slices.DeleteFunc(found, func(path string) bool { return strings.Contains(path, "rescue") })
	if len(found) == 0 {
		return "", fmt.Errorf("no kernel for the guest: %w: there is no vmlinuz-* in %s (hint: name one with kernel: in the file; docs/qemu.md tells how to get one without installing it)", model.ErrNotFound, strings.Join(dirs, ", "))
	}
	return slices.MaxFunc(found, func(a, b string) int {
		ca, cb := strings.Contains(a, "cloud"), strings.Contains(b, "cloud")
		if ca != cb {
			if ca {
				return 1
			}
			return -1
		}
		return model.NaturalCompare(a, b)
	}), nil
}

// releaseOf tells a kernel's version: an x86 one says it itself (Documentation/arch/x86/
// boot.rst, kernel_version), others by their file's name.
func releaseOf(path string) (string, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("kernel %s: %w", path, model.ErrNotFound)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("kernel %s: %w: this user may not read it (hint: Ubuntu keeps it from all but root; copy it, or `sudo chmod 0644 %s`)", path, model.ErrDenied, path)
	case err != nil:
		return "", fmt.Errorf("kernel: %w", err)
	}
	defer f.Close()
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", fmt.Errorf("kernel %s: %w: %w", path, model.ErrInvalid, err)
	}
	return parseRelease(path, head[:n])
}

func parseRelease(path string, head []byte) (string, error) {
	if len(head) > 0x210 && string(head[0x202:0x206]) == "HdrS" {
		at := int(binary.LittleEndian.Uint16(head[0x20e:])) + 0x200
		if at < len(head) {
			words := bytes.Fields(bytes.SplitN(head[at:], []byte{0}, 2)[0])
			if len(words) > 0 && len(words[0]) < 100 {
				return string(words[0]), nil
			}
		}
	}
	arm := len(head) > 64 && string(head[56:60]) == "ARM\x64"
	packed := bytes.HasPrefix(head, []byte("\x1f\x8b")) || bytes.HasPrefix(head, []byte("MZ")) || bytes.HasPrefix(head, []byte("\x7fELF"))
	if !arm && !packed {
		return "", fmt.Errorf("kernel %s: %w: it does not begin as a Linux kernel does", path, model.ErrInvalid)
	}
	_, release, ok := strings.Cut(filepath.Base(path), "-")
	if !ok {
		return "unknown", nil
	}
	return release, nil
}
