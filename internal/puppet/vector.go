package puppet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// Vector is a list of system calls that a puppet makes one after the other, with one stop
// for all of them. The first that fails ends it.
type Vector struct {
	p           *Puppet
	calls       []*VectorCall
	data        []byte
	dataPending bool // there is data for a call that is still to be added
	err         error
}

// errApart: there was no room for a call, so its data would be gone before it is made.
var errApart = errors.New("a call is made apart from its data")

// VectorCall is a call in a Vector. It is made by Run, or earlier if there is no room for
// more.
type VectorCall struct {
	what    string
	nr      uintptr
	args    [6]uint64
	from    [6]*VectorCall // the calls whose results are arguments
	mayFail bool
	at      uint64 // address of its entry in the puppet until it is made
	made    bool
	result  int64
}

// The memory of a vector in a puppet is an array of calls, in the layout that
// tracee.VectorCode expects.
const (
	maxCalls    = 2048
	vectorBytes = maxCalls * tracee.EntryBytes
)

// Vector returns an empty Vector.
func (p *Puppet) Vector() *Vector { return &Vector{p: p} }

// Add adds a call. what says what it does, for errors.
func (v *Vector) Add(what string, nr uintptr, args ...uint64) *VectorCall {
	if len(v.calls) == maxCalls {
		v.flush()
	}
	v.dataPending = false
	c := &VectorCall{what: what, nr: nr}
	copy(c.args[:], args)
	v.calls = append(v.calls, c)
	return c
}

// From makes an argument the result of an earlier call of the same vector.
func (c *VectorCall) From(arg int, earlier *VectorCall) *VectorCall {
	c.from[arg] = earlier
	return c
}

// MayFail makes the vector go on if the call fails.
func (c *VectorCall) MayFail() *VectorCall {
	c.mayFail = true
	return c
}

// Result returns what the call returned, after Run has succeeded.
func (c *VectorCall) Result() (uint64, error) { return tracee.Result(c.result) }

// Room reserves n bytes in the puppet's memory for the call that is added next, and returns
// their address there. Set fills them.
func (v *Vector) Room(n int) uint64 {
	const align = 8
	used := (len(v.data) + align - 1) &^ (align - 1)
	room := v.p.Scratch()
	if used+n > int(room.Len) || len(v.calls) == maxCalls {
		v.flush()
		used = 0
	}
	v.dataPending = true
	if n > int(room.Len) && v.err == nil {
		v.err = v.p.t.Wrap(fmt.Sprintf("pass %d bytes to a call", n), unix.E2BIG)
		n = 0
	}
	v.data = append(v.data, make([]byte, used+n-len(v.data))...)
	return room.Addr + uint64(used)
}

// Set fills bytes that Room has reserved.
func (v *Vector) Set(at uint64, b []byte) {
	if v.err == nil {
		copy(v.data[at-v.p.Scratch().Addr:], b)
	}
}

// Put is Room followed by Set.
func (v *Vector) Put(b []byte) uint64 {
	at := v.Room(len(b))
	v.Set(at, b)
	return at
}

// Run makes the calls. Afterwards the vector is empty, and its data is in the puppet's
// memory until other calls are made.
func (v *Vector) Run() error {
	v.make()
	err := v.err
	v.err = nil
	return err
}

// flush makes room for more. Data for a call that is still to be added would be lost.
func (v *Vector) flush() {
	if v.dataPending && v.err == nil {
		v.err = errApart
	}
	v.make()
}

// make makes the calls that were added, unless there was an error before.
func (v *Vector) make() {
	if v.err == nil && len(v.calls) > 0 {
		v.err = v.p.t.WriteMem(v.p.Scratch().Addr, v.data)
	}
	if v.err == nil && len(v.calls) > 0 {
		v.err = v.p.makeAll(v.calls)
	}
	v.calls, v.data, v.dataPending = v.calls[:0], v.data[:0], false
}

// makeAll makes calls with one stop, or else one by one.
func (p *Puppet) makeAll(calls []*VectorCall) error {
	if len(calls) > 1 && p.vectors() {
		return p.makeVector(calls)
	}
	for _, c := range calls {
		args := c.args
		for i, earlier := range c.from {
			if earlier != nil {
				args[i] = uint64(earlier.result)
			}
		}
		ret, err := p.Call(c.nr, args[:]...)
		if c.result, c.made = int64(ret), true; err != nil && (!c.mayFail || tracee.Errno(err) == 0) {
			return p.t.Wrap(c.what, err)
		}
	}
	return nil
}

// makeVector writes the calls to the puppet's memory, lets the puppet make them, and reads
// what they returned.
func (p *Puppet) makeVector(calls []*VectorCall) error {
	first := p.calls()
	array := make([]byte, 0, len(calls)*tracee.EntryBytes)
	for i, c := range calls {
		c.at = first + uint64(i*tracee.EntryBytes)
		array = c.encode(array)
	}
	if err := p.t.WriteMem(first, array); err != nil {
		return err
	}
	made, err := p.runVector(first, len(calls))
	if err != nil {
		return err
	}
	if err := p.t.ReadMem(first, array[:min(made+1, len(calls))*tracee.EntryBytes]); err != nil {
		return err
	}
	for i, c := range calls[:min(made+1, len(calls))] {
		c.result, c.made = int64(binary.LittleEndian.Uint64(array[i*tracee.EntryBytes:])), true
	}
	if made < len(calls) {
		_, err := calls[made].Result()
		return p.t.Wrap(calls[made].what, err)
	}
	return nil
}

// encode appends the entry of a call to an array.
func (c *VectorCall) encode(array []byte) []byte {
	args, flags := c.args, uint64(0)
	for i, earlier := range c.from {
		switch {
		case earlier == nil:
		case earlier.made:
			args[i] = uint64(earlier.result)
		default:
			args[i], flags = earlier.at, flags|1<<i
		}
	}
	if c.mayFail {
		flags |= tracee.FlagMayFail
	}
	return tracee.AppendEntry(array, c.nr, args, flags)
}
