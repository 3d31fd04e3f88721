package files

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// TestWithRights: what waits is sent in parts, each with the descriptors that it was in
// flight with; what no kernel has told is refused.
func TestWithRights(t *testing.T) {
	right := func(at, n int64, file uint64) *record.SockRights {
		return &record.SockRights{At: at, Len: n, Refs: record.SockRightsRefs{File: file}}
	}
	for _, c := range []struct {
		kind   int
		waits  string // letters, separated by |
		rights []*record.SockRights
		want   string // "": refused
	}{
		{unix.SOCK_STREAM, "abcdef", []*record.SockRights{right(0, 2, 7), right(0, 2, 8), right(2, 1, 9)}, "ab[7 8]|c[9]|def[]"},
		{unix.SOCK_STREAM, "abcdef", []*record.SockRights{right(4, 2, 7)}, "abcd[]|ef[7]"},
		{unix.SOCK_STREAM, "ab|cdef|g", []*record.SockRights{right(3, 2, 7), right(6, 1, 8)}, "ab[]|c[]|de[7]|f[]|g[8]"},
		{unix.SOCK_STREAM, "ab|cd", []*record.SockRights{right(1, 2, 7)}, ""}, // of two senders
		{unix.SOCK_STREAM, "abcd", []*record.SockRights{right(2, 2, 7), right(0, 2, 8)}, ""},
		{unix.SOCK_STREAM, "abcd", []*record.SockRights{right(0, 0, 7)}, ""},
		{unix.SOCK_STREAM, "abcd", []*record.SockRights{right(4, 1, 7)}, ""},
		{unix.SOCK_STREAM, "", []*record.SockRights{right(0, 1, 7)}, ""},
		{unix.SOCK_DGRAM, "ab||c", []*record.SockRights{right(0, 0, 7), right(1, 0, 8), right(1, 0, 9)}, "ab[7]|[8 9]|c[]"},
		{unix.SOCK_SEQPACKET, "ab|c", []*record.SockRights{right(1, 0, 7)}, "ab[]|c[7]"},
		{unix.SOCK_SEQPACKET, "ab|c", []*record.SockRights{right(2, 0, 7)}, ""},
	} {
		u := &unixSock{rec: &record.UnixSock{Kind: c.kind}, rights: c.rights}
		for part := range strings.SplitSeq(c.waits, "|") {
			u.letters = append(u.letters, letter{data: []byte(part)})
		}
		err := u.withRights()
		var got []string
		for _, l := range u.letters {
			got = append(got, fmt.Sprintf("%s%v", l.data, l.files))
		}
		if c.want == "" && !errors.Is(err, stream.ErrCorrupt) || c.want != "" && (err != nil || strings.Join(got, "|") != c.want) {
			t.Errorf("%s of type %d: %q %v, want %q", c.waits, c.kind, got, err, c.want)
		}
	}
	many := &unixSock{rec: &record.UnixSock{Kind: unix.SOCK_DGRAM}, letters: []letter{{}}}
	for range maxRights + 1 {
		many.rights = append(many.rights, right(0, 0, 7))
	}
	if err := many.withRights(); !errors.Is(err, stream.ErrCorrupt) {
		t.Errorf("too many: %v", err)
	}
}
