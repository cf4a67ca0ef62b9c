package testbrowser

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Script is one file of a package of npm, pinned.
type Script struct {
	Package, Version string
	// Integrity is the package's SHA-512 as npm writes it: "sha512-" and base64.
	Integrity string
	File      string // in the package
}

// The scripts that draw what we write.
var (
	// Mermaid of the major version that GitHub renders with.
	Mermaid = Script{"mermaid", "11.17.2", "sha512-V6K3C8EBdEsPFZXSKMJe6ppQOENxuHARr9GvHX4hh47lAbhMRD9qf4oEK7LoaRQxULMa80/qt5gHO73aCleBBg==", "dist/mermaid.min.js"}
	// MxGraph is what draw.io is built on: it reads and draws the same XML.
	MxGraph = Script{"mxgraph", "4.2.2", "sha512-FrJc5AxzXSqiQNF+8CyJk6VxuKO4UVPgw32FZuFZ3X9W+JqOAQBTokZhh0ZkEqGpEOyp3z778ssmBTvdrTAdqw==", "javascript/mxClient.min.js"}
)

// Fetch gives the path of a script: from the user's cache, where it is kept, else by npm.
// Where npm is not, the test is skipped: nothing else needs npm, and Debian's brings
// hundreds of packages. Where it is and does not fetch, the test is skipped by hand and
// fails in CI.
func (s Script) Fetch(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "drawbridge-tests")
	path := filepath.Join(dir, s.Package+"-"+s.Version+".js")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skipf("npm is not installed, and %s %s is not in %s", s.Package, s.Version, dir)
	}
	data, err := s.pack(t)
	if err == nil {
		err = keep(dir, path, data)
	}
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return path
}

// keep writes the file as a whole, so that two tests at a time do not meet half of it.
func keep(dir, path string, data []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	return errors.Join(err, f.Close(), os.Rename(f.Name(), path))
}

// pack lets npm fetch the package, without what it depends on and without running anything
// of it, and takes the file out.
func (s Script) pack(t testing.TB) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", dir, s.Package+"@"+s.Version)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("npm pack %s@%s: %w\n%s", s.Package, s.Version, err, out)
	}
	archives, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return nil, fmt.Errorf("npm pack %s made %q: %w", s.Package, archives, err)
	}
	data, err := os.ReadFile(archives[0])
	if err != nil {
		return nil, err
	}
	if sum := sha512.Sum512(data); "sha512-"+base64.StdEncoding.EncodeToString(sum[:]) != s.Integrity {
		return nil, fmt.Errorf("%s %s is not the package that was pinned", s.Package, s.Version)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", s.File, s.Package, err)
		}
		if h.Name == "package/"+s.File {
			return io.ReadAll(r)
		}
	}
}
