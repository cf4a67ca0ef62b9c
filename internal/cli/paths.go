package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"drawbridge/internal/spec"
)

// fileRelative makes the paths that a file names absolute: they are relative to the
// file's own folder, so that a machine's shim, which works elsewhere, finds them. A
// kernel without a slash is looked for on PATH.
func fileRelative(want *spec.Desired, file string) {
	absolute := func(path string) string {
		if filepath.IsAbs(path) {
			return filepath.Clean(path)
		}
		if abs, err := filepath.Abs(filepath.Join(filepath.Dir(file), path)); err == nil {
			return abs
		}
		return path
	}
	for i := range want.Machines {
		m := &want.Machines[i]
		if strings.Contains(m.Kernel, "/") || m.VMM == spec.QEMU && m.Kernel != "" {
			m.Kernel = absolute(m.Kernel)
		}
		switch dir, isFolder := strings.CutPrefix(m.Root, spec.HostfsPrefix); {
		case isFolder:
			m.Root = spec.HostfsPrefix + absolute(dir)
		case m.Root != spec.RootEmbedded:
			m.Root = absolute(m.Root)
		}
		if m.UserData != "" {
			m.UserData = absolute(m.UserData)
		}
		for k, key := range m.SSHKeys {
			if !isSSHKey(key) {
				m.SSHKeys[k] = absolute(key)
			}
		}
	}
}

// isSSHKey tells a public key from the path of a file with one (sshd(8), AUTHORIZED_KEYS
// FILE FORMAT: the kinds of keys).
func isSSHKey(s string) bool {
	kind, _, hasKey := strings.Cut(s, " ")
	return hasKey && (strings.HasPrefix(kind, "ssh-") || strings.HasPrefix(kind, "ecdsa-") || strings.HasPrefix(kind, "sk-"))
}

// readSSHKeys puts the keys in the place of the files that hold them.
func readSSHKeys(want *spec.Desired) error {
	var errs []error
	for i := range want.Machines {
		m := &want.Machines[i]
		var keys []string
		for _, key := range m.SSHKeys {
			if isSSHKey(key) {
				keys = append(keys, key)
				continue
			}
			found, err := keysOf(key)
			if err != nil {
				errs = append(errs, fmt.Errorf("machines.%s.ssh-keys: %w", m.Name, err))
			}
			keys = append(keys, found...)
		}
		m.SSHKeys = keys
	}
	return errors.Join(errs...)
}

// keysOf reads the public keys of a file, one a line.
func keysOf(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); isSSHKey(line) {
			keys = append(keys, line)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: there is no public key in it\n  hint: the file whose name ends with .pub, as ssh-keygen makes it", path)
	}
	return keys, nil
}
