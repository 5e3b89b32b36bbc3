"""Running a program under many schedules, and telling of the one that breaks it in as few words as possible."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, ParamSpec

import attrs

from .._leaves import leaves
from .._sources import wall_clock
from ._entropy import Entropy, Threads
from ._picture import told
from .errors import NondeterminismError
from .schedule import Granularity, Hold, Schedule
from .shrink import shrink
from .simulate import STEP_COST, SimResult, simulate
from .strategies import LENGTH, Name, Strategy, exhaustive, strategies
from .world import MAX_STEPS

P = ParamSpec("P")
PROOF = 200
"""So many runs are spent on looking for a failure with fewer preemptions still."""

LISTENER: ContextVar[Callable[[Exploration], None] | None] = ContextVar("LISTENER", default=None)
"""Is told of every exploration that ends."""


@attrs.frozen
class Failure:
    """A schedule under which a program fails.

    Args:
        example: The number of the schedule it was found with, from 1.
        strategy: What kind of schedule that was.
        preemptions: How often it interrupted somebody.
        runs: How many runs it took to shrink it.
        result: What is left of it, as a run with all details.
    """

    example: int
    strategy: str
    preemptions: int
    runs: int
    result: SimResult[object]

    @property
    def error(self) -> BaseException:
        """What the program raised."""
        assert self.result.error is not None  # noqa: S101 - or it would be no failure
        return self.result.error

    def report(self) -> str:
        """Who was held where while whom ran, and a line to run it again."""
        left = sum(switch.preempts for switch in self.result.switches)
        found = f"found by schedule {self.example} ({self.strategy}), {self.preemptions} preemptions"
        lines = [
            f"{found}; shrunk to {left} in {self.runs} runs:",
            *(f"  {told(switch)}" for switch in self.result.switches),
            f'replay: @explore(replay="{self.result.to_token()}")',
        ]
        return "\n".join(lines)


@attrs.frozen
class Exploration:
    """What came of running a program under many schedules.

    Args:
        name: The program's name.
        examples: How many schedules it was run under.
        distinct: How many different courses it took.
        exhausted: Whether there are no others, with so few preemptions.
        failure: The one that broke it.
    """

    name: str
    examples: int
    distinct: int
    exhausted: bool
    failure: Failure | None

    def check(self) -> None:
        """Raise what the program raised, with the report as a note."""
        if self.failure is not None:
            error = self.failure.error
            error.add_note(self.failure.report())
            raise error

    def __str__(self) -> str:
        found = "no failure" if self.failure is None else f"failed: {type(self.failure.error).__name__}"
        more = ", all there are" if self.exhausted else ""
        return f"{self.name}: {self.examples} schedules{more}, {self.distinct} distinct, {found}"


@attrs.frozen(kw_only=True)
class Settings:
    """How to explore; see :func:`explore`."""

    strategy: Name = "portfolio"
    max_examples: int = 200
    preemptions: int = 2
    seed: int = 0
    time_limit: float | None = None
    step_cost: float = STEP_COST
    granularity: Granularity = "step"
    max_steps: int = MAX_STEPS
    threads: Threads = "forbid"
    entropy: Entropy = "seeded"


@attrs.define(eq=False)
class _Search:
    """One search. ``program`` is called anew for each run."""

    program: Callable[[], Awaitable[object]]
    settings: Settings
    _runs: int = attrs.field(default=0, init=False)
    _length: int = attrs.field(default=LENGTH, init=False)

    def run(self, *, detail: bool = False, **how: Any) -> SimResult[object]:
        """Run it once."""
        self._runs += 1
        given = self.settings
        return simulate(self.program, max_steps=given.max_steps, threads=given.threads, entropy=given.entropy, detail=detail, **how)

    def search(self, name: str) -> Exploration:
        """Run it until it fails, or enough is enough."""
        seen: set[int] = set()
        examples = 0
        exhausted = True
        for strategy, seed, cost in self._plans():
            if self._is_enough(examples):
                exhausted = False
                break
            examples += 1
            result = self.run(strategy=strategy, seed=seed, step_cost=cost, granularity=self.settings.granularity)
            if examples == 1:
                self._check_determinism(result)
            self._length = max(1, result.choices)
            seen.add(hash(tuple(step.label for step in result.trace)))
            if result.error is not None:
                failure = self._explain(result, examples, type(strategy).__name__.lower())
                return Exploration(name, examples, len(seen), exhausted=False, failure=failure)
        return Exploration(name, examples, len(seen), exhausted, failure=None)

    def _plans(self) -> Iterator[tuple[Strategy, int, float]]:
        given = self.settings
        kinds = strategies(given.strategy, given.seed, given.preemptions, lambda: self._length)
        for number, strategy in enumerate(kinds):
            costs = given.step_cost if given.strategy != "exhaustive" else 0.0  # all schedules of one program, not of many
            yield strategy, given.seed + number, costs

    def _is_enough(self, examples: int) -> bool:
        if examples == 0:
            self._begun = wall_clock()
        limit = self.settings.time_limit
        return examples >= self.settings.max_examples or (limit is not None and examples > 0 and wall_clock() - self._begun >= limit)

    _begun: float = attrs.field(default=0.0, init=False)

    # -- telling -----------------------------------------------------------------------------------------------------------

    def _check_determinism(self, first: SimResult[object]) -> None:
        second = self.run(schedule=first.schedule)
        pairs = itertools.zip_longest(first.footprint(), second.footprint())
        differing = next((number for number, (one, other) in enumerate(pairs) if one != other), None)
        if differing is not None:
            steps = [_told_step(result, differing) for result in (first, second)]
            raise NondeterminismError(
                f"the same schedule gave two different runs from step {differing} on: {' / '.join(steps)}. "
                "Look for the order of a set, the address or hash of an object, or something kept from one run to the next"
            )

    def _explain(self, result: SimResult[object], example: int, strategy: str) -> Failure:
        found = self.run(schedule=result.schedule, detail=True)
        runs = self._runs
        best = self._fewer_preemptions(self._shrunk(result))
        final = self.run(schedule=best, detail=True)
        if final.error is None:
            raise NondeterminismError(
                f"{strategy} schedule {example} made it fail with {result.error!r}, and then did not: something is kept between runs"
            )
        return Failure(example, strategy, sum(switch.preempts for switch in found.switches), self._runs - runs, final)

    def _shrunk(self, result: SimResult[object]) -> Schedule:
        kind = kind_of(result.error)
        schedule = result.schedule

        def fails(holds: Iterable[Hold]) -> tuple[Hold, ...] | None:
            again = self.run(schedule=attrs.evolve(schedule, holds=tuple(holds)))
            return again.schedule.holds if kind_of(again.error) == kind else None

        if schedule.step_cost and kind_of(self.run(schedule=attrs.evolve(schedule, step_cost=0.0)).error) == kind:
            schedule = attrs.evolve(schedule, step_cost=0.0)
        return attrs.evolve(schedule, holds=tuple(shrink(schedule.holds, fails)))

    def _fewer_preemptions(self, schedule: Schedule) -> Schedule:
        """Look for another failure of the same kind, with fewer preemptions still."""
        shrunk = self.run(schedule=schedule, detail=True)
        preemptions = sum(switch.preempts for switch in shrunk.switches)
        plain = attrs.evolve(schedule, holds=())
        for strategy in itertools.islice(exhaustive(preemptions - 1), PROOF if preemptions > 1 else 0):
            result = self.run(strategy=strategy, seed=plain.seed, step_cost=plain.step_cost, granularity=plain.granularity)
            if kind_of(result.error) == kind_of(shrunk.error):
                return result.schedule
        return schedule


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

    It goes with pytest (fixtures included, sync ones), with ``unittest`` (on a function), and inside of Hypothesis' ``@given``.
    When a schedule makes the test fail it is shrunk, and what the test raised is raised with a note: who was held where while whom
    ran, and a ``replay=`` to paste.

    Args:
        strategy: ``"portfolio"``, ``"uniform"``, ``"pos"``, ``"pct"``, or ``"exhaustive"``: every schedule with few preemptions.
        max_examples: How many schedules at most.
        preemptions: For ``"exhaustive"``: how often somebody may be interrupted.
        seed: Other seeds look elsewhere; the same one looks at the same schedules again.
        replay: A schedule that a failure has printed: only that one is run.
        time_limit: Real seconds after which no further schedule is begun.
        step_cost: Each step takes up to so many virtual seconds.
        granularity: ``"step"``: any task may be next after each step. ``"batch"``: only orders that trio has today.
        max_steps: So many steps without a rest are a livelock.
        threads: See :func:`simulate`.
        entropy: See :func:`simulate`.

    Raises:
        TypeError: What is decorated is not an async function.
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
    schedule = None if replay is None else Schedule.from_token(replay)

    def decorate(test: Callable[P, Awaitable[object]]) -> Callable[P, None]:
        if not callable(test):
            raise TypeError(f"@explore(...) decorates an async function, not {test!r}")

        @wraps(test)
        def explored(*args: P.args, **options: P.kwargs) -> None:
            __tracebackhide__ = True
            program = partial(test, *args, **options)
            (_search(program, test, settings) if schedule is None else _replay(program, test, settings, schedule)).check()

        return explored

    return decorate


def search(async_fn: Callable[..., Awaitable[object]], *args: Any, settings: Settings | None = None) -> Exploration:
    """Run ``async_fn(*args)`` under many schedules; return what came of it. What :func:`explore` is made of.

    ::

        exploration = search(program, settings=Settings(max_examples=1000))
        print(exploration)
    """
    return _search(partial(async_fn, *args), async_fn, settings or Settings())


def kind_of(error: BaseException | None) -> tuple[str, ...]:
    """What two failures have in common if they are of a kind: the types of what was raised."""
    return () if error is None else tuple(sorted({type(leaf).__qualname__ for leaf in leaves(error)}))


def _search(program: Callable[[], Awaitable[object]], named: object, settings: Settings) -> Exploration:
    return _tell(_Search(program, settings).search(_name(named)))


def _replay(program: Callable[[], Awaitable[object]], named: object, settings: Settings, schedule: Schedule) -> Exploration:
    result = _Search(program, settings).run(schedule=schedule, detail=True)
    preemptions = sum(switch.preempts for switch in result.switches)
    failure = None if result.error is None else Failure(1, "replay", preemptions, 0, result)
    return _tell(Exploration(_name(named), 1, 1, exhausted=False, failure=failure))


def _tell(exploration: Exploration) -> Exploration:
    listener = LISTENER.get()
    if listener is not None:
        listener(exploration)
    return exploration


def _name(function: object) -> str:
    return str(getattr(function, "__name__", function))


def _told_step(result: SimResult[object], number: int) -> str:
    if number >= len(result.trace):
        return "the end"
    step = result.trace[number]
    return f"{step.label} at t={step.time:.6f}"
