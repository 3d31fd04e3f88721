package record_test

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ckpt/internal/golden"
	"ckpt/stream/record"
)

// TestSpecification: RECORDS.md is what the structs and their comments say.
func TestSpecification(t *testing.T) {
	golden.Compare(t, "../RECORDS.md", []byte(newSpec(t).markdown()), false)
}

// spec is the specification of all records, made of the structs by reflection, and
// of the comments in the source.
type spec struct {
	t     testing.TB
	about map[string]string            // of each struct
	field map[string]map[string]string // what the comment of each of its fields says
	maps  []reflect.Type               // that are part of records, in the order in which they are met
}

func newSpec(t testing.TB) *spec {
	s := &spec{t: t, about: map[string]string{}, field: map[string]map[string]string{}}
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if g, ok := n.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				for _, one := range g.Specs {
					s.read(g.Doc, one.(*ast.TypeSpec))
				}
			}
			return true
		})
	}
	return s
}

// read notes the comments of a struct and its fields.
func (s *spec) read(about *ast.CommentGroup, one *ast.TypeSpec) {
	st, ok := one.Type.(*ast.StructType)
	if !ok {
		return
	}
	s.about[one.Name.Name] = sentence(about.Text())
	fields := map[string]string{}
	for _, f := range st.Fields.List {
		for _, name := range f.Names {
			text := f.Doc.Text() + f.Comment.Text()
			fields[name.Name] = sentence(text)
		}
	}
	s.field[one.Name.Name] = fields
}

func sentence(text string) string { return strings.Join(strings.Fields(text), " ") }

// markdown is RECORDS.md.
func (s *spec) markdown() string {
	var b strings.Builder
	b.WriteString("# The stream and its records\n\n")
	b.WriteString("Made by `go test ./stream/record -update` from [doc.go](doc.go) and [record](record): don't edit.\n\n")
	b.WriteString(s.framing())
	b.WriteString("\n| number | name | flags besides critical | since | what |\n|---|---|---|---|---|\n")
	for _, info := range record.Types() {
		name := info.Meta.Name()
		what, _, _ := strings.Cut(strings.TrimSuffix(plain(s.about[name], name), "."), ". ")
		fmt.Fprintf(&b, "| %d | [%s](#%s) | %s | %s | %s |\n", info.Type, info.Name, strings.ToLower(info.Name), flagNames(info.Flags), info.Since, cell(what))
	}
	b.WriteString("\n## The fields of each record\n\n")
	b.WriteString("A range bounds a number, or the length of a string or an array. Where none is given, every value of the type is good.\n")
	for _, info := range record.Types() {
		typ := info.Meta
		fmt.Fprintf(&b, "\n### %s\n\nType %d. %s\n", info.Name, info.Type, plain(s.about[typ.Name()], typ.Name()))
		s.table(&b, typ, info.Since)
	}
	b.WriteString("\n## Maps and arrays in records\n\nWhat a record has several of, or has in common with others. An array's elements have numbers in place of names.\n")
	for i := 0; i < len(s.maps); i++ {
		typ := s.maps[i]
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", typ.Name(), s.about[typ.Name()])
		s.table(&b, typ, record.Types()[0].Since)
	}
	return b.String()
}

// framing is the documentation of package stream.
func (s *spec) framing() string {
	f, err := parser.ParseFile(token.NewFileSet(), "../doc.go", nil, parser.ParseComments)
	if err != nil {
		s.t.Fatal(err)
	}
	text := f.Doc.Text()
	_, text, _ = strings.Cut(text, "\n\n# ") // what stands before is for programmers in Go
	p := new(doc.Package).Printer()
	p.HeadingLevel, p.HeadingID = 2, func(*comment.Heading) string { return "" }
	return string(p.Markdown(new(comment.Parser).Parse("# " + text)))
}

// plain drops the struct's name, with which its comment begins.
func plain(text, name string) string {
	if rest, ok := strings.CutPrefix(text, name+": "); ok {
		return rest
	}
	rest, ok := strings.CutPrefix(text, name+" ")
	if !ok {
		return text
	}
	for _, verb := range []string{"is the meta of ", "is ", "are ", "holds ", "begins ", "names "} {
		if after, ok := strings.CutPrefix(rest, verb); ok {
			switch verb {
			case "is the meta of ":
				_, after, _ = strings.Cut(after, ": ")
				if after == "" {
					_, after, _ = strings.Cut(rest, "; ")
				}
			case "holds ", "begins ", "names ":
				after = verb + after
			}
			return strings.ToUpper(after[:min(1, len(after))]) + after[min(1, len(after)):]
		}
	}
	return text
}

