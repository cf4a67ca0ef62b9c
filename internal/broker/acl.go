package broker

import (
	"fmt"
	"strings"
	"unicode"

	"drawbridge/internal/model"
)

// DefaultACL is where QEMU's packages have qemu-bridge-helper's access file.
const DefaultACL = "/etc/qemu/bridge.conf"

// The bounds of an access file and of what it includes: QEMU has none, but there nobody
// else waits for the answer.
const (
	maxACL      = 64 << 10 // bytes of a file
	maxIncludes = 64       // files, all in all
)

// ACL is what qemu-bridge-helper's access file lets (qemu-bridge-helper.c,
// parse_acl_file): default is to deny, and a denial wins over everything.
type ACL struct {
	allow, deny       map[string]bool
	allowAll, denyAll bool
}

// ReadACL reads an access file and those that it includes. open reads with the rights of
// the user who asks: that a user may read an included file is how such files tell users
// apart. An included file that cannot be read, or breaks off, is passed over, as QEMU does.
func ReadACL(path string, open func(path string) ([]byte, error)) (ACL, error) {
	a := ACL{allow: map[string]bool{}, deny: map[string]bool{}}
	files := 0
	return a, a.read(path, open, &files)
}

func (a *ACL) read(path string, open func(string) ([]byte, error), files *int) error {
	if *files++; *files > maxIncludes {
		return fmt.Errorf("%s: more than %d files are included", path, maxIncludes)
	}
	data, err := open(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimLeftFunc(line, unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		command, argument, ok := strings.Cut(line, " ")
		if !ok {
			command, argument, ok = strings.Cut(line, "\t")
		}
		if !ok {
			return fmt.Errorf("%s: %q: not a line of an access file", path, strings.TrimSpace(line))
		}
		argument = strings.TrimSpace(argument)
		switch command {
		case "allow":
			a.allowAll = a.allowAll || argument == "all"
			a.allow[linkName(argument)] = argument != "all"
		case "deny":
			a.denyAll = a.denyAll || argument == "all"
			a.deny[linkName(argument)] = argument != "all"
		case "include":
			_ = a.read(argument, open, files) // as QEMU: "ignore errors"
		default:
			return fmt.Errorf("%s: unknown command %q", path, command)
		}
	}
	return nil
}

// linkName is cut off where QEMU cuts it off: at the length of a link's name.
func linkName(s string) string { return s[:min(len(s), model.MaxNameLen)] }

// Allows tells whether a bridge may be used.
func (a ACL) Allows(bridge string) bool {
	return (a.allowAll || a.allow[bridge]) && !a.denyAll && !a.deny[bridge]
}
