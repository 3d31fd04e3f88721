package files

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/ends"
	"ckpt/stream"
	"ckpt/stream/record"
)

// replacements says which descriptions and descriptors are replaced by what.
type replacements struct {
	files map[uint64]*substitute // by the objref of the FILE
	fds   map[fdKey]*substitute
	// unwanted are the names of objects that only replaced descriptions have
	// open, by objref.
	unwanted map[uint64]string
	// joined are the decisions that objects carry out, by objref.
	joined map[uint64]*ends.Decision
	// at is a descriptor of each object that is not replaced, by objref.
	at map[uint64]spot
	// terminal: some descriptor stays a terminal, which is now ours.
	terminal bool
}

// fdKey identifies a descriptor: a number in a table.
type fdKey struct {
	table uint64
	fd    int
}

// spot is a descriptor of a task.
type spot struct{ tid, fd int }

func keyOf(fd *record.FD) fdKey { return fdKey{fd.Refs.Of, fd.FD} }

// of returns what replaces a descriptor, or nil.
func (p *replacements) of(fd *record.FD) *substitute {
	if sub := p.fds[keyOf(fd)]; sub != nil {
		return sub
	}
	return p.files[fd.Refs.File]
}

// descriptor returns the file of ours that a descriptor of the task is to have
// open.
func (p *replacements) descriptor(r *Restorer, fd *record.FD) (*depot.File, error) {
	sub := p.fds[keyOf(fd)]
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

// left returns the descriptors of a table without those that are to be closed.
func (p *replacements) left(fds []record.FD) []record.FD {
	return slices.DeleteFunc(slices.Clone(fds), func(fd record.FD) bool { return p.of(&fd).closes() })
}

// UsesTerminal reports, after Check, whether some descriptor is to be
// ckpt-apply's terminal because it was a terminal.
func (r *Restorer) UsesTerminal() bool { return r.replacements.terminal }

// decider finds the replacement of each descriptor.
type decider struct {
	*Restorer
	replacements
	things    map[uint64]*Thing
	files     map[uint64]*record.File
	order     []uint64 // of files, as in the stream
	stdioUsed map[int]bool
	undecided []*ends.Undecided
	reported  map[uint64]bool // FILEs that are in undecided, by objref
}

// decide finds all replacements. It returns an error for each that can't be made
// and for each descriptor that needs one and has none.
func (r *Restorer) decide(objects []*stream.Record, fds []record.FD) (replacements, []error) {
	p := decider{Restorer: r, things: map[uint64]*Thing{}, files: map[uint64]*record.File{}, stdioUsed: map[int]bool{}, reported: map[uint64]bool{},
		replacements: replacements{files: map[uint64]*substitute{}, fds: map[fdKey]*substitute{}, joined: map[uint64]*ends.Decision{}, at: map[uint64]spot{}, unwanted: map[uint64]string{}}}
	r.regs = map[uint64]*record.Reg{}
	for _, rec := range objects {
		p.note(rec)
	}
	var errs []error
	for i := range fds {
		if desc := p.files[fds[i].Refs.File]; desc != nil && p.decided(&fds[i], desc) {
			errs = append(errs, p.replace(&fds[i], desc)...)
		}
	}
	for i := range fds {
		if desc := p.files[fds[i].Refs.File]; desc != nil && p.replacements.of(&fds[i]) == nil {
			p.at[desc.Refs.Inode] = spot{fds[i].TID, fds[i].FD}
		}
		if desc := p.files[fds[i].Refs.File]; desc != nil && p.replacements.of(&fds[i]) == nil && p.thing(desc).Loose != "" && p.joined[desc.Refs.Inode] == nil {
			p.judgeLoose(&fds[i], p.thing(desc))
		}
	}
	p.findUnneeded()
	p.tellConnections()
	p.findAhead(objects)
	return p.replacements, append(append(append(errs, ends.Join(p.undecided)...), p.unusedStdio()...), append(r.Policies.unused(r.regs), r.Ends.Unused()...)...)
}

// note notes the record of an object or description. One that can't be decoded
// is reported by its Check.
func (p *decider) note(rec *stream.Record) {
	if rec.Type == record.TypeFile {
		if f, err := decoded[record.File](rec); err == nil {
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
func (p *decider) thing(desc *record.File) *Thing {
	if t := p.things[desc.Refs.Inode]; t != nil {
		return t
	}
	return new(Thing)
}

// decided looks up what the user said about a descriptor, and reports whether
// there was anything.
func (p *decider) decided(fd *record.FD, desc *record.File) bool {
	t := p.thing(desc)
	d := p.Ends.Find(p.Root, fd.TID, fd.FD, t.Name, t.Loose != "")
	if d == nil && t.Default != 0 && p.joined[desc.Refs.Inode] == nil {
		d = &ends.Decision{Action: t.Default}
	}
	if d != nil && slices.Contains(t.Self, d.Action) && (!d.OfDescriptor || d.Action == ends.Connect || d.Action == ends.Keep) {
		p.joined[desc.Refs.Inode] = d
		return false
	}
	if d != nil {
		p.fds[keyOf(fd)] = &substitute{flag: d.Flag, how: *d}
	} else if t.Loose != "" {
		p.stdioUsed[fd.FD] = true
		p.byStdio(fd, t)
	}
	return p.fds[keyOf(fd)] != nil
}

// byStdio applies --stdio.
func (p *decider) byStdio(fd *record.FD, t *Thing) {
	sub := &substitute{}
	switch path := p.Stdio.files[fd.FD]; {
	case path != "":
		sub.flag, sub.how = fmt.Sprintf("--stdio %d=%s", fd.FD, path), toFile(path)
	case p.Stdio.inherit && fd.FD > 0 && fd.FD <= 2:
		sub.flag, sub.how = "--stdio inherit", inheritFD(fd.FD)
	case p.Stdio.inherit && fd.FD == 0 && !t.TTY && hasTerminal():
		sub.flag, sub.how = "--stdio inherit", toFile(ownTerminal)
	default:
		return
	}
	p.fds[keyOf(fd)] = sub
}

// replace replaces a descriptor. The first of a description replaces that, too;
// descriptors that share the description and are replaced by the same share the
// substitute.
func (p *decider) replace(fd *record.FD, desc *record.File) (errs []error) {
	sub := p.fds[keyOf(fd)]
	sub.flags = desc.Flags
	if p.thing(desc).Reg != nil {
		sub.pos = desc.Pos
	}
	switch first := p.replacements.files[fd.Refs.File]; {
	case first == nil:
		p.replacements.files[fd.Refs.File] = sub
	case first.flag == sub.flag && first.how.FD == sub.how.FD:
		p.fds[keyOf(fd)] = first
		return nil
	}
	if desc.Flags&unix.O_PATH != 0 && sub.how.Action != ends.Close {
		return []error{fmt.Errorf("%s: %s is an O_PATH descriptor, which can't be replaced", sub.flag, ends.Fd(fd.TID, fd.FD))}
	}
	if err := sub.check(); err != nil {
		return []error{err}
	}
	return nil
}

// judgeLoose decides about a descriptor that leads out of the image and that
// nothing replaces: a terminal becomes ours, anything else is undecided.
func (p *decider) judgeLoose(fd *record.FD, t *Thing) {
	if t.TTY && hasTerminal() {
		p.terminal = true
		return
	}
	if p.reported[fd.Refs.File] {
		return
	}
	p.reported[fd.Refs.File] = true
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
	p.undecided = append(p.undecided, &ends.Undecided{Name: t.Name, How: t.Propose, All: t.All, Reason: why})
}

// tellConnections tells which connections are made as ones whose other end has gone,
// because nothing was decided for them; and if nothing is restored, which go on.
func (p *decider) tellConnections() {
	var gone, kept []string
	told := map[string]bool{}
	for _, ref := range p.order {
		in := p.files[ref].Refs.Inode
		t, d := p.things[in], p.joined[in]
		switch {
		case d == nil || p.unwanted[in] != "" || told[t.Name]:
		case d.Action == ends.Keep:
			kept, told[t.Name] = append(kept, t.Name), true
		case d.Flag == "" && d.Action == ends.Close:
			gone, told[t.Name] = append(gone, t.Name), true
		}
	}
	if len(kept) > 0 && p.Checking {
		p.Note("these connections go on: %s; %s has the program find one reset by the other side", fewOf(kept), ends.Flag(kept[0], "close"))
	}
	if len(gone) > 0 {
		p.Note("the program finds these connections reset by the other side: %s; %s, or file:PATH, inherit:FD or connect in place of null, decides otherwise",
			fewOf(gone), ends.Flag(gone[0], "null"))
	}
}

// fewOf lists the first few of many.
func fewOf(names []string) string {
	const most = 3
	if n := len(names) - most; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n)
	}
	return strings.Join(names, ", ")
}

// findUnneeded finds the objects that no descriptor will have open.
func (p *decider) findUnneeded() {
	needed := map[uint64]bool{}
	for _, ref := range p.order {
		if p.replacements.files[ref] == nil {
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

func (p *decider) unusedStdio() (errs []error) {
	for _, fd := range slices.Sorted(maps.Keys(p.Stdio.files)) {
		if path := p.Stdio.files[fd]; !p.stdioUsed[fd] && path != os.DevNull {
			errs = append(errs, fmt.Errorf("--stdio %d=%s: descriptor %d was neither a terminal nor an end of a pipe to another program; --fd %d=file:PATH replaces whatever it was", fd, path, fd, fd))
		}
	}
	return errs
}
