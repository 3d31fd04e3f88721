// Package dedup is the filter that finds which objects of a raw stream are the
// same, by package sorter, while the target is held. Package judge says whether the
// result can be restored; if not, the filter fails and the target runs on.
package dedup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"ckpt/internal/hold"
	"ckpt/internal/judge"
	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/internal/sorter"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Tool is the name this filter signs its records with.
const Tool = "ckpt-dedup"

// Options are what the user asks for.
type Options struct {
	Note     func(format string, args ...any) // something the user should know
	Step     func(format string, args ...any) // something for -v
	Comparer kcmp.Comparer                    // nil: kcmp(2)
}

// Run filters in to out. The target must be held by the ckpt-collect that wrote
// the stream; this filter holds it until it is done.
func Run(ctx context.Context, o Options, in, out *os.File) error {
	sys.GrowPipes(in, out)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &filter{Options: o, in: in, out: out, sorter: sorter.New(o.Comparer), stop: cancel}
	f.pump = stream.Pump{Reader: stream.NewReader(in), Writer: stream.NewWriter(out), Header: f.begin, Edit: f.edit, End: f.verdict}
	err := f.pump.Run(ctx)
	f.jury.close()
	if err != nil {
		f.pump.Writer.Abort(Tool, err)
		return errors.Join(err, ignoreGone(f.holder.Failed()))
	}
	return finish(f.holder, out, f.pump.Reader.Totals().DataBytes)
}

// ignoreGone drops the one error that a filter need not report.
func ignoreGone(err error) error {
	if errors.Is(err, hold.ErrGone) {
		return nil
	}
	return err
}

// takeHold takes the hold. If writing to out consumes the data it says so, and
// pages may come by reference.
func takeHold(h *record.Header, out *os.File) (*hold.Holder, error) {
	ref := hold.RefOf(h)
	if ref == nil {
		return nil, fmt.Errorf("the stream names no hold: %w", hold.ErrGone)
	}
	what := hold.Description
	if hold.Copies(out) {
		what = hold.Data
	}
	return hold.Take(*ref, "dedup", what)
}

// finish reports success. A regular file is made durable first.
func finish(holder *hold.Holder, out *os.File, dataBytes int64) error {
	holder.InputRead()
	st, err := out.Stat()
	if err == nil && st.Mode().IsRegular() {
		if err := out.Sync(); err != nil {
			return errors.Join(err, holder.Failed())
		}
		return ignoreGone(holder.Committed(dataBytes))
	}
	return ignoreGone(holder.OK())
}

// filter is one pass over a stream.
type filter struct {
	Options
	in, out *os.File
	pump    stream.Pump
	stop    func(error) // ends the pass
	holder  *hold.Holder
	header  record.Header
	sorter  *sorter.Sorter
	jury    *jury
}

// begin sees HEADER.
func (f *filter) begin(first *stream.Record) (err error) {
	if err := first.Decode(&f.header); err != nil {
		return err
	}
	if f.header.Stage != record.StageRaw {
		return sorter.ErrStage
	}
	if f.holder, err = takeHold(&f.header, f.out); err != nil {
		return err
	}
	f.holder.Beat(f.in)
	f.jury = newJury(&f.header, f.Note, f.stop)
	return first.Set(map[string]any{"stage": record.StageShared})
}

// edit writes what takes the place of a record.
func (f *filter) edit(w *stream.Writer, rec *stream.Record, data io.Reader) error {
	out, err := f.record(rec)
	if err != nil || out == nil {
		return err
	}
	if judge.Ends(out) { // the jury hears no more
		if err := judge.Known(out, &f.header); err != nil {
			return err
		}
	}
	f.jury.hear(out, f.pump.Reader)
	return w.Write(out, data)
}

// verdict is asked for before END is written.
func (f *filter) verdict() error {
	f.sorter.Report(f.Step)
	return f.jury.verdict()
}

// record returns what takes the place of rec, nil for nothing.
func (f *filter) record(rec *stream.Record) (*stream.Record, error) {
	if rec.Type == record.TypeTask {
		if err := f.checkTask(rec); err != nil {
			return nil, err
		}
	}
	return f.sorter.Sort(rec)
}

// checkTask makes sure that the process is the one that was described, and that
// the collector holds it.
func (f *filter) checkTask(rec *stream.Record) error {
	var t record.Task
	if err := rec.Decode(&t); err != nil {
		return err
	}
	pid := t.PID
	if t.UsualPID != 0 {
		pid = t.UsualPID
		if err := rec.Set(map[string]any{"usual_pid": nil}); err != nil {
			return err
		}
	}
	stat, err := proc.ReadStat(pid)
	if err == nil && t.Zombie && stat.StartTime == t.StartTime {
		return nil
	}
	if err != nil || stat.StartTime != t.StartTime {
		return fmt.Errorf("pid %d (%s) is no longer the process that was described: %w", t.PID, t.Comm, hold.ErrGone)
	}
	status, err := proc.ReadThreadStatus(pid, proc.Living(pid))
	if err != nil || status.TracerPid != f.header.Tracer {
		return fmt.Errorf("pid %d (%s) is not held by the ckpt-collect that described it: %w", t.PID, t.Comm, hold.ErrGone)
	}
	return nil
}