func flagNames(f record.Flags) string {
	var names []string
	for bit, name := range map[record.Flags]string{record.Bulk: "bulk", record.Shareable: "shareable"} {
		if f&bit != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// table writes the fields of a struct, which are since that version if they don't
// say otherwise.
func (s *spec) table(b *strings.Builder, typ reflect.Type, since string) {
	b.WriteString("\n| field | type | unit | range | since | meaning |\n|---|---|---|---|---|---|\n")
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Anonymous {
			s.need(f.Type)
			fmt.Fprintf(b, "| … | the fields of %s | | | %s | |\n", link(f.Type), since)
			continue
		}
		name := fieldName(typ, i)
		if name == "" {
			continue
		}
		meaning := s.field[typ.Name()][f.Name]
		if meaning == "" {
			s.t.Errorf("%s.%s has no comment that says what it means", typ.Name(), f.Name)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s |\n", name, s.typeName(f.Type), f.Tag.Get("unit"), rangeText(s.t, f),
			orElse(f.Tag.Get("since"), since), cell(plain(meaning, f.Name)))
	}
}

// fieldName is a field's key in the map, or its number in an array.
func fieldName(typ reflect.Type, i int) string {
	f := typ.Field(i)
	if isArray(typ) {
		if !f.IsExported() {
			return ""
		}
		return strconv.Itoa(i - 1)
	}
	name, _, _ := strings.Cut(f.Tag.Get("cbor"), ",")
	return name
}

// isArray reports whether a struct stands in the stream as an array.
func isArray(typ reflect.Type) bool {
	f, ok := typ.FieldByName("_")
	return ok && f.Tag.Get("cbor") == ",toarray"
}

func link(typ reflect.Type) string {
	return fmt.Sprintf("[%s](#%s)", typ.Name(), strings.ToLower(typ.Name()))
}

// need makes sure that a struct is explained.
func (s *spec) need(typ reflect.Type) {
	if !slices.Contains(s.maps, typ) {
		s.maps = append(s.maps, typ)
	}
}

// typeName is the CBOR type of a Go type.
func (s *spec) typeName(typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.Pointer:
		return s.typeName(typ.Elem())
	case reflect.String:
		return "byte string"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			return "byte string"
		}
		return "array of " + s.typeName(typ.Elem())
	case reflect.Struct:
		s.need(typ)
		if isArray(typ) {
			return "array " + link(typ)
		}
		return "map " + link(typ)
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "integer"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "unsigned integer"
	}
	s.t.Fatalf("no CBOR type is known for %v", typ)
	return ""
}

// named are ranges that many fields have.
var named = map[string]string{"pid": "1..2^22", "pid or 0": "0..2^22", "fd": "0..2^31-1", "address": "0..2^64-1"}

// widest are the ranges of Go's types.
var widest = map[reflect.Kind]string{
	reflect.Int: "-2^63..2^63-1", reflect.Int64: "-2^63..2^63-1", reflect.Int32: "-2^31..2^31-1",
	reflect.Uint16: "0..2^16-1", reflect.Uint32: "0..2^32-1", reflect.Uint64: "0..2^64-1",
}

var rangeForm = regexp.MustCompile(`^(-?\d+(\^\d+(-1|-2)?)?)?\.\.(-?\d+(\^\d+(-1|-2)?)?)?$`)

// rangeText is a field's range as the specification has it.
func rangeText(t testing.TB, f reflect.StructField) string {
	text := f.Tag.Get("range")
	if known := named[text]; known != "" {
		text = known
	}
	typ := f.Type
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch wide := widest[typ.Kind()]; {
	case text == "" && wide != "":
		return wide
	case strings.Contains(text, "|"):
		return "`" + strings.ReplaceAll(text, "|", "`, `") + "`"
	case text == "":
		return ""
	case wide != "":
		lo, hi, _ := strings.Cut(text, "..")
		if !rangeForm.MatchString(text) {
			t.Errorf("%s: %q is no range", f.Name, text)
		}
		low, high, _ := strings.Cut(wide, "..")
		return orElse(lo, low) + ".." + orElse(hi, high)
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8:
		return length(text) + " elements"
	}
	return length(text) + " bytes"
}

func length(text string) string {
	if most, ok := strings.CutPrefix(text, ".."); ok {
		return "at most " + most
	}
	return strings.Replace(text, "..", " to ", 1)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// TestFieldNames: no two fields of a record have the same name, and the fields of
// Object are those of shareable records.
func TestFieldNames(t *testing.T) {
	for _, info := range record.Types() {
		typ := info.Meta
		seen := map[string]bool{}
		for _, f := range reflect.VisibleFields(typ) {
			name, _, _ := strings.Cut(f.Tag.Get("cbor"), ",")
			if f.Anonymous || name == "" {
				continue
			}
			if seen[name] {
				t.Errorf("%s has two fields called %s", info.Name, name)
			}
			seen[name] = true
		}
		if _, shareable := typ.FieldByName("Objref"); shareable != (info.Flags&record.Shareable != 0) && info.Type != record.TypeObjref {
			t.Errorf("%s: the fields of Object and the flag shareable don't agree", info.Name)
		}
	}
}
