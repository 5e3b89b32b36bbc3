"""Where identifiers and wall-clock times come from: the only module that may ask the outside world for either."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import attrs

IdSource = Callable[[], str]
NameSource = Callable[[str], str]
WallClock = Callable[[], float]


@attrs.frozen
class _Given:
    """What stands in for the outside world; ``None`` where nothing does."""

    new_id: IdSource | None = None
    names: NameSource | None = None
    clock: WallClock | None = None


_GIVEN: Final[ContextVar[_Given]] = ContextVar("trioworkers_sources", default=_Given())  # noqa: B039 - it is frozen


@contextmanager
def sources(*, new_id: IdSource | None = None, names: NameSource | None = None, clock: WallClock | None = None) -> Iterator[None]:
    """Make runs reproducible: buses, runners, registries and workers that are made in the block take what they make up from here.

    ::

        with sources(new_id=lambda: f"job-{next(numbers)}", names=lambda kind: f"{kind}-{next(numbers)}", clock=lambda: 0.0):
            trio.run(main)

    What is given to one of them by an argument (``new_id=``, ``name=``, ``clock=``) goes first.

    Args:
        new_id: Makes the ids of jobs; it must never repeat one.
        names: Makes a name of a kind: ``"runner"``, or the name of a worker's class; it must never repeat one.
        clock: Unix time in seconds.

    A source that is left out stays what it is.
    """
    around = _GIVEN.get()
    token = _GIVEN.set(_Given(new_id or around.new_id, names or around.names, clock or around.clock))
    try:
        yield
    finally:
        _GIVEN.reset(token)


def counted_ids(prefix: str) -> IdSource:
    """Return a source of ids that count: ``prefix-1``, ``prefix-2``."""
    counter = itertools.count(1)
    return lambda: f"{prefix}-{next(counter)}"


def counted_names() -> NameSource:
    """Return a source of names that count by kind: ``Reader#1``, ``Reader#2``, ``Writer#1``."""
    numbers: dict[str, itertools.count[int]] = {}
    return lambda kind: f"{kind}#{next(numbers.setdefault(kind, itertools.count(1)))}"


_counted_names: Final = counted_names()


def random_ids() -> IdSource:
    """Return a source of ids that no other source in any process repeats: a random prefix and a counter.

    One call costs a fraction of a microsecond; a UUID per job would cost as much as a trio tick.
    """
    return counted_ids(os.urandom(6).hex())


def present_ids() -> IdSource:
    """Return the source of ids that was given, or a random one."""
    return _GIVEN.get().new_id or random_ids()


def random_name(kind: str) -> str:
    """Return ``kind`` and eight random hexadecimal digits, unless a source of names was given."""
    names = _GIVEN.get().names
    return f"{kind}-{os.urandom(4).hex()}" if names is None else names(kind)


def numbered_name(kind: str) -> str:
    """Return ``kind`` and the next number, unique in this process, unless a source of names was given."""
    return (_GIVEN.get().names or _counted_names)(kind)


def wall_clock() -> float:
    """Return Unix time in seconds."""
    return time.time()


def present_clock() -> WallClock:
    """Return the clock that was given, or that of the wall."""
    return _GIVEN.get().clock or wall_clock
