package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// chown sets the owner of a new object without a path, which matters only to
// those who open it through /proc. Without the right to do so it leaves a note.
func (r *Restorer) chown(f *os.File, uid, gid uint32, what string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Uid == uid && st.Gid == gid {
		return nil
	}
	err := unix.Fchown(int(f.Fd()), int(uid), int(gid))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) { // EINVAL: the user is not mapped in our user namespace
		r.Note("%s belongs to user %d from now on: giving it back to user %d takes CAP_CHOWN", what, st.Uid, uid)
		return nil
	}
	return os.NewSyscallError("fchown", err)
}

// ghostHere: what it takes to make a deleted file again.
func (r *Restorer) ghostHere(rec *stream.Record) []error {
	reg, err := decoded[record.Reg](rec)
	if err != nil || !reg.Deleted || reg.Nlink != 0 {
		return nil
	}
	return r.deletedHere(&reg.Stat)
}

// deletedHere: what it takes to make something that was deleted again.
func (r *Restorer) deletedHere(st *record.Stat) (errs []error) {
	own := r.Own
	if !mayMakeIn(filepath.Dir(st.Path)) && !mayMakeIn(os.TempDir()) {
		errs = append(errs, cli.WithHint(fmt.Errorf("%s was deleted, and this user may create files neither in its folder nor in %s", st.Path, os.TempDir()),
			"set TMPDIR to a folder in which it can be created"))
	}
	if st.UID == own.Uid[3] && (st.GID == own.Gid[3] || slices.Contains(own.Groups, st.GID)) {
		return errs
	}
	return append(errs, own.Need(caps.Of(unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER), st.Path, "make the deleted file %s again, which belongs to another user")...)
}

func mayMakeIn(dir string) bool {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// unixSockHere: what it takes to bind a socket, and to set its options, see
// socket(7).
func (r *Restorer) unixSockHere(rec *stream.Record) (errs []error) {
	s, err := decode[record.UnixSock](rec)
	if err != nil {
		return nil
	}
	errs = r.optionsHere(fmt.Sprintf("socket:[%d]", s.Ino), unixOptions(s))
	if len(s.Name) > 0 && s.Name[0] == '/' {
		errs = append(errs, r.Own.Need(caps.Of(unix.CAP_SYS_CHROOT), nameText(s.Name), "bind a unix socket to %s again, a path from the root")...)
	}
	return errs
}

// signalOwnerHere: the signals of a descriptor are sent with the rights of the
// user who set its owner, which may be another user.
func (r *Restorer) signalOwnerHere(rec *stream.Record) []error {
	f, err := decoded[record.File](rec)
	if err != nil || f.Owner == nil || len(f.Owner.UIDs) != 2 {
		return nil
	}
	for _, id := range f.Owner.UIDs {
		if !slices.Contains(r.Own.Uid[:3], id) {
			return r.Own.Need(caps.Of(unix.CAP_SETUID), fmt.Sprintf("user %d", f.Owner.UIDs[1]), "have signals of a descriptor sent with the rights of %s")
		}
	}
	return nil
}

// become returns an error if this process lacks capabilities to open a path with
// this identity, see sys.AsFS.
func (r *Restorer) become(id *sys.FSIdentity, path string) error {
	own := r.Own
	if own == nil {
		return nil
	}
	var set caps.Set
	if !slices.Contains(own.Uid[:], id.UID) {
		set |= caps.Of(unix.CAP_SETUID)
	}
	if !slices.Contains(own.Gid[:], id.GID) || !sys.SameGroups(id.Groups, own.Groups) {
		set |= caps.Of(unix.CAP_SETGID)
	}
	return errors.Join(own.Need(set, path, fmt.Sprintf("open %%s with the rights of user %d", id.UID))...)
}

// denied adds to EACCES the capability that would have allowed opening the path.
func (r *Restorer) denied(err error, path string, write bool) error {
	if r.Own == nil || !errors.Is(err, unix.EACCES) {
		return err
	}
	set, either := caps.Of(unix.CAP_DAC_READ_SEARCH), caps.Of(unix.CAP_DAC_READ_SEARCH, unix.CAP_DAC_OVERRIDE)
	if write {
		set, either = caps.Of(unix.CAP_DAC_OVERRIDE), caps.Of(unix.CAP_DAC_OVERRIDE)
	}
	if caps.Set(r.Own.CapEff)&either != 0 {
		return err // it has the capability; something else is in the way
	}
	return &caps.Missing{Set: set, To: "open %s again, which this user may not", Who: path}
}

// asUserOf makes something as the user who has it, for whom it counts, or else as us.
func (r *Restorer) asUserOf(objref uint64, do func() error) error {
	u := r.Users[objref]
	if u == nil || u.Creds.UID[1] == uint32(os.Geteuid()) {
		return do()
	}
	if sys.AsUser(u.Creds.UID[0], u.Creds.UID[1], uint32(os.Getgid()), uint32(os.Getegid()), nil, do) == nil {
		return nil
	}
	return do()
}
