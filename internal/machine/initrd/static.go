package initrd

import (
	"debug/elf"
	"errors"
	"fmt"
)

// ErrDynamic is why an executable cannot be /init.
var ErrDynamic = errors.New("dynamically linked, and the guest that is inside it has no libraries")

// CheckInit tells whether an executable can be /init: one that asks for a program
// interpreter (PT_INTERP, elf(5)) is dynamically linked, finds none in the guest, and the
// guest's kernel panics for want of an init.
func CheckInit(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("init of the guest: %w", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is %w (hint: build it with 'make build', or with CGO_ENABLED=0)", path, ErrDynamic)
		}
	}
	return nil
}
