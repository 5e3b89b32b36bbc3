"""Running a program under many plans of faults, and telling of the one that breaks it in as few words as possible.

The plan and the schedule are shrunk together: fewer faults, fewer interruptions, smaller numbers, shorter times. Hypothesis can do
that too (:func:`trioworkers.testing.hypothesis.fault_plans`), and much more besides; this needs fewer runs.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from ._carrier import WEATHERS
from ._picture import told
from ._values import at_least
from ._weather import KINDS, MISHAPS, TIMES, WAYS, Fault, Role, Weather, roles
from .errors import VacuousError
from .explore import kind_of
from .faults import FaultPlan
from .schedule import Hold, Schedule
from .shrink import shrink
from .simulate import STEP_COST, SimResult, name_of, simulate
from .strategies import Plain, Pos, Strategy, Uniform
from .world import MAX_STEPS

Program = Callable[..., Awaitable[object]]


@attrs.frozen
class FaultFailure:
    """A plan that breaks a program, made as small as can be.

    Args:
        name: The program's name.
        args: What it was called with, besides the plan.
        example: The number of the plan it was found with, from 1.
        runs: How many runs it took to make it small.
        plan: What is left of the plan.
        result: How that goes, with all details.
    """

    name: str
    args: tuple[Any, ...]
    example: int
    runs: int
    plan: FaultPlan
    result: SimResult[object]

    @property
    def error(self) -> BaseException:
        """What the program raised."""
        assert self.result.error is not None  # noqa: S101 - or it would be no failure
        return self.result.error

    def report(self) -> str:
        """What has to go wrong, who has to be held where, and a line to run it again."""
        switches = self.result.switches
        call = ", ".join([self.name, *map(repr, (self.plan, *self.args))])
        size = f"faults: {len(self.plan.faults)}, preemptions: {sum(switch.preempts for switch in switches)}"
        lines = [
            f"found by plan {self.example}; made small in {self.runs} runs ({size}):",
            *(f"  {fault}" for fault in self.plan.faults),
            *(f"  {told(switch)}" for switch in switches),
            f"again: simulate({call}, schedule=Schedule.from_token({self.result.to_token()!r})).unwrap()",
        ]
        return "\n".join(lines)


@attrs.frozen
class FaultVerdict:
    """What came of running a program under many plans.

    Args:
        examples: How many.
        struck: In how many of them a fault of each kind has done something, by its name.
        failure: The one that broke it.
    """

    examples: int
    struck: Mapping[str, int]
    failure: FaultFailure | None

    def check(self) -> None:
        """Raise what the program raised, with the report as a note.

        Raises:
            VacuousError: It raised nothing, but no fault has ever struck either.
        """
        if self.failure is not None:
            self.failure.error.add_note(self.failure.report())
            raise self.failure.error
        if not self.struck:
            raise VacuousError(f"no fault of {self.examples} plans has struck: does the program use its plan, and the nodes' names?")


def _some(of: object, field: Any, value: tuple[object, ...]) -> None:
    del of
    if not value:
        raise ValueError(f"{field.name} must not be empty")


@attrs.frozen(kw_only=True)
class _Choice:
    """What there is to choose from."""

    nodes: tuple[str, ...] = attrs.field(validator=_some)
    max_faults: int = attrs.field(validator=at_least(1))
    messages: int = attrs.field(validator=at_least(1))
    jobs: int = attrs.field(validator=at_least(1))
    times: tuple[float, ...] = attrs.field(validator=_some)
    kinds: tuple[type[Fault], ...] = attrs.field(validator=_some)

    def plan(self, rng: random.Random) -> FaultPlan:
        """Draw one: a few faults, of few kinds, so that those of one kind may come together."""
        kinds = rng.sample(self.kinds, rng.randint(1, len(self.kinds)))
        return FaultPlan(*(self._fault(rng, rng.choice(kinds)) for _ in range(rng.randint(1, self.max_faults))))

    def _fault(self, rng: random.Random, kind: type[Fault]) -> Fault:
        return kind(**{name: rng.choice(self._values(role)) for name, role in roles(kind).items()})

    def _values(self, role: Role) -> Sequence[Any]:
        values: dict[Role, Sequence[Any]] = {
            "number": range(self.messages),
            "count": range(2, 7),
            "job": range(self.jobs),
            "time": self.times,
            "length": (*self.times, math.inf),
            "cut": [*self.nodes, *((one, other) for one in self.nodes for other in self.nodes if one != other)],
            "node": self.nodes,
            "way": WAYS,
            "what": MISHAPS,
            "flag": (False, True),
        }
        return values[role]


@attrs.define(eq=False)
class _Laboratory:
    """Runs a program, and counts."""

    program: Program
    args: tuple[Any, ...]
    max_steps: int
    runs: int = attrs.field(default=0, init=False)
    weathers: list[Weather] = attrs.field(factory=list, init=False)

    def run(self, plan: FaultPlan, *, detail: bool = False, **how: Any) -> SimResult[object]:
        """Run it once."""
        self.runs += 1
        self.weathers = []
        token = WEATHERS.set(self.weathers)
        try:
            return simulate(self.program, plan, *self.args, max_steps=self.max_steps, detail=detail, **how)
        finally:
            WEATHERS.reset(token)

    def struck(self) -> set[str]:
        """The kinds of faults that struck in the last run."""
        return {type(fault).__name__ for weather in self.weathers for fault in weather.struck}


@attrs.define(eq=False)
class _Shrinking:
    """Makes one plan that fails small."""

    laboratory: _Laboratory
    kind: tuple[str, ...]
    plan: FaultPlan
    schedule: Schedule

    def shrink(self) -> None:
        """Go on until nothing more can go."""
        self._still(schedule=attrs.evolve(self.schedule, holds=(), step_cost=0.0))
        self._still(schedule=attrs.evolve(self.schedule, step_cost=0.0))
        before: tuple[FaultPlan, Schedule] | None = None
        while before != (self.plan, self.schedule):
            before = self.plan, self.schedule
            shrink(self.plan.faults, self._without_faults)
            shrink(self.schedule.holds, self._without_holds)
            while any(self._still(FaultPlan(*faults)) for faults in self._simpler()):
                pass

    def _without_faults(self, faults: Sequence[Fault]) -> Sequence[Fault] | None:
        return self.plan.faults if self._still(FaultPlan(*faults)) else None

    def _without_holds(self, holds: Sequence[Hold]) -> Sequence[Hold] | None:
        return self.schedule.holds if self._still(schedule=attrs.evolve(self.schedule, holds=tuple(holds))) else None

    def _still(self, plan: FaultPlan | None = None, schedule: Schedule | None = None) -> bool:
        """Whether it fails in the same way with this plan, or this schedule; then it stays."""
        plan, schedule = plan or self.plan, schedule or self.schedule
        result = self.laboratory.run(plan, schedule=schedule)
        if kind_of(result.error) != self.kind:
            return False
        self.plan, self.schedule = plan, result.schedule
        return True

    def _simpler(self) -> Iterator[tuple[Fault, ...]]:
        faults = self.plan.faults
        for place, fault in enumerate(faults):
            for simpler in simpler_faults(fault):
                yield (*faults[:place], simpler, *faults[place + 1 :])


def simpler_faults(fault: Fault) -> Iterator[Fault]:
    """The same kind of fault with a smaller number, a shorter time, or less to say."""
    for name, role in roles(type(fault)).items():
        for value in _simpler_values(role, getattr(fault, name)):
            yield attrs.evolve(fault, **{name: value})


def _simpler_values(role: Role, value: Any) -> Sequence[Any]:
    if role in ("number", "job", "count"):
        return sorted({0, value // 2, value - 1} & {*range(value)})
    if role == "time" or (role == "length" and value < math.inf):
        return [*([math.inf] if role == "length" else []), *(time for time in TIMES if time < value)]
    plain = {"way": WAYS[0], "what": MISHAPS[0], "flag": False}.get(role, value)
    return [] if plain == value else [plain]


def check_faults(
    program: Program,
    *args: Any,
    nodes: Sequence[str],
    max_examples: int = 300,
    max_faults: int = 3,
    messages: int = 20,
    jobs: int = 4,
    times: Sequence[float] = TIMES,
    kinds: Sequence[type[Fault]] = KINDS,
    seed: int = 0,
    step_cost: float = STEP_COST,
    max_steps: int = MAX_STEPS,
) -> FaultVerdict:
    """Run ``program(plan, *args)`` under many plans of faults, and many schedules.

    ::

        def test_each_job_is_done_once():
            check_faults(story, nodes=["client", "worker"]).check()

    Args:
        program: An async function that does its work over :meth:`FaultPlan.link` or :class:`SimNetwork`, and raises if it goes wrong.
        args: What it is called with, after the plan.
        nodes: The names of its nodes.
        max_examples: How many plans at most.
        max_faults: How many faults a plan has at most.
        messages: About how many messages it sends: faults hit those with smaller numbers.
        jobs: About how many jobs it has.
        times: The moments and lengths to choose from, in seconds; that of your own timeouts should be among them.
        kinds: The kinds of faults to choose from.
        seed: Other seeds look elsewhere.
        step_cost: Each step takes up to so many virtual seconds.
        max_steps: So many steps without an end are a livelock.

    Raises:
        TypeError, ValueError: Bad arguments.
    """
    choice = _Choice(nodes=tuple(nodes), max_faults=max_faults, messages=messages, jobs=jobs, times=tuple(times), kinds=tuple(kinds))
    laboratory = _Laboratory(program, args, max_steps)
    struck: Counter[str] = Counter()
    for number in range(max_examples):
        plan = choice.plan(random.Random(f"faults {seed} {number}"))
        result = laboratory.run(plan, strategy=_strategy(number), seed=number, step_cost=step_cost)
        struck.update(laboratory.struck())
        if result.error is not None:
            return FaultVerdict(number + 1, struck, _small(laboratory, plan, result, number + 1))
    return FaultVerdict(max_examples, struck, None)


def _strategy(number: int) -> Strategy:
    makers: tuple[Callable[[int], Strategy], ...] = (lambda _: Plain(), Pos, Uniform, Pos)
    return makers[number % len(makers)](number)


def _small(laboratory: _Laboratory, plan: FaultPlan, result: SimResult[object], example: int) -> FaultFailure:
    begun = laboratory.runs
    shrinking = _Shrinking(laboratory, kind_of(result.error), plan, result.schedule)
    shrinking.shrink()
    final = laboratory.run(shrinking.plan, schedule=shrinking.schedule, detail=True)
    return FaultFailure(name_of(laboratory.program), laboratory.args, example, laboratory.runs - begun, shrinking.plan, final)
