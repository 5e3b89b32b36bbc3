"""One simulated run, as a value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import outcome
import trio.testing

from ._entropy import Entropy, Threads
from ._picture import as_mermaid, as_text
from ._scheduler import Step, Switch
from ._straight import wish_in
from .errors import DeadlockError, LivelockError
from .schedule import Granularity, Schedule
from .strategies import Strategy
from .world import MAX_STEPS, Handle, World

T = TypeVar("T")
STEP_COST = 1e-4
"""How long a step may take by default, in virtual seconds: a little, so that timeouts can race with work."""


@attrs.frozen
class SimResult(Generic[T]):
    """What came of a simulated run.

    Args:
        error: What it raised; a :class:`DeadlockError` or :class:`LivelockError` if it could not end.
        trace: Its steps, in order.
        switches: When a task was held while another ran; kept if ``detail`` was asked for.
        schedule: The schedule, as a value that can be run again.
        steps: How many steps there were.
        choices: How often there was more than one task to choose from.
        now: Virtual seconds it took.
    """

    _values: tuple[T, ...]
    error: BaseException | None
    trace: tuple[Step, ...]
    switches: tuple[Switch, ...]
    schedule: Schedule
    steps: int
    choices: int
    now: float

    @property
    def value(self) -> T | None:
        """What it returned; ``None`` if it raised."""
        return self._values[0] if self._values else None

    def unwrap(self) -> T:
        """Return what it returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self._values[0]

    def to_token(self) -> str:
        """The schedule as a short text; ``simulate(..., schedule=Schedule.from_token(text))`` runs it again."""
        return self.schedule.to_token()

    def picture(self) -> str:
        """The run as text: who took how many steps when, and where that left it. Lines are told if ``detail`` was asked for."""
        return as_text(self.trace, self.switches)

    def mermaid(self) -> str:
        """The run as a Mermaid sequence diagram."""
        return as_mermaid(self.trace)

    def footprint(self) -> tuple[tuple[str, float], ...]:
        """Who took a step when: equal for two runs exactly if they took the same course."""
        return tuple((step.label, step.time) for step in self.trace)


def simulate(
    async_fn: Callable[..., Awaitable[T]],
    *args: Any,
    seed: int = 0,
    schedule: Schedule | None = None,
    strategy: Strategy | None = None,
    step_cost: float = STEP_COST,
    granularity: Granularity = "step",
    max_steps: int = MAX_STEPS,
    threads: Threads = "forbid",
    entropy: Entropy = "seeded",
    detail: bool = True,
    clock: trio.testing.MockClock | None = None,
    instruments: tuple[trio.abc.Instrument, ...] = (),
) -> SimResult[T]:
    """Run ``async_fn(*args)`` in a trio of its own, under one schedule, in virtual time.

    ::

        result = simulate(program, seed=7)
        print(result.picture())
        assert result.unwrap() == 42

    The same seed gives the same run: in every process, whatever its hash seed.

    Args:
        async_fn: An async function.
        args: What it is called with.
        seed: Decides the schedule, what randomness the program gets, and how long each step takes.
        schedule: A schedule to follow instead: a value, perhaps :meth:`Schedule.from_token`.
        strategy: Who decides on the schedule instead.
        step_cost: Each step takes up to so many virtual seconds.
        granularity: ``"step"``: any task may be next after each step. ``"batch"``: only orders that trio has today.
        max_steps: So many steps without a rest are a livelock.
        threads: ``"forbid"``: to ask for a thread is an error. ``"inline"``: the function is run on this one, in a later step.
        entropy: ``"seeded"``: ``random``, ``os.urandom``, ``uuid``, ``secrets`` and ``time`` follow the seed. ``"forbid"``: to ask
            them is an error. ``"real"``: left alone.
        detail: Note where each task stands after each step, for the picture, which takes time.
        clock: A clock of the program's own, which it may move by itself.
        instruments: Further instruments of trio's.

    Returns:
        What came of it. An error of the program is in it, not raised.

    Raises:
        RuntimeError: A trio program runs on this thread.
        NondeterminismError: It asked for something no seed decides.
        KeyboardInterrupt, SystemExit, unittest.SkipTest: As the program raised it, but out of any group.
    """
    world = World(
        seed,
        strategy=strategy,
        schedule=schedule,
        step_cost=step_cost,
        granularity=granularity,
        max_steps=max_steps,
        threads=threads,
        entropy=entropy,
        detail=detail,
        clock=clock,
        instruments=instruments,
    )
    with world:
        end = _ended(world, world.spawn(outcome.acapture, _awaited, async_fn, *args, name=name_of(async_fn)))
        seen = tuple(world.trace), tuple(world.switches), world.schedule, world.turns, world.choices, world.now
        closed = _stuck(world.close)
    if isinstance(end, outcome.Value) and closed is None:
        return SimResult((end.value,), None, *seen)
    return SimResult((), end.error if isinstance(end, outcome.Error) else closed, *seen)


def _ended(world: World, handle: Handle[outcome.Outcome[T]]) -> outcome.Outcome[T]:
    stuck = _stuck(lambda: world.finish(handle))
    end = handle.result() if stuck is None else outcome.Error(stuck)
    wish = wish_in(end.error) if isinstance(end, outcome.Error) else None
    if wish is not None:
        raise wish
    return end


def _stuck(go_on: Callable[[], object]) -> DeadlockError | LivelockError | None:
    """What keeps it from going on, if something does."""
    try:
        go_on()
    except (DeadlockError, LivelockError) as stuck:
        return stuck
    return None


def name_of(function: object) -> str:
    """A function's name, whatever it has been given already."""
    return str(getattr(_bare(function), "__name__", "task"))


def _bare(function: object) -> object:
    return _bare(function.func) if isinstance(function, partial) else function


async def _awaited(async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
    awaitable: object = async_fn(*args)
    if not isinstance(awaitable, Awaitable):
        raise TypeError(f"{_bare(async_fn)!r} is no async function: it returned {awaitable!r}")
    result: T = await awaitable
    return result
