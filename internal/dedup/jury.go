package dedup

import (
	"ckpt/internal/judge"
	"ckpt/stream"
	"ckpt/stream/record"
)

// jury judges the descriptions while the sorter works, so that the target is not
// kept stopped for it.
type jury struct {
	records chan heard // closed behind the last description
	said    chan error // gets one verdict
}

// heard is a record and where it stood in the input.
type heard struct {
	rec           *stream.Record
	index, offset int64
}

// juryBacklog is how many records, of up to 1 MiB each, may wait for the jury.
const juryBacklog = 256

// newJury starts one. It calls stop, which ends the pass, if the verdict is no.
func newJury(h *record.Header, note func(string, ...any), stop func(error)) *jury {
	records, said := make(chan heard, juryBacklog), make(chan error, 1)
	go func() {
		err := deliberate(h, records, note)
		if err != nil {
			stop(err)
		}
		said <- err
		for range records { // the sender must not wait
		}
	}()
	return &jury{records, said}
}

// deliberate gives the verdict. The first record that is wrong decides it: no more
// are read then.
func deliberate(h *record.Header, records <-chan heard, note func(string, ...any)) error {
	m := judge.New(h)
	for h := range records {
		if err := m.Add(h.rec); err != nil {
			return &stream.RecordError{Index: h.index, Type: h.rec.Type, Offset: h.offset, Err: err}
		}
	}
	return judge.ForSave(m, note)
}

// hear passes a record on to the jury.
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
