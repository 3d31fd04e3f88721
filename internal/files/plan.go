package files

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/ends"
	"ckpt/stream"
)

// plan is which descriptions and descriptors are replaced.
type plan struct {
	files map[uint64]*substitute // by the FILE's objref
	fds   map[place]*substitute
	// unneeded are things that only replaced descriptions have open.
	unneeded map[uint64]string
	// terminal: some descriptor stays a terminal, now ours
	terminal bool
}

// place is a descriptor: a number in a table.
type place struct {
	table uint64
	fd    int
}

func placeOf(fd *stream.FD) place { return place{fd.Refs.Of, fd.FD} }

// of returns what replaces a descriptor, or nil.
func (p *plan) of(fd *stream.FD) *substitute {
	if sub := p.fds[placeOf(fd)]; sub != nil {
		return sub
	}
	return p.files[fd.Refs.File]
}

// descriptor returns what of ours a descriptor of the task is to have open.
func (p *plan) descriptor(r *Restorer, fd *stream.FD) (*depot.File, error) {
	sub := p.fds[placeOf(fd)]
	if sub == nil || sub == p.files[fd.Refs.File] {
		f, err := r.file(fd.Refs.File)
		if err != nil {
			return nil, err
		}
		return f.f, nil
	}
	f, err := r.keep(sub.open())
	if err != nil {
		return nil, err
	}
	r.extra++
	return f, r.Hash.Add(1<<63|r.extra, stream.TypeFile, &file{f: f})
}

// left returns the descriptors of a table without those that are closed.
func (p *plan) left(fds []stream.FD) []stream.FD {
	return slices.DeleteFunc(slices.Clone(fds), func(fd stream.FD) bool { return p.of(&fd).closes() })
}

// UsesTerminal reports, after Check, whether some descriptor is to be
// ckpt-apply's terminal because it was a terminal.
func (r *Restorer) UsesTerminal() bool { return r.plan.terminal }

// thing is what a description has open, as far as its place may be taken.
type thing struct {
	name  string // "": it can only be named by its descriptors
	loose string // "": it is in the image; else what of it is not, in words
	tty   bool
	reg   bool
	// paired: another one in the image needs it
	paired bool
}

// planner decides for each descriptor.
type planner struct {
	*Restorer
	plan
	things    map[uint64]thing
	files     map[uint64]*stream.File
	order     []uint64 // FILEs
	stdioUsed map[int]bool
	undecided []*ends.Undecided
	blamed    map[uint64]bool // FILEs that were found to be in the way
}

// makePlan decides what of the user's takes the place of what, and says what
// nobody decided.
func (r *Restorer) makePlan(objects []*stream.Record, fds []stream.FD) (plan, []error) {
	p := planner{Restorer: r, things: map[uint64]thing{}, files: map[uint64]*stream.File{}, stdioUsed: map[int]bool{}, blamed: map[uint64]bool{},
		plan: plan{files: map[uint64]*substitute{}, fds: map[place]*substitute{}, unneeded: map[uint64]string{}}}
	r.regs = map[uint64]*stream.Reg{}
	for _, rec := range objects {
		p.note(rec)
	}
	var errs []error
	for i := range fds {
		if desc := p.files[fds[i].Refs.File]; desc != nil && p.decided(&fds[i], desc) {
			errs = append(errs, p.take(&fds[i], desc)...)
		}
	}
	for i := range fds {
		if desc := p.files[fds[i].Refs.File]; desc != nil && p.plan.of(&fds[i]) == nil && p.things[desc.Refs.Inode].loose != "" {
			p.follow(&fds[i], p.things[desc.Refs.Inode])
		}
	}
	p.findUnneeded()
	return p.plan, append(append(append(errs, ends.Join(p.undecided)...), p.unusedStdio()...), r.Ends.Unused()...)
}

// note finds what a record says of things and descriptions. What can't be
// decoded is told by its Check.
func (p *planner) note(rec *stream.Record) {
	switch rec.Type {
	case stream.TypeFile:
		if f, err := decode[stream.File](rec); err == nil {
			p.files[f.Objref] = f
			p.order = append(p.order, f.Objref)
		}
	case stream.TypePipe:
		if t, err := decode[stream.Pipe](rec); err == nil {
			p.things[t.Objref] = thing{name: ends.Pipe(t.Ino), loose: missingEnd(t)}
		}
	case stream.TypeUnixSock:
		if t, err := decode[stream.UnixSock](rec); err == nil {
			th := thing{name: ends.Unix(t.Ino), paired: !t.Outside}
			if t.Outside {
				th.loose = "whose other end is"
			}
			p.things[t.Objref] = th
		}
	default:
		p.notePath(rec)
	}
}

// missingEnd says in words which end of a pipe is outside.
func missingEnd(t *stream.Pipe) string {
	switch {
	case t.OutsideReaders:
		return "whose reader is"
	case t.OutsideWriters:
		return "whose writer is"
	}
	return ""
}

