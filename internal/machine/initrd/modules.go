package initrd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Modules are the modules that came with a kernel.
type Modules struct {
	dir     string
	file    map[string]string   // by the module's name: its path below dir
	needs   map[string][]string // in the order of loading
	builtin map[string]bool
}

// ReadModules reads what depmod(8) wrote into a kernel's folder of modules, as
// /lib/modules/RELEASE. No such folder, or one without modules.dep, is fs.ErrNotExist.
func ReadModules(dir string) (Modules, error) {
	m := Modules{dir: dir, file: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{}}
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return m, fmt.Errorf("a kernel's modules: %w", err)
	}
	// "A: B C" says that A needs B, and B needs C.
	for line := range strings.Lines(string(dep)) {
		file, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		name := moduleName(file)
		m.file[name] = file
		for _, n := range strings.Fields(needs) {
			m.needs[name] = append(m.needs[name], moduleName(n))
		}
		slices.Reverse(m.needs[name])
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("a kernel's modules: %w", err)
	}
	for line := range strings.Lines(string(builtin)) {
		m.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return m, nil
}

// moduleName is what lsmod(8) calls a module's file: virtio-rng.ko.xz is virtio_rng.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// InOrder gives the files of the named modules and of all that they need, in the order
// of loading, and the names of those that the kernel has neither as a module nor built in.
func (m Modules) InOrder(names ...string) (files, missing []string) {
	for _, name := range names {
		name = moduleName(name)
		if m.file[name] == "" {
			if !m.builtin[name] {
				missing = append(missing, name)
			}
			continue
		}
		for _, n := range append(slices.Clone(m.needs[name]), name) {
			file := filepath.Join(m.dir, m.file[n])
			if m.file[n] != "" && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, missing
}
