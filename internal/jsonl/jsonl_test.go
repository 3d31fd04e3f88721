package jsonl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"ckpt/stream"
	"ckpt/stream/record"
)

func TestEveryRecordTypeComesBack(t *testing.T) {
	for _, info := range record.Types() {
		if info.Type == record.TypeHeader || info.Type == record.TypeEnd || info.Type == record.TypeAbort {
			continue // write adds the first two, of ABORT see below
		}
		t.Run(info.Name, func(t *testing.T) {
			for seed := range uint64(30) {
				r := rand.New(rand.NewPCG(seed, 0))
				meta := info.New()
				fill(reflect.ValueOf(meta).Elem(), r)
				p := add(t, info.Type, meta, randomString(r))
				in := write(t, p)
				same(t, in)
				checkLines(t, decoded(t, in, true))
			}
		})
	}
}

func checkLines(t *testing.T, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if !json.Valid([]byte(line)) || strings.Contains(line, "flags\":[") {
			t.Errorf("%s", line)
		}
	}
}

func TestLines(t *testing.T) {
	odd := add(t, record.TypePipe, &record.Pipe{}, "")
	odd.rec.Flags = 0
	meta, err := detEnc(t).Marshal(map[string]any{
		"t": "é", "b": []byte("<é&>"), "x": []byte("\xff"), "p": []byte("int:7"), "n": nil, "a": []any{true, false, map[string]any{}},
		"i": []any{0, -1, 1<<53 - 1, -(1<<53 - 1), 1 << 53, -(1 << 53), uint64(1<<64 - 1)}, "bb": 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	low := cbor.RawMessage("\x3b\xff\xff\xff\xff\xff\xff\xff\xff")
	lowest, err := detEnc(t).Marshal(map[string]any{"i": low})
	if err != nil {
		t.Fatal(err)
	}
	custom := part{&stream.Record{Type: 0x8001, Flags: record.Critical | record.Shareable, Meta: meta}, ""}
	zero := part{&stream.Record{Type: 0, Meta: lowest}, ""}
	pages := add(t, record.TypeContent, &record.Content{}, "some bytes")
	in := write(t, odd, custom, zero, pages)
	same(t, in)
	lines := strings.Split(decoded(t, in, false), "\n")
	for i, want := range []string{
		`{"type":"PIPE","flags":[],"meta":{"gid":0,"ino":0,"uid":0,"mode":0,"capacity":0}}`,
		`{"type":32769,"flags":["critical","shareable"],"meta":{"a":[true,false,{}],"b":"<é&>",` +
			`"i":[0,-1,9007199254740991,-9007199254740991,"int:9007199254740992","int:-9007199254740992","int:18446744073709551615"],` +
			`"n":null,"p":"base64:aW50Ojc=","t":"text:é","x":"base64:/w==","bb":1}}`,
		`{"type":0,"flags":[],"meta":{"i":"int:-18446744073709551616"}}`,
		`{"type":"CONTENT","meta":{"refs":{},"offset":0},"data_len":10}`,
		`{"type":"END","meta":{"records":5,"frozen_us":7,"data_bytes":10,"meta_bytes":` + metaBytes(t, in) + `}}`,
	} {
		if lines[i+1] != want {
			t.Errorf("line %d is\n%s\nwant\n%s", i+1, lines[i+1], want)
		}
	}
	if got := strings.Split(decoded(t, in, true), "\n")[4]; got != `{"type":"CONTENT","meta":{"refs":{},"offset":0},"data":"c29tZSBieXRlcw=="}` {
		t.Error(got)
	}
}

// What would change how a terminal shows the line is escaped.
func TestDecodeEscapes(t *testing.T) {
	for path, want := range map[string]string{
		"a\x7fb":           `a\u007fb`,
		"\u009b2J":         `\u009b2J`,
		"\x1b[2J":          `\u001b[2J`,
		"\u202etxt.\u2066": `\u202etxt.\u2066`,
		"\u200fx\u061c":    `\u200fx\u061c`,
		"\U000e0001":       `\udb40\udc01`,
		"é😀\u2028\"\\":     `é😀\u2028\"\\`,
	} {
		in := write(t, add(t, record.TypeReg, &record.Reg{Stat: record.Stat{Path: path}}, ""))
		if lines := decoded(t, in, true); !strings.Contains(lines, `"path":"`+want+`"`) {
			t.Errorf("%q: %s", path, lines)
		}
		same(t, in)
	}
}

func metaBytes(t *testing.T, in string) string {
	t.Helper()
	r := stream.NewReader(strings.NewReader(in))
	for {
		if _, err := r.Next(); err == io.EOF {
			b, _ := json.Marshal(r.Totals().MetaBytes)
			return string(b)
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func detEnc(t testing.TB) cbor.EncMode {
	t.Helper()
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// randomValue returns a value with at most depth containers inside each other.
func randomValue(r *rand.Rand, depth int) any {
	kind := r.IntN(8)
	if depth == 0 {
		kind %= 6
	}
	switch kind {
	case 0:
		return randomUint(r)
	case 1: // what int64 does not hold, too
		return cbor.RawMessage(appendHead(nil, majorNegative, randomUint(r)))
	case 2:
		return []byte(randomString(r))
	case 3:
		return text(r)
	case 4:
		return r.IntN(2) == 0
	case 5:
		return nil
	case 6:
		list := make([]any, r.IntN(5))
		for i := range list {
			list[i] = randomValue(r, depth-1)
		}
		return list
	}
	return randomMap(r, depth-1)
}

func randomMap(r *rand.Rand, depth int) map[string]any {
	m := map[string]any{}
	for range r.IntN(5) {
		m[text(r)] = randomValue(r, depth)
	}
	return m
}

func TestRandomCBORComesBack(t *testing.T) {
	enc := detEnc(t)
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		meta, err := enc.Marshal(randomMap(r, maxDepth-1))
		if err != nil {
			t.Fatal(err)
		}
		same(t, write(t, part{&stream.Record{Type: 0x9000, Flags: record.Critical, Meta: meta}, ""}))
	}
}

// The deepest nesting a stream can have, and one more.
func TestDepth(t *testing.T) {
	nest := func(n int) part {
		meta := append(bytes.Repeat([]byte("\xa1\x61a"), n), 0)
		return part{&stream.Record{Type: 0x9000, Meta: meta}, ""}
	}
	same(t, write(t, nest(maxDepth)))
	if err := Decode(context.Background(), strings.NewReader(write(t, nest(maxDepth+1))), io.Discard, false); !errors.Is(err, stream.ErrCorrupt) {
		t.Error(err)
	}
}

// What could not be made again is refused, with the record's number.
func TestDecodeRefuses(t *testing.T) {
	for what, meta := range map[string]string{
		"empty":                "",
		"breaks off":           "\xa1\x61a",
		"more behind":          "\xa0\x00",
		"not a map":            "\x80",
		"null":                 "\xf6",
		"long integer":         "\xa1\x61a\x18\x01",
		"long key":             "\xa1\x78\x01a\x00",
		"long map":             "\xb8\x00",
		"order":                "\xa2\x61b\x00\x61a\x00",
		"order of lengths":     "\xa2\x62aa\x00\x61b\x00",
		"key twice":            "\xa2\x61a\x00\x61a\x00",
		"key twice, deeper":    "\xa1\x61k\xa2\x61a\x00\x61a\x00",
		"key of bytes":         "\xa1\x41a\x00",
		"key a number":         "\xa1\x01\x00",
		"key not UTF-8":        "\xa1\x61\xff\x00",
		"text not UTF-8":       "\xa1\x61a\x61\xff",
		"tag":                  "\xa1\x61a\xc0\x00",
		"float":                "\xa1\x61a\xf9\x00\x00",
		"undefined":            "\xa1\x61a\xf7",
		"simple":               "\xa1\x61a\xe0",
		"indefinite":           "\xbf\xff",
		"indefinite, deeper":   "\xa1\x61a\x9f\xff",
		"array of 2^64 values": "\xa1\x61a\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		in := write(t, part{&stream.Record{Type: 0x9000, Meta: []byte(meta)}, ""})
		err := Decode(context.Background(), strings.NewReader(in), io.Discard, true)
		var re *stream.RecordError
		if !errors.As(err, &re) || re.Index != 1 || re.Type != 0x9000 || re.Offset == 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// END's number is right, and the line for END waits for the input's end.
func TestDecodeEnd(t *testing.T) {
	in := write(t)
	var out strings.Builder
	if err := Decode(context.Background(), strings.NewReader(in+"x"), &out, true); !errors.Is(err, stream.ErrTrailing) {
		t.Error(err)
	}
	if strings.Contains(out.String(), "END") || !strings.Contains(out.String(), "HEADER") {
		t.Error(out.String())
	}
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	p := add(t, record.TypeHeader, &record.Header{}, "")
	if err := w.Write(p.rec, nil); err != nil {
		t.Fatal(err)
	}
	// Written as is: the Writer would put an END record's keys in order.
	end := endRecord(t, len(p.rec.Meta))
	b.Write(end)
	var re *stream.RecordError
	err := Decode(context.Background(), &b, io.Discard, true)
	if !errors.As(err, &re) || re.Index != 1 || !errors.Is(err, errNotDeterministic) {
		t.Error(err)
	}
}

// endRecord returns an END record whose keys are out of order.
func endRecord(t *testing.T, metaBytes int) []byte {
	t.Helper()
	meta := []byte("\xa3\x6ameta_bytes\x18\x00\x67records\x01\x6adata_bytes\x00")
	meta[13] = byte(metaBytes)
	if metaBytes < 24 || metaBytes > 255 {
		t.Fatal(metaBytes)
	}
	// A stream of this one record, of another type, with END's number put in.
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	if err := w.Write(&stream.Record{Type: 0x9000, Flags: record.Critical, Meta: meta}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return retyped(b.Bytes()[16:], record.TypeEnd)
}

func TestDecodeAbort(t *testing.T) {
	var b strings.Builder
	w := stream.NewWriter(&b)
	p := add(t, record.TypeHeader, &record.Header{}, "")
	if err := w.Write(p.rec, nil); err != nil {
		t.Fatal(err)
	}
	w.Abort("ckpt-collect", errors.New("fd 3 \xff is odd"))
	var out strings.Builder
	err := Decode(context.Background(), strings.NewReader(b.String()), &out, false)
	var abort *stream.AbortError
	if !errors.As(err, &abort) || !strings.HasSuffix(out.String(), `{"type":"ABORT","meta":{"tool":"ckpt-collect","reason":"base64:ZmQgMyD/IGlzIG9kZA=="}}`+"\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
	var back strings.Builder
	if err := Encode(context.Background(), strings.NewReader(out.String()), &back); !errors.As(err, &abort) || back.String() != b.String() {
		t.Errorf("%v\n%q\n%q", err, back.String(), b.String())
	}
}

// A program that takes no more is named once.
func TestDecodeToFailingWriter(t *testing.T) {
	in := write(t, add(t, record.TypeContent, &record.Content{}, strings.Repeat("x", 1<<20)))
	for _, left := range []int{0, 1 << 10, 100 << 10} {
		err := Decode(context.Background(), strings.NewReader(in), &failingWriter{left}, true)
		if !errors.Is(err, io.ErrClosedPipe) || err.Error() != io.ErrClosedPipe.Error() {
			t.Error(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDataThatFitsInNoLine(t *testing.T) {
	pr, pw := io.Pipe()
	go func() {
		w := stream.NewWriter(pw)
		h, c := add(t, record.TypeHeader, &record.Header{}, ""), add(t, record.TypeContent, &record.Content{}, "")
		c.rec.DataLen = maxDataBytes + 1
		err := errors.Join(w.Write(h.rec, nil), w.Write(c.rec, zeros{}), w.End(record.End{}))
		pw.CloseWithError(err)
	}()
	var out strings.Builder
	err := Decode(context.Background(), pr, &out, true)
	pr.Close()
	var re *stream.RecordError
	if !errors.As(err, &re) || re.Index != 1 || strings.Contains(out.String(), "CONTENT") {
		t.Error(err)
	}
}

// jq runs in|ckpt-json decode --data|jq|ckpt-json encode, all but jq in here.
func jq(t *testing.T, in, program string) string {
	t.Helper()
	path, err := exec.LookPath("jq")
	if err != nil {
		t.Fatal(err, "(Debian: jq)")
	}
	cmd := exec.Command(path, "-c", program)
	cmd.Stdin = strings.NewReader(decoded(t, in, true))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return encoded(t, string(out))
}

func TestJQ(t *testing.T) {
	reg := &record.Reg{Stat: record.Stat{Path: "/old/\x7f<é>", Dev: 1<<64 - 1, Ino: 1<<53 + 1, MtimeNS: -1 << 63}, Size: 1<<53 - 1, BuildID: []byte("\x00\xff")}
	mm := add(t, record.TypeMM, &record.MM{}, "")
	regPart, content := add(t, record.TypeReg, reg, ""), add(t, record.TypeContent, &record.Content{Offset: 5}, "\x00\xffdata")
	in := write(t, regPart, mm, content)
	if got := jq(t, in, "."); got != in {
		t.Errorf("jq . makes\n%q of\n%q", got, in)
	}
	if got, want := jq(t, in, `select(.type != "MM")`), write(t, regPart, content); got != want {
		t.Errorf("a dropped record leaves\n%q, want\n%q", got, want)
	}
	renamed := *reg
	renamed.Path = "/new/\x7f<é>"
	want := write(t, add(t, record.TypeReg, &renamed, ""), mm, content)
	if got := jq(t, in, `if .type == "REG" then .meta.path |= sub("^/old/"; "/new/") else . end`); got != want {
		t.Errorf("a renamed path gives\n%q, want\n%q", got, want)
	}
	// jq as a calculator: a float that is whole is an integer.
	grown := *reg
	grown.Size = 3000
	want = write(t, add(t, record.TypeReg, &grown, ""), mm, content)
	if got := jq(t, in, `if .type == "REG" then .meta.size = 1.5e3 * 2.0 else . end`); got != want {
		t.Errorf("a computed size gives\n%q, want\n%q", got, want)
	}
}
