package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drawbridge/internal/model"
)

func TestConsoleLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	c, err := openConsole(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for i := range 40_000 {
		c.add(fmt.Appendf(nil, "line %d of a machine that says the same thing again\n", i))
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) > consoleLogMax || len(b) < consoleLogMax/2 {
		t.Errorf("the log has %d bytes, %v", len(b), err)
	}
	if !strings.HasSuffix(string(b), "line 39999 of a machine that says the same thing again\n") {
		t.Errorf("it ends with %q", b[len(b)-80:])
	}
	if got := c.tail(1); got != "line 39999 of a machine that says the same thing again" {
		t.Errorf("its last line is %q", got)
	}
	c.add([]byte("[1.0] Kernel panic - not syncing: No init\r\n[1.1] Call Trace:\r\n[1.2]  panic\r\n"))
	if got := c.tail(2); got != "Kernel panic - not syncing: No init\n[1.1] Call Trace:" {
		t.Errorf("of a panic it tells %q", got)
	}
}

func TestMachineNames(t *testing.T) {
	for name, good := range map[string]bool{"web": true, "web-1.lan": true, "": false, "..": false, "a/b": false, ".x": false, strings.Repeat("x", 64): false} {
		if err := checkName(name); (err == nil) != good || err != nil && !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if a, b := defaultMAC("web", "eth1"), defaultMAC("web", "eth2"); a == b || a != defaultMAC("web", "eth1") || !strings.HasPrefix(string(a), "02:") {
		t.Errorf("MACs %s and %s", a, b)
	}
}