// notePath notes things that are called by their path.
func (p *planner) notePath(rec *stream.Record) {
	if rec.Type == stream.TypeReg {
		if reg, err := decode[stream.Reg](rec); err == nil {
			p.regs[reg.Objref] = reg
		}
	}
	if Find(rec.Type) == nil {
		return
	}
	var o struct {
		stream.Object
		Path string `cbor:"path"`
	}
	if rec.Decode(&o) != nil || checkPath(o.Path) != nil && o.Path != "" {
		return
	}
	t := thing{name: o.Path, reg: rec.Type == stream.TypeReg}
	if rec.Type == stream.TypeTTY {
		t.tty, t.loose = true, "a terminal that is"
	}
	p.things[o.Objref] = t
}

// decided looks for what the user said of a descriptor.
func (p *planner) decided(fd *stream.FD, desc *stream.File) bool {
	t := p.things[desc.Refs.Inode]
	if d := p.Ends.Find(p.Root, fd.PID, fd.FD, t.name); d != nil {
		p.fds[placeOf(fd)] = &substitute{flag: d.Flag, how: *d}
	} else if t.loose != "" {
		p.stdioUsed[fd.FD] = true
		p.byStdio(fd, t)
	}
	return p.fds[placeOf(fd)] != nil
}

// byStdio applies --stdio.
func (p *planner) byStdio(fd *stream.FD, t thing) {
	sub := &substitute{}
	switch path := p.Stdio.files[fd.FD]; {
	case path != "":
		sub.flag, sub.how = fmt.Sprintf("--stdio %d=%s", fd.FD, path), other(path)
	case p.Stdio.inherit && fd.FD > 0 && fd.FD <= 2:
		sub.flag, sub.how = "--stdio inherit", ours(fd.FD)
	case p.Stdio.inherit && fd.FD == 0 && !t.tty && hasTerminal():
		sub.flag, sub.how = "--stdio inherit", other(ownTerminal)
	default:
		return
	}
	p.fds[placeOf(fd)] = sub
}

// take replaces a descriptor, and with the first of them the description. Those
// that share it and have the same said of them share what takes its place.
func (p *planner) take(fd *stream.FD, desc *stream.File) (errs []error) {
	sub := p.fds[placeOf(fd)]
	sub.flags = desc.Flags
	if p.things[desc.Refs.Inode].reg {
		sub.pos = desc.Pos
	}
	switch first := p.plan.files[fd.Refs.File]; {
	case first == nil:
		p.plan.files[fd.Refs.File] = sub
	case first.flag == sub.flag && first.how.FD == sub.how.FD:
		p.fds[placeOf(fd)] = first
		return nil
	}
	if desc.Flags&unix.O_PATH != 0 && sub.how.Action != ends.Close {
		return []error{fmt.Errorf("%s: %s is an O_PATH descriptor, whose place nothing can take", sub.flag, ends.Fd(fd.PID, fd.FD))}
	}
	if err := sub.check(); err != nil {
		return []error{err}
	}
	return nil
}

// follow says what becomes of a loose descriptor that nothing replaces.
func (p *planner) follow(fd *stream.FD, t thing) {
	if t.tty && hasTerminal() {
		p.terminal = true
		return
	}
	if p.blamed[fd.Refs.File] {
		return
	}
	p.blamed[fd.Refs.File] = true
	why := fmt.Sprintf("fd %d of %s leads to %s, %s not in the image", fd.FD, p.who(fd.PID), t.name, t.loose)
	if t.tty {
		why = fmt.Sprintf("fd %d of %s was a terminal (%s), and ckpt-apply has none to give it", fd.FD, p.who(fd.PID), t.name)
	}
	if fd.FD <= 2 {
		why += fmt.Sprintf(": --stdio %d=FILE replaces it", fd.FD)
		if !t.tty && (fd.FD > 0 || hasTerminal()) {
			why += ", or --stdio inherit"
		}
	}
	p.undecided = append(p.undecided, &ends.Undecided{Name: t.name, Reason: why})
}

// who names a process for people.
func (r *Restorer) who(pid int) string {
	if r.Who != nil {
		return r.Who(pid)
	}
	return fmt.Sprintf("pid %d", pid)
}

// findUnneeded finds the things that nobody will have open.
func (p *planner) findUnneeded() {
	needed := map[uint64]bool{}
	for _, ref := range p.order {
		if p.plan.files[ref] == nil {
			needed[p.files[ref].Refs.Inode] = true
			p.noteUse(p.files[ref])
		}
	}
	for _, ref := range p.order {
		in := p.files[ref].Refs.Inode
		if t, ok := p.things[in]; ok && !needed[in] && !t.paired && (p.Elsewhere == nil || !p.Elsewhere(in)) {
			p.unneeded[in] = t.name
		}
	}
}

func (p *planner) unusedStdio() (errs []error) {
	for fd, path := range p.Stdio.files {
		if !p.stdioUsed[fd] && path != os.DevNull {
			errs = append(errs, fmt.Errorf("--stdio %d=%s: descriptor %d was neither a terminal nor an end of a pipe to another program; --fd %d=file:PATH replaces whatever it was", fd, path, fd, fd))
		}
	}
	return errs
}
