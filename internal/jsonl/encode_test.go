package jsonl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"testing"

	"ckpt/internal/cli"
	"ckpt/stream"
	"ckpt/stream/record"
)

// retyped returns a record without data under another type.
func retyped(rec []byte, typ record.Type) []byte {
	binary.LittleEndian.PutUint16(rec, uint16(typ))
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Update(crc32.Checksum(rec[:16], table), table, rec[20:])
	binary.LittleEndian.PutUint32(rec[16:], crc)
	return rec
}

var headLine = fmt.Sprintf(`{"type":"HEADER","version":"%d.%d","meta":{}}`+"\n", stream.VersionMajor, stream.VersionMinor)

const endLine = `{"type":"END","meta":{}}` + "\n"

func TestEncodeRefuses(t *testing.T) {
	deep := strings.Repeat("[", 1<<20)
	many := strings.Repeat(`[9999],`, 300<<10)
	for _, c := range []struct{ line, want string }{
		{`{`, "line 2: it breaks off"},
		{`{"type":"MM"`, "line 2: it breaks off"},
		{`x`, "line 2: invalid character 'x' looking for beginning of value"},
		{`[]`, "line 2: it is not an object"},
		{`{}`, "line 2: it has no type, a name or a number"},
		{`{"type":"MM"}`, "line 2: it has no meta, an object"},
		{`{"type":"MM","meta":[]}`, "line 2: it has no meta, an object"},
		{`{"type":"MM","meta":{}}}`, "line 2: something follows the object"},
		{`{"type":"MM","meta":{}} {}`, "line 2: something follows the object"},
		{`{"type":"MM","meta":{},"Data":""}`, `line 2: there is no use for "Data"`},
		{`{"type":"MM","type":"MM","meta":{}}`, `line 2: "type" stands there twice`},
		{`{"type":"MM","meta":{"a":{"b":1,"b":1}}}`, `line 2: meta: a: "b" stands there twice`},
		{`{"type":"WRONG","meta":{}}`, `line 2: there is no record type "WRONG"; one that is not in the table stands by its number`},
		{`{"type":"MM","version":"0.1","meta":{}}`, `line 2: only HEADER has a "version"`},
		{`{"type":4097,"meta":{}}`, "line 2: record type 4097 is not in the table, so it needs its flags"},
		{`{"type":65536,"meta":{}}`, "line 2: there is no record type 65536"},
		{`{"type":-1,"meta":{}}`, "line 2: there is no record type -1"},
		{`{"type":null,"meta":{}}`, "line 2: it has no type, a name or a number"},
		{`{"type":"MM","flags":"critical","meta":{}}`, "line 2: flags is not an array"},
		{`{"type":"MM","flags":["odd"],"meta":{}}`, `line 2: there is no flag "odd"`},
		{`{"type":"MM","flags":[1],"meta":{}}`, `line 2: there is no flag "1"`},
		{`{"type":"MM","meta":{"a":{"b":1.5}}}`, "line 2: meta: a: b: 1.5 is not an integer of 64 bits"},
		{`{"type":"MM","meta":{"a":1e999999999}}`, "line 2: meta: a: 1e999999999 is not an integer of 64 bits"},
		{`{"type":"MM","meta":{"a":1e-999999999}}`, "line 2: meta: a: 1e-999999999 is not an integer of 64 bits"},
		{`{"type":"MM","meta":{"a":1.00000000000000000000001}}`, "line 2: meta: a: 1.00000000000000000000001 is not an integer of 64 bits"},
		{`{"type":"MM","meta":{"a":18446744073709552000}}`, `line 2: meta: a: 18446744073709552000 may have been rounded; an integer that large stands in a string, "int:18446744073709552000"`},
		{`{"type":"MM","meta":{"a":"int:18446744073709551616"}}`, "line 2: meta: a: 18446744073709551616 is not an integer of 64 bits"},
		{`{"type":"MM","meta":{"a":"int:-18446744073709551617"}}`, "line 2: meta: a: -18446744073709551617 is not an integer of 64 bits"},
		{`{"type":"MM","meta":{"a":"int:0x1"}}`, `line 2: meta: a: "int:0x1" is not an integer of 64 bits`},
		{`{"type":"MM","meta":{"a":"int:1e3"}}`, `line 2: meta: a: "int:1e3" is not an integer of 64 bits`},
		{`{"type":"MM","meta":{"a":"int:"}}`, `line 2: meta: a: "int:" is not an integer of 64 bits`},
		{`{"type":"MM","meta":{"a":"base64:="}}`, "line 2: meta: a: base64 string: illegal base64 data at input byte 0"},
		{`{"type":"MM","meta":{"a":"` + "\xff" + `"}}`, "line 2: it is not UTF-8"},
		{`{"type":"MM","meta":{"a":"\ud83d"}}`, `line 2: an escape \u is half of a pair`},
		{`{"type":"MM","meta":{"a":"\ude00\ud83d"}}`, `line 2: an escape \u is half of a pair`},
		{`{"type":"MM","meta":{"a":"\ud83d\u0041"}}`, `line 2: an escape \u is half of a pair`},
		{deep, "line 2: nested deeper than 8"},
		{`{"type":"MM","meta":{"a":[[[[[[[[]]]]]]]]}}`, "line 2: nested deeper than 8"},
		{`{"type":"MM","meta":{"a":[` + many + `0]}}`, "line 2: the stream is corrupt: meta of "},
		{`{"type":"CONTENT","meta":{},"data":5}`, "line 2: data is not a string"},
		{`{"type":"CONTENT","meta":{},"data":"YQ"}`, "line 2: data: illegal base64 data at input byte 0"},
		{`{"type":"CONTENT","meta":{},"data":"YQ==","data_len":2}`, "line 2: data_len is 2, and data has 1 bytes"},
		{`{"type":"CONTENT","meta":{},"data_len":1}`, "line 2: its data was left out when it was decoded"},
		{headLine, "line 2: HEADER must be the first record and only that"},
		{`{"type":"CONTENT","meta":{}}` + "\n" + `{"type":"MM","meta":{}}`, "line 3: a description after the first bulk record"},
		{`{"type":"END","meta":{},"data":"YQ=="}`, "line 2: END has data"},
		{endLine + "\n" + `{"type":"MM","meta":{}}`, "line 4: a record behind END"},
		{strings.Repeat(" ", maxLineBytes+1), "line 2: longer than 67108864 bytes"},
	} {
		var b strings.Builder
		err := Encode(context.Background(), strings.NewReader(headLine+c.line+"\n"+endLine), &b)
		var line *LineError
		if !errors.As(err, &line) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.100s: %.300v, want %s", c.line, err, c.want)
			continue
		}
		if got := abortOf(b.String()); !strings.HasPrefix(got, "ckpt-json gave up: "+c.want) {
			t.Errorf("%.100s: the output ends with %q", c.line, got)
		}
	}
	for in, want := range map[string]string{
		"":         "the input ends after line 0: the stream ends before its END record",
		headLine:   "the input ends after line 1: the stream ends before its END record",
		endLine:    "line 1: HEADER must be the first record and only that",
		"\n  \n{}": "line 3: it has no type, a name or a number",
	} {
		if err := Encode(context.Background(), strings.NewReader(in), &strings.Builder{}); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// TestVersionComesBack: lines of a later version make a stream of that version.
// Lines without one are of this program's, and one that is no version, or of
// another major one, is refused.
func TestVersionComesBack(t *testing.T) {
	in := []byte(encoded(t, headLine+endLine))
	if got := encoded(t, `{"type":"HEADER","meta":{}}`+"\n"+endLine); got != string(in) {
		t.Errorf("without a version: %q", got)
	}
	in[10] = 77
	same(t, string(in))
	if lines := decoded(t, string(in), true); !strings.HasPrefix(lines, `{"type":"HEADER","version":"0.77","meta":{}}`) {
		t.Error(lines)
	}
	for version, want := range map[string]string{
		`1`: "1 is not the version of a stream", `"0"`: `"0" is not the version of a stream`, `"0.01"`: `"0.01" is not the version of a stream`,
		`"0.1 "`: `"0.1 " is not the version of a stream`, `"0.65536"`: `"0.65536" is not the version of a stream`,
		`"2.0"`: "the stream's version is not supported: it has version 2.0, this program reads 0.1 and later ones of 0",
	} {
		err := Encode(context.Background(), strings.NewReader(`{"type":"HEADER","version":`+version+`,"meta":{}}`+"\n"+endLine), io.Discard)
		if err == nil || err.Error() != "line 1: "+want {
			t.Errorf("%s: %v", version, err)
		}
	}
}

// No line costs memory out of proportion: each took 46 times its length when it
// became a tree of values.
func TestEncodeCost(t *testing.T) {
	for what, line := range map[string]string{
		"numbers": `{"type":"MM","meta":{"a":[` + strings.Repeat("1,", 1<<20) + `0]}}`,
		"maps":    `{"type":"MM","meta":{"a":[` + strings.Repeat("{},", 1<<20) + `0]}}`,
		"flags":   `{"type":"MM","flags":[` + strings.Repeat(`"bulk",`, 1<<18) + `"odd"],"meta":{}}`,
		"data":    `{"type":"CONTENT","meta":{},"data":"` + strings.Repeat("AAAA", 1<<19) + `"}`,
		"breaks":  `{"type":"MM","meta":{"a":[` + strings.Repeat("1,", 1<<20),
	} {
		in := headLine + line + "\n" + endLine
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_ = Encode(context.Background(), strings.NewReader(in), io.Discard)
		runtime.ReadMemStats(&after)
		if n := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(in)); n > 10 {
			t.Errorf("%s: %.1f bytes of memory for each of the line", what, n)
		} else {
			t.Logf("%s: %.1f bytes of memory for each of the line", what, n)
		}
	}
}

