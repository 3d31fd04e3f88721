package dedup

import (
	"ckpt/internal/judge"
	"ckpt/stream"
)

// jury judges the descriptions beside the sorter, so that the target does not
// stand still for it.
type jury struct {
	records chan heard // closed behind the last description
	said    chan error // gets one verdict
}

// heard is a record and where it stood in the input.
type heard struct {
	rec           *stream.Record
	index, offset int64
}

// juryBacklog is how many records may wait for it, of up to 1 MiB each.
const juryBacklog = 256

// newJury starts one. A verdict that is no ends the pass by stop.
func newJury(h *stream.Header, note func(string, ...any), stop func(error)) *jury {
	records, said := make(chan heard, juryBacklog), make(chan error, 1)
	go func() {
		err := deliberate(h, records, note)
		if err != nil {
			stop(err)
		}
		said <- err
		for range records { // who sends must not wait
		}
	}()
	return &jury{records, said}
}

// deliberate gives the verdict: no, as soon as a record can't be, so that no more
// of them are read.
func deliberate(h *stream.Header, records <-chan heard, note func(string, ...any)) error {
	m := judge.New(h)
	for h := range records {
		if err := m.Add(h.rec); err != nil {
			return &stream.RecordError{Index: h.index, Type: h.rec.Type, Offset: h.offset, Err: err}
		}
	}
	return judge.ForSave(m, note)
}

// hear hands a record on.
func (j *jury) hear(rec *stream.Record, r *stream.Reader) {
	if judge.Ends(rec) {
		j.close()
	} else if j.records != nil {
		j.records <- heard{rec, r.Totals().Records - 1, r.Offset()}
	}
}

// verdict waits for it.
func (j *jury) verdict() error {
	j.close()
	return <-j.said
}

// close ends the hearing.
func (j *jury) close() {
	if j != nil && j.records != nil {
		close(j.records)
		j.records = nil
	}
}
