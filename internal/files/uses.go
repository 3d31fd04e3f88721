package files

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/stream/record"
)

// Mapped is how the image's address spaces use a file.
type Mapped struct {
	End     int64 // where the last mapping of it ends, in the file
	Program bool  // it is run, or mapped to be run
	Exe     bool  // it is run
}

// runs says why a file that is run can't be run again: who took all permission to
// execute it, when it ran, keeps even root from that.
func (r *Restorer) runs(objref uint64, path string, mode uint32) error {
	if !r.Mapped[objref].Exe || mode&0o111 != 0 {
		return nil
	}
	return cli.WithHint(fmt.Errorf("%s is the program of a process, and nobody may execute it any more", path), "chmod +x "+path)
}

// use is how the descriptors that will have a file open use it.
type use struct {
	pos    int64 // the furthest position of one that does not append
	middle int64 // the least position of one that writes and does not append; -1: none does
}

// noteUse notes a description of a file. One that only appends has no position
// that matters.
func (r *Restorer) noteUse(f *record.File) {
	if f.Flags&unix.O_PATH != 0 || f.Flags&unix.O_ACCMODE == unix.O_WRONLY && f.Flags&unix.O_APPEND != 0 {
		return
	}
	if r.uses == nil {
		r.uses = map[uint64]*use{}
	}
	u := r.uses[f.Refs.Inode]
	if u == nil {
		u = &use{middle: -1}
		r.uses[f.Refs.Inode] = u
	}
	u.pos = max(u.pos, f.Pos)
	if writesOn(f) && (u.middle < 0 || f.Pos < u.middle) {
		u.middle = f.Pos
	}
}

// writesOn reports whether a description writes at a position of its own.
func writesOn(f *record.File) bool {
	return f.Flags&unix.O_ACCMODE != unix.O_RDONLY && f.Flags&(unix.O_APPEND|unix.O_PATH) == 0
}

// needs is how much of a file must be there: as far as the program had read or
// written, and mapped.
func (r *Restorer) needs(reg *record.Reg) int64 {
	need := r.Mapped[reg.Objref].End
	if u := r.uses[reg.Objref]; u != nil {
		need = max(need, u.pos)
	}
	return min(need, reg.Size)
}

// inTheMiddle reports whether the program writes a file, but not at its end.
func (r *Restorer) inTheMiddle(reg *record.Reg) bool {
	u := r.uses[reg.Objref]
	return u != nil && u.middle >= 0 && u.middle < reg.Size
}

// grown returns where a description goes on: one that wrote at the end of a file
// which grew under --files append goes on at its new end.
func (r *Restorer) grown(s *record.File, f *os.File) (int64, error) {
	reg := r.regs[s.Refs.Inode]
	if reg == nil || !writesOn(s) || s.Pos < reg.Size || r.Policies.of(reg.Path) != Append {
		return s.Pos, nil
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end <= reg.Size {
		return s.Pos, err
	}
	r.Note("%s grew by %d bytes since the checkpoint; the program goes on behind them", reg.Path, end-reg.Size)
	return end, nil
}

// cutTo returns a file that --files truncate gives the size it had, if it has
// another, when all else is done.
func (r *Restorer) cutTo(reg *record.Reg, n *named) (object.Object, error) {
	if r.Policies.of(reg.Path) != Truncate {
		return n, nil
	}
	f, err := n.Open(unix.O_WRONLY)
	if err != nil {
		return nil, fmt.Errorf("--files truncate: %w", err)
	}
	if size, err := f.Seek(0, io.SeekEnd); err != nil || size == reg.Size {
		return n, errors.Join(err, f.Close())
	}
	k, err := r.Depot.Keep(f)
	if err != nil {
		return nil, err
	}
	return &truncated{named: n, w: k, reg: reg}, nil
}

// truncated is a file that is to get the size it had.
type truncated struct {
	*named
	w   *depot.File
	reg *record.Reg
}

// Commit gives it that size.
func (c *truncated) Commit() error {
	size, err := c.cut()
	switch {
	case err != nil:
		return fmt.Errorf("--files truncate: %w", err)
	case size > c.reg.Size:
		c.r.Note("%s was cut from %d bytes to the %d it had", c.reg.Path, size, c.reg.Size)
	default:
		c.r.Note("%s was extended from %d bytes to the %d it had, with zeros", c.reg.Path, size, c.reg.Size)
	}
	return nil
}

// cut cuts it and returns the size it had.
func (c *truncated) cut() (int64, error) {
	f, err := c.w.Dup()
	if err != nil {
		return 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		err = f.Truncate(c.reg.Size)
	}
	return size, errors.Join(err, f.Close())
}

func (c *truncated) Close() error { return c.w.Close() }
