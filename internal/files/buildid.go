package files

import (
	"crypto/sha1"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
)

const (
	ntGNUBuildID    = 3
	ntGoBuildID     = 4
	maxBuildIDBytes = 64
	maxNoteBytes    = 1 << 16

	// maxSegments is how many program headers are looked at. A program has about
	// ten; a hostile file may claim any number.
	maxSegments = 512
)

// readBuildID returns the NT_GNU_BUILD_ID note of an ELF file, or nil.
func readBuildID(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return buildIDOf(f)
}

// buildIDOf reads the ELF header, the program headers and the notes, see elf(5),
// and nothing else. Package debug/elf reads all that a file claims to have, up to
// millions of sections.
func buildIDOf(r io.ReaderAt) []byte {
	e, ok := readELFHeader(r)
	if !ok {
		return nil
	}
	head := make([]byte, e.segmentBytes)
	var note []byte
	for i := range e.segments {
		if _, err := r.ReadAt(head, int64(e.at)+int64(i)*int64(e.stride)); err != nil {
			return nil
		}
		at, size := e.segment(head)
		if elf.ProgType(e.order.Uint32(head)) != elf.PT_NOTE || size > maxNoteBytes || int64(at) < 0 {
			continue
		}
		if note == nil {
			note = make([]byte, maxNoteBytes)
		}
		if _, err := r.ReadAt(note[:size], int64(at)); err != nil {
			continue
		}
		if id := findBuildID(note[:size], e.order); id != nil {
			return id
		}
	}
	return nil
}

// elfHeader says how an ELF file is encoded and where its program headers are.
type elfHeader struct {
	order        binary.ByteOrder
	wide         bool // 64 bits
	at           uint64
	segmentBytes int
	stride       int // from one program header to the next
	segments     int
}

func readELFHeader(r io.ReaderAt) (e elfHeader, ok bool) {
	var b [64]byte
	if n, _ := r.ReadAt(b[:], 0); n < 52 || string(b[:4]) != elf.ELFMAG {
		return e, false
	}
	switch elf.Data(b[elf.EI_DATA]) {
	case elf.ELFDATA2LSB:
		e.order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		e.order = binary.BigEndian
	default:
		return e, false
	}
	var sizes []byte
	switch elf.Class(b[elf.EI_CLASS]) {
	case elf.ELFCLASS64:
		e.wide, e.at, e.segmentBytes, sizes = true, e.order.Uint64(b[32:]), 56, b[54:]
	case elf.ELFCLASS32:
		e.at, e.segmentBytes, sizes = uint64(e.order.Uint32(b[28:])), 32, b[42:]
	default:
		return e, false
	}
	e.segments = min(int(e.order.Uint16(sizes[2:])), maxSegments)
	e.stride = int(e.order.Uint16(sizes))
	return e, e.stride >= e.segmentBytes && e.at < 1<<62
}

// segment returns the offset and size of a segment in the file.
func (e *elfHeader) segment(head []byte) (at, size uint64) {
	if e.wide {
		return e.order.Uint64(head[8:]), e.order.Uint64(head[32:])
	}
	return uint64(e.order.Uint32(head[4:])), uint64(e.order.Uint32(head[16:]))
}

// findBuildID walks a note segment: lengths of name and value, type, both
// padded to four bytes, see elf(5). The linker of Go puts only its own build-id, which
// is longer, into one.
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
		if typ == ntGoBuildID && string(b[:name]) == "Go\x00\x00" {
			sum := sha1.Sum(value)
			return sum[:]
		}
		b = b[pad(name)+pad(desc):]
	}
	return nil
}
