package initrd

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// executable writes the least of a 64-bit ELF file, with one program header.
func executable(t *testing.T, kind elf.ProgType) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const headerSize, programSize = 64, 56
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: headerSize, Ehsize: headerSize, Phentsize: programSize, Phnum: 1,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	for _, part := range []any{header, elf.Prog64{Type: uint32(kind)}} {
		if err := binary.Write(f, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestInitIsStatic(t *testing.T) {
	if err := CheckInit(executable(t, elf.PT_LOAD)); err != nil {
		t.Errorf("a static program: %v", err)
	}
	if err := CheckInit(executable(t, elf.PT_INTERP)); !errors.Is(err, ErrDynamic) {
		t.Errorf("a dynamic program: %v", err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if CheckInit(script) == nil || CheckInit(script+"-gone") == nil {
		t.Error("no error for what is no program")
	}
}
