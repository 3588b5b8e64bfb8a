"""One tensor in a few lines, without reading it."""

from __future__ import annotations

from qformat.files.checkpoint import TensorInfo
from qformat.text import shape


def tensor_facts(info: TensorInfo) -> list[tuple[str, str]]:
    """Names and values as people read them."""
    found = [("shape", shape(info.shape)), ("type", info.dtype), ("bytes", f"{info.nbytes:,}")]
    found.append(("bits per weight", f"{info.bpw:.3f}"))
    if info.scheme:
        provider = info.scheme.provider
        found += [
            ("scheme", info.scheme.spec()),
            ("version", f"{info.scheme.version}, from {provider.distribution} {provider.version}"),
            ("block", f"{info.scheme.block} values"),
        ]
    error = (info.note or {}).get("error")
    if isinstance(error, dict):
        found += [(f"cost: {name}", f"{value}") for name, value in error.items()]
    for name, plane in info.planes.items():
        where = f"{plane.dtype} {shape(plane.shape)}, {plane.nbytes:,} bytes at {plane.data_offset:,}"
        found.append((name or "values", where))
    return found
