package collect

import (
	"ckpt/internal/judge"
	"ckpt/internal/sorter"
)

// judge says, for a dry run, whether what was described can be restored, as ckpt-dedup
// does otherwise.
func (d *description) judge() error {
	s, m := sorter.New(nil), judge.New(&d.header)
	for _, rec := range d.records {
		rec, err := s.Sort(rec)
		if err != nil {
			return err
		}
		if rec == nil {
			continue
		}
		if err := m.Add(rec); err != nil {
			return err
		}
	}
	return judge.ForSave(m, d.note)
}
