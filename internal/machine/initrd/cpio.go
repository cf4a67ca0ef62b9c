package initrd

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// cpioWriter writes an archive of the new ASCII format ("newc"), which the kernel
// unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpioWriter struct {
	w     io.Writer
	size  int64
	inode int
}

// cpioEntry is one file of an archive.
type cpioEntry struct {
	name         string
	mode         uint32 // S_IF* and the permissions
	major, minor uint32 // of a device
	size         int64
	content      io.Reader // nil for none
}

func (c *cpioWriter) add(e cpioEntry) error {
	c.inode++
	links := 1
	if e.mode&unix.S_IFMT == unix.S_IFDIR {
		links = 2
	}
	if e.size >= 1<<32 {
		return fmt.Errorf("%s: %d bytes are too many for an initrd", e.name, e.size)
	}
	// ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	header := "070701"
	for _, v := range []uint32{uint32(c.inode), e.mode, 0, 0, uint32(links), 0, uint32(e.size), 0, 0, e.major, e.minor, uint32(len(e.name) + 1), 0} {
		header += fmt.Sprintf("%08X", v)
	}
	if err := c.write([]byte(header + e.name + "\x00")); err != nil {
		return err
	}
	if e.content != nil {
		n, err := io.Copy(c.w, e.content)
		c.size += n
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if n != e.size {
			return fmt.Errorf("%s: it has %d bytes, not the %d it had", e.name, n, e.size)
		}
	}
	return c.write(nil)
}

// write writes b and fills up to a multiple of four bytes.
func (c *cpioWriter) write(b []byte) error {
	pad := (4 - (c.size+int64(len(b)))%4) % 4
	b = append(b, make([]byte, pad)...)
	c.size += int64(len(b))
	_, err := c.w.Write(b)
	return err
}

func (c *cpioWriter) close() error { return c.add(cpioEntry{name: "TRAILER!!!"}) }
