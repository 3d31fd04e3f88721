package record

import (
	"fmt"
	"reflect"
)

// Type says what a record describes. Types from FirstCustom up are free for
// filters of the user's own.
type Type uint16

// FirstCustom is the first record type this project will never define.
const FirstCustom Type = 0x8000

// Flags of a record. A reader refuses flags it does not know.
type Flags uint16

const (
	// Critical: a restore that does not know the record's type must stop.
	Critical Flags = 1 << 0
	// Bulk: the record belongs to the second part of the stream, where the
	// data is. After the first bulk record only bulk records, END or ABORT
	// follow.
	Bulk Flags = 1 << 1
	// Shareable: meta carries the fields of Object, so ckpt-dedup looks
	// for an earlier encounter of the same kernel object.
	Shareable Flags = 1 << 2
)

// TypeInfo is one row of the table of record types.
type TypeInfo struct {
	Type  Type
	Name  string
	Flags Flags        // what a record of this type is written with
	Since string       // the first version of the format that has it
	Meta  reflect.Type // the struct that meta is decoded to
}

func row[T any](since string, t Type, name string, flags Flags) TypeInfo {
	return TypeInfo{t, name, flags, since, reflect.TypeFor[T]()}
}

// New returns a pointer to the zero value of the meta's Go type.
func (i *TypeInfo) New() any { return reflect.New(i.Meta).Interface() }

var (
	byType = map[Type]*TypeInfo{}
	byName = map[string]*TypeInfo{}
)

func init() {
	for i := range types {
		byType[types[i].Type] = &types[i]
		byName[types[i].Name] = &types[i]
	}
}

// Types returns the table of record types this package defines.
func Types() []TypeInfo { return append([]TypeInfo(nil), types[:]...) }

// Lookup returns the table's row for t, or nil for a type it does not know.
func Lookup(t Type) *TypeInfo { return byType[t] }

// TypeByName is the inverse of Type.String for the types in the table.
func TypeByName(name string) (Type, bool) {
	if info := byName[name]; info != nil {
		return info.Type, true
	}
	return 0, false
}

// String returns the type's name in the table, or its number.
func (t Type) String() string {
	if info := byType[t]; info != nil {
		return info.Name
	}
	return fmt.Sprintf("type %d", uint16(t))
}
