"""Looking for a schedule that breaks a program, and making it as short as it can be."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import attrs

from .._sources import wall_clock
from ._findings import Exploration, Failure, Settings, kind_of, preemptions
from .errors import NondeterminismError
from .schedule import Hold, Schedule
from .shrink import shrink
from .simulate import SimResult, simulate
from .strategies import LENGTH, Strategy, exhaustive, strategies

PROOF_RUNS, PROOF_STEPS = 200, 5_000
"""So many runs, or about so many steps, are spent on looking for a failure that is simpler still."""


@attrs.define(eq=False)
class Search:
    """One search. ``program`` is called anew for each run."""

    program: Callable[[], Awaitable[object]]
    name: str
    settings: Settings
    _runs: int = attrs.field(default=0, init=False)
    _length: int = attrs.field(default=LENGTH, init=False)
    _begun: float = attrs.field(factory=lambda: wall_clock(), init=False)  # noqa: PLW0108 - looked up when it is called

    def run(self, *, detail: bool = False, **how: Any) -> SimResult[object]:
        """Run it once."""
        self._runs += 1
        given = self.settings
        return simulate(self.program, max_steps=given.max_steps, threads=given.threads, entropy=given.entropy, detail=detail, **how)

    def replay(self, schedule: Schedule) -> Exploration:
        """Run it once, under this schedule."""
        result = self.run(schedule=schedule, detail=True)
        failure = None if result.error is None else Failure(1, "replay", preemptions(result), 0, result, self.settings)
        return Exploration(self.name, 1, 1, exhausted=False, failure=failure)

    def search(self) -> Exploration:
        """Run it until it fails, or enough is enough."""
        courses: set[int] = set()
        failure: Failure | None = None
        number = 0
        plans = self._plans()
        for number, (strategy, seed, cost) in enumerate(plans, 1):
            result = self.run(strategy=strategy, seed=seed, step_cost=cost, granularity=self.settings.granularity)
            self._length = result.choices
            courses.add(hash(tuple(step.label for step in result.trace)))
            if number == 1:
                self._check_determinism(result)
            if result.error is not None:
                failure = self._explain(result, number, strategy)
            if failure is not None or self._is_enough(number):
                break
        exhausted = failure is None and next(plans, None) is None
        return Exploration(self.name, number, len(courses), exhausted, failure)

    def _is_enough(self, number: int) -> bool:
        limit = self.settings.time_limit
        return number >= self.settings.max_examples or (limit is not None and wall_clock() - self._begun >= limit)

    def _plans(self) -> Iterator[tuple[Strategy, int, float]]:
        """A strategy, a seed and a cost of steps for each run."""
        given = self.settings
        kinds = strategies(given.strategy, given.seed, given.preemptions, lambda: self._length)
        if given.strategy == "exhaustive":  # all schedules of one program, not one each of many
            return ((strategy, given.seed, 0.0) for strategy in kinds)
        return ((strategy, seed, given.step_cost) for seed, strategy in enumerate(kinds, given.seed))

    # -- telling -----------------------------------------------------------------------------------------------------------

    def _check_determinism(self, first: SimResult[object]) -> None:
        courses = _course(first), _course(self.run(schedule=first.schedule))
        for number, (one, other) in enumerate(zip(*courses, strict=False)):
            if one != other:
                raise NondeterminismError(
                    f"the same schedule gave two different runs from step {number} on: {_told(*one)} / {_told(*other)}. "
                    "Look for the order of a set, the address or hash of an object, or something kept from one run to the next"
                )

    def _explain(self, result: SimResult[object], example: int, strategy: Strategy) -> Failure:
        found = self.run(schedule=result.schedule, detail=True)
        before = self._runs
        final = self.run(schedule=self._simplest(self._shrunk(result)), detail=True)
        kind = type(strategy).__name__.lower()
        if kind_of(final.error) != kind_of(result.error):
            raise NondeterminismError(
                f"schedule {example} ({kind}) made it fail with {result.error!r}, and then did not: something is kept between runs"
            )
        return Failure(example, kind, preemptions(found), self._runs - before, final, self.settings)

    def _shrunk(self, result: SimResult[object]) -> Schedule:
        kind = kind_of(result.error)
        schedule = result.schedule

        def fails(holds: Iterable[Hold]) -> tuple[Hold, ...] | None:
            again = self.run(schedule=attrs.evolve(schedule, holds=tuple(holds)))
            return again.schedule.holds if kind_of(again.error) == kind else None

        for less in ({"step_cost": 0.0}, {"seed": 0}):
            simpler = attrs.evolve(schedule, **less)
            if simpler != schedule and kind_of(self.run(schedule=simpler).error) == kind:
                schedule = simpler
        return attrs.evolve(schedule, holds=tuple(shrink(schedule.holds, fails)))

    def _simplest(self, schedule: Schedule) -> Schedule:
        """Look for another failure of the same kind, with fewer preemptions still, or as many and fewer holds."""
        shrunk = self.run(schedule=schedule, detail=True)
        weight = preemptions(shrunk), len(shrunk.schedule.holds)
        simpler = itertools.takewhile(lambda strategy: strategy.weight < weight, exhaustive(weight[0]))
        for strategy in itertools.islice(simpler, min(PROOF_RUNS, PROOF_STEPS // shrunk.steps)):
            result = self.run(strategy=strategy, seed=schedule.seed, step_cost=schedule.step_cost, granularity=schedule.granularity)
            if kind_of(result.error) == kind_of(shrunk.error):
                return result.schedule
        return schedule


def _course(result: SimResult[object]) -> list[tuple[str, float]]:
    """What happened, and how it ended."""
    return [*result.footprint(), (" ".join(["the end", *kind_of(result.error)]), result.now)]


def _told(what: str, time: float) -> str:
    return f"{what} at t={time:.6f}"
