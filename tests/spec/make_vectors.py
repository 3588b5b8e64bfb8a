"""Makes the vectors of specs/container.md, without qformat: `python tests/spec/make_vectors.py`.

Every file is built by hand with struct and json; expected values come from Python floats that are
rounded to binary32 after each operation (which, for one operation on binary32, is one rounding).
"""

import hashlib
import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np

HERE = Path(__file__).parent
FLOATS = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sha(data):
    return hashlib.sha256(data).hexdigest()


def one(x):
    """Rounded to binary32, subnormals to zero."""
    x = float(np.float32(x))
    return x if abs(x) >= 2.0**-126 else 0.0


class Numbers:
    """A small deterministic generator, the same on every platform."""

    def __init__(self, seed):
        self.state = seed * 2654435761 % (1 << 32)

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) % n


def pack(row, bits):
    """One row of codes to bytes, as one large integer."""
    word = sum((code & (1 << bits) - 1) << i * bits for i, code in enumerate(row))
    return word.to_bytes(-(-len(row) * bits // 8), "little")


# --- tensors ------------------------------------------------------------------------------------


def codes(plane, bits, signed=False):
    return {"plane": plane, "bits": bits, "signed": signed}


def floats(plane, dtype="F16"):
    return {"plane": plane, "dtype": dtype}


def affine(bits, *, signed=True, scale="F16", zero=False, block=32, prefix=""):
    node = {"kind": "affine", "block": block, "codes": codes(prefix + "codes", bits, signed)}
    node["scale"] = scale if isinstance(scale, dict) else floats(prefix + "scales", scale)
    if zero:
        node["zero_point"] = codes(prefix + "zero_points", bits, signed)
    return node


def scale_min(bits, *, scale="F16", block=32):
    return {"kind": "scale-min", "block": block, "codes": codes("codes", bits)} | {
        "scale": floats("scales", scale),
        "min": floats("mins", scale),
    }


class Coded:
    """A tensor with random planes, and the values that they stand for."""

    def __init__(self, name, shape, layout, numbers):
        self.name, self.shape, self.layout, self.numbers = name, shape, layout, numbers
        self.lead, self.cols = list(shape[:-1]), shape[-1] if shape else 1
        self.planes = {}
        rows = int(np.prod(self.lead)) if self.lead else 1
        # Planes are made row by row; each row's bytes are appended.
        self.values = [v for _ in range(rows) for v in self.inner(layout, self.cols)]
        if not rows:
            self.inner(layout, self.cols, dry=True)

    def part(self, node, count, dry, kind):
        if "kind" in node:
            return self.inner(node, count, dry)
        if "dtype" in node:
            base = {"scales": 0.01, "mins": -0.3}.get(kind, 0.5)
            items = [base * (1 + self.numbers.below(1000) / 700) for _ in range(count)]
            stored = np.array(items, np.float32).astype(FLOATS[node["dtype"]])
            entry = (node["dtype"], [*self.lead, count])
            data, items = stored.tobytes(), [one(float(x)) for x in stored]
        else:
            low = -(1 << node["bits"] - 1) if node["signed"] else 0
            items = [low + self.numbers.below(1 << node["bits"]) for _ in range(count)]
            data = pack(items, node["bits"])
            entry = ("U8", [*self.lead, len(data)])
        old = self.planes.get(node["plane"], (*entry, b""))
        self.planes[node["plane"]] = (*entry, old[2] + (b"" if dry else data))
        return items

    def inner(self, node, count, dry=False):
        items = self.part(node["codes"], count, dry, "codes")
        groups = -(-count // node["block"])
        scale = self.part(node["scale"], groups, dry, "scales")
        out = []
        other = None
        for role in ("zero_point", "min"):
            if role in node:
                other = self.part(node[role], groups, dry, role + "s")
        for i, code in enumerate(items):
            s = scale[i // node["block"]]
            if node["kind"] == "codebook":
                out.append(one(s * one(node["table"][code])))
            elif node["kind"] == "scale-min":
                out.append(one(one(s * code) + other[i // node["block"]]))
            else:
                out.append(one(s * (code - (other[i // node["block"]] if other else 0))))
        return out


class Plain:
    """A tensor stored as it is."""

    def __init__(self, name, array, dtype):
        self.name, self.shape, self.dtype = name, list(array.shape), dtype
        self.data = array.tobytes()
        self.values = [float(x) for x in array.astype(np.float32).reshape(-1)]


# --- files --------------------------------------------------------------------------------------


def record(name, layout):
    provider = {"distribution": "vectors", "version": "1"}
    return {"id": name, "version": 1, "options": {}, "provider": provider, "layout": layout}


def envelope(entries, metadata, pads, *, align=True):
    """A safetensors file of (name, dtype, shape, bytes), and the number of pads so far."""
    header, data = {"__metadata__": metadata}, b""
    for name, dtype, shape, raw in entries:
        if align and raw and -len(data) % 64:
            gap = -len(data) % 64
            header[f"qformat.pad/{pads}"] = entry("U8", [gap], len(data), gap)
            data, pads = data + bytes(gap), pads + 1
        header[name] = entry(dtype, shape, len(data), len(raw))
        data += raw
    return with_header(json.dumps(header, separators=(",", ":")), data), pads


def entry(dtype, shape, begin, size):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + size]}


def with_header(text, data):
    raw = text.encode()
    raw += b" " * (-(8 + len(raw)) % 64)
    return struct.pack("<Q", len(raw)) + raw + data


def container(groups, schemes, files=None, *, align=True):
    """The files of a container, one per group of tensors."""
    shared = {"format": "pt", "qformat": "1", "qformat.schemes": json.dumps(schemes, separators=(",", ":"))}
    shared["qformat.provenance"] = "{}"
    lines = [canonical(["metadata", k, v]) for k, v in shared.items()]
    parts = []
    for i, tensors in enumerate(groups):
        notes, entries = {}, []
        for t in tensors:
            if isinstance(t, Plain):
                entries.append((t.name, t.dtype, t.shape, t.data))
                continue
            index = next(j for j, s in enumerate(schemes) if s["layout"] == t.layout)
            notes[t.name] = {"scheme": index, "shape": list(t.shape), "dtype": "F32"}
            entries += [(f"{t.name}/{p}", d, s, raw) for p, (d, s, raw) in t.planes.items()]
        if i == 0:
            entries += [(f"qformat.file/{n}", "U8", [len(raw)], raw) for n, raw in (files or {}).items()]
        digests = {name: sha(raw) for name, _, _, raw in entries}
        lines += [canonical(["tensor", n, note]) for n, note in notes.items()]
        lines += [canonical(["stored", n, d, list(s), digests[n]]) for n, d, s, _ in entries]
        parts.append((entries, {"qformat.tensors": canonical(notes), "qformat.digests": canonical(digests)}))
    content = sha("\n".join(sorted(lines)).encode())
    made, pads = [], 0
    for entries, own in parts:
        metadata = {**shared, **own, "qformat.content": content}
        raw, pads = envelope(entries, metadata, pads, align=align)
        made.append(raw)
    return made, content


NF3 = [-1.0, -0.5, -0.25, 0.0, 0.125, 0.3, 0.6, 1.0]


def accept():
    """Name -> bytes, and file -> tensor -> values."""
    made, expected = {}, {}

    def add(name, tensors, ids, **kw):
        layouts = []
        for t in tensors:
            if isinstance(t, Coded) and t.layout not in layouts:
                layouts.append(t.layout)
        schemes = [record(i, layout) for i, layout in zip(ids, layouts, strict=True)]
        (made[name + ".safetensors"],), _ = container([tensors], schemes, **kw)
        note(name + ".safetensors", tensors)

    def note(file, tensors):
        expected[file] = {
            t.name: {"shape": list(t.shape), "bits": struct.pack(f">{len(t.values)}f", *t.values).hex()}
            for t in tensors
        }

    n = Numbers(1)
    for bits in (8, 4, 2):
        add(f"sym{bits}", [Coded("w", [2, 37], affine(bits), n)], [f"sym{bits}"])
        add(f"asym{bits}", [Coded("w", [2, 37], affine(bits, zero=True), n)], [f"asym{bits}"])
    add("asym4-min", [Coded("w", [3, 33], scale_min(4), n)], ["asym4"])
    add(
        "scales-f32-bf16",
        [Coded("a", [2, 40], affine(4, scale="F32"), n), Coded("b", [2, 40], scale_min(2, scale="BF16"), n)],
        ["sym4", "asym2"],
    )
    odd = affine(3, signed=False, zero=True, block=5)
    add("bits-3", [Coded("w", [3, 11], odd, n)], ["odd3"])
    add(
        "bits-5-6",
        [Coded("a", [2, 13], affine(5), n), Coded("b", [2, 13], affine(6, block=4), n)],
        ["q5", "q6"],
    )
    add(
        "bits-1-7", [Coded("a", [9], affine(1, signed=False), n), Coded("b", [9], affine(7), n)], ["q1", "q7"]
    )
    shapes = {"scalar": [], "vector": [7], "cube": [2, 3, 10], "no rows": [0, 5], "no columns": [3, 0]}
    add("shapes", [Coded(k, s, affine(4, zero=True), n) for k, s in shapes.items()], ["asym4"])
    grid = np.array([[1.5, -2.25, 3e-39], [0.1, -0.0, 6.0]])
    plain = [Plain(d.lower(), grid.astype(t), d) for d, t in FLOATS.items()]
    add("kept", [*plain, Coded("w", [4, 8], affine(8), n)], ["sym8"], files={"config.json": b"{}\n"})
    add("unaligned", [Coded("w", [4, 9], affine(4), n), plain[0]], ["sym4"], align=False)
    nested = affine(6, block=4, prefix="scales.")
    book = {"kind": "codebook", "block": 8, "codes": codes("codes", 3), "scale": nested, "table": NF3}
    add("codebook-nested", [Coded("w", [2, 75], book, n)], ["nf3"])
    deep = scale_min(4, block=8)
    deep |= {"scale": affine(6, signed=False, block=4, prefix="scales.")}
    deep |= {"min": affine(6, block=4, prefix="mins.")}
    add("superblock", [Coded("w", [2, 70], deep, n)], ["k4"])
    add("escapes", [Coded("red \x1b[31m\n\u00e9", [3], affine(4), n)], ["sym4"])
    pair = [[Coded("a", [2, 9], affine(4), n)], [Coded("b", [5], affine(4), n), plain[0]]]
    files, content = container(pair, [record("sym4", affine(4))], files={"config.json": b"{}"})
    names = ["set/model-00001-of-00002.safetensors", "set/model-00002-of-00002.safetensors"]
    made |= dict(zip(names, files, strict=True))
    weight_map = {
        "a/codes": 1,
        "a/scales": 1,
        "b/codes": 2,
        "b/scales": 2,
        "f32": 2,
        "qformat.file/config.json": 1,
    }
    listed = {k: names[i - 1].removeprefix("set/") for k, i in weight_map.items()}
    index = {"metadata": {"qformat.content": content, "total_size": 0}, "weight_map": listed}
    index["metadata"]["total_size"] = total(files)
    made["set/model.safetensors.index.json"] = (json.dumps(index, indent=1) + "\n").encode()
    note("set", [t for group in pair for t in group])
    made["values.json"] = (json.dumps(expected, indent=1) + "\n").encode()
    return made


def total(files):
    """Bytes of everything after the headers."""
    return sum(len(f) - 8 - struct.unpack("<Q", f[:8])[0] for f in files)


def refuse():
    """Name -> bytes, with reasons.json: file -> a part of what is said about it."""
    made, reasons = {}, {}
    tensor = Coded("w", [2, 37], affine(4), Numbers(7))
    good = container([[tensor]], [record("sym4", affine(4))])[0][0]
    start = 8 + struct.unpack("<Q", good[:8])[0]
    text, data = good[8:start].decode().rstrip(), good[start:]
    header = json.loads(text)
    meta = header["__metadata__"]

    def add(name, raw, reason):
        made[name] = raw
        reasons[name] = reason

    def changed(name, reason, change):
        value = json.loads(text)
        change(value)
        add(name, with_header(json.dumps(value, separators=(",", ":")), data), reason)

    def meta_json(key, change):
        def apply(value):
            inner = json.loads(value["__metadata__"][key])
            change(inner)
            value["__metadata__"][key] = canonical(inner)

        return apply

    def layout(name, reason, change):
        changed(name, reason, meta_json("qformat.schemes", lambda s: change(s[0]["layout"])))

    def descriptor(name, reason, **members):
        changed(name, reason, meta_json("qformat.tensors", lambda t: t["w"].update(members)))

    add("empty.safetensors", b"", "empty")
    add("cut-in-length.safetensors", good[:5], "neither")
    add("cut-after-length.safetensors", good[:8], "neither")
    add("cut-in-header.safetensors", good[:100], "the header claims")
    add("cut-in-data.safetensors", good[:-3], "cut short")
    add("trailing.safetensors", good + b"\0", "follow the last tensor")
    add("header-too-long.safetensors", struct.pack("<Q", len(good)) + good[8:], "the header claims")
    add("header-huge.safetensors", struct.pack("<Q", (1 << 64) - 1) + good[8:], "neither")
    add("header-over-limit.safetensors", struct.pack("<Q", 100_000_001) + good[8:], "neither")
    add("header-not-json.safetensors", with_header("{]", b""), "not valid JSON")
    add("header-not-utf8.safetensors", good.replace(b'"w/codes"', b'"\xff/codes"'), "not valid UTF-8")
    add("header-array.safetensors", with_header("[1]", b""), "neither")
    add("nested-json.safetensors", with_header('{"a":' * 3000 + "1" + "}" * 3000, b""), "header")
    add("nan.safetensors", with_header(text.replace('"shape":[2,19]', '"shape":[NaN]'), data), "NaN")
    twice = text[:-1] + ',"w/codes":' + json.dumps(header["w/codes"]) + "}"
    add("duplicate-tensor.safetensors", with_header(twice, data), "stands twice")
    twice = text.replace('"qformat":"1"', '"qformat":"1","qformat":"1"')
    add("duplicate-metadata.safetensors", with_header(twice, data), "stands twice")

    def shift(by):
        def apply(value):
            last = value["w/scales"]["data_offsets"]
            value["w/scales"]["data_offsets"] = [last[0] + by, last[1] + by]

        return apply

    changed("hole.safetensors", "leaves a hole", shift(2))
    changed("overlap.safetensors", "overlaps", shift(-2))
    changed("unknown-dtype.safetensors", "unknown", lambda v: v["w/codes"].update(dtype="Q4"))
    changed("negative-shape.safetensors", "non-negative", lambda v: v["w/codes"].update(shape=[-2, -19]))
    changed("shape-overflow.safetensors", "2**63", lambda v: v["w/codes"].update(shape=[1 << 40, 1 << 40]))
    changed("bool-shape.safetensors", "non-negative", lambda v: v["w/codes"].update(shape=[True, 38]))
    changed("wrong-size.safetensors", "its offsets span", lambda v: v["w/codes"].update(shape=[2, 18]))
    changed("extra-member.safetensors", "must have exactly", lambda v: v["w/codes"].update(x=1))
    changed(
        "wrong-plane-shape.safetensors",
        "its shape and scheme need",
        lambda v: v["w/codes"].update(shape=[38]),
    )
    changed("metadata-not-strings.safetensors", "strings", lambda v: v["__metadata__"].update(a=1))
    for key in ("qformat", "qformat.schemes", "qformat.tensors", "qformat.digests", "qformat.content"):
        name = f"no-{key.replace('.', '-')}.safetensors"
        changed(name, f"lacks '{key}'", lambda v, key=key: v["__metadata__"].pop(key))
    changed("no-provenance.safetensors", "lacks", lambda v: v["__metadata__"].pop("qformat.provenance"))
    changed("newer.safetensors", "version '2'", lambda v: v["__metadata__"].update(qformat="2"))
    changed(
        "schemes-object.safetensors",
        "wrong type",
        lambda v: v["__metadata__"].update({"qformat.schemes": "{}"}),
    )
    changed("no-digest.safetensors", "do not match", meta_json("qformat.digests", lambda d: d.pop("w/codes")))
    changed("odd-digest.safetensors", "do not match", meta_json("qformat.digests", lambda d: d.update(z="0")))
    descriptor("scheme-out-of-range.safetensors", "index into", scheme=1)
    descriptor("scheme-true.safetensors", "index into", scheme=True)
    descriptor("descriptor-bool.safetensors", "non-negative", shape=[True, 37])
    bad = {"qformat.provenance": "{"}
    changed("provenance-not-json.safetensors", "not valid JSON", lambda v: v["__metadata__"].update(bad))
    plain = Plain("w", np.zeros(3, np.float32), "F32")
    both, _ = container([[tensor, plain]], [record("sym4", affine(4))])
    add("coded-and-plain.safetensors", both[0], "both coded and plain")
    descriptor("descriptor-shape.safetensors", "non-negative", shape=[2, -37])
    descriptor("descriptor-rows.safetensors", "its shape and scheme need", shape=[3, 37])
    descriptor("descriptor-dtype.safetensors", "number type", dtype="BOOL")
    changed(
        "missing-plane.safetensors",
        "is missing",
        meta_json("qformat.schemes", lambda s: s[0]["layout"].update(zero_point=codes("zero_points", 4))),
    )
    changed(
        "not-stored.safetensors",
        "not stored",
        meta_json("qformat.tensors", lambda t: t.update(other={"source": "0"})),
    )
    layout("bad-kind.safetensors", "one of affine", lambda v: v.update(kind="linear"))
    layout("bits-0.safetensors", "from 1 to 8", lambda v: v["codes"].update(bits=0))
    layout("bits-9.safetensors", "from 1 to 8", lambda v: v["codes"].update(bits=9))
    layout("block-0.safetensors", "from 1 to", lambda v: v.update(block=0))
    layout("block-huge.safetensors", "from 1 to", lambda v: v.update(block=1 << 21))
    layout("unknown-member.safetensors", "unknown members", lambda v: v.update(bias=1))
    layout("plane-name.safetensors", "one of codes", lambda v: v["codes"].update(plane="../codes"))
    layout("scale-dtype.safetensors", "one of F32", lambda v: v["scale"].update(dtype="I8"))
    layout("no-codes.safetensors", "must be a JSON object", lambda v: v.pop("codes"))
    layout("table-length.safetensors", "16 numbers", lambda v: v.update(kind="codebook", table=[0.0] * 15))
    layout(
        "table-signed.safetensors", "must be unsigned", lambda v: v.update(kind="codebook", table=[0.0] * 16)
    )

    def nest(v):
        inner = v
        for depth in range(1, 5):
            prefix = "scales." * depth
            inner["scale"] = affine(4, prefix=prefix)
            inner = inner["scale"]

    layout("nested-too-deep.safetensors", "deep", nest)

    at = start + header["w/codes"]["data_offsets"][0] + 5
    add("flipped-data.safetensors", flip(good, at), "do not match its digest")
    add("flipped-spare.safetensors", flip(good, start + 18, 7), "do not match its digest")
    add("flipped-pad.safetensors", flip(good, start + 40), "padding is not zero")
    add("flipped-metadata.safetensors", good.replace(b'"pt"', b'"pu"'), "content digest")
    add("flipped-descriptor.safetensors", good.replace(b'\\"F32\\"', b'\\"F16\\"'), "content digest")
    add("flipped-content.safetensors", good.replace(*other_digit(meta["qformat.content"])), "content digest")
    escaped = container([[Coded("\u00e9\x1b", [3], affine(4), Numbers(8))]], [record("sym4", affine(4))])[0][
        0
    ]
    add(
        "flipped-escape.safetensors",
        escaped.replace(b'"\\u00e9\\u001b/codes":{', b'"\\u00E9\\u001b/codes":{'),
        "escape",
    )
    add("flipped-inner-escape.safetensors", escaped.replace(b"\\\\u001b\\", b"\\\\u001B\\", 1), "canonical")
    odd = container([[tensor]], [record("sym4", affine(4))], files={"../x": b"x"})[0][0]
    add("attached-path.safetensors", odd, "no plain file name")
    pair = [[Coded("a", [9], affine(4), Numbers(9))], [Coded("b", [5], affine(4), Numbers(9))]]
    both, content = container(pair, [record("sym4", affine(4))])
    first, last = "x-1-of-2.safetensors", "x-2-of-2.safetensors"
    listed = {"a/codes": first, "a/scales": first, "b/codes": last, "b/scales": last}
    for folder, size, reason in (("set-size", 1, "total_size"), ("set-names", total(both), "does not list")):
        names = listed if folder == "set-size" else {k: v for k, v in listed.items() if k != "b/codes"}
        index = {"metadata": {"qformat.content": content, "total_size": size}, "weight_map": names}
        made |= {f"{folder}/{first}": both[0], f"{folder}/{last}": both[1]}
        add(f"{folder}/x.safetensors.index.json", json.dumps(index).encode(), reason)
    index = {"weight_map": {"w": "../x.safetensors"}}
    add("outside.safetensors.index.json", json.dumps(index).encode(), "not a plain file name")
    index = {"weight_map": {"w": "none.safetensors"}}
    add("missing-shard.safetensors.index.json", json.dumps(index).encode(), "is missing")
    made["reasons.json"] = (json.dumps(reasons, indent=1) + "\n").encode()
    return made


def flip(raw, at, bit=0):
    return raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]


def other_digit(digest):
    """A digest, and one that differs in a digit, as bytes."""
    return digest.encode(), (("1" if digest[0] != "1" else "2") + digest[1:]).encode()


def vectors():
    """Every file of both folders, by its path below this one."""
    made = {f"accept/{name}": raw for name, raw in accept().items()}
    return made | {f"refuse/{name}": raw for name, raw in refuse().items()}


if __name__ == "__main__":
    for name, raw in vectors().items():
        (HERE / name).parent.mkdir(parents=True, exist_ok=True)
        (HERE / name).write_bytes(raw)
