package record_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ckpt/internal/golden"
	"ckpt/internal/image"
	"ckpt/stream"
	"ckpt/stream/record"
)

// frozen has a folder for each version of the format: fields.txt, its records and
// fields; every.stream, a stream with all of them; and images of real programs,
// which TestFrozen of ../../tests makes.
const frozen = "../testdata/frozen"

// versions are those with a folder.
func versions(t *testing.T) (list []string) {
	t.Helper()
	dirs, err := os.ReadDir(frozen)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		list = append(list, d.Name())
	}
	return list
}

// readable reports whether this program says that it reads a version.
func readable(t *testing.T, version string) bool {
	t.Helper()
	var v stream.Version
	if _, err := fmt.Sscanf(version, "%d.%d", &v.Major, &v.Minor); err != nil {
		t.Fatal(err)
	}
	return stream.NewWriter(io.Discard).SetVersion(v) == nil
}

// fields are all records and fields there are, one a line.
func (s *spec) fields() (list []string) {
	for _, info := range record.Types() {
		list = append(list, fmt.Sprintf("%d %s flags %#x since %s", info.Type, info.Name, uint16(info.Flags), info.Since))
		list = append(list, s.fieldsOf(info.Name, info.Meta, info.Since)...)
	}
	for i := 0; i < len(s.maps); i++ {
		list = append(list, s.fieldsOf(s.maps[i].Name(), s.maps[i], record.Types()[0].Since)...)
	}
	slices.Sort(list)
	return list
}

func (s *spec) fieldsOf(name string, typ reflect.Type, since string) (list []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			s.need(f.Type)
			list = append(list, fmt.Sprintf("%s has %s", name, f.Type.Name()))
			continue
		}
		if key := fieldName(typ, i); key != "" {
			typeName, _, _ := strings.Cut(strings.ReplaceAll(s.typeName(f.Type), "[", ""), "]")
			list = append(list, fmt.Sprintf("%s.%s %s since %s", name, key, typeName, orElse(f.Tag.Get("since"), since)))
		}
	}
	return list
}

// TestFrozenFields: what a version has that this program reads, it has still, with
// the same number and type; and what it did not have says that it came later.
func TestFrozenFields(t *testing.T) {
	now := newSpec(t).fields()
	current := golden.Versions(t)[0]
	golden.Compare(t, filepath.Join(frozen, current.Name, "fields.txt"), []byte(strings.Join(now, "\n")+"\n"), current.Released)
	for _, version := range versions(t) {
		if !readable(t, version) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(frozen, version, "fields.txt"))
		if err != nil {
			t.Fatal(err)
		}
		then := strings.Split(strings.TrimSpace(string(text)), "\n")
		for _, line := range then {
			if !slices.Contains(now, line) {
				t.Errorf("version %s has %q, and this does not", version, line)
			}
		}
		for _, line := range now {
			if _, since, ok := strings.Cut(line, " since "); ok && since == version && !slices.Contains(then, line) {
				t.Errorf("%q is not in version %s: which is it of?", line, version)
			}
		}
	}
}

// everyRecord is a stream with each record, all of its fields set.
func everyRecord(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	put := func(info record.TypeInfo) {
		v := info.New()
		fill(reflect.ValueOf(v).Elem(), 1)
		rec, err := stream.New(info.Type, v)
		if err != nil {
			t.Fatal(err)
		}
		if info.Flags&record.Bulk != 0 {
			rec.DataLen = 5
		}
		if err := w.Write(rec, strings.NewReader("bytes")); err != nil {
			t.Fatal(err)
		}
	}
	for _, bulk := range []record.Flags{0, record.Bulk} {
		for _, info := range record.Types() {
			if info.Flags&record.Bulk == bulk && info.Type != record.TypeEnd && info.Type != record.TypeAbort {
				put(info)
			}
		}
	}
	put(*record.Lookup(record.TypeEnd))
	return b.Bytes()
}

// fill gives every field a value of its own.
func fill(v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n+i+1)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n+1)
		fill(v.Index(1), n+2)
	case reflect.String:
		v.SetString(fmt.Sprintf("s\xff%d", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(-n))
	default:
		v.SetUint(uint64(n))
	}
}

// TestFrozenStreams: a stream of a version that this program reads is read whole,
// and no field is lost; one of another is refused by its number.
func TestFrozenStreams(t *testing.T) {
	current := golden.Versions(t)[0]
	golden.Compare(t, filepath.Join(frozen, current.Name, "every.stream"), everyRecord(t), current.Released)
	for _, version := range versions(t) {
		file := filepath.Join(frozen, version, "every.stream")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !readable(t, version) {
			if _, err := stream.NewReader(bytes.NewReader(b)).Next(); err == nil || !strings.Contains(err.Error(), version) {
				t.Errorf("%s: %v", file, err)
			}
			continue
		}
		for rec, err := range records(bytes.NewReader(b)) {
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			sameAgain(t, file, rec)
		}
	}
}

func records(r io.Reader) func(func(*stream.Record, error) bool) {
	return stream.NewReader(r).Records(context.Background())
}

