package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"ckpt/stream/record"
)

// magic is how every record stream begins. Like PNG's, it holds a byte above
// 127 and both kinds of line end, so that a transfer that mangles text is
// noticed at once.
const magic = "\x89CKPT\r\n\x1a"

// Sizes of the fixed parts and limits on the variable ones, in bytes. A reader
// checks a length against its limit before it allocates.
const (
	preambleBytes = 16
	headerBytes   = 20

	knownFlags = record.Critical | record.Bulk | record.Shareable

	// MaxMetaBytes bounds the CBOR part of a record.
	MaxMetaBytes = 1 << 20
	// MaxDataBytes bounds the raw part of a record. It is moved, never held
	// whole in memory; our own filters keep to DataChunkBytes.
	MaxDataBytes = 1 << 30
	// DataChunkBytes is the most bulk data ckpt-collect puts in one record.
	DataChunkBytes = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendPreamble appends the 16 bytes in front of the first record.
func appendPreamble(b []byte, v Version) []byte {
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, v.Major)
	b = binary.LittleEndian.AppendUint16(b, v.Minor)
	return binary.LittleEndian.AppendUint32(b, 0)
}

// foreign is the error for an input that begins with b, and with no stream.
func foreign(b []byte) error {
	if bytes.HasPrefix(b[min(8, len(b)):], []byte("ckpt ima")) { // see internal/image
		return ErrImage
	}
	return ErrForeign
}

// parsePreamble checks the 16 bytes in front of the first record.
func parsePreamble(b []byte) (Version, error) {
	if string(b[:8]) != magic {
		return Version{}, foreign(b)
	}
	v := Version{binary.LittleEndian.Uint16(b[8:]), binary.LittleEndian.Uint16(b[10:])}
	if err := v.check(); err != nil {
		return Version{}, err
	}
	if binary.LittleEndian.Uint32(b[12:]) != 0 {
		return Version{}, fmt.Errorf("%w: reserved bytes of the preamble are set", ErrCorrupt)
	}
	return v, nil
}

// header is the fixed front of a record.
type header struct {
	typ     record.Type
	flags   record.Flags
	metaLen uint32
	dataLen uint64
	crc     uint32 // CRC32C of the 16 bytes before it, then meta
}

func (h *header) append(b, meta []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint16(b, uint16(h.typ))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.flags))
	b = binary.LittleEndian.AppendUint32(b, h.metaLen)
	b = binary.LittleEndian.AppendUint64(b, h.dataLen)
	return binary.LittleEndian.AppendUint32(b, checksum(b[start:], meta))
}

func parseHeader(b []byte) header {
	return header{
		typ:     record.Type(binary.LittleEndian.Uint16(b)),
		flags:   record.Flags(binary.LittleEndian.Uint16(b[2:])),
		metaLen: binary.LittleEndian.Uint32(b[4:]),
		dataLen: binary.LittleEndian.Uint64(b[8:]),
		crc:     binary.LittleEndian.Uint32(b[16:]),
	}
}

// check judges what can be judged before meta is read.
func (h *header) check() error {
	switch {
	case h.flags&^knownFlags != 0:
		return fmt.Errorf("%w: flags %#x are not defined", ErrCorrupt, uint16(h.flags&^knownFlags))
	case h.metaLen > MaxMetaBytes:
		return fmt.Errorf("%w: meta of %d bytes, at most %d are allowed", ErrCorrupt, h.metaLen, MaxMetaBytes)
	case h.dataLen > MaxDataBytes:
		return fmt.Errorf("%w: data of %d bytes, at most %d are allowed", ErrCorrupt, h.dataLen, MaxDataBytes)
	}
	return nil
}

func checksum(head, meta []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, meta)
}
