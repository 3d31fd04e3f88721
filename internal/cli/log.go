package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// Log writes to stderr, one fact a line.
type Log struct {
	mu      sync.Mutex
	name    string
	w       io.Writer
	verbose bool
}

func (l *Log) line(kind, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(l.w, "%s: %s%s\n", l.name, kind, printable(s))
	}
}

// printable escapes control characters: names of files and programs are not to
// be trusted with a terminal.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// Step says what is done, for -v.
func (l *Log) Step(format string, args ...any) {
	if l.verbose {
		l.line("", format, args...)
	}
}

// Note says something the user should know, though nothing failed.
func (l *Log) Note(format string, args ...any) { l.line("note: ", format, args...) }
