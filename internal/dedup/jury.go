package dedup

import (
	"ckpt/internal/judge"
	"ckpt/stream"
)

// jury judges the descriptions beside the sorter, so that the target does not
// stand still for it.
type jury struct {
	records chan *stream.Record // closed behind the last description
	said    chan error          // gets one verdict
	known   bool
	err     error
}

// juryBacklog is how many records may wait for it.
const juryBacklog = 4096

func newJury(h *stream.Header) *jury {
	j := &jury{records: make(chan *stream.Record, juryBacklog), said: make(chan error, 1)}
	go func(records <-chan *stream.Record) { j.said <- deliberate(h, records) }(j.records)
	return j
}

func deliberate(h *stream.Header, records <-chan *stream.Record) error {
	m := judge.New(h)
	var err error
	for rec := range records {
		if err == nil {
			err = m.Add(rec)
		}
	}
	if err != nil {
		return err
	}
	return judge.OnPaper(m)
}

// hear hands a record on. Once there is a verdict it returns that.
func (j *jury) hear(rec *stream.Record) error {
	if !judge.Ends(rec) {
		j.records <- rec
		return nil
	}
	j.close()
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
