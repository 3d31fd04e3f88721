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
	known   bool
	err     error
}

// heard is a record and where it stood in the input.
type heard struct {
	rec           *stream.Record
	index, offset int64
}

// juryBacklog is how many records may wait for it, of up to 1 MiB each.
const juryBacklog = 256

func newJury(h *stream.Header, note func(string, ...any)) *jury {
	j := &jury{records: make(chan heard, juryBacklog), said: make(chan error, 1)}
	go deliberate(h, j.records, j.said, note)
	return j
}

// deliberate gives the verdict: no, as soon as a record can't be, so that no more
// of them are read.
func deliberate(h *stream.Header, records <-chan heard, said chan<- error, note func(string, ...any)) {
	m := judge.New(h)
	for h := range records {
		if err := m.Add(h.rec); err != nil {
			said <- &stream.RecordError{Index: h.index, Type: h.rec.Type, Offset: h.offset, Err: err}
			for range records { // who sends must not wait
			}
			return
		}
	}
	said <- judge.ForSave(m, note)
}

// hear hands a record on. Once there is a verdict it returns that.
func (j *jury) hear(rec *stream.Record, r *stream.Reader) error {
	if judge.Ends(rec) {
		j.close()
	} else {
		j.records <- heard{rec, r.Totals().Records - 1, r.Offset()}
	}
	select {
	case err := <-j.said:
		j.known, j.err = true, err
	default:
	}
	return j.err
}

// verdict waits for it.
func (j *jury) verdict() error {
	j.close()
	if !j.known {
		j.known, j.err = true, <-j.said
	}
	return j.err
}

// close ends the hearing.
func (j *jury) close() {
	if j.records != nil {
		close(j.records)
		j.records = nil
	}
}
