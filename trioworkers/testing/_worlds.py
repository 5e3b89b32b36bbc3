"""One world of a check as a value, and what it takes to live it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from ._picture import as_text
from ._scheduler import Step, Switch
from ._straight import wish_in
from ._values import an, at_least, seconds
from .errors import NondeterminismError
from .explore import kind_of
from .schedule import Hold, Schedule
from .strategies import Follow, Pct, Pos, Strategy, Uniform
from .system import Operation, System
from .world import World, nothing

_LOOK = 20


@attrs.frozen
class Course:
    """How a world went.

    Args:
        error: What went wrong.
        schedule: Its schedule.
        switches: When somebody was held; kept if it is the one that is told of.
        steps: How many steps it took until it was over, or went wrong.
        trace: These steps.
        excused: How often each operation raised what is expected.
    """

    error: BaseException | None
    schedule: Schedule
    switches: tuple[Switch, ...]
    steps: int
    trace: tuple[Step, ...] = attrs.field(default=(), repr=False)
    excused: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def preemptions(self) -> int:
        """How often somebody was interrupted; known if it is the one that is told of."""
        return sum(switch.preempts for switch in self.switches)

    def picture(self) -> str:
        """The course as text: who took how many steps when."""
        return as_text(self.trace, self.switches)


@attrs.frozen
class Plan:
    """A world as a value: it can be printed, kept, edited and lived again.

    ::

        check_system(Counter, replay=Plan(7, (Operation(1, "add", (1,)), Operation(2, "add", (1,)))))

    Args:
        seed: What everything was drawn from.
        operations: What clients do.
        step_cost: Each step takes up to so many virtual seconds.
        holds: Who is held when; ``None``: as the strategy of the seed says.

    Raises:
        TypeError: A value is of a wrong type.
        ValueError: The cost of a step is negative, or infinite.
    """

    seed: int = attrs.field(validator=an(int))
    operations: tuple[Operation, ...] = attrs.field(validator=attrs.validators.deep_iterable(an(Operation), an(tuple)))
    step_cost: float = attrs.field(default=0.0, validator=seconds)
    holds: tuple[Hold, ...] | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.deep_iterable(an(Hold), an(tuple)))
    )

    def strategy(self) -> Strategy:
        """Who decides on the schedule."""
        if self.holds is not None:
            return Follow(self.holds)
        return _KINDS[self.seed % len(_KINDS)](self.seed)

    def source(self) -> str:
        """It as Python to paste, with ``Plan``, ``Operation`` and ``Hold`` from this package and what its arguments are made of."""
        parts = [repr(self.seed), _tuple(_operation_source(operation) for operation in self.operations)]
        if self.step_cost:
            parts.append(f"step_cost={self.step_cost!r}")
        if self.holds is not None:
            parts.append(f"holds={_tuple(f'Hold({hold.held!r}, {hold.step}, {hold.run!r})' for hold in self.holds)}")
        return f"Plan({', '.join(parts)})"


_KINDS: tuple[Callable[[int], Strategy], ...] = (Pos, Uniform, Pos, Pct)


@attrs.define(eq=False)
class Laboratory:
    """Runs worlds."""

    make: Callable[[], System]
    max_examples: int = attrs.field(validator=at_least(1))
    length: int = attrs.field(validator=at_least(1))
    seed: int = attrs.field(validator=an(int))
    max_steps: int = attrs.field(validator=at_least(1))
    step_cost: float = attrs.field(default=0.0, validator=seconds)
    runs: int = attrs.field(default=0, init=False)
    steps: int = attrs.field(default=0, init=False)

    def plan(self, number: int) -> Plan:
        """A plan is a function of its seed."""
        seed = self.seed + number
        rng = random.Random(f"plan {seed}")
        system = self.make()
        count = rng.randint(min(2, self.length), self.length)
        operations = tuple(system.draw(rng, number) for number in range(1, count + 1))
        return Plan(seed, operations, rng.choice((0.0, self.step_cost)))

    def live(self, plan: Plan, strategy: Strategy | None = None, *, detail: bool = False) -> Course:
        """Run one world from its first step to its last; under another strategy than its own, if one is given."""
        system = self.make()
        strategy = strategy or plan.strategy()
        world = World(plan.seed, strategy=strategy, step_cost=plan.step_cost, max_steps=self.max_steps, detail=detail)
        errors: list[BaseException] = []
        turns = 0
        try:
            with world:
                try:
                    live(system, world, plan.operations, self.max_steps)
                except BaseException as failure:
                    errors.append(failure)
                    raise
                finally:
                    turns = world.turns
                    world.after_turn = nothing
        except BaseException as failure:  # noqa: BLE001, ASYNC103 - kept for whoever judges; no task of trio's runs here
            errors.append(failure)
        self.runs += 1
        self.steps += turns
        error = _first(errors)
        return Course(error, world.schedule, tuple(world.switches), turns, tuple(world.trace[:turns]), system.excused)

    def check_determinism(self, plan: Plan, course: Course) -> None:
        """Live it again: two equal worlds are equal."""
        again = self.live(plan)
        for number, (one, other) in enumerate(zip(_footprint(course), _footprint(again), strict=False), 1):
            if one != other:
                raise NondeterminismError(
                    f"the same world took two different courses from step {number} on: {one} / {other}. "
                    "Look for the order of a set, the address or hash of an object, or something kept from one world to the next"
                )


def live(system: System, world: World, operations: Sequence[Operation], max_steps: int) -> None:
    """One world, from its first step to its last: clients come, the system is looked at, rests, and is taken down."""
    system.open(world)
    for operation in operations:
        system.do(operation)
    for _ in range(0, max_steps, _LOOK):
        if world.steps(_LOOK) < _LOOK:
            break
        _look(system.check, system)
    world.settle()
    _look(system.check_rest, system)
    while not _all_done(system) and world.now + world.wait <= system.patience:
        world.advance(world.wait)
        _look(system.check_rest, system)
    if system.finishes:
        system.see_done()
    take_down(system, world)


def take_down(system: System, world: World) -> None:
    """Stop the system, and see that nothing is left of it."""
    system.stop()
    world.settle()
    system.complain()
    system.see_done()
    system.check_over()
    system.see_gone()


def _look(check: Callable[[], None], system: System) -> None:
    check()
    system.complain()


def _all_done(system: System) -> bool:
    return all(handle.done for _, handle in system.clients)


def _footprint(course: Course) -> list[str]:
    """What happened, and how it ended."""
    end = " ".join(["the end", *kind_of(course.error)])
    return [*(f"{step.label} at t={step.time:.6f}" for step in course.trace), end]


def _first(errors: Sequence[BaseException]) -> BaseException | None:
    """The first one; but what wishes the whole test to stop is no failure of the world."""
    for wish in filter(None, map(wish_in, errors)):
        raise wish
    return errors[0] if errors else None


def _operation_source(operation: Operation) -> str:
    parts = [repr(operation.number), repr(operation.verb)]
    if operation.args or operation.delay:
        parts.append(_tuple(map(_source, operation.args)))
    if operation.delay:
        parts.append(_source(operation.delay))
    return f"Operation({', '.join(parts)})"


def _source(value: Any) -> str:
    """A value as Python: what it says itself, but that is no Python for infinite numbers."""
    if type(value) is tuple:
        return _tuple(map(_source, value))
    if type(value) is list:
        return f"[{', '.join(map(_source, value))}]"
    if type(value) is dict:
        return f"{{{', '.join(f'{_source(key)}: {_source(entry)}' for key, entry in value.items())}}}"
    return f"float('{value}')" if isinstance(value, float) and not math.isfinite(value) else repr(value)


def _tuple(items: Iterable[str]) -> str:
    texts = [*items]
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"
