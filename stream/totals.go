package stream

import (
	"fmt"

	"ckpt/stream/record"
)

// totals count what was read or written.
type totals struct{ record.Totals }

func (t *totals) add(rec *Record) {
	t.Records++
	t.MetaBytes += int64(len(rec.Meta))
	t.DataBytes += rec.DataLen
}

func (t *totals) fields() map[string]any {
	return map[string]any{"records": t.Records, "meta_bytes": t.MetaBytes, "data_bytes": t.DataBytes}
}

// check compares what was read with what the END record says.
func (t *totals) check(end record.Totals) error {
	if t.Totals != end {
		return fmt.Errorf("%w: END counts %d records, %d meta and %d data bytes, read were %d, %d and %d", ErrCorrupt,
			end.Records, end.MetaBytes, end.DataBytes, t.Records, t.MetaBytes, t.DataBytes)
	}
	return nil
}
