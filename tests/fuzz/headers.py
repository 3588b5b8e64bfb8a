"""Fuzz the readers of GGUF, safetensors and container headers with atheris (libFuzzer).

Only `QFormatError` may come out of any file, within bounded memory and time. The seeds are small
valid files of each kind; a corpus folder keeps what reached new code.

Run: ``pip install atheris``, then ``python tests/fuzz/headers.py [CORPUS] [-max_total_time=300]``.
"""

import contextlib
import json
import struct
import sys
import tempfile
from pathlib import Path

LIMITS = ["-rss_limit_mb=1500", "-malloc_limit_mb=600", "-timeout=10", "-max_len=4096"]


def seeds(folder):
    """Small valid files, and one that is cut short."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from gguf_bytes import BOOL, F32, STRING, array, info, pair, strings, text, u32, whole

    pairs = [
        pair("general.architecture", STRING, text("llama")),
        u32("general.alignment", 32),
        strings("tokenizer.ggml.tokens", ["a", "bc", "", "word", "é"] * 12),
        array("scores", F32, 2, bytes(8)),
        array("flags", BOOL, 2, b"\0\1"),
    ]
    infos = [info("a", [8, 2], 0, 0), info("b", [32, 2], 2, 64), info("c", [3], 77, 128)]
    found = {"m.gguf": whole(pairs, infos, bytes(140))}
    header = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    raw = json.dumps(header).encode()
    found["a.safetensors"] = struct.pack("<Q", len(raw)) + raw + bytes(8)
    accept = Path(__file__).parents[1] / "spec" / "accept"
    found |= {p.name: p.read_bytes() for p in accept.glob("*.safetensors") if p.stat().st_size < 4096}
    for name, data in found.items():
        (folder / name).write_bytes(data)
    return folder


def exercise(path):
    """Open a file and read everything that can be read of it."""
    from qformat.convert.verify import verify
    from qformat.errors import QFormatError
    from qformat.files.editing import edit
    from qformat.files.opening import open_checkpoint

    with contextlib.suppress(QFormatError):
        found = open_checkpoint(path)
        for name, tensor in found.tensors.items():
            for plane, stored in tensor.planes.items():
                assert found.plane(name, plane).nbytes == stored.nbytes
        for value in getattr(found, "keyvalues", {}).values():
            with contextlib.suppress(QFormatError):
                decoded = value.read()
                assert not value.is_array or len(list(decoded)) == len(decoded)
        verify(found, threads=1)
        edit(path, {"fuzz.key": "value"}, dry_run=True)


def main():
    import atheris

    with atheris.instrument_imports(include=["qformat"]):
        import qformat.convert.verify
        import qformat.files.editing
        import qformat.files.gguf.editing
        import qformat.files.metadata_editing  # noqa: F401

    scratch = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        path = Path(name) / "input"
        first = Path(name) / "seeds"
        first.mkdir()
        seeds(first)

        def one(data):
            path.write_bytes(data)
            exercise(path)

        corpus = [a for a in sys.argv[1:] if not a.startswith("-")] or [str(Path(name) / "corpus")]
        Path(corpus[0]).mkdir(parents=True, exist_ok=True)
        options = [a for a in sys.argv[1:] if a.startswith("-")]
        atheris.Setup([sys.argv[0], *corpus, str(first), *LIMITS, *options], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
