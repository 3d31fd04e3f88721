// Package image is the compressed file around a stream: a byte stream goes in, a file of standard zstd
// frames comes out, and the same bytes, verified, come back. It does not know what the bytes mean.
//
// # The file
//
// An image is a sequence of zstd frames (RFC 8878), so "zstd -dc img" prints the stream and "zstd -t img"
// tests it. All integers are little-endian. CRC32C is the Castagnoli CRC (RFC 3720), XXH64 has seed 0.
//
//	header       skippable frame, magic 0x184D2A5C, 64 bytes
//	data frames  zstd frames, none or more, each on its own
//	index        skippable frame, magic 0x184D2A5D
//	seek table   skippable frame, magic 0x184D2A5E, zstd seekable format 0.1.0
//
// There is nothing between, before or after these frames. Frames are numbered from 0, the header, so data
// frames start at 1, the index is frame 1+N and the seek table frame 2+N where N is the number of data frames.
//
// # Header
//
//	0  u32   0x184D2A5C
//	4  u32   56, the size of what follows
//	8  text  "ckpt image\nversion 1\n", then zero bytes up to 64
//
// The text says what the file is to "head -c 64". A later version keeps the magic, the text up to the number
// and the newline after it within the first 64 bytes; a reader checks the version before anything else.
//
// # Data frames
//
// Each holds 1 byte to 1 MiB of the stream and is full (1 MiB) except before a cut and at the end. It has a
// content size and a content checksum (low 32 bits of XXH64), is a single segment, uses no dictionary, and
// takes at most 1 MiB + 4 KiB of the file. Reserved and unused header bits are zero. A writer can cut the
// frame at any point, so that metadata and bulk are never in the same one.
//
// # Index
//
//	 0  u32   0x184D2A5D
//	 4  u32   52 + 4N, the size of what follows
//	 8  text  "ckpt image index"
//	24  u32   N, the number of data frames
//	28  u32   CRC32C of the header frame
//	32  u32   CRC32C of the seek table frame
//	36  u32   0
//	40  u64   bytes of the stream: the sum of the content sizes
//	48  u64   offset of the index in the file
//	56  N×u32 CRC32C of each data frame as it stands in the file
//	 …  u32   CRC32C of the index frame up to here
//
// # Seek table
//
//	0  u32   0x184D2A5E
//	4  u32   9 + 12(N+2)
//	8  N+2 × u32 size in the file, u32 content size, u32 low half of the XXH64 of the content
//	…  u32   N+2
//	…  u8    0x80: entries have checksums
//	…  u32   0x8F92EAB1
//
// As its specification asks, there is one entry for each frame except the seek table itself: the header, the
// data frames, the index. The skippable two have content size 0 and the checksum of nothing, 0x51D8E999.
// Source: facebook/zstd contrib/seekable_format/zstd_seekable_compression_format.md.
//
// # What is checked
//
// Every byte is covered twice. A data frame's content by its XXH64, its bytes by a CRC32C in the index. The
// header and the seek table have one possible value each, given the data frames, and a CRC32C in the
// index. The index has one possible value too, and its own CRC32C. So any flipped bit is found, by Reader
// (which needs no seeking and delivers a frame's content only after that frame was verified) and by Verify
// (which decompresses nothing). A file that ends early has no seek table and is not an image: only Close
// writes it. The checksums find accidents, not changes by somebody who can write the file.
//
// # Memory
//
// A Reader's memory depends on the number of threads alone, about 2 MiB for each and 4 MiB more: it keeps
// running hashes of what the index must say, not the frames' checksums. A Writer remembers 16 bytes for each
// frame, 16 MiB for a stream of 1 TiB, besides 1 to 2 MiB for each chunk in progress (threads + 2) and the encoders':
// 1 MiB for each thread at level 1, 6 MiB at level 9. TestMemory holds whole programs to 64 MiB. No
// length read from an image decides an allocation.
package image
