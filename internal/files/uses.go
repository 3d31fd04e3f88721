package files

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/stream/record"
)

// Mapped says how the address spaces of the image use a file.
type Mapped struct {
	End     int64 // offset in the file where the last mapping of it ends
	Program bool  // it is an executable, or mapped with PROT_EXEC
	Exe     bool  // it is an executable
}

// runs returns an error if a file is the executable of a process but can't be executed
// any more: without any permission to execute it not even root can.
func (r *Restorer) runs(objref uint64, path string, mode uint32) error {
	if !r.Mapped[objref].Exe || mode&0o111 != 0 {
		return nil
	}
	return cli.WithHint(fmt.Errorf("%s is the program of a process, and nobody may execute it any more", path), "chmod +x "+path)
}

// use says how the descriptors that will have a file open use it.
type use struct {
	pos    int64 // the largest position of one that does not append
	middle int64 // the smallest position of one that writes and does not append; -1: there is none
}

// noteUse notes a description of a file. The position of one that only appends
// does not matter.
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

// writesOn reports whether a description writes at its position, and not at the
// end.
func writesOn(f *record.File) bool {
	return f.Flags&unix.O_ACCMODE != unix.O_RDONLY && f.Flags&(unix.O_APPEND|unix.O_PATH) == 0
}

// needs returns how long a file must be: as far as the program had read, written
// or mapped it.
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

// grown returns the position at which a description continues. One that was
// writing at the end of a file continues at the new end if the file grew, under
// --files append.
func (r *Restorer) grown(s *record.File, fd int) (int64, error) {
	reg := r.regs[s.Refs.Inode]
	if reg == nil || !writesOn(s) || s.Pos < reg.Size || r.Policies.of(reg.Path) != Append {
		return s.Pos, nil
	}
	end, err := unix.Seek(fd, 0, io.SeekEnd)
	if err != nil || end <= reg.Size {
		return s.Pos, err
	}
	r.Note("%s grew by %d bytes since the checkpoint; the program goes on behind them", reg.Path, end-reg.Size)
	return end, nil
}

// cutTo returns the file; under --files truncate, if its size differs, as an object
// that sets the recorded size when all else is done.
func (r *Restorer) cutTo(reg *record.Reg, n *named) (object.Object, error) {
	if r.Policies.of(reg.Path) != Truncate {
		return n, nil
	}
	var size int64
	err := n.with(0, func(_ int, st *unix.Stat_t) error {
		size = st.Size
		return nil
	})
	if err != nil || size == reg.Size { // a program that runs can't be opened for writing
		return n, err
	}
	f, err := n.Open(unix.O_WRONLY)
	if err != nil {
		return nil, fmt.Errorf("--files truncate: %w", err)
	}
	k, err := r.Depot.Keep(f)
	if err != nil {
		return nil, err
	}
	return &truncated{named: n, w: k, reg: reg}, nil
}

// truncated is a file whose recorded size Commit sets.
type truncated struct {
	*named
	w   *depot.File
	reg *record.Reg
}

// Commit sets the size.
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

// cut sets the size and returns the one before.
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
