"""GGUF headers made by hand, byte by byte, for tests of what no writer would write."""

import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)


def text(value):
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key, kind, raw):
    return text(key) + struct.pack("<I", kind) + raw


def u32(key, value):
    return pair(key, U32, struct.pack("<I", value))


def strings(key, items, *, count=None):
    count = len(items) if count is None else count
    return pair(key, ARRAY, struct.pack("<IQ", STRING, count) + b"".join(map(text, items)))


def array(key, kind, count, raw):
    return pair(key, ARRAY, struct.pack("<IQ", kind, count) + raw)


def info(name, dims, number, offset, *, count=None):
    count = len(dims) if count is None else count
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", count, *dims, number, offset)


def header(pairs=(), infos=(), *, version=3, keys=None, tensors=None, magic=b"GGUF"):
    keys = len(pairs) if keys is None else keys
    tensors = len(infos) if tensors is None else tensors
    return struct.pack("<4sIQQ", magic, version, tensors, keys) + b"".join(pairs) + b"".join(infos)


def whole(pairs=(), infos=(), data=b"", *, align=32, **other):
    head = header(pairs, infos, **other)
    return head + bytes(-len(head) % align) + data
