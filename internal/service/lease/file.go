package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"drawbridge/internal/model"
)

// fileName in the folder of a network's leases.
const (
	fileName    = "leases.json"
	damagedName = "leases.damaged"
	newName     = "leases.new"
	version     = 1
)

// file is what is on disk.
type file struct {
	Version int           `json:"version"`
	Leases  []model.Lease `json:"leases"`
}

// Load reads the leases of a folder; none where there is no file. One that cannot be read
// is put aside, and told: a server that does not know its leases asks before it gives.
func Load(dir *os.Root) ([]model.Lease, error) {
	data, err := dir.ReadFile(fileName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("leases: %w", err)
	}
	f, err := parse(data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the leases could not be read (%w), and are kept as %s", err, damagedName), dir.Rename(fileName, damagedName))
	}
	return f.Leases, nil
}

func parse(data []byte) (f file, err error) {
	if err := json.Unmarshal(data, &f); err != nil {
		return f, err
	}
	if f.Version != version {
		return f, fmt.Errorf("version %d", f.Version)
	}
	return f, nil
}

// Save replaces the leases of a folder, so that at any time the file is whole, and on
// disk when it returns.
func Save(dir *os.Root, leases []model.Lease) error {
	data, err := json.MarshalIndent(file{version, leases}, "", " ")
	if err != nil {
		return err
	}
	if err := write(dir, data); err != nil {
		_ = dir.Remove(newName) // it takes the room that there is not
		return fmt.Errorf("leases: %w", err)
	}
	return nil
}

func write(dir *os.Root, data []byte) error {
	f, err := dir.OpenFile(newName, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := dir.Rename(newName, fileName); err != nil {
		return err
	}
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
