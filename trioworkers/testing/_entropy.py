"""The outside world, as far as a program asks the standard library for it: randomness and time, which a seed decides, and threads.

The functions are replaced in their modules for as long as a simulation lives, and answer as they always do to every other thread of
the process. A program that took one of them by ``from time import time`` before keeps the real one: then two equal runs may differ,
which :func:`explore` looks for.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, Literal, TypeVar

import trio

from .errors import NondeterminismError

Entropy = Literal["seeded", "forbid", "real"]
Threads = Literal["forbid", "inline"]
EPOCH = 1_000_000_000.0
"""What ``time.time()`` says when a simulated run starts, in Unix seconds."""

T = TypeVar("T")


@contextmanager
def outside_world(
    seed: int, now: Callable[[], float], complain: Callable[[NondeterminismError], None], entropy: Entropy, threads: Threads
) -> Iterator[None]:
    """Stand in for the outside world.

    Args:
        seed: Decides all randomness.
        now: Virtual seconds since the start.
        complain: Is told of what is forbidden and was done; it is raised where it was done, too, where it could be caught.
        entropy: ``"seeded"``: as the seed says. ``"forbid"``: an error. ``"real"``: left alone.
        threads: ``"inline"``: what was meant for a thread is run at once, in the task that asks. ``"forbid"``: an error.
    """

    def forbid(what: str) -> Callable[..., Any]:
        def forbidden(*args: object, **options: object) -> Any:
            del args, options
            error = NondeterminismError(what)
            complain(error)
            raise error

        return forbidden

    with ExitStack() as stack:
        _replace(stack, trio.to_thread, {"run_sync": _run_inline if threads == "inline" else forbid(_THREAD)})
        if entropy != "real":
            state = random.getstate()
            stack.callback(random.setstate, state)
            random.seed(f"trioworkers {seed}")
            for module, names in _substitutes(seed, now).items():
                forbidden = {name: forbid(f"{module.__name__}.{name}: {_ENTROPY}") for name in names}
                _replace(stack, module, names if entropy == "seeded" else forbidden)
        yield


_THREAD = (
    "trio.to_thread.run_sync: no seed decides when a thread is done; simulate with threads='inline', which runs the function at once"
)
_ENTROPY = "no seed decides what it returns; take it from something the test can replace, or simulate with entropy='seeded'"


def _substitutes(seed: int, now: Callable[[], float]) -> Mapping[Any, Mapping[str, Callable[..., Any]]]:
    source = random.Random(f"entropy {seed}")

    def wall() -> float:
        return EPOCH + now()

    def nanoseconds() -> int:
        return round(wall() * 1e9)

    clocks = {"time": wall, "monotonic": now, "perf_counter": now}
    counters = {f"{name}_ns": nanoseconds for name in clocks}
    return {os: {"urandom": source.randbytes}, random: {"_urandom": source.randbytes}, time: {**clocks, **counters}}


async def _run_inline(sync_fn: Callable[..., T], *args: Any, **options: object) -> T:
    del options
    await trio.lowlevel.checkpoint()
    return sync_fn(*args)


def _replace(stack: ExitStack, module: Any, substitutes: Mapping[str, Callable[..., Any]]) -> None:
    for name, substitute in substitutes.items():
        real = getattr(module, name)
        setattr(module, name, _for_this_thread(real, substitute))
        stack.callback(setattr, module, name, real)


def _for_this_thread(real: Callable[..., T], substitute: Callable[..., T]) -> Callable[..., T]:
    here = threading.get_ident()

    @wraps(real)
    def either(*args: Any, **options: Any) -> T:
        return (substitute if threading.get_ident() == here else real)(*args, **options)

    return either
