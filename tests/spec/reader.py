"""A reader of qformat containers, written from specs/container.md alone."""

import hashlib
import json
import math
import struct
from pathlib import Path

import ml_dtypes
import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "U8": "u1", "I8": "i1"}
TYPES |= {"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}
TYPES |= {"F8_E8M0": ml_dtypes.float8_e8m0fnu, "BOOL": "?", "C64": "<c8"}
TYPES |= {f"{k}{n}": f"<{k.lower()}{n // 8}" for k in "UI" for n in (16, 32, 64)}
KEYS = ("qformat.tensors", "qformat.digests", "qformat.content")


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def flush(x):
    return np.where(np.abs(x) < np.float32(2.0**-126), np.float32(0), x).astype(np.float32)


def read(paths):
    """All tensors of the files of one container, decoded; raises ValueError if a digest is wrong."""
    arrays, notes, lines, wanted = {}, {}, set(), set()
    for path in paths:
        data = Path(path).read_bytes()
        start = 8 + struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:start])
        meta = header.pop("__metadata__")
        schemes = json.loads(meta["qformat.schemes"])
        here, digests = json.loads(meta["qformat.tensors"]), json.loads(meta["qformat.digests"])
        lines |= {canonical(["metadata", k, v]) for k, v in meta.items() if k not in KEYS}
        lines |= {canonical(["tensor", k, v]) for k, v in here.items()}
        notes |= {k: v for k, v in here.items() if "scheme" in v}
        wanted.add(meta["qformat.content"])
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            raw = data[start + begin : start + end]
            if name.startswith("qformat.pad/"):
                continue
            if hashlib.sha256(raw).hexdigest() != digests[name]:
                raise ValueError(f"{name} does not match its digest")
            lines.add(canonical(["stored", name, entry["dtype"], entry["shape"], digests[name]]))
            arrays[name] = np.frombuffer(raw, TYPES[entry["dtype"]]).reshape(entry["shape"])
    if {hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()} != wanted:
        raise ValueError("the content digest is wrong")
    coded = {k: decode(schemes[n["scheme"]]["layout"], k, n["shape"], arrays) for k, n in notes.items()}
    return coded | {k: v for k, v in arrays.items() if not k.startswith("qformat.file/")}


def decode(layout, name, shape, arrays):
    *lead, cols = shape or [1]
    rows = math.prod(lead)

    def part(node, count):
        """``count`` numbers per row."""
        if "kind" in node:
            return inner(node, count)
        stored = arrays[f"{name}/{node['plane']}"].reshape(rows, -1)
        if "dtype" in node:
            return flush(stored.astype(np.float32))
        bits = np.unpackbits(stored, axis=1, bitorder="little")[:, : count * node["bits"]]
        codes = bits.reshape(rows, count, node["bits"]) @ (1 << np.arange(node["bits"]))
        return codes - (codes >> node["bits"] - 1 << node["bits"]) * node["signed"]

    def inner(node, count):
        codes = part(node["codes"], count)
        of = np.arange(count) // node["block"]
        get = {
            k: part(node[k], -(-count // node["block"]))[:, of]
            for k in ("scale", "zero_point", "min")
            if k in node
        }
        scale = get["scale"].astype(np.float32)
        if node["kind"] == "codebook":
            return flush(scale * flush(np.array(node["table"], np.float32))[codes])
        steps = codes.astype(np.float32)
        if node["kind"] == "scale-min":
            return flush(flush(scale * steps) + get["min"].astype(np.float32))
        return flush(scale * (steps - get["zero_point"].astype(np.float32) if "zero_point" in get else steps))

    def names(node):
        return (
            [node["plane"]]
            if "plane" in node
            else [p for v in node.values() if isinstance(v, dict) for p in names(v)]
        )

    with np.errstate(all="ignore"):
        values = inner(layout, cols) if rows * cols else np.zeros(0, np.float32)
    for plane in names(layout):
        del arrays[f"{name}/{plane}"]
    return values.reshape(shape)
