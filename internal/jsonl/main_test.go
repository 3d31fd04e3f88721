package jsonl

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"ckpt/internal/cli"
	"ckpt/stream"
	"ckpt/stream/record"
)

// The test binary, run again with this set, is ckpt-json.
const commandEnv = "CKPT_TEST_JSON"

func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" {
		os.Exit(cli.Main(&Command, os.Args))
	}
	os.Exit(m.Run())
}

// run runs ckpt-json to its end.
func run(t *testing.T, in string, args ...string) (status int, out, stderr string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), commandEnv+"=1", "GORACE=atexit_sleep_ms=0")
	var o, e bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// part is a record and its data.
type part struct {
	rec  *stream.Record
	data string
}

func add(t testing.TB, typ record.Type, meta any, data string) part {
	t.Helper()
	rec, err := stream.New(typ, meta)
	if err != nil {
		t.Fatal(err)
	}
	rec.DataLen = int64(len(data))
	return part{rec, data}
}

// write makes a stream with a HEADER before the parts and an END behind them.
func write(t testing.TB, parts ...part) string {
	t.Helper()
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	parts = append([]part{add(t, record.TypeHeader, &record.Header{Host: "h"}, "")}, parts...)
	for _, p := range append(parts, add(t, record.TypeEnd, &record.End{FrozenUS: 7}, "")) {
		if err := w.Write(p.rec, strings.NewReader(p.data)); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func decoded(t testing.TB, in string, withData bool) string {
	t.Helper()
	var b strings.Builder
	if err := Decode(context.Background(), strings.NewReader(in), &b, withData); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func encoded(t testing.TB, in string) string {
	t.Helper()
	var b strings.Builder
	if err := Encode(context.Background(), strings.NewReader(in), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// same fails unless the stream comes back as it was.
func same(t testing.TB, in string) {
	t.Helper()
	lines := decoded(t, in, true)
	if got := encoded(t, lines); got != in {
		t.Fatalf("encoded\n%q\nwas\n%q\nin between\n%s", got, in, lines)
	}
}

// fill sets everything in v to random values.
func fill(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), r)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), r)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), r)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(4) {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(k, r)
			fill(e, r)
			v.SetMapIndex(k, e)
		}
	case reflect.String:
		v.SetString(randomString(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	default:
		if v.CanInt() {
			v.SetInt(int64(randomUint(r)))
		} else {
			v.SetUint(randomUint(r))
		}
	}
}

func randomUint(r *rand.Rand) uint64 {
	edges := []uint64{0, 1<<53 - 2, 1<<53 - 1, 1 << 53, 1<<53 + 1, 1 << 63, 1<<64 - 1}
	if r.IntN(2) == 0 {
		return edges[r.IntN(len(edges))]
	}
	return r.Uint64() >> r.IntN(64)
}

func randomString(r *rand.Rand) string {
	parts := []string{"", "/a b", "é", "\x00", "\xff", "text:", "base64:", "int:", "5", "<&>", "\u2028", "\ufffd", "\U0001f600", "\"\\\n\x7f", strings.Repeat("x", 300)}
	return parts[r.IntN(len(parts))] + parts[r.IntN(len(parts))]
}

// text is randomString, without what a text can't be.
func text(r *rand.Rand) string { return strings.ToValidUTF8(randomString(r), "-") }

// abortOf returns what the ABORT record at a stream's end says, or "".
func abortOf(in string) string {
	r := stream.NewReader(strings.NewReader(in))
	for {
		_, err := r.Next()
		var abort *stream.AbortError
		if errors.As(err, &abort) {
			return abort.Error()
		}
		if err != nil {
			return ""
		}
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}
