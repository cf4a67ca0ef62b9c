package uml

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// memoryDir chooses the folder for the guest's memory, which is a file that UML maps
// executable: the user's TMPDIR, else /dev/shm, else /tmp (choose_tempdir of
// arch/um/os-Linux/mem.c). UML itself dies at a noexec one, and when a full one has
// no room for a page that the guest touches for the first time.
func memoryDir(need int64, who procs.User) (string, error) {
	dirs := []string{"/dev/shm", "/tmp"}
	if own := os.Getenv("TMPDIR"); own != "" {
		dirs = append([]string{own}, dirs...)
	}
	var reasons []string
	for _, dir := range dirs {
		reason := unfit(dir, need, who)
		if reason == "" {
			return dir, nil
		}
		reasons = append(reasons, dir+" "+reason)
	}
	return "", fmt.Errorf("no place for the guest's memory: %w: %s (hint: set TMPDIR to a folder with room, not mounted noexec)", model.ErrInvalid, strings.Join(reasons, "; "))
}

// unfit tells why a folder cannot hold a guest's memory, "" if it can.
func unfit(dir string, need int64, who procs.User) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "is not there (" + err.Error() + ")"
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return "is mounted noexec"
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fmt.Sprintf("has %d MiB left of the %d that are needed", free>>20, need>>20)
	}
	if host := procs.HostMemory(); st.Type == unix.TMPFS_MAGIC && host.Total > 0 && host.Available < need {
		return fmt.Sprintf("is memory, of which this host has %d MiB left of the %d that are needed", host.Available>>20, need>>20)
	}
	if who.CanAccess(dir, unix.W_OK|unix.X_OK) != nil {
		return "may not be written by " + who.Name
	}
	return ""
}
