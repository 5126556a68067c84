"""A small coverage-guided fuzzer: what reaches a new step from line to line is kept and altered further.

Seeded, so a run can be had again. Written for octets that end up in a parser of a few hundred lines: tracing costs
nothing outside the files that are looked at.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

Edge = tuple[str, int, int]


class Coverage:
    """Steps from line to line in `files`."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = {str(path) for path in files}
        self._new: set[Edge] = set()
        self.seen: set[Edge] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def news(self) -> int:
        """How many steps were new since the last call."""
        fresh = self._new - self.seen
        self.seen |= fresh
        self._new = set()
        return len(fresh)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if name not in self._files:
            return None
        last = 0
        note = self._new.add

        def line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            nonlocal last
            note((name, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line


class Mutator:
    """Alters octets: in single bits, by words that the parser knows, by pieces of other inputs."""

    def __init__(self, random: Random, words: Sequence[bytes]) -> None:
        self._random = random
        self._words = words

    def __call__(self, octets: bytes, others: Sequence[bytes], most: int = 2000) -> bytes:
        result = bytearray(octets)
        for _ in range(self._random.choice((1, 1, 1, 2, 3, 8))):
            self._alter(result, others)
        return bytes(result[:most])

    def _alter(self, octets: bytearray, others: Sequence[bytes]) -> None:
        random = self._random
        at = random.randint(0, len(octets))
        to = min(len(octets), at + random.choice((1, 1, 2, 4, 16, 64)))
        match random.randrange(9):
            case 0:
                del octets[at:to]
            case 1 | 2:
                octets[at:at] = random.choice(self._words)
            case 3:
                octets[at:to] = random.choice(self._words)
            case 4:
                octets[at:at] = bytes(random.choices(range(256), k=random.choice((1, 2, 8))))
            case 5 if octets:
                octets[at % len(octets)] ^= 1 << random.randrange(8)
            case 6:
                octets[at:at] = octets[at:to] * random.choice((1, 2, 50))
            case 7:
                other = random.choice(others)
                start = random.randint(0, len(other))
                octets[at:at] = other[start : start + random.choice((4, 20, 200))]
            case _:
                lines = octets.split(b"\r\n")
                one, two = random.randrange(len(lines)), random.randrange(len(lines))
                lines[one], lines[two] = lines[two], lines[one]
                octets[:] = b"\r\n".join(lines)


def fuzz(
    run: Callable[[bytes], None],
    seeds: Sequence[bytes],
    *,
    words: Sequence[bytes],
    files: Sequence[Path],
    seconds: float,
    seed: int,
) -> str:
    """Runs until the time is over; `run` raises for what must not be. Returns what was done, in words.

    An input that fails is in the error's notes.
    """
    random = Random(seed)
    mutate = Mutator(random, words)
    coverage = Coverage(files)
    corpus: list[bytes] = []
    runs, end = 0, time.monotonic() + seconds

    def trial(octets: bytes) -> None:
        nonlocal runs
        runs += 1
        try:
            with coverage.watching():
                run(octets)
        except BaseException as error:
            error.add_note(f"seed {seed}, run {runs}, input {octets!r}")
            raise
        if coverage.news():
            corpus.append(octets)

    for octets in seeds:
        trial(octets)
    while time.monotonic() < end:
        # The newest more often than the oldest: they lead somewhere new.
        trial(mutate(corpus[-1 - int(random.random() ** 2 * len(corpus))], corpus))
    return f"{runs} runs, {len(coverage.seen)} steps, {len(corpus)} inputs kept"
