"""Unpack llama.cpp's vocabularies from the source archive of llama-cpp-python.

Run: ``python unpack_vocabularies.py FOLDER_OF_THE_ARCHIVE TARGET``.
"""

import sys
import tarfile
from pathlib import Path

WANTED = "models/ggml-vocab"


def unpack(folder, target):
    (archive,) = Path(folder).glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as source:
        for member in source:
            _, found, inside = member.name.partition("/vendor/llama.cpp/")
            if found and inside.startswith(WANTED):
                member.name = Path(inside).name
                source.extract(member, target, filter="data")


if __name__ == "__main__":
    unpack(*sys.argv[1:])
