package proc

import (
	"fmt"
	"strconv"
)

// Uring is what fdinfo tells of an io_uring (io_uring/fdinfo.c).
type Uring struct {
	SQEntries, CQEntries uint32
	SQHead, SQTail       uint32 // as the program sees them
	Taken                uint32 // how many requests the kernel has taken, modulo 2^32
	Done                 uint32 // how many completions it has made, modulo 2^32
	Thread               bool   // a thread of the kernel polls it, IORING_SETUP_SQPOLL
	Files, Buffers       uint32 // registered
	Personalities        bool   // some are registered
	Polls                int    // requests that wait for a file
	Overflow             bool   // completions found no room
}

// Uring parses the fields of an io_uring.
func (f *FDInfo) Uring() (u Uring, err error) {
	number := func(key string, to *uint32) {
		text, ok := f.Get(key)
		n, perr := strconv.ParseUint(text, 0, 32)
		if (!ok || perr != nil) && err == nil {
			err = fmt.Errorf("fdinfo of an io_uring, %s %q: %w", key, text, ErrFormat)
		}
		*to = uint32(n)
	}
	number("SqMask", &u.SQEntries)
	number("CqMask", &u.CQEntries)
	u.SQEntries, u.CQEntries = u.SQEntries+1, u.CQEntries+1
	number("SqHead", &u.SQHead)
	number("SqTail", &u.SQTail)
	number("CachedSqHead", &u.Taken)
	number("CachedCqTail", &u.Done)
	number("UserFiles", &u.Files)
	number("UserBufs", &u.Buffers)
	thread, _ := f.Get("SqThread")
	u.Thread = thread != "-1"
	_, u.Personalities = f.Get("Personalities")
	list := ""
	for _, e := range f.Extra {
		switch {
		case e.Key == "PollList" || e.Key == "CqOverflowList":
			list = e.Key
		case e.Value != "": // another field
			list = ""
		case list == "PollList":
			u.Polls++
		case list == "CqOverflowList":
			u.Overflow = true
		}
	}
	return u, err
}
