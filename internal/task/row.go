package task

import (
	"fmt"

	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// row is a Resource in terms of the Go type of its record. The record is decoded
// in one place, here.
type row[T any] struct {
	Type     record.Type
	Scope    Scope
	Required bool
	First    bool
	Plenty   string
	Asks     func(c *Collector) []tracee.Query
	Collect  func(c *Collector) error
	// Check is mandatory; anything is the one for records that can always be
	// restored.
	Check   func(v *T) []error
	Here    func(h *Host, v *T) []error
	Restore func(r *Restorer, v *T) error
	Settled bool
	Last    func(r *Restorer, v *T) (undo func() error, err error)
}

// anything is the Check of a record with nothing to check but that it can be
// decoded.
func anything[T any](*T) []error { return nil }

// corruptIf returns an error if a record says something that no kernel does.
func corruptIf(bad bool, format string, args ...any) []error {
	if !bad {
		return nil
	}
	return []error{fmt.Errorf("%w: "+format, append([]any{stream.ErrCorrupt}, args...)...)}
}

func (d row[T]) resource() Resource {
	if d.Check == nil {
		panic("a resource without a check: " + d.Type.String())
	}
	r := Resource{Type: d.Type, Scope: d.Scope, Required: d.Required, First: d.First, Plenty: d.Plenty, Asks: d.Asks, Collect: d.Collect, Settled: d.Settled}
	r.Check = func(rec *stream.Record) []error {
		v, err := decode[T](rec)
		if err != nil {
			return []error{err}
		}
		return d.Check(v)
	}
	if d.Here != nil {
		r.Here = func(h *Host, rec *stream.Record) []error {
			v, err := decode[T](rec)
			if err != nil {
				return nil // Check has said so
			}
			return d.Here(h, v)
		}
	}
	if d.Restore != nil {
		r.Restore = func(to *Restorer, rec *stream.Record) error {
			v, err := decode[T](rec)
			if err != nil {
				return err
			}
			return d.Restore(to, v)
		}
	}
	if d.Last != nil {
		r.Last = func(to *Restorer, rec *stream.Record) (undo func() error, err error) {
			v, err := decode[T](rec)
			if err != nil {
				return nil, err
			}
			return d.Last(to, v)
		}
	}
	return r
}
