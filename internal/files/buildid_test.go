package files

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// elfWithNote is a small ELF file, of 64 or 32 bits, with a note segment.
func elfWithNote(order binary.ByteOrder, wide bool, note []byte) []byte {
	b := []byte("\x7fELF\x01\x01\x01")
	if wide {
		b[4] = byte(elf.ELFCLASS64)
	}
	if order == binary.BigEndian {
		b[5] = byte(elf.ELFDATA2MSB)
	}
	var out bytes.Buffer
	put := func(v any) { _ = binary.Write(&out, order, v) }
	if wide {
		h := elf.Header64{Type: 3, Machine: 62, Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
		copy(h.Ident[:], b)
		put(h)
		put(elf.Prog64{Type: uint32(elf.PT_NOTE), Off: 120, Filesz: uint64(len(note))})
	} else {
		h := elf.Header32{Type: 3, Machine: 3, Version: 1, Phoff: 52, Ehsize: 52, Phentsize: 32, Phnum: 1}
		copy(h.Ident[:], b)
		put(h)
		put(elf.Prog32{Type: uint32(elf.PT_NOTE), Off: 84, Filesz: uint32(len(note))})
	}
	return append(out.Bytes(), note...)
}

// appender is implemented by both byte orders.
type appender interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func gnuELF(order appender, wide bool, id string) []byte {
	return elfWithID(order, wide, "GNU\x00", ntGNUBuildID, id)
}

func elfWithID(order appender, wide bool, owner string, kind uint32, id string) []byte {
	var note []byte
	for _, v := range []uint32{4, uint32(len(id)), kind} {
		note = order.AppendUint32(note, v)
	}
	note = append(note, owner+id...)
	for len(note)%4 != 0 {
		note = append(note, 0)
	}
	return elfWithNote(order, wide, note)
}

func TestBuildID(t *testing.T) {
	const id = "0123456789abcdefghij"
	for _, order := range []appender{binary.LittleEndian, binary.BigEndian} {
		for _, wide := range []bool{true, false} {
			b := gnuELF(order, wide, id)
			if got := buildIDOf(bytes.NewReader(b)); string(got) != id {
				t.Errorf("%v, 64 bits %v: %q", order, wide, got)
			}
			for n := range b {
				if got := buildIDOf(bytes.NewReader(b[:n])); got != nil {
					t.Errorf("the first %d bytes have %q", n, got)
				}
			}
		}
	}
}

// TestGoBuildID: of a program of Go, whose build-id is longer than those of others, there is
// always the same digest.
func TestGoBuildID(t *testing.T) {
	of := func(id string) string {
		return string(buildIDOf(bytes.NewReader(elfWithID(binary.LittleEndian, true, "Go\x00\x00", ntGoBuildID, id))))
	}
	a, b := of(strings.Repeat("a", 83)), of(strings.Repeat("a", 82)+"b")
	if len(a) == 0 || len(a) > maxBuildIDBytes || a != of(strings.Repeat("a", 83)) || a == b {
		t.Errorf("%x and %x", a, b)
	}
	if got := buildIDOf(bytes.NewReader(elfWithID(binary.LittleEndian, true, "No\x00\x00", ntGoBuildID, "x"))); got != nil {
		t.Errorf("a note of somebody else's is the build-id %q", got)
	}
}

// TestBuildIDCost: a file that claims to have millions of sections costs no more
// than any other.
func TestBuildIDCost(t *testing.T) {
	const sections = 4 << 20
	b := gnuELF(binary.LittleEndian, true, "id")
	at := uint64(len(b)+7) &^ 7
	binary.LittleEndian.PutUint64(b[40:], at) // e_shoff
	binary.LittleEndian.PutUint16(b[58:], 64) // e_shentsize; e_shnum is 0: section 0 has it
	name := filepath.Join(t.TempDir(), "sparse")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := binary.LittleEndian.AppendUint64(nil, sections)
	if _, err := f.WriteAt(size, int64(at)+32); err != nil { // sh_size
		t.Fatal(err)
	}
	if err := f.Truncate(int64(at) + 64*sections); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	id := readBuildID(name)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; string(id) != "id" || n > 1<<20 {
		t.Errorf("%q, for %d bytes of memory", id, n)
	}
}

// FuzzBuildID: no file makes readBuildID panic, and it finds what debug/elf finds.
func FuzzBuildID(f *testing.F) {
	for _, order := range []appender{binary.LittleEndian, binary.BigEndian} {
		f.Add(gnuELF(order, true, "0123456789abcdefghij"))
		f.Add(gnuELF(order, false, "x"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := buildIDOf(bytes.NewReader(b))
		if len(got) > maxBuildIDBytes {
			t.Fatalf("%d bytes", len(got))
		}
		e, err := elf.NewFile(bytes.NewReader(b))
		if err != nil || len(e.Progs) > maxSegments {
			return
		}
		for _, p := range e.Progs {
			if p.Type != elf.PT_NOTE || p.Filesz > maxNoteBytes {
				continue
			}
			note := make([]byte, p.Filesz)
			if _, err := p.ReadAt(note, 0); err != nil {
				continue
			}
			if want := findBuildID(note, e.ByteOrder); want != nil {
				if !bytes.Equal(got, want) {
					t.Fatalf("%q, debug/elf has %q", got, want)
				}
				return
			}
		}
	})
}
