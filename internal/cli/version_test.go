package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestCurrentVersion(t *testing.T) {
	build := &debug.BuildInfo{Main: debug.Module{Version: "v0.3.0+dirty"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}
	if v := currentVersion(build); v.Version != "v0.3.0+dirty" || v.Commit != "abc" || !v.Modified {
		t.Errorf("from the go command's notes: %+v", v)
	}
	if v := currentVersion(nil); v.Version != "devel" || v.Commit != "unknown" || v.Modified {
		t.Errorf("from nothing: %+v", v)
	}
	defer func(v, c string) { version, commit = v, c }(version, commit)
	version, commit = "v0.3.0-2-gabc-dirty", "abcdef"
	if v := currentVersion(&debug.BuildInfo{}); v.Version != version || v.Commit != commit || !v.Modified {
		t.Errorf("from the linker: %+v", v)
	}
}

func TestVersionAndSchema(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, exitDone, runtime.Version()},
		{[]string{"version", "more"}, exitUsage, "unknown command"},
		{[]string{"schema"}, exitDone, "json-schema.org/draft/2020-12"},
		{[]string{"schema", "--example"}, exitDone, "mode: bridged"},
		{[]string{"schema", "--reference"}, exitDone, "| `networks` |"},
		{[]string{"schema", "--nonsense"}, exitUsage, "nonsense"},
	} {
		var out bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: &out}
		if code := a.run(context.Background(), tc.args); code != tc.code || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%v: exit code %d, want %d; output without %q:\n%s", tc.args, code, tc.code, tc.want, out.String())
		}
	}
	var out bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &out}
	a.run(context.Background(), []string{"version", "--json"})
	var v versionInfo
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || v.Go != runtime.Version() {
		t.Errorf("version --json: %v: %s", err, out.String())
	}
}
