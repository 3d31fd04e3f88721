// Package dedup finds which objects of a raw stream are one kernel object, gives
// each an objref, and rewrites every later encounter as OBJREF.
package dedup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"ckpt/internal/hold"
	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/stream"
)

// Tool is the name this filter signs its records with.
const Tool = "ckpt-dedup"

// ErrStage: the stream is not a raw one.
var ErrStage = errors.New("the stream is not as ckpt-collect wrote it: its objects are told apart already")

// Options are what the user asks for.
type Options struct {
	Step     func(format string, args ...any) // something for -v
	Comparer kcmp.Comparer                    // nil: kcmp(2)
}

// Run filters in to out. The target must be held by the ckpt-collect that wrote
// the stream; this filter holds it until it is done.
func Run(ctx context.Context, o Options, in, out *os.File) error {
	r, w := stream.NewReader(in), stream.NewWriter(out)
	var holder *hold.Holder
	err := func() error {
		first, err := r.Next()
		if err != nil {
			return err
		}
		var h stream.Header
		if err := first.Decode(&h); err != nil {
			return err
		}
		if h.Stage != stream.StageRaw {
			return ErrStage
		}
		if holder, err = take(&h, out); err != nil {
			return err
		}
		if err := first.Set(map[string]any{"stage": stream.StageShared}); err != nil {
			return err
		}
		if err := w.Write(first, nil); err != nil {
			return err
		}
		return newSorter(&h, o.Comparer).run(ctx, r, w, o.Step)
	}()
	if err != nil {
		stream.Fail(w, Tool, err)
		return errors.Join(err, ignoreGone(holder.Failed(err)))
	}
	return finish(holder, out, r.Totals().DataBytes)
}

// ignoreGone drops the one error a failing filter need not tell.
func ignoreGone(err error) error {
	if errors.Is(err, hold.ErrGone) {
		return nil
	}
	return err
}

// take takes the hold. Where writing consumes the data it says so, and pages
// may come by reference.
func take(h *stream.Header, out *os.File) (*hold.Holder, error) {
	if h.Hold == nil {
		return nil, fmt.Errorf("the stream names no hold: %w", hold.ErrGone)
	}
	what := hold.Description
	if hold.Copies(out) {
		what = hold.Data
	}
	ref := hold.Ref{PID: h.Hold.PID, StartTime: h.Hold.StartTime, FD: h.Hold.FD, BootID: h.Hold.BootID}
	return hold.Take(ref, "dedup", what)
}

// finish reports success. A regular file is made durable first.
func finish(holder *hold.Holder, out *os.File, dataBytes int64) error {
	st, err := out.Stat()
	if err == nil && st.Mode().IsRegular() {
		if err := out.Sync(); err != nil {
			return errors.Join(err, holder.Failed(err))
		}
		return ignoreGone(holder.Committed(dataBytes))
	}
	return ignoreGone(holder.OK())
}

// sorter is one pass over a stream.
type sorter struct {
	header *stream.Header
	trees  map[treeKey]*kcmp.Tree
	cmp    kcmp.Comparer
	idents map[string]uint64
	objref map[uint64]uint64 // a raw stream's ids
	again  map[uint64]bool   // ids of encounters that were not the first
	last   uint64            // objref given
	seen   int
	fds    int
}

// treeKey: what kcmp(2) compares may be described by records of two types, as
// an epoll is by EPOLL and FILE, and an objref has one.
type treeKey struct {
	rec stream.Type
	cmp kcmp.Type
}

func newSorter(h *stream.Header, cmp kcmp.Comparer) *sorter {
	if cmp == nil {
		cmp = kcmp.Kernel{}
	}
	return &sorter{header: h, cmp: cmp, trees: map[treeKey]*kcmp.Tree{}, idents: map[string]uint64{}, objref: map[uint64]uint64{}, again: map[uint64]bool{}}
}

func (s *sorter) run(ctx context.Context, r *stream.Reader, w *stream.Writer, step func(string, ...any)) error {
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return stream.ErrTruncated
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if rec.Type == stream.TypeEnd {
			if _, err := r.Next(); err != io.EOF {
				return err
			}
			s.report(step)
			return w.Write(rec, nil)
		}
		out, err := s.record(rec)
		if err == nil && out == nil {
			continue
		}
		if err != nil {
			return &stream.RecordError{Index: r.Totals().Records - 1, Type: rec.Type, Offset: r.Offset(), Err: err}
		}
		if err := w.Write(out, r.Data()); err != nil {
			return err
		}
	}
}

func (s *sorter) report(step func(string, ...any)) {
	calls := 0
	for _, t := range s.trees {
		calls += t.Stats().Calls
	}
	step("%d descriptors and %d encounters with objects seen, %d objects found, %d kcmp calls made", s.fds, s.seen, s.last, calls)
}

