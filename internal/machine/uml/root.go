package uml

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/guest"
	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// What becomes of a guest's writes: model.MachineConfig.Writes.
const (
	writesNone    = "none"
	writesDiscard = "discard"
	writesKeep    = "keep"
	writesThrough = "through"
)

const (
	rootEmbedded = "embedded"
	hostfsPrefix = "hostfs:"
)

// Relative to the machine's folder.
const (
	// overlayLink leads to the folder of a throw-away overlay, for who cleans up.
	overlayLink = "overlay"
	// voidDir is an empty folder: all of the host that a guest may mount with hostfs.
	voidDir = "void"
)

// root is what a guest runs from, as it was found.
type root struct {
	embedded bool
	folder   string // of the host
	image    string // or this file
	disk     image
	overlay  string // the COW file over it, "" for none
	writes   string
	who      procs.User // whom the machine runs as
}

// checkRoot looks at what a machine is to run from, and changes nothing. kept is the
// folder of the overlays that are kept.
func checkRoot(m model.MachineConfig, kept string, who procs.User) (root, error) {
	r := root{writes: m.Writes, who: who}
	if m.Root == "" || m.Root == rootEmbedded {
		return root{embedded: true, who: who}, nil
	}
	var err error
	if dir, isFolder := strings.CutPrefix(m.Root, hostfsPrefix); isFolder {
		r.folder = dir
		err = r.checkFolder()
	} else {
		r.image = m.Root
		if r.writes == writesKeep {
			r.overlay = filepath.Join(kept, m.Name+".cow")
		}
		err = r.checkImage()
	}
	if err != nil {
		return r, fmt.Errorf("root %s: %w", m.Root, err)
	}
	return r, nil
}

func (r *root) checkFolder() error {
	st, err := os.Stat(r.folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no such folder: %w", model.ErrNotFound)
	case err != nil:
		return err
	case !st.IsDir():
		return fmt.Errorf("%w: it is no folder (hint: for an image, give its path without hostfs:)", model.ErrInvalid)
	case filepath.Clean(r.folder) == "/" && r.writes != writesThrough:
		return fmt.Errorf("%w: the machine's own memory and sockets lie below it, and cannot be read-only (hint: mount --bind / /mnt, and root: hostfs:/mnt)", model.ErrInvalid)
	case strings.Contains(r.folder, ","):
		return fmt.Errorf("%w: a comma in the path, which User-Mode Linux takes for its end", model.ErrInvalid)
	case r.writes == writesThrough && r.who.CanAccess(r.folder, unix.W_OK) != nil:
		return fmt.Errorf("%w: it may not be written here by %s (hint: writes: none, or discard)", model.ErrDenied, r.who.Name)
	}
	if err := r.who.CanAccess(r.folder, unix.R_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%w: %s, as whom the machine runs, may not read it: %w", model.ErrDenied, r.who.Name, err)
	}
	if r.writes == "" {
		r.writes = writesNone
	}
	return nil
}

func (r *root) checkImage() error {
	if r.writes == "" {
		r.writes = writesDiscard
	}
	if strings.ContainsAny(r.image, ",:") {
		return fmt.Errorf("%w: a comma or colon in the path, which User-Mode Linux takes for its end", model.ErrInvalid)
	}
	f, err := os.Open(r.image)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no such image: %w", model.ErrNotFound)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: it may not be read", model.ErrDenied)
	case err != nil:
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return err
	case st.IsDir():
		return fmt.Errorf("%w: it is a folder (hint: hostfs:%s)", model.ErrInvalid, r.image)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%w: it is no regular file", model.ErrInvalid)
	case r.writes == writesThrough && r.who.CanAccess(r.image, unix.W_OK) != nil:
		return fmt.Errorf("%w: it is read-only for %s (hint: writes: discard, or keep, leave it as it is)", model.ErrDenied, r.who.Name)
	}
	if err := r.who.CanRead(r.image); err != nil {
		return fmt.Errorf("%w: %s, as whom the machine runs, may not read it: %w", model.ErrDenied, r.who.Name, err)
	}
	if r.disk, err = inspect(f, st.Size()); err != nil {
		return err
	}
	if r.sealed() && (r.writes == writesKeep || r.writes == writesThrough) {
		return fmt.Errorf("%w: its file system, %s, cannot be written to (hint: writes: discard, or none)", model.ErrInvalid, r.disk.fs)
	}
	if who := heldBy(f, r.writes == writesThrough); who != "" {
		return fmt.Errorf("%w: it is in use by %s", model.ErrBusy, who)
	}
	if r.overlay == "" {
		return nil
	}
	return checkOverlay(r.overlay, st)
}

