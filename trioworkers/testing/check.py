"""Many clients at once, under many schedules: drawing worlds, and making the one that fails small.

An operation is a task of its own, so the schedule, and not the test, decides when it happens, step by step: that is where races are.
A world that fails is a list of operations and a schedule; both are shrunk together, in turn, for leaving out an operation
makes other steps needless, and the other way round. Task names and holds (:class:`Schedule`) stay what they are when an operation is
left out, and that is what makes this work (the idea: Claessen et al., "Finding race conditions in Erlang with QuickCheck and PULSE",
ICFP 2009).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ._picture import counted, is_trios_own, told
from ._smaller import Shrinking
from ._worlds import Course as Course
from ._worlds import Laboratory
from ._worlds import Plan as Plan
from .errors import NondeterminismError, ReplayError, VacuousError
from .explore import kind_of
from .system import System

OFTEN = 50
"""An operation that would have been drawn so many times by chance, and was not done once, makes a check vacuous."""

TWICE = 10
"""The number of the world that is lived twice, to see that it takes the same course."""


@attrs.frozen
class Broken:
    """A world in which something went wrong, made as small as can be.

    Args:
        world: Its number, from 1; 0 if it was replayed.
        runs: How many runs it took to make it small.
        plan: What is left of it.
        course: How that goes.
    """

    world: int
    runs: int
    plan: Plan
    course: Course

    def report(self) -> str:
        """The operations that are needed, who has to be held where, when it was seen, and how to see it again."""
        lines = [f"  {operation}" for operation in self.plan.operations]
        lines += [f"  each step takes up to {self.plan.step_cost:g} s"] if self.plan.step_cost else []
        lines += [f"  {told(switch)}" for switch in self.course.switches]
        return "\n".join([self._summary(), *lines, self._seen(), f"replay: the same call, with {self.replay()}"])

    def replay(self) -> str:
        """What to give :func:`check_system` (or :func:`check_lifecycle`) besides, to have this world again: Python to paste."""
        source = self.plan.source()
        return f"replay={source}" if _is_python(source) else f"seed={self.plan.seed - 1}, max_examples=1"

    def _summary(self) -> str:
        size = f"{counted(len(self.plan.operations), 'operation')}, {counted(self.course.preemptions, 'preemption')}"
        return f"found in world {self.world}; shrunk to {size} in {counted(self.runs, 'run')}:" if self.world else f"replayed: {size}:"

    def _seen(self) -> str:
        last = self.course.trace[-1]
        by = "" if is_trios_own(last.label) else f", which was {last.label}'s"
        return f"  t={last.time:.3f}  seen after step {self.course.steps}{by}"


@attrs.frozen
class Verdict:
    """What came of a check.

    Args:
        worlds: How many were run.
        steps: How many steps they took.
        operations: How often each operation was drawn.
        broken: The one that failed.
        excused: How often each operation raised what is expected.
        idle: The operations that should have been done, and never were.
    """

    worlds: int
    steps: int
    operations: Mapping[str, int]
    broken: Broken | None
    excused: Mapping[str, int] = attrs.field(factory=dict)
    idle: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise what went wrong, with the report as a note.

        Raises:
            VacuousError: Nothing went wrong, but some operation never did anything.
        """
        if self.broken is not None:
            error, report = self.broken.course.error, self.broken.report()
            assert error is not None  # noqa: S101 - or it would not be broken
            if report not in getattr(error, "__notes__", ()):
                error.add_note(report)
            raise error
        if self.idle:
            told = ", ".join(f"{verb!r} ({self._told(verb)})" for verb in self.idle)
            raise VacuousError(f"{counted(self.worlds, 'world')} passed, but these operations never did anything: {told}")

    def _told(self, verb: str) -> str:
        drawn = self.operations.get(verb, 0)
        return f"drawn {counted(drawn, 'time')}, always raised what is expected" if drawn else "never drawn"

    def __str__(self) -> str:
        found = "no failure" if self.broken is None else f"failed: {type(self.broken.course.error).__name__}"
        done = [f"{verb} {number}{self._of_these(verb)}" for verb, number in sorted(self.operations.items())]
        return f"{counted(self.worlds, 'world')}, {counted(self.steps, 'step')}, {found}; {', '.join(done)}"

    def _of_these(self, verb: str) -> str:
        return f" ({self.excused[verb]} excused)" if self.excused.get(verb) else ""


@attrs.define(eq=False)
class _Tally:
    """What was done in all worlds together."""

    worlds: int = attrs.field(default=0, init=False)
    steps: int = attrs.field(default=0, init=False)
    drawn: Counter[str] = attrs.field(factory=Counter, init=False)
    excused: Counter[str] = attrs.field(factory=Counter, init=False)

    def add(self, plan: Plan, course: Course) -> None:
        """One world more."""
        self.worlds += 1
        self.steps += course.steps
        self.drawn.update(operation.verb for operation in plan.operations)
        self.excused.update(course.excused)

    def idle(self, shares: Mapping[str, float]) -> tuple[str, ...]:
        """What was never done, and should have been."""
        often = [verb for verb, share in shares.items() if self.drawn.total() * share >= OFTEN]
        return tuple(verb for verb in often if not self.drawn[verb])

    def missing(self, must: Sequence[str]) -> tuple[str, ...]:
        """What never came to an end that is not excused, and must have."""
        return tuple(verb for verb in must if self.drawn[verb] <= self.excused[verb])

    def verdict(self, *, broken: Broken | None = None, idle: tuple[str, ...] = ()) -> Verdict:
        """What comes of it."""
        return Verdict(self.worlds, self.steps, self.drawn, broken, self.excused, idle)


