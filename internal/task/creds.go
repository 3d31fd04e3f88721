package task

import (
	"encoding/binary"
	"fmt"
	"reflect"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
)

const (
	secbitNoSetuidFixup = 1 << 2
	capVersion3         = 0x20080522

	dumpableByRoot = 2 // SUID_DUMP_ROOT of linux/sched/coredump.h
)

// creds: user and group ids, capabilities, securebits, no_new_privs, dumpable.
var creds = Resource{
	Type: stream.TypeCreds,
	Collect: func(c *Collector) error {
		rec := credsOf(&c.Status)
		rec.PID, rec.TID = c.PID, c.TID
		bits, err := c.Loan.Call(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
		if err != nil {
			return fmt.Errorf("pid %d: securebits: %w", c.TID, err)
		}
		dumpable, err := c.Loan.Call(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			return fmt.Errorf("pid %d: dumpable: %w", c.TID, err)
		}
		rec.Securebits, rec.Dumpable = uint32(bits), int(dumpable)
		if err := c.keyrings(); err != nil {
			return err
		}
		return c.Emit(stream.TypeCreds, &rec)
	},
	Check: func(rec *stream.Record) []error {
		c, err := decode[stream.Creds](rec)
		if err == nil && (len(c.UID) != 4 || len(c.GID) != 4 || len(c.Groups) > 65536) {
			err = fmt.Errorf("pid %d: credentials with %d user ids, %d group ids, %d groups", c.TID, len(c.UID), len(c.GID), len(c.Groups))
		}
		if err == nil && (c.Dumpable < 0 || c.Dumpable > dumpableByRoot) {
			err = fmt.Errorf("%w: pid %d is dumpable %d", stream.ErrCorrupt, c.TID, c.Dumpable)
		}
		if err != nil {
			return []error{err}
		}
		return nil
	},
	Restore: restoreCreds,
}

func credsOf(s *proc.Status) stream.Creds {
	return stream.Creds{UID: s.Uid[:], GID: s.Gid[:], Groups: s.Groups, Inh: s.CapInh, Prm: s.CapPrm, Eff: s.CapEff,
		Bnd: s.CapBnd, Amb: s.CapAmb, NoNewPrivs: s.NoNewPrivs}
}

func restoreCreds(r *Restorer, rec *stream.Record) error {
	c, err := decode[stream.Creds](rec)
	if err != nil {
		return err
	}
	status, err := proc.ReadThreadStatus(r.PID, r.TID)
	if err != nil {
		return err
	}
	bits, err := r.Puppet.Call(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("pid %d: securebits: %w", r.PID, err)
	}
	now := credsOf(&status)
	now.PID, now.TID, now.Securebits, now.Dumpable = c.PID, c.TID, uint32(bits), c.Dumpable
	if now.NoNewPrivs && !c.NoNewPrivs {
		r.Note("pid %d can't gain privileges by set-user-id programs from now on, for ckpt-apply can't (no_new_privs)", c.TID)
	}
	if !sameCreds(&now, c) || c.Dumpable == dumpableByRoot {
		if err := r.changeCreds(c, &now); err != nil {
			return err
		}
	}
	if r.TID != r.PID {
		return nil // it is the process's, whose first thread comes last
	}
	if c.Dumpable == dumpableByRoot {
		return r.notDumpable()
	}
	return r.prctl("set dumpable", unix.PR_SET_DUMPABLE, uint64(c.Dumpable))
}

// notDumpable is for a process that was dumpable by root only. That can't be
// set: it is what a change of ids made of it, see setIDs, where fs.suid_dumpable
// is 2. Elsewhere it is not dumpable at all.
func (r *Restorer) notDumpable() error {
	now, err := r.Puppet.Call(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("pid %d: dumpable: %w", r.PID, err)
	}
	if now == dumpableByRoot {
		return nil
	}
	r.Note("pid %d could dump core for root only, and can't at all from now on, for fs.suid_dumpable is not 2", r.PID)
	return r.prctl("set dumpable", unix.PR_SET_DUMPABLE, 0)
}

func sameCreds(a, b *stream.Creds) bool {
	x, y := *a, *b
	if len(x.Groups) == 0 && len(y.Groups) == 0 {
		x.Groups, y.Groups = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

// changeCreds goes from what ckpt-apply may do to what the task may, most
// powerful steps first. The ids change without touching capabilities.
func (r *Restorer) changeCreds(c, now *stream.Creds) error {
	steps := []func() error{
		func() error { return r.setCaps(now.Eff, now.Prm, c.Inh) },
		func() error { return r.dropBounding(now.Bnd &^ c.Bnd) },
		func() error {
			return r.prctl("set securebits", unix.PR_SET_SECUREBITS, uint64(now.Securebits|secbitNoSetuidFixup))
		},
		func() error { return r.setGroups(c.Groups) },
		func() error { return r.setIDs(c) },
		func() error { return r.prctl("set securebits", unix.PR_SET_SECUREBITS, uint64(c.Securebits)) },
		func() error { return r.setCaps(c.Eff, c.Prm, c.Inh) },
		func() error { return r.raiseAmbient(c.Amb) },
	}
	if c.NoNewPrivs {
		steps = append(steps, func() error { return r.prctl("set no_new_privs", unix.PR_SET_NO_NEW_PRIVS, 1) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Restorer) setCaps(eff, prm, inh uint64) error {
	hdr := binary.LittleEndian.AppendUint32(nil, capVersion3)
	buf := binary.LittleEndian.AppendUint32(hdr, 0)
	for _, shift := range []int{0, 32} {
		for _, v := range []uint64{eff, prm, inh} {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(v>>shift))
		}
	}
	return poke(r.Puppet, "set its capabilities", buf, unix.SYS_CAPSET, scratchArg, r.Puppet.Scratch().Addr+8)
}

func (r *Restorer) dropBounding(drop uint64) error {
	for bit := range uint64(64) {
		if drop&(1<<bit) != 0 {
			if err := r.prctl("bound its capabilities", unix.PR_CAPBSET_DROP, bit); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Restorer) raiseAmbient(amb uint64) error {
	if err := r.call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	for bit := range uint64(64) {
		if amb&(1<<bit) != 0 {
			if err := r.call("raise an ambient capability", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, bit, 0, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Restorer) setGroups(groups []uint32) error {
	buf := make([]byte, 0, 4*len(groups)+1)
	for _, g := range groups {
		buf = binary.LittleEndian.AppendUint32(buf, g)
	}
	return poke(r.Puppet, "set its groups", append(buf, 0), unix.SYS_SETGROUPS, uint64(len(groups)), scratchArg)
}

func (r *Restorer) setIDs(c *stream.Creds) error {
	ids := func(v []uint32) []uint64 { return []uint64{uint64(v[0]), uint64(v[1]), uint64(v[2])} }
	if err := r.call("set its group ids", unix.SYS_SETRESGID, ids(c.GID)...); err != nil {
		return err
	}
	// The setfs* calls return the old id and no error.
	if _, err := r.Puppet.Call(unix.SYS_SETFSGID, uint64(c.GID[3])); err != nil {
		return fmt.Errorf("pid %d: set its file system group: %w", r.PID, err)
	}
	if err := r.call("set its user ids", unix.SYS_SETRESUID, ids(c.UID)...); err != nil {
		return err
	}
	users := []uint32{c.UID[3]}
	if c.Dumpable == dumpableByRoot { // a change there and back makes it so, see commit_creds in kernel/cred.c
		users = []uint32{c.UID[3] ^ 1, c.UID[3]}
	}
	for _, id := range users {
		if _, err := r.Puppet.Call(unix.SYS_SETFSUID, uint64(id)); err != nil {
			return fmt.Errorf("pid %d: set its file system user: %w", r.PID, err)
		}
	}
	return nil
}