// checkOverlay looks at a kept overlay, if it is there: it holds for the image as it was
// when the overlay was made (UML compares the time of its last change).
func checkOverlay(path string, image fs.FileInfo) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	defer f.Close()
	if who := heldBy(f, true); who != "" {
		return fmt.Errorf("%w: its overlay %s is in use by %s", model.ErrBusy, path, who)
	}
	c, err := readCOW(f)
	if err != nil {
		return fmt.Errorf("overlay %s: %w (hint: delete it to begin anew)", path, err)
	}
	backing, err := os.Stat(c.backing)
	switch {
	case err != nil || !os.SameFile(backing, image):
		return fmt.Errorf("%w: the overlay %s was made for %s (hint: name that one, or delete the overlay to begin anew)", model.ErrInvalid, path, c.backing)
	case int64(c.size) != image.Size() || int64(c.mtime) != image.ModTime().Unix():
		return fmt.Errorf("%w: it has changed since the overlay %s was made, which no longer fits (hint: delete the overlay to begin anew)", model.ErrInvalid, path)
	}
	return nil
}

// prepare makes what the root needs, in the machine's folder and beside.
func (r *root) prepare(name string) error {
	if err := errors.Join(os.Mkdir(voidDir, 0o500), r.who.OwnPath(voidDir)); err != nil {
		return err
	}
	switch {
	case r.image == "" || r.sealed():
		return nil
	case r.writes == writesKeep:
		if err := os.MkdirAll(filepath.Dir(r.overlay), 0o700); err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
	case r.writes == writesDiscard:
		// Not in the machine's folder: that is memory, and an overlay may grow.
		dir, err := os.MkdirTemp(spacious(), "drawbridge-"+name+"-")
		if err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		if err := os.Symlink(dir, overlayLink); err != nil {
			return errors.Join(fmt.Errorf("overlay: %w", err), os.Remove(dir))
		}
		r.overlay = filepath.Join(dir, "root.cow")
	}
	if !r.given() {
		return nil
	}
	if err := errors.Join(makeCOW(r.overlay, r.image), r.who.OwnPath(r.overlay)); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	return nil
}

// spacious is a folder for large files that need not outlive the machine.
func spacious() string {
	const disk = "/var/tmp"
	if unix.Access(disk, unix.W_OK|unix.X_OK) == nil {
		return disk
	}
	return os.TempDir()
}

// Sweep removes what a machine in dir had outside of its folder.
func Sweep(dir string) error {
	link := filepath.Join(dir, overlayLink)
	target, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	return errors.Join(os.RemoveAll(target), os.Remove(link))
}

// arguments are the kernel's.
func (r *root) arguments(name string) []string {
	if r.embedded {
		return []string{"con0=fd:0,fd:1"}
	}
	// The kernel speaks on tty0 and the guest's login on tty1: the terminal is read by
	// one of the two only, and written by two descriptors, for UML waits for one only once
	// (activate_fd: EALREADY). A guest that reboots ends: its initrd is no longer there.
	args := []string{"con0=null,fd:1", "con1=fd:0,fd:2", "noreboot", "systemd.hostname=" + name}
	switch {
	case r.folder != "":
		return args
	case r.writes == writesNone || r.sealed():
		return append(args, "ubd0rd="+r.image)
	case r.writes == writesThrough:
		return append(args, "ubd0d="+r.image)
	default:
		overlay := r.overlay
		if r.given() {
			overlay = fmt.Sprintf("/proc/self/fd/%d", overlayFD)
		}
		return append(args, "ubd0="+overlay+","+r.image)
	}
}

