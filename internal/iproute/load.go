package iproute

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"drawbridge/internal/model"
)

// Longest is more than a bundle of a host with 10,000 ports takes, in bytes.
const Longest = 256 << 20

// Load makes the snapshot of a bundle as [Read] does, or of a picture that was saved as
// JSON, which has it.
func Load(files ...File) (s model.Snapshot, missing []string, err error) {
	if len(files) == 1 && bytes.HasPrefix(bytes.TrimSpace(files[0].Data), []byte("{")) {
		s, err = savedSnapshot(files[0].Data)
		return s, nil, err
	}
	return Read(files...)
}

// savedSnapshot reads what "drawbridge draw --format json" wrote. The wiring in it is left alone: it is made
// anew from the snapshot.
func savedSnapshot(data []byte) (model.Snapshot, error) {
	var saved struct {
		Version  *int            `json:"version"`
		Snapshot *model.Snapshot `json:"snapshot"`
	}
	if err := json.Unmarshal(data, &saved); err != nil {
		offset := int64(len(data))
		var syntax *json.SyntaxError
		var typ *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			offset = syntax.Offset
		case errors.As(err, &typ):
			offset = typ.Offset
		}
		line := 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
		return model.Snapshot{}, fmt.Errorf("line %d, byte %d: %w", line, offset, err)
	}
	switch {
	case saved.Version == nil || saved.Snapshot == nil:
		return model.Snapshot{}, errors.New("it has no version and snapshot, as a saved picture has")
	case *saved.Version != model.WiringVersion:
		return model.Snapshot{}, fmt.Errorf("it is of version %d, and this program reads version %d", *saved.Version, model.WiringVersion)
	}
	return *saved.Snapshot, nil
}

// Unpack makes files of a bundle's bytes: a text, or a tar archive of texts, either packed by
// gzip or not. It knows gzip (RFC 1952) and tar (tar(5), "ustar" in the first header) by their
// bytes: the standard input has no name.
func Unpack(name string, data []byte) ([]File, error) {
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		if data, err = io.ReadAll(io.LimitReader(z, Longest)); err != nil {
			return nil, err
		}
	}
	const magic = 257
	if len(data) > magic && bytes.HasPrefix(data[magic:], []byte("ustar")) {
		return readArchive(bytes.NewReader(data))
	}
	return []File{{Name: name, Data: data}}, nil
}

func readArchive(r io.Reader) ([]File, error) {
	var files []File
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(t, Longest))
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: h.Name, Data: data})
	}
}
