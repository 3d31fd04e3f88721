package ipc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	semMax    = 32767 // SEMVMX of linux/sem.h
	semSetVal = 16    // SETVAL
)

// semSets describes the semaphores.
func (c *Collector) semSets() error {
	sets, err := proc.ReadSysVIPC("sem")
	if err != nil {
		return err
	}
	for _, s := range sets {
		rec := &record.SemSet{Object: c.object(record.TypeSemSet, s.ID), SemID: s.ID, Key: s.Key, Mode: s.Mode & modeMask, UID: s.UID, GID: s.GID,
			Creator: record.SysVCreator{UID: s.CUID, GID: s.CGID}, Used: s.Counts["otime"] != 0}
		n := int(s.Counts["nsems"])
		if rec.Values, err = sys.SemValues(s.ID, n); err != nil {
			return fmt.Errorf("semaphores %d (System V): %w", s.ID, err)
		}
		for num := range n {
			pid, err := sys.SemLast(s.ID, num)
			if err != nil {
				return fmt.Errorf("semaphore %d of set %d (System V): %w", num, s.ID, err)
			}
			if !c.InTree(pid) {
				pid = 0
			}
			rec.Last = append(rec.Last, pid)
		}
		if err := c.Emit(record.TypeSemSet, rec); err != nil {
			return err
		}
	}
	return nil
}

// semSet is a set of a restart.
type semSet struct {
	object.Base
	rec *record.SemSet
}

func semSetKind(r *object.Restart) object.Kind {
	seen := newIDs()
	return object.Kind{Type: record.TypeSemSet,
		Check: func(rec *stream.Record) []error {
			if err := checkSemSet(r, seen, rec); err != nil {
				return []error{err}
			}
			return nil
		},
		Make: func(rec *stream.Record) (object.Object, error) { return makeSemSet(r, rec) },
	}
}

func checkSemSet(r *object.Restart, seen *ids, rec *stream.Record) error {
	s, err := decode[record.SemSet](rec)
	if err != nil {
		return err
	}
	if err := seen.check(r, "a set of semaphores", s.SemID, s.Key, s.Mode); err != nil {
		return err
	}
	if len(s.Values) == 0 || len(s.Last) > len(s.Values) {
		return fmt.Errorf("%w: set %d of %d semaphores, of which %d were changed", stream.ErrCorrupt, s.SemID, len(s.Values), len(s.Last))
	}
	for num, v := range s.Values {
		if v > semMax {
			return fmt.Errorf("%w: semaphore %d of set %d is %d", stream.ErrCorrupt, num, s.SemID, v)
		}
	}
	return nil
}

func makeSemSet(r *object.Restart, rec *stream.Record) (object.Object, error) {
	s, err := decode[record.SemSet](rec)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("the set of semaphores %d (System V)", s.SemID)
	err = makeAs(r, "sem", what, s.SemID, s.Creator, func() (int, error) {
		return sys.SemGet(s.Key, len(s.Values), unix.IPC_CREAT|unix.IPC_EXCL|int(s.Mode))
	})
	if err != nil {
		return nil, err
	}
	err = sys.OwnSem(s.SemID, s.UID, s.GID, s.Mode)
	for _, v := range s.Values {
		if v != 0 && err == nil {
			err = sys.SetSemValues(s.SemID, s.Values)
			break
		}
	}
	if err == nil && s.Used {
		err = sys.SemOp(s.SemID, sys.SemOps(unchanged(0, s.Values[0])...), 2)
	}
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", what, err)
	}
	return &semSet{rec: s}, nil
}

// unchanged are two operations that leave a semaphore as it is.
func unchanged(num int, value uint16) [][2]int {
	if value == semMax {
		return [][2]int{{num, -1}, {num, 1}}
	}
	return [][2]int{{num, 1}, {num, -1}}
}

// Attach has each semaphore changed last by whom it was. Their undo values are restored later.
func (s *semSet) Attach(t object.Tasks) error {
	for num, pid := range s.rec.Last {
		p := t.Puppet(pid)
		if pid == 0 || p == nil {
			continue
		}
		what := fmt.Sprintf("change semaphore %d of set %d (System V) last", num, s.rec.SemID)
		value := s.rec.Values[num]
		if !s.rec.Used {
			if err := tracee.CallOK(p, what, unix.SYS_SEMCTL, uint64(s.rec.SemID), uint64(num), semSetVal, uint64(value)); err != nil {
				return err
			}
			continue
		}
		ops := sys.SemOps(unchanged(num, value)...)
		if err := p.Tracee().WriteMem(p.Scratch().Addr, ops); err != nil {
			return err
		}
		if err := tracee.CallOK(p, what, unix.SYS_SEMOP, uint64(s.rec.SemID), p.Scratch().Addr, 2); err != nil {
			return err
		}
	}
	return nil
}

// Undo removes it: whoever is killed meanwhile leaves it to the end of the namespace.
func (s *semSet) Undo() error { return gone(sys.RemoveSem(s.rec.SemID)) }

// gone passes an error on, unless it says that there is nothing.
func gone(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIDRM) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Sems returns the sets of semaphores that records describe.
func Sems(objects []*stream.Record) (sets []proc.Sem) {
	for _, rec := range objects {
		if rec.Type != record.TypeSemSet {
			continue
		}
		if s, err := decode[record.SemSet](rec); err == nil {
			sets = append(sets, proc.Sem{Key: s.Key, ID: s.SemID, Sems: len(s.Values)})
		}
	}
	return sets
}
