package collect

import (
	"errors"

	"ckpt/stream"
	"ckpt/stream/record"
)

// encoder encodes records in their order, on other CPUs than the one on which the tree is
// being described. Nobody changes what was given to it.
type encoder struct {
	batch   *batch
	batches []*batch // that are being encoded
}

// batchRecords is how many records are encoded together.
const batchRecords = 128

type batch struct {
	types []record.Type
	metas []any
	recs  []*stream.Record
	err   error
	done  chan struct{}
}

func (e *encoder) add(t record.Type, meta any) {
	if e.batch == nil {
		e.batch = &batch{done: make(chan struct{})}
		e.batches = append(e.batches, e.batch)
	}
	b := e.batch
	b.types, b.metas = append(b.types, t), append(b.metas, meta)
	if len(b.metas) == batchRecords {
		go b.encode()
		e.batch = nil
	}
}

func (b *batch) encode() {
	defer close(b.done)
	b.recs = make([]*stream.Record, len(b.metas))
	for i, meta := range b.metas {
		if b.recs[i], b.err = stream.New(b.types[i], meta); b.err != nil {
			return
		}
	}
	b.metas = nil
}

// finish returns all records.
func (e *encoder) finish() (all []*stream.Record, err error) {
	if e.batch != nil {
		e.batch.encode()
		e.batch = nil
	}
	for _, b := range e.batches {
		<-b.done
		all, err = append(all, b.recs...), errors.Join(err, b.err)
	}
	e.batches = nil
	return all, err
}