// Notations of the same record.
func TestEncodeTakes(t *testing.T) {
	want := encoded(t, headLine+`{"type":67,"flags":["critical","shareable"],"meta":{"a":1000,"b":"é😀\"","cc":"int:9007199254740993"},"data":"YQ=="}`+"\n"+endLine)
	for _, line := range []string{
		`{"type":"DIR","meta":{"a":1e3,"b":"\u00e9\ud83d\ude00\"","cc":"int:9007199254740993"},"data":"YQ==","data_len":1}`,
		`{"meta":{"cc":"int:9007199254740993","b":"base64:w6nwn5iAIg==","a":1000.0},"data":"YQ==","flags":["shareable","critical","critical"],"type":67}`,
		` { "type" : "DIR", "flags": null, "meta": {"a":"int:1000","b":"é😀\"","cc":"int:9007199254740993"},"data":"YQ==" } `,
	} {
		if got := encoded(t, headLine+"\n"+line+"\r\n"+strings.TrimSpace(endLine)); got != want {
			t.Errorf("%s:\n%q, want\n%q", line, got, want)
		}
	}
	zero := encoded(t, headLine+`{"type":"MM","meta":{"a":0},"data":null,"data_len":0}`+"\n"+endLine)
	if got := encoded(t, headLine+`{"type":"MM","meta":{"a":-0.0}}`+"\n"+endLine); got != zero {
		t.Errorf("%q", got)
	}
}

