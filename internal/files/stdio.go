package files

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

// Stdio says what takes the place of descriptors 0, 1 and 2 where they were
// terminals or pipes to processes outside the checkpoint.
type Stdio struct {
	inherit bool
	files   map[int]string
}

// ParseStdio parses values of --stdio: "inherit", "null" or N=FILE.
func ParseStdio(values []string) (Stdio, error) {
	s := Stdio{files: map[int]string{}}
	for _, v := range values {
		n, file, named := strings.Cut(v, "=")
		fd, err := strconv.Atoi(n)
		switch {
		case v == "inherit":
			s.inherit = true
		case v == "null":
			for fd := range 3 {
				s.files[fd] = os.DevNull
			}
		case named && err == nil && fd >= 0 && fd <= 2 && file != "":
			s.files[fd] = file
		default:
			return s, fmt.Errorf("--stdio %s: it takes inherit, null, or 0=FILE, 1=FILE, 2=FILE", v)
		}
	}
	return s, nil
}

// substitute is what a descriptor gets in place of what it had.
type substitute struct {
	fd   int
	path string // "": ckpt-apply's own descriptor fd
}

// open opens a substitute for a description with these O_ flags.
func (s *substitute) open(flags uint32) (*os.File, error) {
	if s.path == "" {
		n, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, fmt.Errorf("descriptor %d of ckpt-apply: %w", s.fd, err)
		}
		return os.NewFile(uintptr(n), "descriptor "+strconv.Itoa(s.fd)), nil
	}
	how := int(flags&unix.O_ACCMODE) | unix.O_NOCTTY
	if how&unix.O_ACCMODE != unix.O_RDONLY && s.path != ownTerminal {
		how |= unix.O_CREAT | unix.O_APPEND
	}
	fd, err := unix.Open(s.path, how|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return nil, fmt.Errorf("--stdio %d=%s: %w", s.fd, s.path, err)
	}
	return os.NewFile(uintptr(fd), s.path), nil
}

// plan is which descriptions and descriptors are replaced.
type plan struct {
	files  map[uint64]*substitute // by the FILE's objref
	fds    map[place]*substitute
	flags  map[place]uint32
	blamed map[uint64]bool // FILEs that were found to be in the way
	// terminal: some descriptor stays a terminal, now ours
	terminal bool
}

// place is a descriptor: a number in a table.
type place struct {
	table uint64
	fd    int
}

func placeOf(fd *stream.FD) place { return place{fd.Refs.Of, fd.FD} }

// descriptor returns what of ours a descriptor of the task is to have open.
func (p *plan) descriptor(r *Restorer, fd *stream.FD) (*os.File, error) {
	sub := p.fds[placeOf(fd)]
	if sub == nil || sub == p.files[fd.Refs.File] {
		f, err := r.file(fd.Refs.File)
		if err != nil {
			return nil, err
		}
		return f.f, nil
	}
	f, err := sub.open(p.flags[placeOf(fd)])
	if err != nil {
		return nil, err
	}
	r.extra++
	return f, r.Hash.Add(1<<63|r.extra, stream.TypeFile, &file{f})
}

// UsesTerminal reports, after Check, whether some descriptor is to be
// ckpt-apply's terminal because it was a terminal.
func (r *Restorer) UsesTerminal() bool { return r.plan.terminal }

// plan decides for each terminal and each pipe to the outside.
func (s Stdio) plan(objects []*stream.Record, fds []stream.FD) (plan, []error) {
	p := plan{files: map[uint64]*substitute{}, fds: map[place]*substitute{}, flags: map[place]uint32{}, blamed: map[uint64]bool{}}
	loose := map[uint64]string{} // inodes: terminals "tty:PATH", pipes "pipe"
	descs := map[uint64]stream.File{}
	used := map[int]bool{}
	var errs []error
	for _, rec := range objects {
		switch rec.Type {
		case stream.TypeTTY:
			if t, err := decode[stream.TTY](rec); err == nil {
				loose[t.Objref] = "tty:" + t.Path
			}
		case stream.TypePipe:
			if t, err := decode[stream.Pipe](rec); err == nil && (t.OutsideReaders || t.OutsideWriters) {
				loose[t.Objref] = "pipe"
			}
		case stream.TypeFile:
			if f, err := decode[stream.File](rec); err == nil {
				descs[f.Objref] = *f
			}
		}
	}
	for i := range fds {
		fd := &fds[i]
		desc := descs[fd.Refs.File]
		if what := loose[desc.Refs.Inode]; what != "" {
			used[fd.FD] = true
			if err := s.decide(&p, fd, &desc, what); err != nil && !p.blamed[fd.Refs.File] {
				p.blamed[fd.Refs.File] = true
				errs = append(errs, err)
			}
		}
	}
	for fd, path := range s.files {
		if !used[fd] && path != os.DevNull {
			errs = append(errs, fmt.Errorf("--stdio %d=%s: descriptor %d was neither a terminal nor a pipe to another program; ckpt-json and jq can change what it has open", fd, path, fd))
		}
	}
	return p, errs
}

// decide chooses for one descriptor. Others that share its description follow.
func (s Stdio) decide(p *plan, fd *stream.FD, desc *stream.File, what string) error {
	path, isTTY := strings.CutPrefix(what, "tty:")
	sub := &substitute{fd: fd.FD}
	switch {
	case s.files[fd.FD] != "":
		sub.path = s.files[fd.FD]
	case s.inherit && fd.FD > 0 && fd.FD <= 2:
	case s.inherit && fd.FD == 0 && !isTTY:
		sub.path = ownTerminal
		if !hasTerminal() {
			return fmt.Errorf("fd 0 of pid %d was a pipe from another program, and ckpt-apply has no terminal to give it: --stdio 0=FILE names a file for it", fd.PID)
		}
	case p.files[fd.Refs.File] != nil:
		return nil
	case isTTY && hasTerminal():
		p.terminal = true
		return nil
	case isTTY:
		return noTerminal(fd.PID, fd.FD, path)
	case fd.FD <= 2:
		return fmt.Errorf("fd %d of pid %d was a pipe to another program, which is not in the image: --stdio inherit or --stdio %d=FILE replaces it", fd.FD, fd.PID, fd.FD)
	default:
		return fmt.Errorf("fd %d of pid %d was a pipe to another program, which is not in the image; save that program with it", fd.FD, fd.PID)
	}
	p.fds[placeOf(fd)] = sub
	p.flags[placeOf(fd)] = desc.Flags
	if p.files[fd.Refs.File] == nil {
		p.files[fd.Refs.File] = sub
	}
	return nil
}
