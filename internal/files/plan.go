package files

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/ends"
	"ckpt/stream"
	"ckpt/stream/record"
)

// plan is which descriptions and descriptors are replaced.
type plan struct {
	files map[uint64]*substitute // by the FILE's objref
	fds   map[place]*substitute
	// unwanted are things that only replaced descriptions have open.
	unwanted map[uint64]string
	// terminal: some descriptor stays a terminal, now ours
	terminal bool
}

// place is a descriptor: a number in a table.
type place struct {
	table uint64
	fd    int
}

func placeOf(fd *record.FD) place { return place{fd.Refs.Of, fd.FD} }

// of returns what replaces a descriptor, or nil.
func (p *plan) of(fd *record.FD) *substitute {
	if sub := p.fds[placeOf(fd)]; sub != nil {
		return sub
	}
	return p.files[fd.Refs.File]
}

// descriptor returns what of ours a descriptor of the task is to have open.
func (p *plan) descriptor(r *Restorer, fd *record.FD) (*depot.File, error) {
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
	return f, r.Hash.Add(1<<63|r.extra, record.TypeFile, &file{f: f})
}

// left returns the descriptors of a table without those that are closed.
func (p *plan) left(fds []record.FD) []record.FD {
	return slices.DeleteFunc(slices.Clone(fds), func(fd record.FD) bool { return p.of(&fd).closes() })
}

// UsesTerminal reports, after Check, whether some descriptor is to be
// ckpt-apply's terminal because it was a terminal.
func (r *Restorer) UsesTerminal() bool { return r.plan.terminal }

// planner decides for each descriptor.
type planner struct {
	*Restorer
	plan
	things    map[uint64]*Thing
	files     map[uint64]*record.File
	order     []uint64 // FILEs
	stdioUsed map[int]bool
	undecided []*ends.Undecided
	blamed    map[uint64]bool // FILEs that were found to be in the way
}

// makePlan decides what of the user's takes the place of what, and says what
// nobody decided.
func (r *Restorer) makePlan(objects []*stream.Record, fds []record.FD) (plan, []error) {
	p := planner{Restorer: r, things: map[uint64]*Thing{}, files: map[uint64]*record.File{}, stdioUsed: map[int]bool{}, blamed: map[uint64]bool{},
		plan: plan{files: map[uint64]*substitute{}, fds: map[place]*substitute{}, unwanted: map[uint64]string{}}}
	r.regs = map[uint64]*record.Reg{}
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
		if desc := p.files[fds[i].Refs.File]; desc != nil && p.plan.of(&fds[i]) == nil && p.thing(desc).Loose != "" {
			p.follow(&fds[i], p.thing(desc))
		}
	}
	p.findUnneeded()
	return p.plan, append(append(append(errs, ends.Join(p.undecided)...), p.unusedStdio()...), r.Ends.Unused()...)
}

// note finds what a record says of things and descriptions. What can't be
// decoded is told by its Check.
func (p *planner) note(rec *stream.Record) {
	if rec.Type == record.TypeFile {
		if f, err := decode[record.File](rec); err == nil {
			p.files[f.Objref] = f
			p.order = append(p.order, f.Objref)
		}
		return
	}
	objref, err := rec.Uint("objref")
	if Find(rec.Type) == nil || err != nil {
		return
	}
	t := new(Thing)
	if ask := p.maker(rec.Type).Thing; ask != nil {
		if t, err = ask(rec); err != nil {
			return
		}
	}
	p.things[objref] = t
	if t.Reg != nil {
		p.regs[objref] = t.Reg
	}
}

// thing returns what a description has open.
func (p *planner) thing(desc *record.File) *Thing {
	if t := p.things[desc.Refs.Inode]; t != nil {
		return t
	}
	return new(Thing)
}

// decided looks for what the user said of a descriptor.
func (p *planner) decided(fd *record.FD, desc *record.File) bool {
	t := p.thing(desc)
	if d := p.Ends.Find(p.Root, fd.TID, fd.FD, t.Name); d != nil {
		p.fds[placeOf(fd)] = &substitute{flag: d.Flag, how: *d}
	} else if t.Loose != "" {
		p.stdioUsed[fd.FD] = true
		p.byStdio(fd, t)
	}
	return p.fds[placeOf(fd)] != nil
}

// byStdio applies --stdio.
func (p *planner) byStdio(fd *record.FD, t *Thing) {
	sub := &substitute{}
	switch path := p.Stdio.files[fd.FD]; {
	case path != "":
		sub.flag, sub.how = fmt.Sprintf("--stdio %d=%s", fd.FD, path), other(path)
	case p.Stdio.inherit && fd.FD > 0 && fd.FD <= 2:
		sub.flag, sub.how = "--stdio inherit", ours(fd.FD)
	case p.Stdio.inherit && fd.FD == 0 && !t.TTY && hasTerminal():
		sub.flag, sub.how = "--stdio inherit", other(ownTerminal)
	default:
		return
	}
	p.fds[placeOf(fd)] = sub
}

// take replaces a descriptor, and with the first of them the description. Those
// that share it and have the same said of them share what takes its place.
func (p *planner) take(fd *record.FD, desc *record.File) (errs []error) {
	sub := p.fds[placeOf(fd)]
	sub.flags = desc.Flags
	if p.thing(desc).Reg != nil {
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
		return []error{fmt.Errorf("%s: %s is an O_PATH descriptor, whose place nothing can take", sub.flag, ends.Fd(fd.TID, fd.FD))}
	}
	if err := sub.check(); err != nil {
		return []error{err}
	}
	return nil
}

// follow says what becomes of a loose descriptor that nothing replaces.
func (p *planner) follow(fd *record.FD, t *Thing) {
	if t.TTY && hasTerminal() {
		p.terminal = true
		return
	}
	if p.blamed[fd.Refs.File] {
		return
	}
	p.blamed[fd.Refs.File] = true
	why := fmt.Sprintf("fd %d of %s leads to %s, %s not in the image", fd.FD, p.Name(fd.TID), t.Name, t.Loose)
	if t.TTY {
		why = fmt.Sprintf("fd %d of %s was a terminal (%s), and ckpt-apply has none to give it", fd.FD, p.Name(fd.TID), t.Name)
	}
	if fd.FD <= 2 {
		why += fmt.Sprintf(": --stdio %d=FILE replaces it", fd.FD)
		if !t.TTY && (fd.FD > 0 || hasTerminal()) {
			why += ", or --stdio inherit"
		}
	}
	p.undecided = append(p.undecided, &ends.Undecided{Name: t.Name, Reason: why})
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
		if t, ok := p.things[in]; ok && !needed[in] && !t.Paired && (p.Elsewhere == nil || !p.Elsewhere(in)) {
			p.unwanted[in] = t.Name
		}
	}
}

func (p *planner) unusedStdio() (errs []error) {
	for _, fd := range slices.Sorted(maps.Keys(p.Stdio.files)) {
		if path := p.Stdio.files[fd]; !p.stdioUsed[fd] && path != os.DevNull {
			errs = append(errs, fmt.Errorf("--stdio %d=%s: descriptor %d was neither a terminal nor an end of a pipe to another program; --fd %d=file:PATH replaces whatever it was", fd, path, fd, fd))
		}
	}
	return errs
}
