package qemu

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// imageTool makes overlays.
const imageTool = "qemu-img"

// image is a disk image's header, as far as it matters here.
type image struct {
	format  string // raw or qcow2
	backing string // of a qcow2: the image that it is an overlay of
	data    bool   // of a qcow2: its data is in a file of its own
}

// readImage reads the header of a qcow2 image (QEMU, docs/interop/qcow2.txt); what has
// none is raw.
func readImage(r io.ReaderAt) (image, error) {
	head := make([]byte, 104)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return image{}, err
	}
	if n < 72 || string(head[:4]) != "QFI\xfb" {
		return image{format: "raw"}, nil
	}
	img := image{format: "qcow2"}
	if binary.BigEndian.Uint32(head[4:]) >= 3 && n >= 80 {
		img.data = binary.BigEndian.Uint64(head[72:])&4 != 0 // incompatible feature: external data file
	}
	offset, size := binary.BigEndian.Uint64(head[8:]), binary.BigEndian.Uint32(head[16:])
	if offset == 0 {
		return img, nil
	}
	if size == 0 || size > 1023 || offset > 1<<40 {
		return img, fmt.Errorf("%w: a qcow2 whose backing file has a name of %d bytes", model.ErrInvalid, size)
	}
	name := make([]byte, size)
	if _, err := r.ReadAt(name, int64(offset)); err != nil {
		return img, fmt.Errorf("%w: a qcow2 cut short: %w", model.ErrInvalid, err)
	}
	img.backing = string(name)
	return img, nil
}

// openImage checks that a user may use the image at path, and reads its header.
func openImage(path string, who procs.User, write bool) (image, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return image{}, fmt.Errorf("image %s: %w", path, model.ErrNotFound)
	case err != nil:
		return image{}, fmt.Errorf("image: %w", err)
	case st.IsDir():
		return image{}, fmt.Errorf("image %s: %w: it is a folder", path, model.ErrInvalid)
	case st.Mode().IsRegular() && st.Size() == 0:
		return image{}, fmt.Errorf("image %s: %w: it is empty", path, model.ErrInvalid)
	}
	if err := who.CanRead(path); err != nil {
		return image{}, fmt.Errorf("image %s: %w: %s, as whom the machine runs, may not read it: %w", path, model.ErrDenied, who.Name, err)
	}
	if write {
		if err := who.CanWrite(path); err != nil {
			return image{}, fmt.Errorf("image %s: %w: %s, as whom the machine runs, may not write it: %w (hint: writes: discard, or keep, leaves the image as it is)", path, model.ErrDenied, who.Name, err)
		}
	}
	if err := notInUse(path, write); err != nil {
		return image{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return image{}, fmt.Errorf("image: %w", err)
	}
	defer f.Close()
	img, err := readImage(f)
	if err != nil {
		return img, fmt.Errorf("image %s: %w", path, err)
	}
	return img, nil
}

// The bytes that a QEMU locks in an image that it has open, whatever the format
// (block/file-posix.c, RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE).
const (
	lockWriting  = 101 // it writes
	lockAlone    = 201 // it bears no other writer
	lockResizing = 103
)

// notInUse asks the kernel whether another QEMU has the image open in a way that does
// not go together with reading it, or writing it. Only asks: nothing is locked.
func notInUse(path string, write bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer f.Close()
	bytes := []int64{lockWriting, lockResizing}
	if write {
		bytes = append(bytes, lockAlone)
	}
	for _, at := range bytes {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: at, Len: 1}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
			return nil // no locks on this file system: QEMU does without as well
		}
		if lock.Type != unix.F_UNLCK {
			hint := "stop what uses it, or let each machine have an overlay of its own (writes: keep, or discard)"
			return fmt.Errorf("image %s: %w: %s (hint: %s)", path, model.ErrBusy, usedBy(path), hint)
		}
	}
	return nil
}

// usedBy names the processes that have a file open, as far as this user may see.
func usedBy(path string) string {
	var want, have unix.Stat_t
	if unix.Stat(path, &want) != nil {
		return "in use"
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return "in use"
	}
	var who []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		fds, _ := filepath.Glob(filepath.Join("/proc", e.Name(), "fd", "*"))
		for _, fd := range fds {
			if unix.Stat(fd, &have) == nil && have.Dev == want.Dev && have.Ino == want.Ino && e.Name() != strconv.Itoa(os.Getpid()) {
				name, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
				who = append(who, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), e.Name()))
				break
			}
		}
	}
	if len(who) == 0 {
		return "another process uses it"
	}
	return "in use by " + strings.Join(who, ", ")
}

// What becomes of what a machine writes: model.MachineConfig.Writes.
const (
	writesNone    = "none"
	writesDiscard = "discard"
	writesKeep    = "keep"
	writesThrough = "through"
)

// overlay is a file that keeps what is written to an image that stays as it is.
type overlay struct {
	path, image, format string // format of the image
	missing             bool   // it is to be made
}

// rootDisk checks the machine's image, and tells the disk that it becomes. kept is the
// folder of the overlays that are kept.
func rootDisk(m model.MachineConfig, kept string, who procs.User) (d disk, over overlay, err error) {
	img, err := openImage(m.Root, who, m.Writes == writesThrough)
	if err != nil {
		return d, over, err
	}
	d = disk{id: rootDrive, path: m.Root, format: img.format}
	switch m.Writes {
	case writesNone:
		d.readOnly = true
	case writesThrough:
		if img.backing != "" || img.data {
			// A guest that may write an image's header could name any file of the host there.
			return d, over, fmt.Errorf("image %s: %w: it is built on another file, and the guest may not write such a one (hint: writes: keep)", m.Root, model.ErrInvalid)
		}
	case writesKeep:
		over = overlay{path: filepath.Join(kept, m.Name+".qcow2"), image: m.Root, format: img.format}
		d.path, d.format = over.path, "qcow2"
		over.missing, err = over.check()
	default:
		d.discard = true
	}
	return d, over, err
}

// check looks at an overlay, if there is one. It is given to the QEMU by descriptor: its
// folder need not let the QEMU's user in.
func (o overlay) check() (missing bool, err error) {
	if _, err := os.Stat(o.path); errors.Is(err, fs.ErrNotExist) {
		if _, err := exec.LookPath(imageTool); err != nil {
			return true, fmt.Errorf("%s is not on PATH, and makes the overlay %s: %w (hint: `apt install --no-install-recommends qemu-utils`)", imageTool, o.path, model.ErrNotFound)
		}
		return true, nil
	}
	img, err := openImage(o.path, procs.User{Name: "this user"}, true)
	if err != nil {
		return false, err
	}
	if img.format != "qcow2" || img.backing != o.image {
		return false, fmt.Errorf("%w: the overlay %s was made for %s (hint: name that image, or delete the overlay to begin anew)", model.ErrInvalid, o.path, cmp.Or(img.backing, "no image"))
	}
	return false, nil
}

// make makes the overlay, and gives it to who writes it.
func (o overlay) make(ctx context.Context, who procs.User) error {
	if err := os.MkdirAll(filepath.Dir(o.path), 0o700); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	cmd := exec.CommandContext(ctx, imageTool, "create", "-q", "-f", "qcow2", "-b", o.image, "-F", o.format, o.path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("overlay %s: %w: %s", o.path, err, strings.TrimSpace(string(out)))
	}
	if who.Credential == nil {
		return nil
	}
	return os.Chown(o.path, int(who.Credential.Uid), int(who.Credential.Gid))
}