func TestExitStatuses(t *testing.T) {
	in := write(t, add(t, record.TypeContent, &record.Content{}, "data"))
	lines := decoded(t, in, true)
	abort := headLine + `{"type":"ABORT","meta":{"tool":"t","reason":"r"}}` + "\n"
	_, aborted, _ := run(t, abort, "encode")
	const usage = "ckpt-json: hint: ckpt-json --help lists the options\n"
	for _, c := range []struct {
		args, in    string
		status      int
		out, stderr string
	}{
		{"decode --data", in, 0, lines, ""},
		{"--data decode", in, 0, lines, ""},
		{"decode", in, 0, decoded(t, in, false), ""},
		{"encode", lines, 0, in, ""},
		{"encode", decoded(t, in, false), 4, "*", "ckpt-json: error: line 2: its data was left out when it was decoded\nckpt-json: hint: ckpt-json decode --data keeps the data\n"},
		{"encode", "x", 4, "*", "ckpt-json: error: line 1: invalid character 'x' looking for beginning of value\n"},
		{"encode", headLine, 4, "*", "ckpt-json: error: the input ends after line 1: the stream ends before its END record\n"},
		{"encode", abort, 4, aborted, ""},
		{"decode", aborted, 4, abort, ""},
		{"decode", "text that is no stream", 4, "", "ckpt-json: error: the input is not a ckpt record stream\n"},
		{"decode", in[:len(in)-1], 4, "*", "*"},
		{"decode", in + "x", 4, "*", "*"},
		{"", "", 2, "", "ckpt-json: error: decode|encode is missing\n" + usage},
		{"show", "", 2, "", "ckpt-json: error: \"show\" is neither decode nor encode\n" + usage},
		{"decode x", "", 2, "", "ckpt-json: error: there is no use for \"x\"\nckpt-json: hint: ckpt-read < x | ckpt-json decode\n"},
		{"decode --bogus", "", 2, "", "ckpt-json: error: there is no option --bogus\n" + usage},
	} {
		status, out, stderr := run(t, c.in, strings.Fields(c.args)...)
		if status != c.status || c.out != "*" && out != c.out || c.stderr != "*" && stderr != c.stderr {
			t.Errorf("%s of %.40q: status %d, want %d\nstdout %q\nstderr %s", c.args, c.in, status, c.status, out, stderr)
		}
	}
	if status, out, _ := run(t, "", "decode", "--version"); status != 0 || out != "ckpt-json "+cli.Version()+"\n" {
		t.Error(status, out)
	}
}
