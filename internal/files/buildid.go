package files

import (
	"debug/elf"
	"encoding/binary"
)

const (
	ntGNUBuildID    = 3
	maxBuildIDBytes = 64
	maxNoteBytes    = 1 << 16
)

// readBuildID returns the NT_GNU_BUILD_ID note of an ELF file, or nil.
func readBuildID(path string) []byte {
	f, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > maxNoteBytes {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			continue
		}
		if id := findBuildID(b, f.ByteOrder); id != nil {
			return id
		}
	}
	return nil
}

// findBuildID walks a note segment: lengths of name and value, type, both
// padded to four bytes, see elf(5).
func findBuildID(b []byte, order binary.ByteOrder) []byte {
	pad := func(n uint32) int { return int((uint64(n) + 3) &^ 3) }
	for len(b) >= 12 {
		name, desc, typ := order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:])
		b = b[12:]
		if pad(name) > len(b) || pad(desc) > len(b)-pad(name) {
			return nil
		}
		value := b[pad(name):][:desc]
		if typ == ntGNUBuildID && string(b[:name]) == "GNU\x00" && desc <= maxBuildIDBytes {
			return value
		}
		b = b[pad(name)+pad(desc):]
	}
	return nil
}
