"""The schedule of one run while it runs: gives tasks their labels, asks the strategy, notes what was chosen."""

from __future__ import annotations

import zlib
from bisect import insort
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import final

import attrs
import trio

from ._where import Place, place, places, short_name
from .schedule import Granularity, Hold
from .strategies import Strand, Strategy

FAIRNESS = 50
"""A task whose step is due is overtaken at most so many times for each one that is runnable: no schedule starves anybody for ever."""


@attrs.frozen
class Step:
    """One step that was taken.

    Args:
        label: By whom.
        time: When, in virtual seconds.
        place: Where it stands after it; ``None`` when it has ended, or if nobody asked for places.
    """

    label: str
    time: float
    place: Place | None = None


@attrs.frozen
class Switch:
    """A moment at which somebody was held.

    Args:
        step: How many steps had been taken when the turn began.
        time: When, in virtual seconds.
        held: Who would have gone on.
        place: Where it stands; ``None`` before its first step.
        run: Who went on instead.
        preempts: Whether the one held was just running; otherwise it was merely older.
    """

    step: int
    time: float
    held: str
    place: Place | None
    run: str
    preempts: bool


@final
@attrs.define(eq=False)
class Scheduler(trio.abc.Instrument):
    """See the module.

    Args:
        granularity: See :class:`Schedule`.
        step_cost: The longest a step takes, seconds. Trio's own tasks take no time.
        seed: Decides how long each takes.
        now: Says what time it is.
        jump: Lets time pass.
        fail: Is told what a strategy raises: that must not come out inside of trio's loop.
        detail: Whether to note where each task stands after each of its steps, which takes time.
        strategy: Who decides; nobody, while the world comes up and while it goes down: then the schedule is the plain one.
    """

    granularity: Granularity
    step_cost: float
    seed: int
    now: Callable[[], float]
    jump: Callable[[float], object]
    fail: Callable[[BaseException], object]
    detail: bool = False
    strategy: Strategy | None = attrs.field(default=None, init=False)
    trace: list[Step] = attrs.field(factory=list, init=False)
    holds: list[Hold] = attrs.field(factory=list, init=False)
    switches: list[Switch] = attrs.field(factory=list, init=False)
    choices: int = attrs.field(default=0, init=False)
    due: list[Strand] = attrs.field(factory=list, init=False)
    _strands: dict[trio.lowlevel.Task, Strand] = attrs.field(factory=dict, init=False)
    _numbers: dict[str, int] = attrs.field(factory=dict, init=False)
    _labels: set[str] = attrs.field(factory=set, init=False)
    _round: list[Strand] = attrs.field(factory=list, init=False)
    _began: float = attrs.field(default=0.0, init=False)
    _last: Strand | None = attrs.field(default=None, init=False)

    # -- what trio tells ---------------------------------------------------------------------------------------------------

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """It gets its label."""
        name = short_name(task)
        self._strands[task] = Strand(self._label(name), (len(self.trace), name, len(self._labels)), task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """It is forgotten."""
        del self._strands[task]

    def _label(self, name: str) -> str:
        label, number = name, self._numbers.get(name, 1)
        while label in self._labels:
            number += 1
            label = f"{name}#{number}"
        self._numbers[name] = number
        self._labels.add(label)
        return label

    # -- choosing ----------------------------------------------------------------------------------------------------------

    def pick(self, tasks: Sequence[trio.lowlevel.Task]) -> Sequence[trio.lowlevel.Task]:
        """Say who takes a step in this turn, in which order.

        Args:
            tasks: Those that have become runnable. Those that already were and did not take their step yet are known.
        """
        for task in tasks:
            insort(self.due, self._strands[task], key=_BY_AGE)
        self._began = self.now()
        count = len(self.due) if self.granularity == "batch" else min(1, len(self.due))
        self._round = [self._take() for _ in range(count)]
        return [strand.task for strand in self._round]

    def end_turn(self) -> None:
        """Those that were picked have taken their steps: note where they stand."""
        for strand in self._round:
            stands = place(strand.task) if self.detail and strand.task in self._strands else None
            self.trace.append(Step(strand.label, self._began, stands))

    def pass_time(self) -> None:
        """Let the time pass that those steps took; after the turn, so that who looks at it sees the moment at which it happened."""
        if self.step_cost:
            for strand in self._round:
                self.jump(self._cost(strand))

    def _take(self) -> Strand:
        due = self.due
        chosen = self._choose(due) if len(due) > 1 else due[0]
        due.remove(chosen)
        chosen.steps += 1
        chosen.overtaken = 0
        self._last = chosen
        return chosen

    def _choose(self, due: Sequence[Strand]) -> Strand:
        default = self._last if self._last is not None and self._last in due else due[0]
        starved = _overtake(due)
        if starved is not None or self.strategy is None:
            return starved or default
        self.choices += 1
        chosen = self._ask(self.strategy, due, default)
        if chosen is not default:
            self._note_switch(default, chosen)
        return chosen

    def _ask(self, strategy: Strategy, due: Sequence[Strand], default: Strand) -> Strand:
        try:
            return due[strategy.choose(due, due.index(default), preempts=default is self._last)]
        except BaseException as error:  # noqa: BLE001, ASYNC103 - handed on; no task of trio's runs here
            self.fail(error)
            self.strategy = None
            return default  # noqa: ASYNC104 - as above

    def _cost(self, strand: Strand) -> float:
        """How long this step takes: decided by whose it is and which, so that it stays the same when the schedule changes."""
        if strand.label.startswith("<"):
            return 0.0
        return self.step_cost * zlib.crc32(f"{self.seed}/{strand.label}/{strand.steps}".encode()) / 2**32

    def _note_switch(self, held: Strand, run: Strand) -> None:
        self.holds.append(Hold(held.label, held.steps, run.label))
        if self.detail:
            where = place(held.task) if held.steps else None
            self.switches.append(Switch(len(self.trace), self._began, held.label, where, run.label, preempts=held is self._last))

    # -- telling -----------------------------------------------------------------------------------------------------------

    def label_of(self, task: trio.lowlevel.Task) -> str:
        """The label of a task that lives."""
        return self._strands[task].label

    def age_of(self, task: trio.lowlevel.Task) -> tuple[int, str, int]:
        """What tasks are ordered by that live: the oldest first."""
        return self._strands[task].order

    def stands_at(self, task: trio.lowlevel.Task) -> Sequence[Place]:
        """The calls it is in, outermost first; none before its first step."""
        return places(task) if self._strands[task].steps else ()


_BY_AGE = attrgetter("order")


def _overtake(due: Sequence[Strand]) -> Strand | None:
    """Count that all of them wait for one more step; the oldest that has waited too long, if one has."""
    limit, starved = FAIRNESS * len(due), None
    for strand in due:
        if strand.overtaken >= limit:
            starved = starved or strand
        strand.overtaken += 1
    return starved
