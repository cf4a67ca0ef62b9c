package cli

import (
	"path/filepath"
	"testing"

	"drawbridge/internal/spec"
)

func TestPathsAreRelativeToTheFile(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, kernel, root, wantKernel, wantRoot string }{
		{"/srv/lab/drawbridge.yaml", "./linux", "debian.img", "/srv/lab/linux", "/srv/lab/debian.img"},
		{"/srv/lab/drawbridge.yaml", "linux", "hostfs:guest/", "linux", "hostfs:/srv/lab/guest"},
		{"lab/drawbridge.yaml", "", "embedded", "", "embedded"},
		{"drawbridge.yaml", "/usr/bin/linux.uml", "a.img", "/usr/bin/linux.uml", here + "/a.img"},
	} {
		want := spec.Desired{Machines: []spec.Machine{{Kernel: c.kernel, Root: c.root}}}
		fileRelative(&want, c.file)
		if m := want.Machines[0]; m.Kernel != c.wantKernel || m.Root != c.wantRoot {
			t.Errorf("%+v: got %s and %s", c, m.Kernel, m.Root)
		}
	}
}
