"""The outside world, as far as a program asks the standard library for it: randomness and time, which a seed decides, and threads.

The functions are replaced where they live for as long as a simulation does, and answer as they always do to every other thread of the
process. A program that took one of them by ``from time import time`` before keeps the real one: then two equal runs may differ,
which :func:`explore` looks for. Nobody can stand in for ``datetime.now()``, which is no function of a module.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial, wraps
from typing import Any, Literal, TypeVar, get_args

import outcome
import trio

from .._sources import _GIVEN, counted_ids, counted_names, sources
from ._shared import Shared

Entropy = Literal["seeded", "forbid", "real"]
Threads = Literal["forbid", "inline"]
EPOCH = 1_000_000_000.0
"""What ``time.time()`` says when a simulated run starts, in Unix seconds."""

T = TypeVar("T")
Substitutes = dict[str, Callable[..., Any]]
Complain = Callable[[str], BaseException]
"""Gets what was asked for, and notes it; returns the error to raise."""

_NO_THREAD = "trio.to_thread.run_sync: no seed decides when a thread is done. With threads='inline' it is run without one"
_ENTROPY = "no seed decides what it returns. Take it from something the test can replace, or simulate with entropy='seeded'"
_UNSEEDED = "random.Random()"


@contextmanager
def outside_world(seed: int, now: Callable[[], float], complain: Complain, entropy: Entropy, threads: Threads) -> Iterator[None]:
    """Stand in for the outside world, on this thread.

    Args:
        seed: Decides all randomness.
        now: Virtual seconds since the start.
        complain: Is told of what is forbidden and was done; it is raised where it was done, too, where it could be caught.
        entropy: ``"seeded"``: as the seed says. ``"forbid"``: an error, if a task asks. ``"real"``: left alone.
        threads: ``"inline"``: what was meant for a thread is run on this one, in a step of its own. ``"forbid"``: an error.

    Raises:
        ValueError: There is no such way.
    """
    _check("entropy", entropy, get_args(Entropy))
    _check("threads", threads, get_args(Threads))
    substitutes: Substitutes = {_THREAD: _in_line if threads == "inline" else _outside_tasks(complain, _NO_THREAD, _REAL[_THREAD])}
    if entropy == "seeded":
        substitutes |= _seeded(seed, now)
    if entropy == "forbid":
        substitutes |= _forbidding(complain)
    with ExitStack() as stack:
        if entropy != "real":
            stack.enter_context(_made_up(lambda: EPOCH + now()))
        stack.enter_context(_STOOD_IN.use())
        stack.callback(_here.__dict__.clear)
        _here.substitutes = substitutes
        yield


def _made_up(clock: Callable[[], float]) -> AbstractContextManager[None]:
    """What the library itself makes up, unless a test has said already what that is to be."""
    given = _GIVEN.get()
    return sources(new_id=given.new_id or counted_ids("job"), names=given.names or counted_names(), clock=given.clock or clock)


def _check(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


# -- what is asked for, and where ------------------------------------------------------------------------------------------

_SHARED_RANDOM = random._inst  # noqa: SLF001 - what the functions of the module are methods of; it has no other name
_OF_ITS_CLASS = ("random", "getrandbits")
"""What its other methods ask: replaced there, too, for those who have imported ``choice`` from ``random``."""
_THREAD = "trio.lowlevel.start_thread_soon"
_CLOCKS = tuple(f"{name}{unit}" for name in ("time", "monotonic", "perf_counter", "process_time") for unit in ("", "_ns"))
_RANDOM = tuple(name for name, function in vars(random).items() if getattr(function, "__self__", None) is _SHARED_RANDOM)
_SOUGHT: tuple[tuple[str, Any, str], ...] = (
    (_THREAD, trio.lowlevel, "start_thread_soon"),
    (_THREAD, sys.modules[trio.to_thread.run_sync.__globals__["__name__"]], "start_thread_soon"),  # whoever asks by whatever name
    ("os.urandom", os, "urandom"),
    ("os.urandom", random, "_urandom"),  # for random.SystemRandom, and by that for secrets
    ("uuid.uuid1", uuid, "uuid1"),
    (_UNSEEDED, random.Random, "seed"),
    *((f"time.{name}", time, name) for name in _CLOCKS),
    *((f"random.{name}", random, name) for name in _RANDOM),
    *((f"random.{name}", _SHARED_RANDOM, name) for name in _OF_ITS_CLASS),
)
_PLACES = tuple(place for place in _SOUGHT if hasattr(*place[1:]))
"""What may be asked for, by its name, and where the function is found."""
_REAL: Substitutes = {name: getattr(owner, attribute) for name, owner, attribute in _PLACES}
_here = threading.local()


@contextmanager
def _stood_in() -> Iterator[None]:
    real = [getattr(owner, attribute) for _, owner, attribute in _PLACES]
    for (name, owner, attribute), function in zip(_PLACES, real, strict=True):
        setattr(owner, attribute, _either(name, function))
    try:
        yield
    finally:
        for (_, owner, attribute), function in zip(_PLACES, real, strict=True):
            setattr(owner, attribute, function)
        for attribute in _OF_ITS_CLASS:
            delattr(_SHARED_RANDOM, attribute)


_STOOD_IN = Shared(_stood_in)


@cache
def _either(name: str, real: Callable[..., T]) -> Callable[..., T]:
    @wraps(real)
    def either(*args: Any, **options: Any) -> T:
        function: Callable[..., T] = getattr(_here, "substitutes", {}).get(name, real)
        return function(*args, **options)

    return either


# -- what is answered ------------------------------------------------------------------------------------------------------


def _seeded(seed: int, now: Callable[[], float]) -> Substitutes:
    mine, source = random.Random(f"random {seed}"), random.Random(f"entropy {seed}")

    def wall() -> float:
        return EPOCH + now()

    def uuid1(node: object = None, clock_seq: object = None) -> uuid.UUID:
        del node, clock_seq
        return uuid.UUID(int=source.getrandbits(128), version=1)

    clocks = {f"time.{name}": _in(name, wall if name.startswith("time") else now) for name in _CLOCKS}
    shared = {f"random.{name}": getattr(mine, name) for name in _RANDOM}
    return {
        **clocks,
        **shared,
        "os.urandom": source.randbytes,
        "uuid.uuid1": uuid1,
        _UNSEEDED: _seeding(partial(source.randbytes, 32)),
    }


def _in(name: str, seconds: Callable[[], float]) -> Callable[[], float]:
    return (lambda: round(seconds() * 1e9)) if name.endswith("_ns") else seconds


def _forbidding(complain: Complain) -> Substitutes:
    real = {**_REAL, _UNSEEDED: lambda: None}
    found = {name: _outside_tasks(complain, f"{name}: {_ENTROPY}", function) for name, function in real.items() if name != _THREAD}
    return {**found, _UNSEEDED: _seeding(found[_UNSEEDED])}


def _outside_tasks(complain: Complain, what: str, real: Callable[..., T]) -> Callable[..., T]:
    def maybe(*args: Any, **options: Any) -> T:
        if trio.lowlevel.in_trio_task():
            raise complain(what)
        return real(*args, **options)

    return maybe


def _seeding(draw: Callable[[], Any]) -> Callable[..., None]:
    """What seeds a generator: with what is drawn, if it is given nothing."""

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        _REAL[_UNSEEDED](self, draw() if a is None else a, version)

    return seed


def _in_line(fn: Callable[[], T], deliver: Callable[[outcome.Outcome[T]], object], name: str | None = None) -> None:
    """Run it on this thread, but in a later step, which is trio's own: somebody else may go first."""
    del name
    trio.lowlevel.current_trio_token().run_sync_soon(lambda: deliver(outcome.capture(fn)))
