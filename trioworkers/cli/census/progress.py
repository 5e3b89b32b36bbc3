"""The live line: how far the census has come, on a terminal."""

from __future__ import annotations

import math
import shutil
from types import TracebackType
from typing import Self, TextIO

import attrs
import trio

from .tally import Tally

INTERVAL = 0.1


@attrs.define
class Progress:
    """Draws one line over and over, at most ten times a second, and wipes it at the end; does nothing if nobody would see it.

    ::

        with Progress(sys.stderr) as progress:
            progress.show(tally)

    Args:
        stream: Where to; only a terminal gets anything.
    """

    _stream: TextIO
    _due: float = attrs.field(default=math.inf, init=False)
    _width: int = attrs.field(default=0, init=False)

    def __enter__(self) -> Self:
        """Look at the terminal once."""
        if self._stream.isatty():
            self._due = -math.inf
            self._width = shutil.get_terminal_size().columns - 1
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        """Wipe the line."""
        if self._width:
            self._write("", end="\r")

    def show(self, tally: Tally) -> None:
        """Draw the line, unless that was done a moment ago."""
        now = trio.current_time()
        if now >= self._due:
            self._due = now + INTERVAL
            self._write(line(tally))

    def _write(self, text: str, end: str = "") -> None:
        self._stream.write(f"\r{text[: self._width]:<{self._width}}{end}")
        self._stream.flush()


def line(tally: Tally) -> str:
    """Return how far it is, in words."""
    of_all = "" if tally.expected is None else f" of {tally.expected:,}"
    failed = f", {len(tally.failed):,} failed" if tally.failed else ""
    return f"{tally.seen:,}{of_all} files, {tally.total.lines:,} lines{failed}"
