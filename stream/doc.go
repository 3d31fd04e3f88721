// Package stream reads and writes ckpt's record stream, which is how a process
// tree travels from ckpt-collect to ckpt-apply. RECORDS.md has this page and each
// record type with its fields, which are in package record, and is so the format's
// whole specification; testdata/vectors holds examples to test a reader against,
// and testdata/README.md says how.
//
// A filter of one's own reads records, changes, drops or adds some, and writes
// them: see [Filter], and examples/move-home for a whole program.
//
// # Layout
//
// A stream is a preamble and then records, without gaps. All integers of the
// framing are little-endian.
//
//	preamble, 16 bytes
//	 0  8  magic: 89 43 4b 50 54 0d 0a 1a
//	 8  2  major version, 0
//	10  2  minor version, 2
//	12  4  zero
//
//	record: header of 20 bytes, meta, data
//	 0  2  type
//	 2  2  flags
//	 4  4  length of meta in bytes, at most 1 MiB (MaxMetaBytes)
//	 8  8  length of data in bytes, at most 1 GiB (MaxDataBytes)
//	16  4  CRC32C (Castagnoli, RFC 3720) of bytes 0 to 15 and of meta
//	20     meta
//	       data
//
// A reader checks lengths before it allocates. Data is not covered by the checksum, so that a filter need not look at it;
// it is the image around a stream, or the transport, that protects it.
//
// # Meta
//
// Meta is one CBOR map (RFC 8949) in the core deterministic encoding of its
// section 4.2.1: shortest forms, definite lengths, keys sorted by their encoded
// bytes, none twice. Keys are text strings. All other strings are byte strings,
// for paths and names on Linux are bytes. Besides there are integers, booleans,
// arrays and maps; no floats, no tags. Nesting is at most 8 deep, and a map has
// at most 4096 pairs. A field that is zero or empty may be left out.
//
// The Reader itself looks only at whether meta is a map; the rest is checked when
// a record is decoded or changed, so that passing one on costs nothing.
//
// What each type's fields are is told below, and in Go by the structs of package
// record.
//
// # Versions
//
// A new minor version adds record types and fields. A reader takes any later minor
// version of the major version it knows: it passes over what it does not know. A
// restore stops at a record that is critical and of a type that it does not know,
// so what must not be passed over has a record type of its own and is no new field.
// As long as the major version is 0, a minor version may also change or drop what
// there was; CHANGELOG.md says which did, and a reader refuses the versions before.
//
// A filter writes the version that it read, and never another, for records and
// fields that it does not know go through it.
//
// # Flags
//
//	1  critical   a restore that does not know the type must stop
//	2  bulk       the record belongs to the second part of the stream
//	4  shareable  meta has the fields of Object
//
// Other bits are an error.
//
// # Order
//
// HEADER is the first record and stands only there. Then comes the description
// of everything, without bulk data, so that a reader can judge it all before it
// acts. Then come bulk records, and after the first of them no other kind. END
// is last and has no data; nothing follows it, though the input may stay open. A stream without END is a failed
// stream, however much of it there is.
//
// END counts the records before it, and the bytes of their meta and data. A
// filter that changes the stream writes new totals. In place of END, and even
// of HEADER, there may be ABORT: a filter failed, has told the user why, and
// passes its reason on. Behind ABORT nothing needs to be read. A record whose
// data broke off is filled up with zeros before ABORT, if that is at most 1 MiB.
//
// # What a filter must pass on
//
// Records of types it does not know, and fields it does not know in those it
// does, it passes on as they are, byte for byte. Types from 0x8000 on belong to
// users; this project will define none there.
//
// # Objects and references
//
// A shareable record describes a kernel object: an open file description, an
// inode, shared memory. A record refers to objects by numbers in a map named
// refs, and nowhere else; 0 means none. What is referred to stands before.
//
// In a raw stream, HEADER's stage "raw", each encounter with an object is a
// record of its own: id is a number unique in the stream, which refs use.
// Encounters are of one object exactly if both have the same ident, or if both
// have kcmp, are of one type, and kcmp(2) finds those equal. genid is equal for equal objects.
//
// In a shared stream, stage "shared", an object has one record, with objref in
// place of id, genid, kcmp and ident. Refs hold objrefs. Where the object was
// met again stands an OBJREF record that names it and its type. ckpt-dedup turns
// a raw stream into a shared one, without knowing the types of its objects.
//
// A record whose refs have the key of is part of the object that names, as a
// descriptor is of its table. An object met again may be described again: its
// parts follow each encounter or only the first. ckpt-dedup drops those of later
// encounters.
//
// # The hold
//
// kcmp(2) needs the target to stand still, and a target that is to be killed
// must live until its image is safe. HEADER's hold names a pipe of the
// collector, which a filter on the same host (boot_id) and with the same
// collector (pid, start_time) may open for writing: /proc/PID/fd/FD. Who reads
// streams that he does not trust opens it only if /proc/PID/fd/MARK leads to a
// memfd with the name ckpt-hold:[INODE]:CHECKPOINT. He writes
//
//	<name> hold description     at once: the target must not run until I am done
//	<name> hold data            or this: and I am not done before I consumed all data
//	<name> alive                every second while I work or wait for my output
//	<name> ok                   last, when done
//	<name> committed <bytes> shared
//	                            or this: done, the image is stored safely, and
//	                            is of a shared stream; without that word it is
//	                            no reason to kill the target
//	<name> failed               or this
//
// each line, of at most 1024 bytes, with one write, and closes the pipe. Names
// match [a-z][a-z0-9-]*. A holder that closes without a last line has failed.
// Other words behind a name mean nothing yet; what is no such line is a failure.
//
// # Record types
//
// All that this project defines are critical. A record that names a pid belongs to
// the TASK record of that pid, which stands before it, and one that names a tid as
// well to that THREAD record. One with a tid alone is of what threads may share, and
// names one that has it. A shareable record names one for people to read.
package stream
