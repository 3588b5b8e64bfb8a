"""Threads that take the parts of a job one after another."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay, for each has buffers of its own, which cost more to get than a tile does."""
    return ThreadPoolExecutor(threads, "qformat-crew")


def in_threads(work: Callable[[Part], Made], parts: Iterable[Part], threads: int) -> list[Made]:
    """What ``work`` gives for each part, in order; the error of the first that has one is raised.

    A thread takes its next part itself: to be handed one by another thread takes as long as a small part.
    """
    left = collections.deque(enumerate(parts))
    found: dict[int, Made] = {}
    errors: dict[int, Exception] = {}

    def run() -> None:
        while left:
            try:
                i, part = left.popleft()
            except IndexError:
                return  # another thread was faster
            try:
                found[i] = work(part)
            except Exception as error:  # noqa: BLE001  it is raised below
                errors[i] = error
                left.clear()

    try:
        for future in [_pool(threads).submit(run) for _ in range(threads)]:
            future.result()
    finally:
        left.clear()
    if errors:
        raise errors[min(errors)]
    return [found[i] for i in sorted(found)]
