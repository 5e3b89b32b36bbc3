"""Running a program under many schedules, and telling of the one that breaks it in as few words as possible."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec

from ._entropy import Entropy, Threads
from ._findings import Exploration as Exploration
from ._findings import Failure as Failure
from ._findings import Settings as Settings
from ._findings import kind_of as kind_of
from ._search import Search
from .schedule import Granularity, Schedule
from .simulate import STEP_COST, name_of
from .strategies import Name
from .world import MAX_STEPS

P = ParamSpec("P")

LISTENER: ContextVar[Callable[[Exploration], None] | None] = ContextVar("LISTENER", default=None)
"""Is told of every exploration that ends."""


def explore(
    *,
    strategy: Name = "portfolio",
    max_examples: int = 200,
    preemptions: int = 2,
    seed: int = 0,
    replay: str | None = None,
    time_limit: float | None = None,
    step_cost: float = STEP_COST,
    granularity: Granularity = "step",
    max_steps: int = MAX_STEPS,
    threads: Threads = "forbid",
    entropy: Entropy = "seeded",
) -> Callable[[Callable[P, Awaitable[object]]], Callable[P, None]]:
    """Run an async test under many schedules, in virtual time; a sync test is what it makes of it.

    ::

        @explore(max_examples=300)
        async def test_nobody_waits_for_ever():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(consumer)
                nursery.start_soon(producer)

    It goes with pytest (fixtures included, sync ones), with ``unittest``, and inside of Hypothesis' ``@given``.
    When a schedule makes the test fail it is shrunk, and what the test raised is raised with a note: who was held where while whom
    ran, and a ``replay=`` to paste.

    Args:
        strategy: ``"portfolio"``, ``"uniform"``, ``"pos"``, ``"pct"``, or ``"exhaustive"``: every schedule with few preemptions.
        max_examples: How many schedules at most.
        preemptions: For ``"exhaustive"``: how often somebody may be interrupted.
        seed: Other seeds look elsewhere; the same one looks at the same schedules again.
        replay: A schedule that a failure has printed: only that one is run, and it stands alone, but for ``max_steps``, ``threads``
            and ``entropy``.
        time_limit: Real seconds after which no further schedule is begun.
        step_cost: Each step takes up to so many virtual seconds; none if ``"exhaustive"``.
        granularity: ``"step"``: any task may be next after each step. ``"batch"``: only orders that trio has today.
        max_steps: So many steps without a rest are a livelock.
        threads: See :func:`simulate`.
        entropy: See :func:`simulate`.

    Raises:
        TypeError: What is decorated is not an async function; a value is of a wrong type; ``replay`` goes with what it decides.
        ValueError: There is no such strategy, granularity or the like; a number is too small.
        ReplayError: ``replay`` is no token.
    """
    settings = Settings(
        strategy=strategy,
        max_examples=max_examples,
        preemptions=preemptions,
        seed=seed,
        time_limit=time_limit,
        step_cost=step_cost,
        granularity=granularity,
        max_steps=max_steps,
        threads=threads,
        entropy=entropy,
    )
    schedule = None if replay is None else _to_replay(replay, settings)

    def decorate(test: Callable[P, Awaitable[object]]) -> Callable[P, None]:
        if not iscoroutinefunction(test):
            raise TypeError(f"@explore(...) decorates an async function (under @given, if there is one), not {test!r}")

        @wraps(test)
        def explored(*args: P.args, **options: P.kwargs) -> None:
            __tracebackhide__ = True
            _explored(partial(test, *args, **options), settings, schedule).check()

        return explored

    return decorate


def search(async_fn: Callable[..., Awaitable[object]], *args: Any, settings: Settings | None = None) -> Exploration:
    """Run ``async_fn(*args)`` under many schedules; return what came of it. What :func:`explore` is made of.

    ::

        exploration = search(program, settings=Settings(max_examples=1000))
        print(exploration)

    Raises:
        NondeterminismError: Two equal runs differed, or it asked for something no seed decides.
    """
    return _explored(partial(async_fn, *args), settings or Settings(), None)


def _explored(program: Callable[[], Awaitable[object]], settings: Settings, schedule: Schedule | None) -> Exploration:
    search = Search(program, name_of(program), settings)
    exploration = search.search() if schedule is None else search.replay(schedule)
    listener = LISTENER.get()
    if listener is not None:
        listener(exploration)
    return exploration


def _to_replay(token: str, settings: Settings) -> Schedule:
    decided = settings.given(beside_a_token=False)
    if decided:
        raise TypeError(f"replay= runs one schedule, which decides the rest: leave out {', '.join(decided)}")
    return Schedule.from_token(token)
