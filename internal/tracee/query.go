package tracee

import "golang.org/x/sys/unix"

// Query is a system call that changes nothing, but may write its result to memory.
type Query struct {
	NR   uintptr
	Args [6]uint64
	Out  int   // how many bytes it writes
	To   uint8 // a bit for each argument that says where; those are offsets there
}

// ArgsAt are the arguments of a query that writes at an address.
func (q Query) ArgsAt(at uint64) [6]uint64 {
	for i := range q.Args {
		if q.To&(1<<i) != 0 {
			q.Args[i] += at
		}
	}
	return q.Args
}

// Answer is what a Query returned and wrote.
type Answer struct {
	Ret  uint64
	Err  error
	Data []byte
}

// Ask makes one query.
func Ask(c Caller, q Query) (Answer, error) {
	at := c.Scratch().Addr
	args := q.ArgsAt(at)
	ret, err := c.Call(q.NR, args[:]...)
	switch err.(type) {
	case nil:
	case unix.Errno:
		return Answer{Ret: ret, Err: err}, nil
	default:
		return Answer{}, err
	}
	a := Answer{Ret: ret, Data: make([]byte, q.Out)}
	return a, c.Tracee().ReadMem(at, a.Data)
}
