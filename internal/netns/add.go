package netns

import (
	"errors"

	"ckpt/stream"
	"ckpt/stream/record"
)

var parts = map[record.Type]func(n *Network, rec *stream.Record) error{
	record.TypeLink:       func(n *Network, rec *stream.Record) error { return add(&n.Links, rec) },
	record.TypeNetAddress: func(n *Network, rec *stream.Record) error { return add(&n.Addresses, rec) },
	record.TypeRoute:      func(n *Network, rec *stream.Record) error { return add(&n.Routes, rec) },
	record.TypeNetRule:    func(n *Network, rec *stream.Record) error { return add(&n.Rules, rec) },
	record.TypeNeighbour:  func(n *Network, rec *stream.Record) error { return add(&n.Neighbours, rec) },
	record.TypeNetSysctls: func(n *Network, rec *stream.Record) error { return add(&n.Sysctls, rec) },
}

// IsPart reports whether records of a type are part of a network namespace.
func IsPart(t record.Type) bool { return parts[t] != nil }

// Add adds what a record says.
func (n *Network) Add(rec *stream.Record) error {
	do := parts[rec.Type]
	if do == nil {
		return errors.New("not part of a network namespace")
	}
	return do(n, rec)
}

func add[T any](all *[]T, rec *stream.Record) error {
	one, err := stream.Decoded[T](rec)
	if err != nil {
		return err
	}
	if len(*all) >= maxObjects {
		return errTooMany
	}
	*all = append(*all, *one)
	return nil
}
