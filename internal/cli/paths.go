package cli

import (
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
		if strings.Contains(m.Kernel, "/") {
			m.Kernel = absolute(m.Kernel)
		}
		switch dir, isFolder := strings.CutPrefix(m.Root, spec.HostfsPrefix); {
		case isFolder:
			m.Root = spec.HostfsPrefix + absolute(dir)
		case m.Root != spec.RootEmbedded:
			m.Root = absolute(m.Root)
		}
	}
}
