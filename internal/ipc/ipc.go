// Package ipc saves and restores what an IPC namespace of a tree's own has that no process
// has open or mapped: System V semaphores, message queues, segments that nobody has attached,
// and its limits. What is attached is of package memory, and POSIX queues are of package files.
//
// Everybody who is in such a namespace is in the tree, and stands still while it is saved.
// Restored, it is a new one, which ends with the tree: so what fails leaves nothing behind.
package ipc

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Types are the record types of objects of this package.
func Types() []record.Type { return []record.Type{record.TypeSemSet, record.TypeMsgQueue} }

// Kinds returns all kinds of objects of this package, for a restart.
func Kinds(r *object.Restart) []object.Kind { return []object.Kind{semSetKind(r), msgQueueKind(r)} }

// sysctl is a setting of an IPC namespace.
type sysctl struct {
	name   string
	values int
	limit  bool // what exceeds it can't be made
}

var sysctls = []sysctl{
	{"kernel/shmmax", 1, true},
	{"kernel/shmall", 1, true},
	{"kernel/shmmni", 1, true},
	{"kernel/msgmax", 1, true},
	{msgRoom, 1, true},
	{"kernel/msgmni", 1, true},
	{"kernel/sem", 4, true},
	{"fs/mqueue/queues_max", 1, true},
	{"fs/mqueue/msg_max", 1, true},
	{"fs/mqueue/msgsize_max", 1, true},
	{"fs/mqueue/msg_default", 1, false},
	{"fs/mqueue/msgsize_default", 1, false},
	{rmidForced, 1, false}, // last: what is not attached ends then
}

// msgRoom is how much room a new message queue has, and how much one may get.
const msgRoom = "kernel/msgmnb"

// rmidForced has segments end with their last process.
const rmidForced = "kernel/shm_rmid_forced"

// ReadSysctls reads the settings of this process's IPC namespace. What this kernel lacks is
// left out.
func ReadSysctls() (all []record.Sysctl, err error) {
	for _, s := range sysctls {
		values, err := proc.ReadSysctls(s.name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, record.Sysctl{Name: s.name, Values: values})
	}
	return all, nil
}

// CheckSysctls judges those of a stream.
func CheckSysctls(all []record.Sysctl) (errs []error) {
	seen := map[string]bool{}
	for _, s := range all {
		i := slices.IndexFunc(sysctls, func(k sysctl) bool { return k.name == s.Name })
		if i < 0 || seen[s.Name] || len(s.Values) != sysctls[i].values {
			errs = append(errs, fmt.Errorf("%w: an IPC namespace with %d values of %.64q", stream.ErrCorrupt, len(s.Values), s.Name))
		}
		seen[s.Name] = true
	}
	return errs
}

// Widen lets the limits of this process's IPC namespace, which is a new one, be no lower than
// they will be, or were by default: what was made before they were lowered has to be made again.
// A message queue is given as much room as there can be until it has its messages, which may be
// more than it has room for now.
func Widen(all []record.Sysctl) error { return write(all, true) }

// Settle sets them.
func Settle(all []record.Sysctl) error { return write(all, false) }

func write(all []record.Sysctl, widen bool) error {
	for _, k := range sysctls {
		i := slices.IndexFunc(all, func(s record.Sysctl) bool { return s.Name == k.name })
		if i < 0 || widen && !k.limit {
			continue
		}
		now, err := proc.ReadSysctls(k.name)
		if err != nil {
			return fmt.Errorf("set a limit of an IPC namespace: %w", err)
		}
		want := slices.Clone(all[i].Values)
		for j := range want {
			switch {
			case widen && k.name == msgRoom:
				want[j] = maxID
			case widen && j < len(now):
				want[j] = max(want[j], now[j])
			}
		}
		if slices.Equal(now, want) {
			continue
		}
		if err := proc.WriteSysctls(k.name, want); err != nil {
			return fmt.Errorf("set a limit of an IPC namespace to %d: %w", want, err)
		}
	}
	return nil
}

// makeAs makes an object of System V with an id, by a call that returns it. kind is as the
// name of the file that chooses the id begins.
func makeAs(r *object.Restart, kind, what string, id int, c record.SysVCreator, get func() (int, error)) error {
	if err := proc.WriteSysctls("kernel/"+kind+"_next_id", []uint64{uint64(id)}); err != nil {
		return fmt.Errorf("choose the id of %s: %w", what, err)
	}
	got := -1
	try := func() (err error) { got, err = get(); return err }
	err := asCreator(r, what, c, try)
	if err != nil {
		return fmt.Errorf("make %s: %w", what, err)
	}
	if got != id {
		return fmt.Errorf("%s got the id %d", what, got)
	}
	return nil
}

// asCreator does something as a user, whom the kernel remembers.
func asCreator(r *object.Restart, what string, c record.SysVCreator, do func() error) error {
	if int(c.UID) == unix.Geteuid() && int(c.GID) == unix.Getegid() {
		return do()
	}
	err := sys.AsUser(uint32(unix.Getuid()), c.UID, uint32(unix.Getgid()), c.GID, nil, do)
	if errors.Is(err, unix.EPERM) {
		r.Note("%s was made by user %d and group %d; to be made by them again takes CAP_SETUID and CAP_SETGID", what, c.UID, c.GID)
		return do()
	}
	return err
}

// ids finds what has an id or a key twice.
type ids struct {
	id  map[int]bool
	key map[int32]bool
}

func newIDs() *ids { return &ids{map[int]bool{}, map[int32]bool{}} }

const (
	maxID    = 1<<31 - 1
	modeMask = 0o777
)

// check judges what all objects of System V have.
func (n *ids) check(r *object.Restart, what string, id int, key int32, mode uint32) error {
	switch {
	case id < 0 || id > maxID || mode&^modeMask != 0:
		return fmt.Errorf("%w: %s %d with mode %#o", stream.ErrCorrupt, what, id, mode)
	case n.id[id] || key != 0 && n.key[key]:
		return fmt.Errorf("%w: %s %d with key %#x occurs twice", stream.ErrCorrupt, what, id, uint32(key))
	case !r.OwnIPC:
		return fmt.Errorf("%w: %s %d without an IPC namespace", stream.ErrCorrupt, what, id)
	}
	n.id[id], n.key[key] = true, true
	return nil
}

func decode[T any](rec *stream.Record) (*T, error) {
	v := new(T)
	return v, rec.Decode(v)
}
