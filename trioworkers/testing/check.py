"""Many clients at once, under many schedules: drawing worlds, and making the one that fails small.

An operation is a task of its own, so the schedule, and not the test, decides when it happens, step by step: that is where races are.
A world that fails is a list of operations and a schedule; both are shrunk together, in turn, for leaving out an operation
makes other steps needless, and the other way round. Task names and holds (:class:`Schedule`) stay what they are when an operation is
left out, and that is what makes this work (the idea: Claessen et al., "Finding race conditions in Erlang with QuickCheck and PULSE",
ICFP 2009).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from ._picture import told
from ._scheduler import Switch
from .explore import kind_of
from .schedule import Hold, Schedule
from .shrink import shrink
from .strategies import Follow, Pct, Pos, Strategy, Uniform
from .system import Operation, System
from .world import World

PATIENCE = 60.0
"""Virtual seconds after which every client is to be done."""


@attrs.frozen
class Course:
    """How a world went.

    Args:
        error: What went wrong.
        schedule: Its schedule.
        switches: When somebody was held.
        steps: How many steps it took.
    """

    error: BaseException | None
    schedule: Schedule
    switches: tuple[Switch, ...]
    steps: int


@attrs.frozen
class Plan:
    """A world as a value.

    Args:
        seed: What everything was drawn from.
        operations: What clients do.
        step_cost: Each step takes up to so many virtual seconds.
        holds: Who is held when; ``None``: as the strategy of the seed says.
    """

    seed: int
    operations: tuple[Operation, ...]
    step_cost: float = 0.0
    holds: tuple[Hold, ...] | None = None

    def strategy(self) -> Strategy:
        """Who decides on the schedule."""
        if self.holds is not None:
            return Follow(self.holds)
        return _KINDS[self.seed % len(_KINDS)](self.seed)


_KINDS: tuple[Callable[[int], Strategy], ...] = (Pos, Uniform, Pos, Pct)


@attrs.frozen
class Broken:
    """A world in which something went wrong, made as small as can be.

    Args:
        world: Its number, from 1.
        runs: How many runs it took to make it small.
        plan: What is left of it.
        course: How that goes.
    """

    world: int
    runs: int
    plan: Plan
    course: Course

    def report(self) -> str:
        """The operations that are needed, and who has to be held where."""
        preemptions = sum(switch.preempts for switch in self.course.switches)
        size = f"{len(self.plan.operations)} operations, {preemptions} preemptions"
        clients = [f"  {operation}" for operation in self.plan.operations]
        switches = [f"  {told(switch)}" for switch in self.course.switches]
        return "\n".join([f"found in world {self.world}; shrunk to {size} in {self.runs} runs:", *clients, *switches])


@attrs.frozen
class Verdict:
    """What came of a check.

    Args:
        worlds: How many were run.
        steps: How many steps they took.
        operations: How often each operation was done.
        broken: The one that failed.
    """

    worlds: int
    steps: int
    operations: Mapping[str, int]
    broken: Broken | None

    def check(self) -> None:
        """Raise what went wrong, with the report as a note."""
        if self.broken is not None:
            error = self.broken.course.error
            assert error is not None  # noqa: S101 - or it would not be broken
            error.add_note(self.broken.report())
            raise error


@attrs.define(eq=False)
class _Laboratory:
    """Runs worlds."""

    make: Callable[[], System]
    length: int
    step_cost: float
    max_steps: int
    runs: int = attrs.field(default=0, init=False)

    def plan(self, seed: int) -> Plan:
        """A plan is a function of its seed."""
        rng = random.Random(f"plan {seed}")
        system = self.make()
        operations = tuple(system.draw(rng, number) for number in range(1, rng.randint(2, max(2, self.length)) + 1))
        return Plan(seed, operations, rng.choice((0.0, self.step_cost)))

    def live(self, plan: Plan, *, detail: bool = False) -> Course:
        """Run one world from its first step to its last."""
        self.runs += 1
        world = World(plan.seed, strategy=plan.strategy(), step_cost=plan.step_cost, max_steps=self.max_steps, detail=detail)
        error: BaseException | None = None
        try:
            with world:
                live(self.make(), world, plan.operations)
        except Exception as failure:  # noqa: BLE001 - kept for whoever judges
            error = failure
        return Course(error, world.schedule, tuple(world.switches), world.turns)


@attrs.define(eq=False)
class _Shrinking:
    """Makes one plan that fails small: leaves out operations and holds in turn, then makes arguments simpler."""

    laboratory: _Laboratory
    kind: tuple[str, ...]
    best: Plan

    def shrink(self) -> Plan:
        """Go on until nothing more can go."""
        self._still(step_cost=0.0)
        size = self._size() + 1
        while size > self._size():
            size = self._size()
            shrink(
                self.best.operations, lambda operations: self.best.operations if self._still(operations=tuple(operations)) else None
            )
            shrink(self.best.holds or (), lambda holds: self.best.holds if self._still(holds=tuple(holds)) else None)
        self._simplify()
        return self.best

    def _size(self) -> int:
        return len(self.best.operations) + len(self.best.holds or ())

    def _still(self, **changes: Any) -> bool:
        """Whether it fails in the same way with these changes; then they stay."""
        candidate = attrs.evolve(self.best, **changes)
        course = self.laboratory.live(candidate)
        if kind_of(course.error) != self.kind:
            return False
        self.best = attrs.evolve(candidate, holds=course.schedule.holds)
        return True

    def _simplify(self) -> None:
        self._still(operations=tuple(attrs.evolve(operation, delay=0.0) for operation in self.best.operations))
        system = self.laboratory.make()
        for place in range(len(self.best.operations)):
            while any(self._still(operations=operations) for operations in self._simpler_at(place, system)):
                pass

    def _simpler_at(self, place: int, system: System) -> Iterator[tuple[Operation, ...]]:
        operations = self.best.operations
        for simpler in system.simpler(operations[place]):
            yield (*operations[:place], simpler, *operations[place + 1 :])


def live(system: System, world: World, operations: Sequence[Operation]) -> None:
    """One world, from its first step to its last: clients come, the system is looked at, rests, and is taken down."""
    system.open(world)
    for operation in operations:
        system.do(operation)
    while world.steps(_LOOK) == _LOOK:
        system.check()
        system.complain()
    world.settle()
    system.check_rest()
    while any(not handle.done for _, handle in system.clients) and world.now + world.wait <= PATIENCE:
        world.advance(world.wait)
        system.check_rest()
        system.complain()
    if system.finishes:
        system.see_done()
    system.complain()
    system.stop()
    system.see_done()
    system.complain()
    system.check_over()


_LOOK = 20


def check_system(
    make: Callable[[], System],
    *,
    max_examples: int = 500,
    length: int = 12,
    seed: int = 0,
    step_cost: float = 1 / 128,
    max_steps: int = 50_000,
) -> Verdict:
    """Run a system in many worlds, with clients doing things at once under schedules of all kinds.

    ::

        def test_counter():
            check_system(Counter, max_examples=1000).check()

    Args:
        make: Makes a :class:`System`; often the class itself.
        max_examples: How many worlds at most.
        length: How many operations at most.
        seed: Other seeds look elsewhere.
        step_cost: In half of the worlds, each step takes up to so many virtual seconds.
        max_steps: So many steps without a rest are a livelock.

    Returns:
        What came of it; ``check()`` raises if something went wrong.

    """
    laboratory = _Laboratory(make, length, step_cost, max_steps)
    done: Counter[str] = Counter()
    steps = 0
    for number in range(1, max_examples + 1):
        plan = laboratory.plan(seed + number)
        course = laboratory.live(plan)
        steps += course.steps
        done.update(operation.verb for operation in plan.operations)
        if course.error is not None:
            return Verdict(number, steps, done, _explain(laboratory, number, plan, course))
    return Verdict(max_examples, steps, done, None)


def _explain(laboratory: _Laboratory, number: int, plan: Plan, course: Course) -> Broken:
    laboratory.runs = 0
    small = _Shrinking(laboratory, kind_of(course.error), attrs.evolve(plan, holds=course.schedule.holds)).shrink()
    return Broken(number, laboratory.runs, small, laboratory.live(small, detail=True))
