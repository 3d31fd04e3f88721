// Package jsonl turns a stream into JSON Lines and back, for people and jq.
//
// Each record is one object: {"type":"PIPE","flags":[…],"meta":{…},"data":"…"}.
// HEADER's has the version of the stream beside its type: "version":"0.1".
// A type that is not in the table is a number. flags stand there only when they
// differ from what the table gives the type; data is base64, or left out with
// its length as data_len.
//
// Strings in meta are byte strings, for paths are bytes. What JSON can't say
// plainly has a prefix: "base64:…" for bytes that are not UTF-8 or begin with a
// prefix, "int:…" for integers beyond 2^53, "text:…" for CBOR's text strings.
package jsonl

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"ckpt/stream"
)

// Tool is the name this filter signs its records with.
const Tool = "ckpt-json"

// Limits. A record of maxDataBytes fits in a line, whatever its meta.
const (
	maxLineBytes = 64 << 20
	maxDataBytes = 40 << 20
)

// flagNames in the order of their bits.
var flagNames = []string{"critical", "bulk", "shareable"}

// ErrDataLeftOut: a line says how much data its record had, not which.
var ErrDataLeftOut = errors.New("its data was left out when it was decoded")

// LineError says in which line of the input something is wrong.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// checkMeta holds meta against the format's limits.
func checkMeta(meta []byte) error {
	if len(meta) > stream.MaxMetaBytes {
		return fmt.Errorf("%w: meta of %d bytes, at most %d are allowed", stream.ErrCorrupt, len(meta), stream.MaxMetaBytes)
	}
	var m map[string]cbor.RawMessage
	if err := stream.Unmarshal(meta, &m); err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("%w: its meta is not a map", stream.ErrCorrupt)
	}
	return nil
}
