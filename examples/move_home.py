#!/usr/bin/env python3
"""A filter for ckpt's streams that needs nothing but stream/RECORDS.md: what a
saved program has open below one folder it gets below another."""

import os
import struct
import sys

MAGIC = b"\x89CKPT\r\n\x1a"
HEADER, END, ABORT, REG, DIR = 1, 2, 3, 66, 67
CRITICAL = 1
MAX_META, MAX_DATA = 1 << 20, 1 << 30


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


TABLE = list(range(256))
for _ in range(8):
    TABLE = [n >> 1 ^ 0x82F63B78 * (n & 1) for n in TABLE]


def decode(b, at=0):
    """Returns the CBOR item at a place, and where the next begins."""
    major, n = b[at] >> 5, b[at] & 31
    at += 1
    if major == 7:
        return {20: False, 21: True, 22: None}[n], at
    if n >= 24:
        size = 1 << n - 24
        n = int.from_bytes(b[at:at + size], "big")
        at += size
    if major == 0:
        return n, at
    if major == 1:
        return -1 - n, at
    if major in (2, 3):
        s = bytes(b[at:at + n])
        return s if major == 2 else s.decode(), at + n
    items = []
    for _ in range(n * (major - 3)):  # arrays are 4, maps 5
        item, at = decode(b, at)
        items.append(item)
    return items if major == 4 else dict(zip(items[::2], items[1::2])), at


def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    size = next(s for s in (0, 1, 2, 3) if n < 1 << (8 << s))
    return bytes([major << 5 | 24 + size]) + n.to_bytes(1 << size, "big")


def encode(v):
    if v is None or isinstance(v, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[v]
    if isinstance(v, int):
        return head(0, v) if v >= 0 else head(1, -1 - v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    if isinstance(v, list):
        return head(4, len(v)) + b"".join(map(encode, v))
    pairs = sorted((encode(k), encode(e)) for k, e in v.items())
    return head(5, len(v)) + b"".join(k + e for k, e in pairs)


class Filter:
    def __init__(self, src, dst):
        self.src, self.dst = src, dst
        self.records = self.meta_bytes = self.data_bytes = 0
        self.owed = 0  # data of the current record that is not written yet

    def read(self, n):
        b = self.src.read(n)
        if len(b) < n:
            raise EOFError("the stream ends before its END record")
        return b

    def write(self, kind, flags, meta, data_len=0):
        front = struct.pack("<HHIQ", kind, flags, len(meta), data_len)
        self.dst.write(front + struct.pack("<I", crc32c(front + meta)) + meta)
        self.records += 1
        self.meta_bytes += len(meta)
        self.data_bytes += data_len
        self.owed = data_len

    def copy(self):
        while self.owed:
            self.owed -= self.dst.write(self.read(min(self.owed, 1 << 18)))

    def abort(self, tool, reason):
        """Tells the filters behind why there is no END."""
        if self.owed <= 1 << 20:
            self.dst.write(bytes(self.owed))
            self.write(ABORT, CRITICAL, encode({"tool": tool, "reason": reason}))
            self.dst.flush()

    def run(self, edit):
        preamble = self.read(16)
        if preamble[:8] != MAGIC or preamble[8:10] != b"\0\0":
            raise ValueError("the input is no stream of version 0")
        self.dst.write(preamble)  # whatever minor version it is of
        while True:
            front = self.read(20)
            kind, flags, meta_len, data_len, crc = struct.unpack("<HHIQI", front)
            if meta_len > MAX_META or data_len > MAX_DATA:
                raise ValueError("a record is too long")
            meta = self.read(meta_len)
            if crc32c(front[:16] + meta) != crc:
                raise ValueError("a record's checksum does not match")
            if kind == END:
                totals = dict(records=self.records, meta_bytes=self.meta_bytes, data_bytes=self.data_bytes)
                meta = encode(decode(meta)[0] | totals)
            elif kind != ABORT:
                meta = edit(kind, meta)
            self.write(kind, flags, meta, data_len)
            self.copy()
            if kind in (HEADER, END, ABORT):  # ckpt-collect waits for who reads HEADER
                self.dst.flush()
            if kind in (END, ABORT):
                return 0 if kind == END else 1


def main(old, new):
    def edit(kind, meta):
        if kind in (REG, DIR):
            fields = decode(meta)[0]
            if fields["path"].startswith(old + b"/"):
                fields["path"] = new + fields["path"][len(old):]
                return encode(fields)
        return meta

    f = Filter(sys.stdin.buffer, sys.stdout.buffer)
    try:
        return f.run(edit)
    except BrokenPipeError:  # the filter behind has failed, and said why
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (EOFError, ValueError) as error:
        print("move_home.py: error:", error, file=sys.stderr)
        f.abort(b"move_home.py", str(error).encode())
        return 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: move_home.py OLD NEW")
    sys.exit(main(*(arg.encode() for arg in sys.argv[1:])))
