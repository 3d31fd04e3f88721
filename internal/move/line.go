package move

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Prefix is what every line begins with. No stream and no image does.
const Prefix = "ckpt-move "

// What a line says.
type Verb string

const (
	Open     Verb = "open"
	Prepared Verb = "prepared"
	Go       Verb = "go"
	Running  Verb = "running"
	Not      Verb = "not"
	Ask      Verb = "ask"
	Unknown  Verb = "unknown"
)

// words is how many words follow each verb.
var words = map[Verb]int{Open: 1, Prepared: 2, Go: 1, Running: 1, Not: 1, Ask: 1, Unknown: 1}

const (
	idBytes      = 16
	maxLineBytes = 256
	maxNoise     = 64 << 10 // bytes that are no line of ours
	pollMS       = 50
)

var (
	// ErrLine: what came is not what the other side can have said.
	ErrLine = errors.New("what came back is no answer of ckpt-apply --prepared")
	// ErrBroken: the line has ended.
	ErrBroken = errors.New("the line to the other side has ended")
	// ErrTimeout: nothing came in time.
	ErrTimeout = errors.New("the other side did not answer in time")
)

// Message is a line.
type Message struct {
	Verb       Verb
	ID         string // of the move; of the checkpoint, with Open
	Checkpoint string // with Prepared
}

// NewID draws an id that nobody can guess.
func NewID() string {
	b := make([]byte, idBytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ValidID reports whether s can be an id; such a word is safe in a file's name.
func ValidID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == idBytes && s == strings.ToLower(s)
}

func (m Message) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s%s %s %s", Prefix, m.Verb, m.ID, m.Checkpoint)) + "\n"
}

// parse is the inverse of String, without the newline.
func parse(line string) (m Message, err error) {
	w := strings.Split(strings.TrimPrefix(line, Prefix), " ")
	m.Verb = Verb(w[0])
	n, ok := words[m.Verb]
	if !ok || len(w) != 1+n {
		return m, ErrLine
	}
	for _, id := range w[1:] {
		if !ValidID(id) {
			return m, ErrLine
		}
	}
	m.ID = w[1]
	if n == 2 {
		m.Checkpoint = w[2]
	}
	return m, nil
}

// Line is this side's end of the line.
type Line struct {
	in, out int
	buf     []byte
	noise   int
	// Idle, if set, is called now and then while nothing comes; an error ends the wait.
	Idle func() error
}

// NewLine returns a line that hears from in and speaks to out.
func NewLine(in, out *os.File) *Line { return &Line{in: int(in.Fd()), out: int(out.Fd())} }

// Say says a message, at once or not at all. An error means that nobody can have heard it.
func (l *Line) Say(ctx context.Context, m Message) error {
	for ctx.Err() == nil {
		p := []unix.PollFd{{Fd: int32(l.out), Events: unix.POLLOUT}}
		if n, err := unix.Poll(p, pollMS); n <= 0 && (err == nil || err == unix.EINTR) {
			continue
		}
		switch _, err := unix.Write(l.out, []byte(m.String())); err {
		case nil:
			return nil
		case unix.EINTR, unix.EAGAIN:
		default:
			return errors.Join(ErrBroken, os.NewSyscallError("write", err))
		}
	}
	return context.Cause(ctx)
}

// Hear waits for a message, no longer than limit.
func (l *Line) Hear(ctx context.Context, limit time.Duration) (Message, error) {
	end := time.Now().Add(limit)
	for {
		m, ok, err := l.take()
		if ok || err != nil {
			return m, err
		}
		if l.Idle != nil {
			if err := l.Idle(); err != nil {
				return Message{}, err
			}
		}
		switch err := l.read(); {
		case err != nil:
			return Message{}, err
		case ctx.Err() != nil && len(l.buf) == 0:
			return Message{}, context.Cause(ctx)
		case time.Now().After(end):
			return Message{}, ErrTimeout
		}
	}
}

// Silent makes sure that nothing has been said which nobody asked for.
func (l *Line) Silent() error {
	for {
		_, ok, err := l.take()
		if err == nil && ok {
			err = ErrLine
		}
		if err != nil {
			return err
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(l.in), Events: unix.POLLIN}}, 0)
		if n == 0 && err == nil {
			return nil
		}
		if err := l.read(); err != nil {
			return err
		}
	}
}

// take takes a message out of what was read.
func (l *Line) take() (m Message, ok bool, err error) {
	for {
		line, rest, whole := bytes.Cut(l.buf, []byte("\n"))
		ours := bytes.HasPrefix(line, []byte(Prefix))
		switch {
		case !whole && ours && len(line) > maxLineBytes, l.noise > maxNoise:
			return m, false, ErrLine
		case !whole && !ours && len(line) > len(Prefix): // the beginning of a line that is none of ours
			l.noise += len(line) - 1
			l.buf = l.buf[len(line)-1:]
			l.buf[0] = 0
			return m, false, nil
		case !whole:
			return m, false, nil
		}
		l.buf = rest
		if ours {
			m, err = parse(string(line))
			return m, err == nil, err
		}
		l.noise += len(line) + 1
	}
}

// read reads what there is, or waits a moment.
func (l *Line) read() error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(l.in), Events: unix.POLLIN}}, pollMS)
	if n <= 0 {
		if err == unix.EINTR {
			err = nil
		}
		return os.NewSyscallError("poll", err)
	}
	var b [maxLineBytes]byte
	switch n, err := unix.Read(l.in, b[:]); {
	case err == unix.EINTR || err == unix.EAGAIN:
		return nil
	case err != nil:
		return errors.Join(ErrBroken, os.NewSyscallError("read", err))
	case n == 0:
		return ErrBroken
	default:
		l.buf = append(l.buf, b[:n]...)
		return nil
	}
}

// Follows reads from r and reports whether a line begins there. It returns what it has
// read. Nothing else may follow an image or stand in its place.
func Follows(r io.Reader) (head []byte, ok bool, err error) {
	head = make([]byte, len(Prefix))
	n, err := io.ReadFull(r, head)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return head[:n], string(head[:n]) == Prefix, err
}