// given tells whether the machine is given its overlay open: where it runs as another
// user, who cannot go to where overlays are. A UML that makes one itself goes to the image's
// folder meanwhile and back to its own by name (absolutize, arch/um/drivers/cow_user.c),
// which that user cannot either: so it finds one that is made already.
func (r *root) given() bool { return r.who.Credential != nil && r.overlay != "" }

// guest is what the guest is told; init is the program that becomes its process 1, ""
// for the usual ones.
func (r *root) guest(init string) *guest.Root {
	switch {
	case r.embedded:
		return nil
	case r.folder != "":
		return &guest.Root{Type: "hostfs", ReadOnly: r.writes != writesThrough, Scratch: r.writes == writesDiscard, Init: init}
	default:
		return &guest.Root{Device: r.disk.device(), Type: r.disk.fs, ReadOnly: r.writes == writesNone, Scratch: r.sealed() && r.writes == writesDiscard, Init: init}
	}
}

// modules are those that the root's file system may need, in the order of loading.
func (r *root) modules() []string {
	var out []string
	if r.writes == writesDiscard && (r.folder != "" || r.sealed()) {
		out = append(out, "overlay")
	}
	switch r.disk.fs {
	case "":
	case "iso9660":
		out = append(out, "isofs")
	default:
		out = append(out, r.disk.fs)
	}
	return out
}

// sealed tells whether the image's file system can only be read.
func (r *root) sealed() bool {
	return slices.Contains([]string{"squashfs", "erofs", "iso9660"}, r.disk.fs)
}

// readOnlyFolder is the folder that the host must keep the machine from writing to: root
// in the guest can mount it again as it likes. "" for none.
func (r *root) readOnlyFolder() string {
	if r.folder != "" && r.writes != writesThrough {
		return r.folder
	}
	return ""
}

// splitInit takes init= out of the kernel's arguments: it is the initrd's to carry out.
func splitInit(args []string) (init string, rest []string) {
	for _, a := range args {
		if program, is := strings.CutPrefix(a, "init="); is {
			init = program
		} else {
			rest = append(rest, a)
		}
	}
	return init, slices.Clip(rest)
}

// heldBy tells who has a file locked or attached, so that it cannot be used here as well;
// "" for nobody. Readers of an image do not disturb each other.
func heldBy(f *os.File, exclusive bool) string {
	kind := int16(unix.F_RDLCK)
	if exclusive {
		kind = unix.F_WRLCK
	}
	if who := locked(f, unix.Flock_t{Type: kind}); who != "" {
		return who
	}
	// QEMU locks single bytes: this one tells that somebody writes (block/file-posix.c).
	if who := locked(f, unix.Flock_t{Type: unix.F_WRLCK, Start: 101, Len: 1}); !exclusive && who != "" && whole(f) {
		return who
	}
	return loopOf(f.Name(), exclusive)
}

// whole tells whether a lock on QEMU's byte is on that byte alone.
func whole(f *os.File) bool {
	l := unix.Flock_t{Type: unix.F_WRLCK, Start: 101, Len: 1}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l) == nil && l.Type != unix.F_UNLCK && l.Len == 1
}

func locked(f *os.File, l unix.Flock_t) string {
	if unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l) != nil || l.Type == unix.F_UNLCK {
		return ""
	}
	if l.Pid <= 0 {
		return "another process" // a lock of an open file has no owner
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", l.Pid))
	if err != nil {
		return fmt.Sprintf("process %d", l.Pid)
	}
	return fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(comm)), l.Pid)
}

// loopOf names the loop device that writes to a file, or reads it where it shall be ours alone.
func loopOf(path string, exclusive bool) string {
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return ""
	}
	for _, b := range backing {
		text, err := os.ReadFile(b)
		if err != nil || strings.TrimSpace(string(text)) != path {
			continue
		}
		dir := filepath.Dir(filepath.Dir(b))
		ro, err := os.ReadFile(filepath.Join(dir, "ro"))
		if exclusive || err == nil && strings.TrimSpace(string(ro)) == "0" {
			return "the loop device /dev/" + filepath.Base(dir)
		}
	}
	return ""
}
