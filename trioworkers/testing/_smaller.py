"""Making a world that fails small: operations and schedule together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import attrs

from ._worlds import Laboratory, Plan
from .explore import kind_of
from .shrink import shrink
from .strategies import LENGTH, Strategy, exhaustive, portfolio
from .system import DELAYS, Operation, System

RUNS = 2000
"""So many runs are spent on making a world small, and no more."""

EFFORT = 1_000_000
"""The same, in steps: for worlds that take long."""

OTHERS = 20
"""So many other schedules are tried before an operation is taken to be needed."""

PROOF = 100
"""So many schedules with fewer preemptions are tried before so many are taken to be needed."""


@attrs.define(eq=False)
class Shrinking:
    """Makes one plan that fails small: leaves out operations and holds, and makes arguments simpler, in turn.

    Args:
        laboratory: Runs worlds.
        kind: What a failure must be to be the same.
        best: The plan that fails.
    """

    laboratory: Laboratory
    kind: tuple[str, ...]
    best: Plan
    _last_run: int = attrs.field(init=False)
    _last_step: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._last_run = self.laboratory.runs + RUNS
        self._last_step = self.laboratory.steps + EFFORT

    def shrink(self) -> Plan:
        """Go on until nothing more can go."""
        self._still(step_cost=0.0)
        before: Plan | None = None
        while before != self.best:
            before = self.best
            self._leave_out()
            self._simplify()
            if before == self.best:
                self._leave_out_one()
        self._interrupt_less()
        self._leave_out()
        return self.best

    def _still(self, strategy: Strategy | None = None, **changes: Any) -> bool:
        """Whether it fails in the same way with these changes; then they stay."""
        candidate = attrs.evolve(self.best, **changes)
        if (strategy is None and candidate == self.best) or self._is_enough():
            return False
        course = self.laboratory.live(candidate, strategy)
        if kind_of(course.error) != self.kind:
            return False
        self.best = attrs.evolve(candidate, holds=course.schedule.holds)
        return True

    def _is_enough(self) -> bool:
        return self.laboratory.runs >= self._last_run or self.laboratory.steps >= self._last_step

    # -- operations and holds ----------------------------------------------------------------------------------------------

    def _leave_out(self) -> None:
        size = self._size() + 1
        while size > self._size():
            size = self._size()
            shrink(self.best.operations, lambda left: self.best.operations if self._still(operations=tuple(left)) else None)
            shrink(self.best.holds or (), lambda left: self.best.holds if self._still(holds=tuple(left)) else None)

    def _size(self) -> int:
        return len(self.best.operations) + len(self.best.holds or ())

    def _leave_out_one(self) -> None:
        """An operation may seem to be needed only because the schedule is what it is: try others without it."""
        operations = self.best.operations
        for place in reversed(range(len(operations))):
            others = (*operations[:place], *operations[place + 1 :])
            schedules = islice(portfolio(self.best.seed, lambda: LENGTH), OTHERS)
            if any(self._still(strategy, operations=others) for strategy in schedules):
                return

    def _interrupt_less(self) -> None:
        most = self.laboratory.live(self.best, detail=True).preemptions - 1
        any(self._still(strategy) for strategy in islice(exhaustive(most), PROOF if most >= 0 else 0))

    # -- arguments and delays ----------------------------------------------------------------------------------------------

    def _simplify(self) -> None:
        self._hurry()
        system = self.laboratory.make()
        for place in range(len(self.best.operations)):
            while any(self._still(operations=operations) for operations in self._simpler_at(place, system)):
                pass

    def _hurry(self) -> None:
        """Make all delays shorter at once."""
        operations = self.best.operations
        delays = sorted({*DELAYS, *(operation.delay for operation in operations)})
        any(self._still(operations=tuple(_within(delay, operation) for operation in operations)) for delay in delays)

    def _simpler_at(self, place: int, system: System) -> Iterator[tuple[Operation, ...]]:
        operations = self.best.operations
        for simpler in system.simpler(operations[place]):
            yield (*operations[:place], simpler, *operations[place + 1 :])


def _within(delay: float, operation: Operation) -> Operation:
    return attrs.evolve(operation, delay=min(delay, operation.delay))
