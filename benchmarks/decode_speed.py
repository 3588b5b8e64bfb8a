"""Making tokens: 4- and 8-bit files against bf16 in this program, and each against llama.cpp, in turn.

A random Llama of 110 million parameters is in memory in every form at once, and each form makes some
tokens in every round. The bf16 file is run both ways that this program has, with its numbers as they are and
widened to float32 once; the quicker of both is what the others are held against. llama.cpp runs the same
GGUF files. Needs an environment with llama-cpp-python; on more than two processors, two are to be given:

    taskset -c 0,1 python benchmarks/decode_speed.py [--rounds 5] [--tokens 32]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from llama_model import model

import qformat
from qformat.evaluate.runners import LLAMA_CPP, OURS, runner
from qformat.evaluate.speed import Timed, take_turns
from qformat.schemes.cores import cores

FOLDER = Path(tempfile.gettempdir()) / "qformat-bench"
PROMPT, FORMS = 16, ("bf16", "q8_0", "q4_0", "q4_k")
BOUNDS = {"q8_0": 1.3, "sym8": 1.3, "q4_0": 1.6, "sym4": 1.6}


def container(scheme: str) -> Path:
    path = FOLDER / f"{scheme}.safetensors"
    if not path.exists():
        qformat.convert(model(FOLDER, "f32"), path, scheme)
    return path


def contestants() -> list[tuple[str, str, Path, str]]:
    """Name, engine, file and dtype of all that take turns."""
    files = {form: model(FOLDER, form) for form in FORMS}
    found = [("bf16 in f32", OURS, files["bf16"], "f32")]
    found += [(form, OURS, path, "bf16" if form == "bf16" else "f32") for form, path in files.items()]
    found += [(scheme, OURS, container(scheme), "f32") for scheme in ("sym8", "sym4")]
    return found + [(form, LLAMA_CPP, path, "") for form, path in files.items()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    found: dict[tuple[str, str], Timed] = {}
    runners = []
    for name, engine, path, dtype in contestants():
        room = PROMPT + args.tokens
        one = runner(engine, qformat.open(path), room=room, dtype=dtype or "f32", threads=cores())
        runners.append(one)
        found[name, engine] = Timed(str(path), engine, one.weight_bytes, PROMPT, args.tokens)
    take_turns(runners, list(found.values()), args.rounds, None)
    for (name, engine), timed in found.items():
        speed = timed.decode
        print(
            f"{engine:9}  {name:11}  {timed.weight_bytes / 1e6:5.0f} MB  "
            f"{speed.median:6.1f} tokens/s ({speed.low:.1f} to {speed.high:.1f})"
        )
    bases = [found[name, OURS] for name in ("bf16", "bf16 in f32")]
    base = max(bases, key=lambda t: t.decode.median)
    for name, bound in BOUNDS.items():
        print_ratio(f"{name} to bf16", found[name, OURS], base, f" (to reach: {bound})")
    for form in FORMS:
        best = base if form == "bf16" else found[form, OURS]
        print_ratio(f"{form} to llama.cpp's", best, found[form, LLAMA_CPP])


def print_ratio(what: str, timed: Timed, base: Timed, bound: str = "") -> None:
    ratio = timed.times(base)
    print(f"{what}: {ratio.median:.2f} times ({ratio.low:.2f} to {ratio.high:.2f}){bound}")


if __name__ == "__main__":
    main()