def check_system(
    make: Callable[[], System],
    *,
    max_examples: int = 500,
    length: int = 12,
    seed: int = 0,
    step_cost: float = 1 / 128,
    max_steps: int = 50_000,
    must: Sequence[str] | None = None,
    replay: Plan | None = None,
) -> Verdict:
    """Run a system in many worlds, with clients doing things at once under schedules of all kinds.

    ::

        def test_counter():
            check_system(Counter, max_examples=1000).check()

    A world that fails is shrunk. The note on what is then raised ends with a ``replay=`` to paste into this very call.

    Args:
        make: Makes a :class:`System`; often the class itself.
        max_examples: How many worlds at most.
        length: How many operations at most, in each.
        seed: Other seeds look elsewhere.
        step_cost: In half of the worlds, each step takes up to so many virtual seconds.
        max_steps: So many steps without a rest are a livelock.
        must: The operations that must have been done at least once, without raising what is expected. If left out, each that chance
            alone would have brought dozens of times must have been drawn.
        replay: A world to live again; then nothing is drawn, and only this one is run.

    Returns:
        What came of it; ``check()`` raises if something went wrong, or if operations that must be done never were.

    Raises:
        TypeError: ``make`` makes no :class:`System`, or one without operations; a value is of a wrong type.
        ValueError: A number is too small; an argument has nothing to be drawn from; there is no such operation.
        ReplayError: The system cannot do what is to be replayed.
        NondeterminismError: Two equal runs differed.
    """
    if not callable(make):
        raise TypeError(f"make must make a system, often it is the class itself; not {make!r}")
    laboratory = Laboratory(make, max_examples, length, seed, max_steps, step_cost)
    system = _checked(make())
    if replay is not None:
        return _replay(laboratory, system, replay)
    for verb in must or ():
        if not hasattr(system, verb):
            raise ValueError(f"must: {type(system).__name__} has no operation {verb!r}")
    return _search(laboratory, _shares(system), must)


def _search(laboratory: Laboratory, shares: Mapping[str, float], must: Sequence[str] | None) -> Verdict:
    tally = _Tally()
    for number in range(1, laboratory.max_examples + 1):
        plan = laboratory.plan(number)
        course = laboratory.live(plan)
        tally.add(plan, course)
        if course.error is not None:
            return tally.verdict(broken=_explain(laboratory, number, plan, course))
        if number == TWICE:
            laboratory.check_determinism(plan, course)
    return tally.verdict(idle=tally.idle(shares) if must is None else tally.missing(must))


def _explain(laboratory: Laboratory, number: int, plan: Plan, course: Course) -> Broken:
    """Make it small, and look at it closely."""
    before, kind = laboratory.runs, kind_of(course.error)
    small = Shrinking(laboratory, kind, attrs.evolve(plan, holds=course.schedule.holds)).shrink()
    runs, final = laboratory.runs - before, laboratory.live(small, detail=True)
    if kind_of(final.error) != kind:
        raise NondeterminismError(
            f"world {number} (seed {plan.seed}) failed with {course.error!r}, and then did not: something is kept between worlds"
        ) from course.error
    return Broken(number, runs, small, final)


def _replay(laboratory: Laboratory, system: System, plan: Any) -> Verdict:
    if not isinstance(plan, Plan):
        raise TypeError(f"replay must be a Plan, not {plan!r}")
    unknown = [operation.verb for operation in plan.operations if not hasattr(system, operation.verb)]
    if unknown:
        raise ReplayError(f"{type(system).__name__} has no operation {unknown[0]!r}")
    tally = _Tally()
    course = laboratory.live(plan, detail=True)
    tally.add(plan, course)
    return tally.verdict(broken=None if course.error is None else Broken(0, 0, plan, course))


def _checked(made: object) -> System:
    """What ``make`` makes, if it can be tested."""
    if not isinstance(made, System):
        raise TypeError(f"make() must return a System, not {made!r}")
    name = type(made).__name__
    expected: Any = made.expected
    if not isinstance(expected, tuple) or not all(map(_may_be_expected, expected)):
        raise TypeError(f"{name}.expected must be a tuple of exceptions that are no groups, not {expected!r}")
    if type(made).draw is System.draw:
        _check_menu(made, name)
    return made


def _may_be_expected(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, ExceptionGroup)


def _check_menu(system: System, name: str) -> None:
    menu = system.menu()
    if not menu:
        raise TypeError(f"{name} has no operations: mark async methods of it with @operation(...)")
    for verb, (choices, _) in menu.items():
        for place, values in enumerate(choices, 1):
            if not values:
                raise ValueError(
                    f"{name}.{verb} can never be done: its argument {place} has nothing to be drawn from; "
                    "@operation(weight=0) takes it off the menu"
                )


def _shares(system: System) -> Mapping[str, float]:
    """For each operation, which part of all that is drawn it should be."""
    weights = system.weights()
    return {verb: weight / sum(weights.values()) for verb, weight in weights.items()}


def _is_python(source: str) -> bool:
    try:
        ast.parse(source, mode="eval")
    except SyntaxError:
        return False
    return True
