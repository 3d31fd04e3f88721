package files

import (
	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/parallel"
	"ckpt/stream"
	"ckpt/stream/record"
)

// found is a regular file that was found where it was: the very file, which is as it must
// be, and which may be opened. It may be kept open, by O_PATH. Which file that is can't
// change any more, whatever happens to paths; what fstat(2) tells is looked at again.
type found struct {
	fd   int  // -1 if it is not kept
	once bool // one description only has it open, so it is not needed after that
	// opened is, in its place, what was opened ahead for that description, with flags.
	opened, flags int
}

// good reports whether it is kept for a description with these flags. One with O_PATH
// shows how its path was walked.
func (f *found) good(flags int) bool { return f != nil && f.fd >= 0 && flags&unix.O_PATH == 0 }

func (f *found) close() {
	for _, fd := range []*int{&f.fd, &f.opened} {
		if *fd >= 0 {
			unix.Close(*fd)
		}
		*fd = -1
	}
}

// take returns what was opened ahead with these flags, and no longer has it; or -1.
func (f *found) take(flags int) (fd int) {
	if f == nil || f.opened < 0 || f.flags != flags {
		return -1
	}
	fd, f.opened = f.opened, -1
	return fd
}

// findAhead looks, on all CPUs, for the regular files to which paths lead. One that is not
// found, or not as it must be, is looked for again when its record is checked, which says
// what is wrong.
func (p *decider) findAhead(objects []*stream.Record) {
	uses := map[uint64]int{}
	for ref, f := range p.files {
		if f.Flags&unix.O_PATH == 0 && p.replacements.files[ref] == nil {
			uses[f.Refs.Inode]++
		}
	}
	var search []*named
	others := len(p.files) // files that will be open but for those that are kept
	for _, rec := range objects {
		objref, err := rec.Uint("objref")
		if err != nil || Find(rec.Type) == nil || p.unwanted[objref] != "" {
			continue
		}
		reg := p.regs[objref]
		if reg == nil || reg.Deleted {
			others += 2
		} else if !reg.Follow {
			search = append(search, p.reg(reg))
		}
	}
	spare := 0
	if room, err := depot.Room(0); err == nil {
		spare = room - others
	}
	all, keep := make([]*found, len(search)), make([]bool, len(search))
	for i, n := range search {
		_, mapped := p.Mapped[n.objref]
		all[i] = &found{fd: -1, opened: -1, once: uses[n.objref] == 1 && !mapped}
		switch {
		case all[i].once: // it makes room when that description opens it
			keep[i] = spare >= 0
		case spare > 0 && (mapped || uses[n.objref] > 0):
			keep[i] = true
			spare--
		}
	}
	each(len(search), func(i int) {
		if !search[i].find(all[i], keep[i]) {
			all[i] = nil
		}
	})
	p.found = make(map[uint64]*found, len(search))
	for i, f := range all {
		if f != nil {
			p.found[search[i].objref] = f
		}
	}
}

// each calls do for n files, on all CPUs if there are enough of them to wake others for.
func each(n int, do func(i int)) {
	const few = 64
	if n >= few {
		_ = parallel.Each(n, func(i int) error { do(i); return nil })
		return
	}
	for i := range n {
		do(i)
	}
}

// find finds a file as with does, and checks it. It reports whether it is as it must be.
func (n *named) find(f *found, keep bool) bool {
	p, st, err := n.walk(0)
	if err != nil {
		return false
	}
	if !n.isSame(p, st) || n.judge(p, st) != nil || n.allowed(p, st) != nil {
		unix.Close(p)
		return false
	}
	if f.fd = p; !keep {
		f.close()
	}
	return true
}

// OpenAhead opens, on all CPUs, the files that were found and that one description only
// has open. What fails is opened again when that is made, which says why.
func (r *Restorer) OpenAhead(objects []*stream.Record) {
	var open []*named
	for _, rec := range objects {
		if rec.Type != record.TypeFile {
			continue
		}
		f, err := decoded[record.File](rec)
		if err != nil || r.replacements.files[f.Objref] != nil {
			continue
		}
		if found := r.found[f.Refs.Inode]; found != nil && found.once && found.good(int(f.Flags)) {
			found.flags = int(f.Flags & fileFlags)
			open = append(open, r.reg(r.regs[f.Refs.Inode]))
		}
	}
	each(len(open), func(i int) {
		f := open[i].found
		if fd, err := open[i].openFD(f.flags); err == nil {
			f.close()
			f.opened = fd
		}
	})
}

// opened notes that a description has a file open.
func (n *named) opened() {
	if n.found.good(0) && n.found.once {
		n.found.close()
	}
}

// Kept is how many files are kept open until a description has each open.
func (r *Restorer) Kept() (n int) {
	for _, f := range r.found {
		if f.once && (f.fd >= 0 || f.opened >= 0) {
			n++
		}
	}
	return n
}

// Forget closes the files that the check keeps open.
func (r *Restorer) Forget() {
	for _, f := range r.found {
		f.close()
	}
	clear(r.found)
}
