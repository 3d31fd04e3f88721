package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	attrBytes = 4         // struct nlattr
	attrMask  = 1<<14 - 1 // NLA_TYPE_MASK
)

// Attr appends an attribute.
func Attr(b []byte, typ int, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrBytes+len(value)))
	b = binary.NativeEndian.AppendUint16(b, uint16(typ))
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

// Text appends an attribute that is a text.
func Text(b []byte, typ int, s string) []byte { return Attr(b, typ, append([]byte(s), 0)) }

// Inside appends an attribute that is made of others.
func Inside(b []byte, typ int, attrs []byte) []byte { return Attr(b, typ|unix.NLA_F_NESTED, attrs) }

// Attrs splits attributes. It reports whether they were whole.
func Attrs(b []byte, each func(typ int, value []byte)) bool {
	for len(b) > 0 {
		if len(b) < attrBytes {
			return false
		}
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrBytes || n > len(b) {
			return false
		}
		each(int(binary.NativeEndian.Uint16(b[2:])&attrMask), b[attrBytes:n])
		b = b[min((n+3)&^3, len(b)):]
	}
	return true
}
