package booted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Package finds the folder of a package that scripts/packages.sh has fetched: below
// bin/packages of the source tree that dir is in. "" where this machine has the program
// itself, and the folder is not needed.
func Package(dir, name, program string) (string, error) {
	for _, bin := range strings.Split(strings.TrimPrefix(searchPath, "PATH="), ":") {
		if _, err := exec.LookPath(filepath.Join(bin, program)); err == nil {
			return "", nil
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, "bin", "packages", name)
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			return path, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("%w: %s is neither here nor fetched (hint: scripts/packages.sh %s)", ErrLacking, program, name)
		}
		dir = parent
	}
}