// sameAgain: a record decodes, and encodes to what it was.
func sameAgain(t *testing.T, file string, rec *stream.Record) {
	t.Helper()
	info := record.Lookup(rec.Type)
	if info == nil {
		t.Errorf("%s: %v is not in the table", file, rec.Type)
		return
	}
	v := info.New()
	if err := rec.Decode(v); err != nil {
		t.Errorf("%s: %v: %v", file, rec.Type, err)
		return
	}
	if again, err := stream.Marshal(v); err != nil || !bytes.Equal(again, rec.Meta) {
		t.Errorf("%s: %v: %x became %x, %v", file, rec.Type, rec.Meta, again, err)
	}
}

// TestFrozenImages: the images of real programs are read whole, no field is lost,
// and each is what the specification says.
func TestFrozenImages(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(frozen, "*", "*.img"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if !readable(t, filepath.Base(filepath.Dir(file))) {
			continue
		}
		img := image.NewReader(f, image.ReaderOptions{})
		defer img.Close()
		for rec, err := range records(img) {
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			sameAgain(t, file, rec)
			var meta map[string]any
			if err := rec.Decode(&meta); err != nil {
				t.Fatal(err)
			}
			keeps(t, rec.Type.String(), record.Lookup(rec.Type).Meta, meta)
		}
	}
}

// keeps compares a map with what the specification says of its fields.
func keeps(t *testing.T, where string, typ reflect.Type, meta map[string]any) {
	t.Helper()
	for _, f := range reflect.VisibleFields(typ) {
		name, _, _ := strings.Cut(f.Tag.Get("cbor"), ",")
		if v, ok := meta[name]; ok && !f.Anonymous {
			keepsValue(t, where+"."+name, f.Type, f.Tag.Get("range"), v)
		}
	}
}

// keepsValue compares a value with a type and a range.
func keepsValue(t *testing.T, where string, typ reflect.Type, within string, v any) {
	t.Helper()
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if known := named[within]; known != "" {
		within = known
	}
	length := -1
	switch v := v.(type) {
	case []byte:
		length = len(v)
		if strings.Contains(within, "|") && !slices.Contains(strings.Split(within, "|"), string(v)) {
			t.Errorf("%s is %q, not one of %s", where, v, within)
		}
	case []any:
		if length = len(v); typ.Kind() == reflect.Slice {
			for _, e := range v {
				keepsValue(t, where, typ.Elem(), "", e)
			}
		}
	case map[any]any:
		m := map[string]any{}
		for k, e := range v {
			m[k.(string)] = e
		}
		keeps(t, where, typ, m)
	case uint64, int64:
		if text := fmt.Sprint(v); !inRange(text, within) {
			t.Errorf("%s is %s, not in %s", where, text, within)
		}
	}
	if length >= 0 && !strings.Contains(within, "|") && !inRange(strconv.Itoa(length), within) {
		t.Errorf("%s has the length %d, not %s", where, length, within)
	}
}

// inRange reports whether a number is within a range of a tag.
func inRange(number, within string) bool {
	if within == "" {
		return true
	}
	if strings.Contains(within, "|") {
		return slices.Contains(strings.Split(within, "|"), number)
	}
	lo, hi, two := strings.Cut(within, "..")
	if !two {
		return number == within
	}
	n := bound(number)
	return (lo == "" || n >= bound(lo)) && (hi == "" || n <= bound(hi))
}

// bound is the value of "-5", "2^22" and "2^16-1", roughly where it is large.
func bound(text string) float64 {
	power, less, _ := strings.Cut(strings.TrimPrefix(text, "-"), "-")
	base, exponent, isPower := strings.Cut(power, "^")
	n, _ := strconv.ParseFloat(base, 64)
	if e, _ := strconv.Atoi(exponent); isPower {
		for n = 1; e > 0; e-- {
			n *= 2
		}
	}
	minus, _ := strconv.ParseFloat("0"+less, 64)
	if strings.HasPrefix(text, "-") {
		return -n
	}
	return n - minus
}

// TestLaterFields: what came later than its record may be left out, so that what
// older versions wrote is encoded as it was. A map all of whose fields came later came
// with them.
func TestLaterFields(t *testing.T) {
	s := newSpec(t)
	s.fields()
	all := slices.Clone(s.maps)
	for _, info := range record.Types() {
		all = append(all, info.Meta)
	}
	for _, typ := range all {
		if slices.Contains(s.maps, typ) && allLater(typ) {
			continue
		}
		for i := range typ.NumField() {
			if f := typ.Field(i); f.Tag.Get("since") != "" && !strings.HasSuffix(f.Tag.Get("cbor"), ",omitempty") {
				t.Errorf("%s.%s came in version %s and has no omitempty", typ.Name(), f.Name, f.Tag.Get("since"))
			}
		}
	}
}

// allLater reports whether all fields of a map came later than version 0.1.
func allLater(typ reflect.Type) bool {
	for i := range typ.NumField() {
		if f := typ.Field(i); f.IsExported() && f.Tag.Get("since") == "" {
			return false
		}
	}
	return true
}
