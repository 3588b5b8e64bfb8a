"""How soon `qformat tui` paints, and how soon it answers a key, measured at its terminal.

A file of 150,000 tokens and 100,000 tensors is opened in a pseudo-terminal. First paint is the time from
starting the command to the bytes of the first tensor's name; key-to-paint that from writing a key to the
first byte of what it changes: while scrolling that list, and while a model is measured. Beside first paint
stands that of a Textual program which shows one line and nothing else, in turn with it: less cannot be had.

Run: ``python benchmarks/tui.py [--rounds 7] [--keys 60] [FILE]``.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import random
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE_DOWN, PAGE_UP = b"\x1b[6~", b"\x1b[5~"
FIRST = b"blk.0.ffn_0"
BARE = """
from textual.app import App
from textual.widgets import Static

class Bare(App):
    def compose(self):
        yield Static("blk.0.ffn_0")

Bare().run()
"""


def make(path: Path, tokens: int, tensors: int) -> None:
    """A vocabulary, and as many small tensors."""
    from qformat.files.gguf.building import NewTensor, Typed, lay_out
    from qformat.files.gguf.types import BY_NAME, ValueType
    from qformat.files.gguf.writing import write_file

    pick = random.Random(1)
    words = ["".join(pick.choices("etaoinshrdlu", k=pick.randint(1, 12))) for _ in range(tokens)]
    pairs = [
        ("general.architecture", Typed(ValueType.STRING, "llama")),
        ("tokenizer.ggml.tokens", Typed(ValueType.STRING, words, array=True)),
    ]
    q4_k = BY_NAME["q4_k"]
    infos = [NewTensor(f"blk.{i // 100}.ffn_{i % 100}_exps.weight", q4_k, (1, 256)) for i in range(tensors)]
    write_file(path, lay_out(pairs, infos), lambda _: bytes(144), overwrite=True)


class Screen:
    """A Python program in a pseudo-terminal of 160 by 50."""

    def __init__(self, *args: object) -> None:
        self.started = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", COLUMNS="160", LINES="50")
            os.execv(sys.executable, [sys.executable, *map(str, args)])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))

    def wait_for(self, text: bytes, limit: float = 60) -> float:
        """Read until some text was painted; the moment when it was."""
        seen = b""
        while text not in seen:
            if not select.select([self.fd], [], [], limit)[0]:
                raise TimeoutError(f"{text!r} did not appear after {seen[-400:]!r}")
            seen = seen[-4096:] + os.read(self.fd, 1 << 16)
        return time.perf_counter()

    def drain(self, quiet: float) -> None:
        """Read until nothing comes for a while."""
        while select.select([self.fd], [], [], quiet)[0]:
            os.read(self.fd, 1 << 16)

    def press(self, key: bytes, text: bytes = b"") -> float:
        """Seconds from a key to its paint."""
        start = time.perf_counter()
        os.write(self.fd, key)
        return self.wait_for(text, 10) - start if text else self._first_byte(start)

    def _first_byte(self, start: float) -> float:
        select.select([self.fd], [], [], 10)
        end = time.perf_counter()
        self.drain(0.02)
        return end - start

    def write(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def tui(*args: object) -> Screen:
    return Screen("-m", "qformat", "tui", *args)


def first_paint(screen: Screen) -> float:
    try:
        return screen.wait_for(FIRST) - screen.started
    finally:
        screen.close()


def scrolling(path: Path, keys: int) -> list[float]:
    screen = tui(path)
    try:
        screen.wait_for(FIRST)
        screen.drain(2)
        return [screen.press(PAGE_DOWN if i % 10 < 8 else PAGE_UP) for i in range(keys)]
    finally:
        screen.close()


def measuring(model: Path, original: Path, text: Path, keys: int) -> list[float]:
    """Letters into a field, timed to their paint, while figures are computed."""
    screen = tui(model, "--original", original)
    try:
        screen.drain(2)
        screen.write("e")
        screen.wait_for(b"windows, all")
        screen.write(str(text))
        screen.drain(0.5)
        screen.write("\r")
        screen.wait_for(b"windows, 0", 30)
        # Figures and the cursor are painted all the time: three letters that never stood together tell.
        typed = bytes(random.Random(2).choices(b"ZQXJWVYGH", k=keys + 2))
        screen.write(typed[:2].decode())
        screen.drain(0.1)
        return [screen.press(typed[i : i + 1], typed[i - 2 : i + 1]) for i in range(2, keys + 2)]
    finally:
        screen.close()


def show(label: str, times: list[float], bound: float | None = None) -> None:
    found = sorted(t * 1000 for t in times)
    tail = found[int(len(found) * 0.95)] if len(found) > 20 else found[-1]
    print(
        f"{label:<38} median {statistics.median(found):6.1f} ms  "
        f"(min {found[0]:.1f}, 95% {tail:.1f}, max {found[-1]:.1f}{f'; bound {bound:g}' if bound else ''})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="an own file instead of the made one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keys", type=int, default=60)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users' programs are compiled once, not each time
        path = chosen.file or Path(folder) / "huge.gguf"
        if not chosen.file:
            make(path, 150_000, 100_000)
        sample, box = ROOT / "samples" / "village", Path(folder) / "asym4.safetensors"
        convert = ["-m", "qformat", "convert", sample, box, "-s", "asym4", "-q"]
        subprocess.run([sys.executable, *convert], check=True)
        paints = [(first_paint(Screen("-c", BARE)), first_paint(tui(path))) for _ in range(chosen.rounds + 1)]
        bare, ours = ([t[i] for t in paints[1:]] for i in (0, 1))
        show("first paint", ours, 700)
        show("first paint of a bare Textual program", bare)
        show("key to paint, scrolling", scrolling(path, chosen.keys), 50)
        text = ROOT / "samples" / "heldout.txt"
        show("key to paint, while measuring", measuring(box, sample, text, chosen.keys), 50)


if __name__ == "__main__":
    main()
