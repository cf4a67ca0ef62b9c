package uml

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"drawbridge/internal/model"
)

// binaryName is what Debian calls it.
const binaryName = "linux.uml"

// Kernel is a UML binary and what it was built with.
type Kernel struct {
	Path    string
	Release string
	// Vector: CONFIG_UML_NET_VECTOR; Legacy: CONFIG_UML_NET_TUNTAP (gone since 6.16).
	Vector, Legacy bool
	// IPv6Module: CONFIG_IPV6=m, so that the initrd must bring it.
	IPv6Module bool
}

var kernels sync.Map // of kernelKey to Kernel

type kernelKey struct {
	path string
	time time.Time
	size int64
}

// Find finds the UML binary, path or that on PATH, and asks it what it has.
func Find(ctx context.Context, path string) (Kernel, error) {
	if path == "" || !strings.Contains(path, "/") {
		name := cmp.Or(path, binaryName)
		found, err := exec.LookPath(name)
		if err != nil && path != "" {
			return Kernel{}, fmt.Errorf("kernel %s is not on PATH: %w (hint: give a path with a slash, or leave `kernel` out to take %s)", path, model.ErrNotFound, binaryName)
		}
		if err != nil {
			return Kernel{}, fmt.Errorf("%s is not on PATH: %w (hint: `apt install --no-install-recommends user-mode-linux`, or say `vmm: namespace` in the file)", binaryName, model.ErrNotFound)
		}
		path = found
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return Kernel{}, err
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Kernel{}, fmt.Errorf("kernel %s: %w (hint: leave `kernel` out to take %s from PATH)", path, model.ErrNotFound, binaryName)
	case err != nil:
		return Kernel{}, fmt.Errorf("kernel: %w", err)
	case !st.Mode().IsRegular() || st.Mode()&0o111 == 0:
		return Kernel{}, fmt.Errorf("kernel %s: %w: not an executable file", path, model.ErrInvalid)
	}
	key := kernelKey{path, st.ModTime(), st.Size()}
	if k, ok := kernels.Load(key); ok {
		return k.(Kernel), nil
	}
	k, err := ask(ctx, path)
	if err == nil {
		kernels.Store(key, k)
	}
	return k, err
}

// ask runs the binary with --showconfig and --version, which boot nothing.
func ask(ctx context.Context, path string) (Kernel, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	config, err := exec.CommandContext(ctx, path, "--showconfig").Output()
	if err != nil || !strings.Contains(string(config), "CONFIG_UML=y") {
		return Kernel{}, fmt.Errorf("kernel %s: %w: it does not answer --showconfig as a User-Mode Linux does", path, model.ErrInvalid)
	}
	release, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel %s: --version: %w", path, err)
	}
	k := parseConfig(string(config))
	k.Path, k.Release = path, strings.TrimSpace(string(release))
	return k, nil
}

func parseConfig(config string) Kernel {
	var k Kernel
	for line := range strings.Lines(config) {
		switch strings.TrimSpace(line) {
		case "CONFIG_UML_NET_VECTOR=y":
			k.Vector = true
		case "CONFIG_UML_NET_TUNTAP=y":
			k.Legacy = true
		case "CONFIG_IPV6=m":
			k.IPv6Module = true
		}
	}
	return k
}
