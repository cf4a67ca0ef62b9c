package child

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What rings: a folder that comes or goes, a word that is left in one; and a lock that is let
// go, however its process has ended, since it was open for writing. Logs ring when they are
// closed, no earlier.
const watched = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CLOSE_WRITE | unix.IN_ONLYDIR

// Watch rings when one of ours below these folders has come, has ended, or has left word of
// its end, until ctx ends. The folders may come and go.
func Watch(ctx context.Context, folders ...string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &watcher{folders: folders, file: os.NewFile(uintptr(fd), "inotify")}
	w.look()
	context.AfterFunc(ctx, func() { _ = w.file.Close() }) // unblocks Read
	rings := make(chan struct{}, 1)
	go func() {
		defer close(rings)
		w.run(rings)
	}()
	return rings, nil
}

type watcher struct {
	folders []string
	file    *os.File
	below   map[int32]bool // by watch descriptor: a folder of ours, not one above
}

// look watches what there is: the folders with those in them, and of one that is not there
// the nearest that is above it. It tells whether any of ours is new: it has come before it
// was watched.
func (w *watcher) look() (fresh bool) {
	before := w.below
	w.below = map[int32]bool{}
	for _, dir := range w.folders {
		above := dir
		for !w.add(above, above == dir) && above != filepath.Dir(above) {
			above = filepath.Dir(above)
		}
		if above != dir {
			continue
		}
		entries, _ := os.ReadDir(dir) // it is gone again: that rings
		for _, e := range entries {
			if e.IsDir() {
				w.add(filepath.Join(dir, e.Name()), true)
			}
		}
	}
	for wd := range w.below {
		fresh = fresh || !before[wd]
	}
	return fresh
}

// add watches a folder; one that is watched already stays so.
func (w *watcher) add(dir string, below bool) bool {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return false
	}
	var wd int
	if cerr := raw.Control(func(fd uintptr) { wd, err = unix.InotifyAddWatch(int(fd), dir, watched) }); cerr != nil || err != nil {
		return false
	}
	if below {
		w.below[int32(wd)] = true
	}
	return true
}

func (w *watcher) run(rings chan<- struct{}) {
	buf := make([]byte, 1<<16)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return
		}
		ours := w.heard(buf[:n])
		if fresh := w.look(); !ours && !fresh {
			continue
		}
		select {
		case rings <- struct{}{}:
		default:
		}
	}
}

// heard tells whether any of the events is of one of ours; an overrun may be.
func (w *watcher) heard(events []byte) (ours bool) {
	for len(events) >= unix.SizeofInotifyEvent {
		wd, mask, length := int32(binary.NativeEndian.Uint32(events)), binary.NativeEndian.Uint32(events[4:]), int(binary.NativeEndian.Uint32(events[12:]))
		end := min(unix.SizeofInotifyEvent+length, len(events))
		name := strings.TrimRight(string(events[unix.SizeofInotifyEvent:end]), "\x00")
		// What begins with a dot is the lock under which folders come and go.
		if w.below[wd] && !strings.HasPrefix(name, ".") || mask&unix.IN_Q_OVERFLOW != 0 {
			ours = true
		}
		events = events[end:]
	}
	return ours
}
