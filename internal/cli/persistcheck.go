package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drawbridge/internal/etc"
	"drawbridge/internal/persist"
)

// checkTime bounds a checker.
const checkTime = 30 * time.Second

// check has the manager's own checker look at the files, where it has one and is installed.
// networkd has none: it tells of what it does not understand in its log only; 'persist
// verify' starts it and looks.
func check(ctx context.Context, w written) error {
	checker, ok := checkers[w.Manager]
	if !ok {
		return nil
	}
	dir, err := os.MkdirTemp("", "drawbridge-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// A folder with the user's files and ours, as they will be.
	folder := etc.Folder{Root: dir, Journal: "/journal"}
	staged := []persist.File{}
	for path, text := range w.have {
		if !slices.ContainsFunc(w.Files.Files, func(f persist.File) bool { return f.Path == path }) {
			staged = append(staged, persist.File{Path: path, Mode: 0o600, Content: text})
		}
	}
	if _, err := folder.Write(etc.Request{Files: append(staged, w.Files.Files...)}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if w.Manager != persist.NetworkManager {
		return runChecker(ctx, checker(dir), dir, nil)
	}
	for _, f := range w.Files.Files {
		if !strings.HasSuffix(f.Path, ".nmconnection") {
			continue
		}
		if err := runChecker(ctx, checker(dir), dir, strings.NewReader(f.Content)); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

// runChecker runs a checker, if it is installed.
func runChecker(ctx context.Context, command []string, dir string, stdin io.Reader) error {
	program, err := findProgram(command[0])
	if errors.Is(err, exec.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, command[1:]...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "'--offline' is unknown") {
		said := strings.ReplaceAll(strings.TrimSpace(string(out)), dir, "")
		return fmt.Errorf("%s refuses the files: %w\n%w", command[0], err, indent(errors.New(said)))
	}
	return nil
}

// checkers are commands that look at the files below a folder, by manager.
var checkers = map[string]func(dir string) []string{
	persist.Netplan:   func(dir string) []string { return []string{"netplan", "generate", "--root-dir", dir} },
	persist.Ifupdown:  ifquery,
	persist.Ifupdown2: ifquery,
	// It reads one profile, and writes it as it has understood it; no daemon is needed, and
	// before 1.36 it could not.
	persist.NetworkManager: func(string) []string {
		return []string{"nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes"}
	},
}

// ifquery reads ours alone: what the user's has beside it, it would read from the real place.
func ifquery(dir string) []string {
	return []string{"ifquery", "-i", filepath.Join(dir, "etc/network/interfaces.d/drawbridge"), "-a", "--list"}
}

// readNote is what was noted with the files of ours; false where there are none. What may
// not be read is nothing of this user's.
func readNote() (persist.Note, bool, error) {
	var n persist.Note
	w, err := hostFiles().Read()
	if err != nil || len(w.Files) == 0 {
		return n, false, ignoreDenied(err)
	}
	if err := json.Unmarshal(w.Note, &n); err != nil {
		return n, false, fmt.Errorf("journal of the files: its note: %w", err)
	}
	return n, true, nil
}
