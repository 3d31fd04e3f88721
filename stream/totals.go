package stream

import "fmt"

// Totals count what a stream holds before its END record.
type Totals struct {
	Records   int64 `cbor:"records"`
	MetaBytes int64 `cbor:"meta_bytes"`
	DataBytes int64 `cbor:"data_bytes"`
}

func (t *Totals) add(rec *Record) {
	t.Records++
	t.MetaBytes += int64(len(rec.Meta))
	t.DataBytes += rec.DataLen
}

func (t *Totals) fields() map[string]any {
	return map[string]any{"records": t.Records, "meta_bytes": t.MetaBytes, "data_bytes": t.DataBytes}
}

// check compares what was read with what the END record says.
func (t *Totals) check(end Totals) error {
	if *t != end {
		return fmt.Errorf("%w: END counts %d records, %d meta and %d data bytes, read were %d, %d and %d", ErrCorrupt,
			end.Records, end.MetaBytes, end.DataBytes, t.Records, t.MetaBytes, t.DataBytes)
	}
	return nil
}
