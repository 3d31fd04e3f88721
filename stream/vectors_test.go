package stream

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"ckpt/internal/golden"
	"ckpt/stream/record"
)

// vector is a stream and what a reader must make of it. In its file, lines of
// "expect: ok|truncated|corrupt|foreign|version|trailing|aborted", "records: N"
// (how many are read whole, data and all, before the error) and "comment: …" stand before an empty
// line and the bytes in hexadecimal.
type vector struct {
	name, expect, comment string
	records               int
	bytes                 []byte
}

var expectations = map[string]error{"truncated": ErrTruncated, "corrupt": ErrCorrupt, "foreign": ErrForeign, "version": ErrVersion, "trailing": ErrTrailing}

// vectorVersion is what the vectors are of. They stay what they are when there is
// a later one.
var vectorVersion = Version{0, 1}

// asVersion returns a stream that says it is of another version.
func asVersion(b []byte, v Version) []byte {
	return append(appendPreamble(nil, v), b[preambleBytes:]...)
}

// vectors are made here; the files are for readers in other languages.
func vectors(t *testing.T) []vector {
	t.Helper()
	small := func(add func(w *Writer)) []byte {
		var b bytes.Buffer
		w := NewWriter(&b)
		if err := w.SetVersion(vectorVersion); err != nil {
			t.Fatal(err)
		}
		if err := w.Add(record.TypeHeader, &record.Header{Checkpoint: "00", Stage: record.StageRaw}); err != nil {
			t.Fatal(err)
		}
		if add != nil {
			add(w)
		}
		if err := w.End(record.End{}); err != nil && add == nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	raw := func(typ record.Type, flags record.Flags, meta []byte, data int) []byte {
		return small(func(w *Writer) {
			_ = w.Write(&Record{Type: typ, Flags: flags, Meta: meta, DataLen: int64(data)}, bytes.NewReader(make([]byte, data)))
		})
	}
	flip := func(b []byte, at int, mask byte) []byte {
		c := bytes.Clone(b)
		c[at] ^= mask
		return c
	}
	meta := func(v any) []byte {
		b, err := keyMode.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	empty, whole := small(nil), asVersion(sample(t), vectorVersion)
	first := bytes.Index(empty[16:], []byte{2, 0, 1, 0}) + 16 // END's header
	var aborted bytes.Buffer
	NewWriter(&aborted).Abort("ckpt-collect", errors.New("there is no process 7"))
	copy(aborted.Bytes(), asVersion(aborted.Bytes(), vectorVersion))
	return []vector{
		{"empty", "ok", "HEADER and END alone", 2, empty},
		{"everything", "ok", "descriptions, a custom record, a bulk record", 7, whole},
		{"custom-type", "ok", "a type of the user's own, not critical", 3, raw(0x8001, 0, meta(map[string]any{"hello": []byte("world")}), 0)},
		{"unknown-field", "ok", "a REG record with a field of a later version", 3, raw(record.TypeReg, record.Critical|record.Shareable, meta(map[string]any{"objref": 1, "later": true}), 0)},
		{"bytes-not-utf8", "ok", "a path that is not UTF-8", 3, raw(record.TypeReg, record.Critical|record.Shareable, meta(map[string]any{"path": []byte{'/', 0xff}}), 0)},
		{"with-data", "ok", "a CONTENT record with 5 bytes of data", 3, raw(record.TypeContent, record.Critical|record.Bulk, meta(map[string]any{"offset": 0}), 5)},
		{"minor-version", "ok", "a later minor version is read", 2, flip(empty, 10, 2)},
		{"major-version", "version", "a later major version is not", 0, flip(empty, 8, 2)},
		{"first-version", "version", "what was called version 1.0, before there was a major version 0", 0, asVersion(empty, Version{1, 0})},
		{"unknown-type", "ok", "a later minor version, with a critical record of a type that is not in the table: only a restore refuses it", 3,
			asVersion(raw(record.FirstCustom-1, record.Critical, meta(map[string]any{"hello": []byte("world")}), 0), Version{0, 9})},
		{"nothing", "truncated", "an empty input", 0, nil},
		{"half-preamble", "truncated", "the preamble breaks off", 0, empty[:11]},
		{"foreign", "foreign", "another kind of file", 0, []byte("#!/bin/sh\necho this is no stream\n")},
		{"foreign-short", "foreign", "another kind of file, shorter than a preamble", 0, []byte("hello\n")},
		{"line-ends", "foreign", "a transfer that changes line ends", 0, bytes.Replace(empty, []byte("\r\n"), []byte("\n"), 1)},
		{"preamble-reserved", "corrupt", "reserved bytes of the preamble are not zero", 0, flip(empty, 13, 1)},
		{"no-end", "truncated", "END is missing", 1, empty[:first]},
		{"half-header", "truncated", "a record's header breaks off", 1, empty[:first+9]},
		{"half-meta", "truncated", "a record's meta breaks off", 1, empty[:len(empty)-3]},
		{"half-data", "truncated", "a record's data breaks off", 5, whole[:bytes.Index(whole, []byte("pppp"))+77]},
		{"flipped-type", "corrupt", "a bit of a record's type", 1, flip(empty, first+1, 1)},
		{"flipped-meta", "corrupt", "a bit of a record's meta", 1, flip(empty, len(empty)-2, 16)},
		{"flipped-checksum", "corrupt", "a bit of a record's checksum", 1, flip(empty, first+17, 4)},
		{"unknown-flag", "corrupt", "a flag that is not defined", 0, flip(empty, 16+3, 0x40)},
		{"meta-too-long", "corrupt", "meta longer than 1 MiB is promised", 0, flip(empty, 16+6, 0x20)},
		{"data-too-long", "corrupt", "data longer than 1 GiB is promised", 0, flip(empty, 16+14, 1)},
		{"no-map", "corrupt", "meta is CBOR's null, not a map", 1, raw(0x8001, 0, []byte{0xf6}, 0)},
		{"no-meta", "corrupt", "a record without meta", 1, raw(0x8001, 0, nil, 0)},
		{"two-headers", "corrupt", "HEADER stands twice", 1, raw(record.TypeHeader, record.Critical, meta(map[string]any{}), 0)},
		{"order", "corrupt", "a description behind a bulk record", 2, small(func(w *Writer) {
			_ = w.Add(record.TypePages, &record.Pages{})
			_ = w.Add(record.TypeTask, &record.Task{})
		})},
		{"wrong-totals", "corrupt", "END counts a record that is not there", 1, recount(t, empty, first)},
		{"trailing", "trailing", "a byte behind END", 2, append(bytes.Clone(empty), 0)},
		{"aborted", "aborted", "a filter failed before it began", 0, aborted.Bytes()},
		{"aborted-later", "aborted", "a filter failed in the middle", 2, small(func(w *Writer) {
			_ = w.Add(record.TypeTask, &record.Task{PID: 7})
			w.Abort("ckpt-collect", errors.New("pid 7 is gone"))
		})},
		{"aborted-in-data", "aborted", "data that broke off after 3 of 9 bytes is filled up with zeros", 2, small(func(w *Writer) {
			rec := &Record{Type: record.TypeContent, Flags: record.Critical | record.Bulk, Meta: meta(map[string]any{}), DataLen: 9}
			w.Abort("ckpt-collect", w.Write(rec, strings.NewReader("abc")))
		})},
		{"flipped-data", "ok", "a bit of data, which the checksum does not cover", 7, flip(whole, bytes.Index(whole, []byte("pppp"))+9, 1)},
		{"no-header", "corrupt", "HEADER is missing", 0, append(bytes.Clone(empty[:preambleBytes]), empty[first:]...)},
		{"header-not-first", "corrupt", "another record stands before HEADER", 0, headerSecond(empty)},
		{"end-with-data", "corrupt", "END has data", 1, endWithData(empty, first)},
		{"later-version-short", "truncated", "a preamble that breaks off in its version", 0, empty[:9]},
	}
}

// recount changes what END says and mends its checksum.
func recount(t *testing.T, b []byte, end int) []byte {
	t.Helper()
	meta, err := Marshal(&record.End{Totals: record.Totals{Records: 2}})
	if err != nil {
		t.Fatal(err)
	}
	h := header{typ: record.TypeEnd, flags: record.Critical, metaLen: uint32(len(meta))}
	return append(h.append(bytes.Clone(b[:end]), meta), meta...)
}

// endWithData lets END promise a byte of data, and gives it.
func endWithData(b []byte, end int) []byte {
	meta := b[end+headerBytes:]
	h := header{typ: record.TypeEnd, flags: record.Critical, metaLen: uint32(len(meta)), dataLen: 1}
	return append(append(h.append(bytes.Clone(b[:end]), meta), meta...), 0)
}

// headerSecond puts a record before HEADER.
func headerSecond(b []byte) []byte {
	h := header{typ: record.FirstCustom, metaLen: 1}
	front := append(h.append(bytes.Clone(b[:preambleBytes]), []byte{0xa0}), 0xa0)
	return append(front, b[preambleBytes:]...)
}

// TestNoStrayVectors: each file is one of vectors.
func TestNoStrayVectors(t *testing.T) {
	known := map[string]bool{}
	for _, v := range vectors(t) {
		known[filepath.Join("testdata", "vectors", v.name+".txt")] = true
	}
	files, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if !known[name] {
			t.Errorf("%s is none of this test's", name)
		}
	}
}

func TestVectors(t *testing.T) {
	dir := filepath.Join("testdata", "vectors")
	for _, v := range vectors(t) {
		file := filepath.Join(dir, v.name+".txt")
		text := fmt.Sprintf("comment: %s\nexpect: %s\nrecords: %d\n\n%s\n", v.comment, v.expect, v.records, fold(hex.EncodeToString(v.bytes)))
		golden.Compare(t, file, []byte(text), golden.Released(t, vectorVersion.String()))
		n, err := readAll(bytes.NewReader(v.bytes))
		var abort *AbortError
		switch {
		case v.expect == "ok" && err != nil, v.expect == "aborted" && !errors.As(err, &abort),
			expectations[v.expect] != nil && !errors.Is(err, expectations[v.expect]):
			t.Errorf("%s: %v, want %s", v.name, err, v.expect)
		case n != v.records:
			t.Errorf("%s: %d records, want %d", v.name, n, v.records)
		}
	}
}

func fold(s string) string {
	var b strings.Builder
	for len(s) > 64 {
		b.WriteString(s[:64] + "\n")
		s = s[64:]
	}
	return b.String() + s
}
