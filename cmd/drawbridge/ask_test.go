package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// ask is the script command "[!] ask NAMESPACE MACHINE 'COMMAND' REGEXP": the machine's
// console is given the command, and answers so, within half a minute; or it does not, the
// once that it is asked.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: [!] ask NAMESPACE MACHINE COMMAND REGEXP")
	}
	namespace, machine, command := args[0], args[1], args[2]
	want, err := regexp.Compile(args[3])
	ts.Check(err)
	dir, _, _ := strings.Cut(ts.Getenv("PATH"), string(os.PathListSeparator))
	bin := filepath.Join(dir, "drawbridge")
	said := func() string {
		out, err := exec.Command(bin, "machine", "console", "--log", machine, "--netns", namespace).Output()
		ts.Check(err)
		return string(out)
	}
	var answer string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		before := len(said())
		cmd := exec.Command(bin, "machine", "console", machine, "--netns", namespace)
		cmd.Stdin = strings.NewReader(command + "\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			ts.Fatalf("%v: %s", err, out)
		}
		// The guest may take a moment: until its ping gives up, or this machine has time for it.
		for patience := time.Now().Add(3 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			answer = said()[before:]
			late := time.Now().After(patience)
			switch {
			case neg && want.MatchString(answer):
				ts.Fatalf("%s answered %q, which it should not:\n%s", machine, command, answer)
			case !neg && want.MatchString(answer), neg && late:
				return
			}
			if late {
				break
			}
		}
	}
	ts.Fatalf("%s was asked %q, and answered:\n%s", machine, command, answer)
}
