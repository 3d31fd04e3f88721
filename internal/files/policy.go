package files

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// Policy says how much a file may have changed since the checkpoint.
type Policy string

// The policies.
const (
	Strict   Policy = "strict"    // same inode, size and modification time
	SamePath Policy = "same-path" // any file of that path
	Append   Policy = "append"    // same inode, and it may have grown
	Truncate Policy = "truncate"  // any file of that path; it gets the size it had
)

// Policies choose a policy for each file.
type Policies []struct {
	policy  Policy
	pattern string
}

// ParsePolicies parses values of --files: POLICY or POLICY:PATTERN. A shell
// pattern with a slash is matched against the whole path, one without against
// its last element. Later values win.
func ParsePolicies(values []string) (Policies, error) {
	var ps Policies
	for _, v := range values {
		name, pattern, only := strings.Cut(v, ":")
		switch Policy(name) {
		case Strict, SamePath, Append, Truncate:
		default:
			return nil, fmt.Errorf("--files %s: the policies are strict, append, same-path and truncate", v)
		}
		if only && pattern == "" {
			return nil, fmt.Errorf("--files %s: there is no pattern behind the colon; without a colon it is for all files", v)
		}
		if _, err := filepath.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("--files %s: %w", v, err)
		}
		ps = append(ps, struct {
			policy  Policy
			pattern string
		}{Policy(name), pattern})
	}
	return ps, nil
}

func (ps Policies) of(path string) Policy {
	for i := len(ps) - 1; i >= 0; i-- {
		if ps.matches(i, path) {
			return ps[i].policy
		}
	}
	return Strict
}

// matches reports whether a policy is for a path.
func (ps Policies) matches(i int, path string) bool {
	if !strings.Contains(ps[i].pattern, "/") {
		path = filepath.Base(path)
	}
	ok, _ := filepath.Match(ps[i].pattern, path)
	return ok || ps[i].pattern == ""
}

// unused returns an error for each pattern that is for none of the files.
func (ps Policies) unused(regs map[uint64]*record.Reg) (errs []error) {
	used := make([]bool, len(ps))
	for _, reg := range regs {
		for i := range ps {
			used[i] = used[i] || ps.matches(i, reg.Path)
		}
	}
	for i := range ps {
		if !used[i] && ps[i].pattern != "" {
			errs = append(errs, fmt.Errorf("--files %s:%s: no file in the image has such a name", ps[i].policy, ps[i].pattern))
		}
	}
	return errs
}

// checkReg compares a file with its record.
func (r *Restorer) checkReg(rec *stream.Record) []error {
	reg, err := decoded[record.Reg](rec)
	if err != nil {
		return []error{err}
	}
	if err := checkPath(reg.Path); err != nil {
		return []error{err}
	}
	if reg.Size < 0 {
		return []error{fmt.Errorf("%w: file %q of %d bytes", stream.ErrCorrupt, reg.Path, reg.Size)}
	}
	if err := checkExtras(reg.Path, reg.Xattrs, reg.RWHint); err != nil {
		return []error{err}
	}
	if reg.Deleted || r.Paper {
		if err := r.runs(reg.Objref, reg.Path, reg.Mode); err != nil {
			return []error{err}
		}
		return nil
	}
	return r.reg(reg).check()
}

// reg is a file that is expected under its path.
func (r *Restorer) reg(reg *record.Reg) *named {
	judge := func(p int, st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return fmt.Errorf("%s was a regular file and no longer is", reg.Path)
		}
		if why := r.changed(reg, p, st, r.Policies.of(reg.Path)); why != "" {
			return fmt.Errorf("%s %s", reg.Path, why)
		}
		return r.runs(reg.Objref, reg.Path, st.Mode)
	}
	n := r.named(reg.Objref, &reg.Stat, "a regular file", judge)
	n.found = r.found[reg.Objref]
	return n
}

// changed says, for a message, how a file differs from what the policy allows;
// "" if it does not.
func (r *Restorer) changed(reg *record.Reg, p int, st *unix.Stat_t, policy Policy) string {
	sameInode, mtime := st.Ino == reg.Ino || r.MadeDev != nil && r.MadeDev(st.Dev), st.Mtim.Nano()
	if sameInode && st.Size == reg.Size && mtime == reg.MtimeNS {
		return ""
	}
	if len(reg.BuildID) > 0 {
		now := readBuildID(fmt.Sprintf("/proc/self/fd/%d", p))
		if !bytes.Equal(now, reg.BuildID) {
			return fmt.Sprintf("is another program or library than at the checkpoint: its build-id was %x and is %x", reg.BuildID, now)
		}
	} else if r.Mapped[reg.Objref].Program {
		return "is a program or library that was changed since the checkpoint, and has no build-id that could show that it is still the same"
	}
	switch {
	case policy == Truncate && st.Size != reg.Size && unix.Faccessat(p, "", unix.W_OK, unix.AT_EACCESS|unix.AT_EMPTY_PATH) != nil:
		return "may not be written by this user, which --files truncate needs"
	case policy == Truncate && st.Size != reg.Size && r.leased[reg.Objref]:
		return fmt.Sprintf("has %d bytes, and the program's lease on it (F_SETLEASE) can't be had again while --files truncate sets the %d it had; set them before, with truncate -s %d", st.Size, reg.Size, reg.Size)
	case policy == Truncate:
		return ""
	case policy == SamePath && st.Size < r.needs(reg):
		return fmt.Sprintf("has %d bytes, and the program had read, written or mapped the first %d; --files truncate extends it with zeros", st.Size, r.needs(reg))
	case policy == SamePath:
		return ""
	case policy == Append && sameInode && st.Size > reg.Size && r.inTheMiddle(reg):
		return fmt.Sprintf("grew by %d bytes since the checkpoint, and the program does not write at its end; --files same-path takes it as it is, --files truncate cuts them off", st.Size-reg.Size)
	case policy == Append && sameInode && st.Size >= reg.Size:
		return ""
	case !sameInode:
		return "was replaced by another file since the checkpoint; --files same-path takes it as it is"
	case st.Size > reg.Size:
		return fmt.Sprintf("grew by %d bytes since the checkpoint; --files append takes it as it is, --files truncate cuts them off", st.Size-reg.Size)
	case st.Size < r.needs(reg):
		return fmt.Sprintf("shrank by %d bytes since the checkpoint, and the program had read, written or mapped more; --files truncate extends it with zeros", reg.Size-st.Size)
	case st.Size < reg.Size:
		return fmt.Sprintf("shrank by %d bytes since the checkpoint; --files same-path takes it as it is", reg.Size-st.Size)
	}
	return "was modified since the checkpoint; --files append or same-path takes it as it is"
}
