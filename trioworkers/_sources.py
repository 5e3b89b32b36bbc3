"""Where identifiers and wall-clock times come from: the only module that may ask the outside world for either."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable

IdSource = Callable[[], str]
WallClock = Callable[[], float]

_numbers: dict[str, itertools.count[int]] = {}


def random_ids() -> IdSource:
    """Return a source of ids that no other source in any process repeats: a random prefix and a counter.

    One call costs a fraction of a microsecond; a UUID per job would cost as much as a trio tick.
    """
    prefix = os.urandom(6).hex()
    counter = itertools.count(1)
    return lambda: f"{prefix}-{next(counter)}"


def random_name(kind: str) -> str:
    """Return ``kind`` and eight random hexadecimal digits."""
    return f"{kind}-{os.urandom(4).hex()}"


def numbered_name(kind: str) -> str:
    """Return ``kind`` and the next number, unique in this process."""
    return f"{kind}#{next(_numbers.setdefault(kind, itertools.count(1)))}"


def wall_clock() -> float:
    """Return Unix time in seconds."""
    return time.time()
