package etc

import "drawbridge/internal/persist"

// Begin is the first half of a write: the journal says what will be done.
func (f Folder) Begin(manager string, files []persist.File) error {
	_, _, err := f.begin(Request{Manager: manager, Files: files})
	return err
}
