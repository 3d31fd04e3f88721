package task

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	secbitKeepCaps = 1 << 4
	capVersion3    = 0x20080522

	dumpableByRoot = 2 // SUID_DUMP_ROOT of linux/sched/coredump.h
)

// creds: user and group ids, capabilities, securebits, no_new_privs, dumpable.
var creds = row[record.Creds]{
	Type:     record.TypeCreds,
	Required: true,
	First:    true,
	Asks: func(c *Collector) []tracee.Query {
		return append(c.askKeyrings(), getSecurebits, getDumpable)
	},
	Collect: func(c *Collector) error {
		rec := credsOf(&c.Status)
		rec.PID, rec.TID = c.PID, c.TID
		bits, _, err := c.result(getSecurebits)
		if err != nil {
			return fmt.Errorf("pid %d: securebits: %w", c.TID, err)
		}
		dumpable, _, err := c.result(getDumpable)
		if err != nil {
			return fmt.Errorf("pid %d: dumpable: %w", c.TID, err)
		}
		rec.Securebits, rec.Dumpable = uint32(bits), int(dumpable)
		if err := c.keyrings(); err != nil {
			return err
		}
		return c.Emit(record.TypeCreds, &rec)
	},
	Check: func(c *record.Creds) []error {
		var err error
		if len(c.UID) != 4 || len(c.GID) != 4 || len(c.Groups) > 65536 {
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
	Here:    credsHere,
	Restore: restoreCreds,
}.resource()

var (
	getSecurebits = query(0, unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	getDumpable   = query(0, unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
)

func credsOf(s *proc.Status) record.Creds {
	return record.Creds{UID: s.Uid[:], GID: s.Gid[:], Groups: s.Groups, Inh: s.CapInh, Prm: s.CapPrm, Eff: s.CapEff,
		Bnd: s.CapBnd, Amb: s.CapAmb, NoNewPrivs: s.NoNewPrivs}
}

func restoreCreds(r *Restorer, c *record.Creds) error {
	now, err := r.inheritedCreds()
	if err != nil {
		return err
	}
	if now.NoNewPrivs && !c.NoNewPrivs {
		r.Note("pid %d can't gain privileges by set-user-id programs from now on, because ckpt-apply can't (no_new_privs)", c.TID)
	}
	if lost := caps.Set(c.Bnd &^ now.Bnd); lost != 0 && r.TID == r.PID {
		r.Note("pid %d can't gain %v by programs it runs from now on, because ckpt-apply can't (its bounding set)", c.TID, lost)
	}
	r.changeCreds(c, now)
	if r.TID != r.PID {
		return nil // dumpable belongs to the process and is set by its first thread, which comes last
	}
	if c.Dumpable == dumpableByRoot {
		return r.notDumpable()
	}
	r.prctl("set dumpable", unix.PR_SET_DUMPABLE, uint64(c.Dumpable))
	return nil
}

// inheritedCreds returns the credentials that all puppets inherit from the stub.
func (r *Restorer) inheritedCreds() (*record.Creds, error) {
	if c := r.Inherited.creds; c != nil {
		return c, nil
	}
	status, err := proc.ReadThreadStatus(r.PID, r.TID)
	if err != nil {
		return nil, err
	}
	bits, err := r.Puppet.Call(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("pid %d: securebits: %w", r.PID, err)
	}
	c := credsOf(&status)
	if c.Groups, err = sys.Groups(); err != nil {
		return nil, err
	}
	c.Securebits = uint32(bits)
	r.Inherited.creds = &c
	return &c, nil
}

// notDumpable is for a process that was dumpable by root only. That can't be set
// by prctl(2): it is the result of a change of ids, see setIDs, if fs.suid_dumpable
// is 2. Otherwise the process is not dumpable at all.
func (r *Restorer) notDumpable() error {
	if err := r.Settle(); err != nil {
		return err
	}
	now, err := r.Puppet.Call(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("pid %d: dumpable: %w", r.PID, err)
	}
	if now == dumpableByRoot {
		return nil
	}
	r.Note("pid %d could dump core for root only, and can't at all from now on, because fs.suid_dumpable is not 2", r.PID)
	r.prctl("set dumpable", unix.PR_SET_DUMPABLE, 0)
	return nil
}

// changeCreds changes the credentials from those of ckpt-apply to those of the
// task; the steps that need the most privileges come first. What is right already
// is not set again, because that may take a capability, too: see credsHere.
func (r *Restorer) changeCreds(c, now *record.Creds) {
	changed := c.Inh != now.Inh || c.Prm != now.Prm || c.Eff != now.Eff
	ids := !slices.Equal(c.UID, now.UID) || !slices.Equal(c.GID, now.GID) || c.Dumpable == dumpableByRoot
	if changed || ids || c.Amb != now.Amb {
		r.setCaps(now.Eff, now.Prm, c.Inh)
	}
	r.dropBounding(now.Bnd &^ c.Bnd)
	if !sys.SameGroups(c.Groups, now.Groups) {
		r.callWith("set its groups", PackGroups(c.Groups), unix.SYS_SETGROUPS, uint64(len(c.Groups)), scratchArg)
	}
	if ids {
		r.setIDs(c, now)
	}
	if changed || ids {
		r.setCaps(now.Eff, now.Prm, c.Inh)
	}
	if ids || c.Amb != now.Amb {
		r.raiseAmbient(c.Amb)
	}
	// Set all securebits at once, because KEEP_CAPS may be locked; if it alone
	// differs, PR_SET_KEEPCAPS takes no capability.
	keep := c.Securebits&secbitKeepCaps != 0
	switch {
	case c.Securebits&^secbitKeepCaps != now.Securebits&^secbitKeepCaps:
		r.prctl("set securebits", unix.PR_SET_SECUREBITS, uint64(c.Securebits))
	case keep != (ids || now.Securebits&secbitKeepCaps != 0):
		r.keepCaps(keep)
	}
	if changed || ids {
		r.setCaps(c.Eff, c.Prm, c.Inh)
	}
	if c.NoNewPrivs && !now.NoNewPrivs {
		r.prctl("set no_new_privs", unix.PR_SET_NO_NEW_PRIVS, 1)
	}
}

func (r *Restorer) setCaps(eff, prm, inh uint64) {
	hdr := binary.LittleEndian.AppendUint32(nil, capVersion3)
	buf := binary.LittleEndian.AppendUint32(hdr, 0)
	for _, shift := range []int{0, 32} {
		for _, v := range []uint64{eff, prm, inh} {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(v>>shift))
		}
	}
	at := r.vector().Put(buf)
	r.call("set its capabilities", unix.SYS_CAPSET, at, at+8)
}

func (r *Restorer) dropBounding(drop uint64) {
	for bit := range uint64(64) {
		if drop&(1<<bit) != 0 {
			r.prctl("bound its capabilities", unix.PR_CAPBSET_DROP, bit)
		}
	}
}

func (r *Restorer) raiseAmbient(amb uint64) {
	r.call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for bit := range uint64(64) {
		if amb&(1<<bit) != 0 {
			r.call("raise an ambient capability", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, bit, 0, 0)
		}
	}
}

// PackGroups returns the groups as setgroups(2) takes them. They may fill all the
// scratch memory of a puppet. If there are none it has one element, so that it is
// not empty.
func PackGroups(groups []uint32) []byte {
	b := make([]byte, 4*max(1, len(groups)))
	for i, g := range groups {
		binary.LittleEndian.PutUint32(b[4*i:], g)
	}
	return b
}

// setIDs changes user and group ids. A task that stops being root loses its
// capabilities, but for those that PR_SET_KEEPCAPS keeps.
func (r *Restorer) setIDs(c, now *record.Creds) {
	if now.Securebits&secbitKeepCaps == 0 {
		r.keepCaps(true)
	}
	ids := func(v []uint32) []uint64 { return []uint64{uint64(v[0]), uint64(v[1]), uint64(v[2])} }
	r.call("set its group ids", unix.SYS_SETRESGID, ids(c.GID)...)
	// The setfs* calls return the old id and no error.
	r.call("set its file system group", unix.SYS_SETFSGID, uint64(c.GID[3]))
	users := []uint32{c.UID[3]}
	if c.Dumpable == dumpableByRoot { // changing the id makes it so, see commit_creds in kernel/cred.c
		users = []uint32{c.UID[3] ^ 1, c.UID[3]}
	}
	r.call("set its user ids", unix.SYS_SETRESUID, ids(c.UID)...)
	r.setCaps(now.Eff, now.Prm, c.Inh)
	for _, id := range users {
		r.call("set its file system user", unix.SYS_SETFSUID, uint64(id))
	}
}

func (r *Restorer) keepCaps(keep bool) {
	v := uint64(0)
	if keep {
		v = 1
	}
	r.prctl("keep its capabilities", unix.PR_SET_KEEPCAPS, v)
}
