package jsonl

import (
	"context"
	"io"
	"strings"
	"testing"

	"ckpt/stream"
	"ckpt/stream/record"
)

// FuzzEncode: no input makes encode panic, and what it takes comes back.
func FuzzEncode(f *testing.F) {
	for _, line := range []string{
		`{"type":"DIR","meta":{"a":1e3,"b":"\u00e9\ud83d\ude00","c":"int:-9007199254740993"},"data":"YQ=="}`,
		`{"type":4097,"flags":["bulk"],"meta":{"t":"text:x","n":null,"l":[true,{"x":"base64:/w=="}]}}`,
		`{"type":"ABORT","meta":{"tool":"t","reason":"r"}}`,
	} {
		f.Add(headLine + line + "\n" + endLine)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var b strings.Builder
		if Encode(context.Background(), strings.NewReader(in), &b) == nil {
			same(t, b.String())
		}
	})
}

// FuzzMeta: meta is refused, or it is the same again behind decode and encode.
func FuzzMeta(f *testing.F) {
	for _, info := range record.Types() {
		rec, err := stream.New(info.Type, info.New())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(info.Type), uint16(info.Flags), rec.Meta, "")
	}
	f.Add(uint16(0x9000), uint16(3), []byte("\xa2\x61a\x63abc\x61b\x1b\xff\xff\xff\xff\xff\xff\xff\xff"), "data")
	f.Add(uint16(0), uint16(0), []byte("\xa1\x61a\x84\xf6\x20\x18\x20\x44int:"), "")
	f.Fuzz(func(t *testing.T, typ, flags uint16, meta []byte, data string) {
		rec := &stream.Record{Type: record.Type(typ), Flags: record.Flags(flags & 7), Meta: meta, DataLen: int64(len(data))}
		if rec.Type <= record.TypeAbort && rec.Type > 0 {
			return
		}
		in := write(t, part{rec, data})
		if Decode(context.Background(), strings.NewReader(in), io.Discard, false) == nil {
			same(t, in)
		}
	})
}
