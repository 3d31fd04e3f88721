package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Log writes to stderr, one fact a line.
type Log struct {
	mu      sync.Mutex
	name    string
	w       io.Writer
	verbose bool
}

func (l *Log) line(kind, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s: %s%s\n", l.name, kind, printable(text))
}

// printable escapes what must not be printed: names of files and programs could
// otherwise control a terminal, or begin a second line.
func printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		s = s[n:]
	}
	return b.String()
}

// Step says what is done, if -v was given.
func (l *Log) Step(format string, args ...any) {
	if l.verbose {
		l.line("", fmt.Sprintf(format, args...))
	}
}

// Note says something the user should know, though nothing failed.
func (l *Log) Note(format string, args ...any) { l.line("note: ", fmt.Sprintf(format, args...)) }
