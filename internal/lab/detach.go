package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// statusFD is the descriptor on which a detached keeper reports.
const statusFD = 3

// status is that report.
type status struct {
	Error string `json:"error,omitempty"`
}

// StartDetached brings a lab up whose keeper is a process of its own, "drawbridge lab
// up --foreground", in a session of its own: it outlives this one and its terminal.
func StartDetached(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Cmd{
		Path: "/proc/self/exe",
		Args: internalArgs("up", "--foreground", "--name", o.Name, "--lease-time", o.LeaseTime.String(),
			"--ra-interval", o.AdvertInterval.String(), "--ra-lifetime", o.AdvertLifetime.String(), "--host-ra="+strconv.FormatBool(o.HostAcceptsRA),
			"--unplugged="+strconv.FormatBool(o.Unplugged), "--access-point="+strconv.FormatBool(o.AccessPoint), "--status-fd", strconv.Itoa(statusFD)),
		Dir:         "/",
		ExtraFiles:  []*os.File{w},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	keepDescriptors()
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("start the lab's keeper: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
	defer stop()
	var s status
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		waitErr := cmd.Wait()
		if errors.Is(err, io.EOF) && waitErr != nil {
			err = waitErr
		}
		return fmt.Errorf("lab %q: its keeper ended early: %w", o.Name, err)
	}
	if s.Error != "" {
		_ = cmd.Wait()
		return errors.New(s.Error)
	}
	return cmd.Process.Release()
}

// ReportStatus tells the one who detached this keeper how it went; fd 0 is nobody.
func ReportStatus(fd int, err error) {
	if fd == 0 {
		return
	}
	f := os.NewFile(uintptr(fd), "status") //nolint:gosec // a descriptor is not negative
	if f == nil {
		return
	}
	defer f.Close()
	var s status
	if err != nil {
		s.Error = err.Error()
	}
	_ = json.NewEncoder(f).Encode(s)
}
