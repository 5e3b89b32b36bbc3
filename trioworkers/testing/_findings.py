"""What is looked for, and what was found: the values that go into an exploration, and those that come out of it."""

from __future__ import annotations

import json
from typing import get_args

import attrs

from .._leaves import leaves
from ._entropy import Entropy, Threads
from ._picture import counted, told
from ._values import an, at_least, one_of, optional_seconds, seconds
from .schedule import Granularity
from .simulate import STEP_COST, SimResult
from .strategies import Name
from .world import MAX_STEPS

_BESIDE_A_TOKEN = ("max_steps", "threads", "entropy")


@attrs.frozen(kw_only=True)
class Settings:
    """How to explore; see :func:`explore`.

    Raises:
        TypeError: A value is of a wrong type.
        ValueError: There is no such strategy, granularity or the like; a number is too small.
    """

    strategy: Name = attrs.field(default="portfolio", validator=one_of(*get_args(Name)))  # pyright: ignore[reportAssignmentType]  # it takes a literal for a str
    max_examples: int = attrs.field(default=200, validator=at_least(1))
    preemptions: int = attrs.field(default=2, validator=at_least(0))
    seed: int = attrs.field(default=0, validator=an(int))
    time_limit: float | None = attrs.field(default=None, validator=optional_seconds)
    step_cost: float = attrs.field(default=STEP_COST, validator=seconds)
    granularity: Granularity = attrs.field(default="step", validator=one_of(*get_args(Granularity)))  # pyright: ignore[reportAssignmentType]  # it takes a literal for a str
    max_steps: int = attrs.field(default=MAX_STEPS, validator=at_least(1))
    threads: Threads = attrs.field(default="forbid", validator=one_of(*get_args(Threads)))  # pyright: ignore[reportAssignmentType]  # it takes a literal for a str
    entropy: Entropy = attrs.field(default="seeded", validator=one_of(*get_args(Entropy)))  # pyright: ignore[reportAssignmentType]  # it takes a literal for a str

    def given(self, *, beside_a_token: bool) -> dict[str, object]:
        """What is not as by default: of that which a replay token does not know of, or of that which it decides."""
        return attrs.asdict(
            self, filter=lambda field, value: value != field.default and (field.name in _BESIDE_A_TOKEN) is beside_a_token
        )


@attrs.frozen
class Failure:
    """A schedule under which a program fails.

    Args:
        example: The number of the schedule it was found with, from 1.
        strategy: What kind of schedule that was.
        preemptions: How often it interrupted somebody.
        runs: How many runs it took to shrink it.
        result: What is left of it, as a run with all details.
        settings: How it was looked for.
    """

    example: int
    strategy: str
    preemptions: int
    runs: int
    result: SimResult[object]
    settings: Settings

    @property
    def error(self) -> BaseException:
        """What the program raised."""
        assert self.result.error is not None  # noqa: S101 - or it would be no failure
        return self.result.error

    @property
    def left(self) -> int:
        """How many preemptions are left."""
        return preemptions(self.result)

    def report(self) -> str:
        """Who was held where while whom ran, and a line to run it again."""
        again = {"replay": self.result.to_token(), **self.settings.given(beside_a_token=True)}
        found = f"found by schedule {self.example} ({self.strategy}), {counted(self.preemptions, 'preemption')}"
        lines = [
            f"{found}; shrunk to {self.left} in {counted(self.runs, 'run')}:",
            *(f"  {told(switch)}" for switch in self.result.switches),
            *([] if self.result.switches else ["  nobody need be held"]),
            f"replay: @explore({', '.join(f'{name}={json.dumps(value)}' for name, value in again.items())})",
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
        __tracebackhide__ = True
        if self.failure is not None:
            error, report = self.failure.error, self.failure.report()
            if report not in getattr(error, "__notes__", ()):
                error.add_note(report)
            raise error

    def __str__(self) -> str:
        found = "no failure" if self.failure is None else f"failed: {', '.join(kind_of(self.failure.error))}"
        more = ", all there are" if self.exhausted else ""
        return f"{self.name}: {counted(self.examples, 'schedule')}{more}, {self.distinct} distinct, {found}"


def preemptions(result: SimResult[object]) -> int:
    """How often somebody was interrupted, in a run with all details."""
    return sum(switch.preempts for switch in result.switches)


def kind_of(error: BaseException | None) -> tuple[str, ...]:
    """What two failures have in common if they are of a kind: the types of what was raised."""
    return () if error is None else tuple(sorted({type(leaf).__qualname__ for leaf in leaves(error)}))
