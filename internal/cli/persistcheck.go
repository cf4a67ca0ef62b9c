package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"drawbridge/internal/persist"
)

// check has the manager's own checker look at the files, where it has one.
func check(ctx context.Context, w written) error {
	checker, ok := checkers[w.Manager]
	if !ok {
		return nil
	}
	return checker(ctx, w)
}

// checkers by manager. networkd has none: it tells of what it does not understand in its
// log only; 'persist verify' starts it and looks.
var checkers = map[string]func(context.Context, written) error{}

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
