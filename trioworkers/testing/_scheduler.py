"""The schedule of one run while it runs: gives tasks their labels, asks the strategy, notes what was chosen."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import final

import attrs
import trio

from ._where import Place, place, short_name
from .schedule import Granularity, Hold
from .strategies import Plain, Strand, Strategy

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
        step: How many steps had been taken.
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
        strategy: Who decides.
        granularity: See :class:`Schedule`.
        step_cost: The longest a step takes, seconds.
        seed: Decides how long each takes.
        jump: Lets time pass.
        detail: Whether to note where each task stands after each of its steps, which takes time.
    """

    strategy: Strategy
    granularity: Granularity
    step_cost: float
    seed: int
    jump: Callable[[float], None]
    now: Callable[[], float]
    detail: bool = False
    trace: list[Step] = attrs.field(factory=list, init=False)
    holds: list[Hold] = attrs.field(factory=list, init=False)
    switches: list[Switch] = attrs.field(factory=list, init=False)
    choices: int = attrs.field(default=0, init=False)
    failure: BaseException | None = attrs.field(default=None, init=False)
    _strands: dict[trio.lowlevel.Task, Strand] = attrs.field(factory=dict, init=False)
    _names: dict[str, int] = attrs.field(factory=dict, init=False)
    _last: Strand | None = attrs.field(default=None, init=False)

    # -- what trio tells ---------------------------------------------------------------------------------------------------

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """It gets its label."""
        name = short_name(task)
        number = self._names[name] = self._names.get(name, 0) + 1
        self._strands[task] = Strand(name if number == 1 else f"{name}#{number}", (len(self.trace), name, number), task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """It is forgotten."""
        del self._strands[task]

    # -- choosing ----------------------------------------------------------------------------------------------------------

    def pick(self, tasks: Sequence[trio.lowlevel.Task]) -> Sequence[trio.lowlevel.Task]:
        """Say which of the runnable tasks take a step in this turn, in which order."""
        due = sorted((self._strands[task] for task in tasks), key=_by_order)
        if self.granularity == "step":
            return [self._choose(due).task]
        chosen = []
        while due:
            strand = self._choose(due)
            due.remove(strand)
            chosen.append(strand.task)
        return chosen

    def label_of(self, task: trio.lowlevel.Task) -> str:
        """The label of a task that lives."""
        return self._strands[task].label

    def _choose(self, due: Sequence[Strand]) -> Strand:
        default, forced = self._default(due)
        chosen = default
        if len(due) > 1 and not forced:
            self.choices += 1
            preempts = default is self._last
            chosen = due[self._ask(due, due.index(default), preempts=preempts)]
            if chosen is not default:
                self._note_switch(default, chosen, preempts=preempts)
        for strand in due:
            strand.overtaken += 1
        self._take_step(chosen)
        return chosen

    def _ask(self, due: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """Ask the strategy. What it raises must not come out inside trio's run loop; the host raises it after this turn."""
        try:
            return self.strategy.choose(due, default, preempts=preempts)
        except BaseException as error:  # noqa: BLE001 - kept for the host
            self.failure = error
            self.strategy = Plain()
            return default

    def _default(self, due: Sequence[Strand]) -> tuple[Strand, bool]:
        starved = next((strand for strand in due if strand.overtaken >= FAIRNESS * len(due)), None)
        if starved is not None:
            return starved, True
        running = next((strand for strand in due if strand is self._last), None)
        return running or due[0], False

    def _take_step(self, strand: Strand) -> None:
        if self.step_cost:
            self.jump(self._cost(strand))
        self.trace.append(Step(strand.label, self.now()))
        strand.steps += 1
        strand.overtaken = 0
        self._last = strand

    def _cost(self, strand: Strand) -> float:
        """How long this step takes: decided by whose it is and which, so that it stays the same when the schedule changes."""
        return self.step_cost * zlib.crc32(f"{self.seed}/{strand.label}/{strand.steps}".encode()) / 2**32

    # -- noting ------------------------------------------------------------------------------------------------------------

    def _note_switch(self, held: Strand, run: Strand, *, preempts: bool) -> None:
        self.holds.append(Hold(held.label, held.steps, run.label))
        if self.detail:
            where = place(held.task) if held.steps else None
            self.switches.append(Switch(len(self.trace), self.now(), held.label, where, run.label, preempts))

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note where it stands, if somebody wants to know."""
        strand = self._strands.get(task)
        if self.detail and strand is not None and strand.steps:
            number = next(number for number in reversed(range(len(self.trace))) if self.trace[number].label == strand.label)
            self.trace[number] = attrs.evolve(self.trace[number], place=place(task))


def _by_order(strand: Strand) -> tuple[int, str, int]:
    return strand.order
