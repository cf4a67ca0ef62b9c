package initrd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/guest"
)

// Initrd is what the first file system of a guest is made of.
type Initrd struct {
	// Init is the path of the executable that becomes /init: static, for there is no
	// other file that it could load.
	Init string
	// Config becomes /drawbridge.json.
	Config []byte
	// Modules are paths of kernel modules, in the order in which they are loaded.
	Modules []string
}

// Write writes it as a cpio archive.
func (i Initrd) Write(w io.Writer) error {
	c := &cpioWriter{w: w}
	entries := []cpioEntry{
		{name: "dev", mode: unix.S_IFDIR | 0o755},
		// Without it process 1 starts with no standard streams (init/main.c, console_on_rootfs).
		{name: "dev/console", mode: unix.S_IFCHR | 0o600, major: 5, minor: 1},
		{name: strings.TrimPrefix(guest.ModuleDir, "/"), mode: unix.S_IFDIR | 0o755},
		{name: strings.TrimPrefix(guest.ConfigPath, "/"), mode: unix.S_IFREG | 0o600, size: int64(len(i.Config)), content: bytes.NewReader(i.Config)},
	}
	for _, e := range entries {
		if err := c.add(e); err != nil {
			return fmt.Errorf("initrd: %w", err)
		}
	}
	for n, module := range i.Modules {
		name := path.Join(guest.ModuleDir, fmt.Sprintf("%02d-%s", n, filepath.Base(module)))
		if err := addFile(c, module, name, 0o600); err != nil {
			return fmt.Errorf("initrd: %w", err)
		}
	}
	if err := addFile(c, i.Init, "/init", 0o755); err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	if err := c.close(); err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	return nil
}

func addFile(c *cpioWriter, from, name string, mode uint32) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return c.add(cpioEntry{name: strings.TrimPrefix(name, "/"), mode: unix.S_IFREG | mode, size: st.Size(), content: f})
}