// record returns what is to stand in place of rec, nil for nothing.
func (s *sorter) record(rec *stream.Record) (*stream.Record, error) {
	switch {
	case rec.Type == stream.TypeTask:
		return rec, s.checkTask(rec)
	case rec.Type == stream.TypeObjref:
		return nil, ErrStage
	case rec.Flags&stream.Shareable != 0:
		return s.object(rec)
	case rec.Type == stream.TypeFD:
		s.fds++
	}
	return s.plain(rec)
}

// plain rewrites a record that is no object. One that is part of an encounter
// with an object met before is dropped: that has been described.
func (s *sorter) plain(rec *stream.Record) (*stream.Record, error) {
	refs, err := refsOf(rec)
	if err != nil || s.again[refs["of"]] {
		return nil, err
	}
	return rec, s.setRefs(rec, refs)
}

func refsOf(rec *stream.Record) (map[string]uint64, error) {
	var m struct {
		Refs map[string]uint64 `cbor:"refs"`
	}
	err := rec.Decode(&m)
	return m.Refs, err
}

// checkTask makes sure that the process is the one that was described, and that
// the collector holds it.
func (s *sorter) checkTask(rec *stream.Record) error {
	var t stream.Task
	if err := rec.Decode(&t); err != nil {
		return err
	}
	stat, err := proc.ReadStat(t.PID)
	if err == nil && t.Zombie && stat.StartTime == t.StartTime {
		return nil
	}
	if err != nil || stat.StartTime != t.StartTime {
		return fmt.Errorf("pid %d (%s) is not the process any more that was described: %w", t.PID, t.Comm, hold.ErrGone)
	}
	status, err := proc.ReadStatus(t.PID)
	if err != nil || status.TracerPid != s.header.Tracer {
		return fmt.Errorf("pid %d (%s) is not held by the ckpt-collect that described it: %w", t.PID, t.Comm, hold.ErrGone)
	}
	return nil
}

// object gives the object its objref, or turns a later encounter into OBJREF.
func (s *sorter) object(rec *stream.Record) (*stream.Record, error) {
	var o stream.Object
	if err := rec.Decode(&o); err != nil {
		return nil, err
	}
	if o.ID == 0 {
		return nil, fmt.Errorf("%w: it has no id", stream.ErrCorrupt)
	}
	if _, ok := s.objref[o.ID]; ok {
		return nil, fmt.Errorf("%w: id %d stands twice", stream.ErrCorrupt, o.ID)
	}
	s.seen++
	ref, isNew, err := s.sort(rec.Type, &o)
	if err != nil {
		return nil, err
	}
	s.objref[o.ID] = ref
	if !isNew {
		s.again[o.ID] = true
		return stream.New(stream.TypeObjref, &stream.ObjrefUse{Objref: ref, Type: rec.Type})
	}
	if err := s.refs(rec); err != nil {
		return nil, err
	}
	return rec, rec.Set(map[string]any{"objref": ref, "id": nil, "genid": nil, "kcmp": nil, "ident": nil})
}

func (s *sorter) sort(t stream.Type, o *stream.Object) (ref uint64, isNew bool, err error) {
	next := func() uint64 { s.last++; return s.last }
	switch {
	case o.Kcmp != nil:
		typ := kcmp.Type(o.Kcmp.Type)
		if typ < kcmp.File || typ > kcmp.SysVSem {
			return 0, false, fmt.Errorf("%w: kcmp type %d", stream.ErrCorrupt, typ)
		}
		key := treeKey{t, typ}
		if s.trees[key] == nil {
			s.trees[key] = kcmp.NewTree(typ, s.cmp)
		}
		return s.trees[key].Insert(o.Genid, kcmp.Handle{PID: o.Kcmp.PID, Idx: o.Kcmp.Idx}, next)
	case len(o.Ident) > 0:
		if ref, ok := s.idents[string(o.Ident)]; ok {
			return ref, false, nil
		}
		s.idents[string(o.Ident)] = next()
		return s.last, true, nil
	}
	return next(), true, nil // one of its kind
}

// refs rewrites a record's refs map from ids to objrefs.
func (s *sorter) refs(rec *stream.Record) error {
	refs, err := refsOf(rec)
	if err != nil {
		return err
	}
	return s.setRefs(rec, refs)
}

func (s *sorter) setRefs(rec *stream.Record, refs map[string]uint64) error {
	changed := false
	for name, id := range refs {
		ref, ok := s.objref[id]
		if !ok && id != 0 {
			return fmt.Errorf("%w: its %s is id %d, which no record before it has", stream.ErrCorrupt, name, id)
		}
		refs[name] = ref
		changed = changed || ref != id
	}
	if !changed {
		return nil
	}
	return rec.SetRefs(refs)
}
