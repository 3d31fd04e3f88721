package judge

import (
	"fmt"

	"ckpt/stream"
	"ckpt/stream/record"
)

// Read reads up to the first bulk record, or END, and returns that record. If ids is not
// nil, the tasks get other process ids, and what names them follows.
func Read(r *stream.Reader, ids *NewIDs) (*Model, *stream.Record, error) {
	first, err := r.Next()
	if err != nil {
		return nil, nil, err
	}
	var h record.Header
	if err := first.Decode(&h); err != nil {
		return nil, nil, err
	}
	if h.Stage != record.StageShared {
		return nil, nil, &Refused{[]error{fmt.Errorf("the stream is as ckpt-collect wrote it (stage %q); it must pass through ckpt-dedup while the target is held", h.Stage)}}
	}
	m := New(&h)
	next, stop := func() []arrived { return []arrived{arrive(r)} }, func() {}
	defer func() { stop() }()
	for n := 0; ; n++ {
		if n == fewRecords {
			next, stop = arrivals(r)
		}
		for _, a := range next() {
			if a.err != nil {
				return nil, nil, a.err
			}
			if Ends(a.rec) {
				if ids == nil {
					return m, a.rec, nil
				}
				err := ids.addAll(m)
				if err == nil {
					err = r.At(ids.Change(a.rec))
				}
				return m, a.rec, err
			}
			add := m.Add
			if ids != nil {
				add = ids.hold
			}
			if err := add(a.rec); err != nil {
				return nil, nil, a.at(err)
			}
		}
	}
}

// count adds to bytes about how much memory a record takes.
func count(bytes *int64, rec *stream.Record) error {
	if *bytes += int64(len(rec.Meta)) + recordBytes; *bytes > maxModelBytes {
		return fmt.Errorf("the stream's descriptions take more than %d MiB of memory, too many to restore", maxModelBytes>>20)
	}
	return nil
}

// Ends reports whether a record is the first one behind all metadata.
func Ends(rec *stream.Record) bool {
	return rec.Type == record.TypeEnd || rec.Flags&record.Bulk != 0
}
