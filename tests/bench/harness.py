"""What every benchmark is made of: cases, a meter, interleaved rounds, summaries, tables. Knows nothing of what is measured."""

from __future__ import annotations

import gc
import statistics
import time  # noqa: TID251 - it measures
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final, TypeVar

import attrs

OURS: Final = "ours"
THEIRS: Final = "theirs"
FLOOR: Final = "floor"
SIDES: Final = (OURS, THEIRS, FLOOR)
LABELS: Final = {OURS: "trioworkers", THEIRS: "pipecat", FLOOR: "bare trio"}
F = TypeVar("F", bound=Callable[..., Any])
Run = Callable[["Meter", int, int], Any]
"""One side of a scenario: sync or async; its arguments are a meter, the case's size, and how many times."""

RUNS: Final[dict[tuple[str, str], Run]] = {}
"""What to run, by side and scenario."""

BEGIN: Final = "<!-- written by `nox -s bench`: begin -->"
END: Final = "<!-- written by `nox -s bench`: end -->"


def side(which: str, scenario: str) -> Callable[[F], F]:
    """Register a function as one side of a scenario."""

    def register(function: F) -> F:
        RUNS[which, scenario] = function
        return function

    return register


@attrs.frozen
class Case:
    """A scenario of some size.

    Args:
        scenario: Its name, the same on each side.
        what: What is done, in words.
        size: What the scenario makes of it: how many workers, how deep, how many messages wait.
        times: How many operations make one round.
        rounds: How many rounds.
        quick: Whether it is part of the quick run.
        without: The sides that take no part, because it would take minutes there, or cannot be done.
    """

    scenario: str
    what: str
    size: int = 0
    times: int = 1
    rounds: int = 7
    quick: bool = True
    without: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What to select it by."""
        return f"{self.scenario}-{self.size}" if self.size else self.scenario

    def sides(self, known: Sequence[str]) -> list[str]:
        """Who takes part, of those that are there."""
        return [which for which in known if which not in self.without and ((which, self.scenario) in RUNS or which == THEIRS)]


@attrs.frozen
class Reading:
    """One measurement.

    Args:
        value: The figure that is compared; processor time, for what takes time.
        wall: The time by the clock, if it is a time.
        unit: Of what.
    """

    value: float
    wall: float | None = None
    unit: str = "us"


@attrs.frozen
class Moment:
    """What the clocks said; the first counts what this process has worked, whatever else the machine did."""

    cpu: float = attrs.field(factory=time.process_time)
    wall: float = attrs.field(factory=time.perf_counter)


@attrs.define
class Meter:
    """What one side of a scenario has found, by name."""

    found: dict[str, Reading] = attrs.field(factory=dict)

    @contextmanager
    def timing(self, name: str, times: int) -> Iterator[None]:
        """Measure a block that does something so many times; what is noted is microseconds for one."""
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.found[name] = Reading(cpu / times * 1e6, wall / times * 1e6)

    def note(self, name: str, value: float, unit: str, wall: float | None = None) -> None:
        """Note something that is no time of a block."""
        self.found[name] = Reading(value, wall, unit)

    def note_moment(self, name: str, begin: Moment, end: Moment) -> None:
        """Note the microseconds between two moments."""
        self.note(name, (end.cpu - begin.cpu) * 1e6, "us", (end.wall - begin.wall) * 1e6)

    def note_pauses(self, moments: Sequence[Moment]) -> None:
        """Note how long somebody who was there at these moments had to wait in between, in milliseconds."""
        cpu = sorted(after.cpu - before.cpu for before, after in pairwise(moments))
        wall = sorted(after.wall - before.wall for before, after in pairwise(moments))
        self.note("longest pause", cpu[-1] * 1e3, "ms", wall[-1] * 1e3)
        rank = int(len(cpu) * 0.99)
        self.note("99 of 100 pauses are shorter", cpu[rank] * 1e3, "ms", wall[rank] * 1e3)


@attrs.frozen
class Summary:
    """Many readings of one thing."""

    least: float
    median: float
    most: float
    wall: float | None
    unit: str

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> Summary:
        """Sum up; there must be one reading at least."""
        values = [reading.value for reading in readings]
        walls = [reading.wall for reading in readings if reading.wall is not None]
        return cls(min(values), statistics.median(values), max(values), min(walls, default=None), readings[0].unit)


@attrs.frozen
class Row:
    """One line of the table: one measurement of one case, on each side that took part."""

    case: str
    what: str
    measure: str
    sides: Mapping[str, Summary]

    def ahead(self) -> float | None:
        """How many times the reference's figure is ours; above 1, we are ahead."""
        return _ratio(self.sides.get(THEIRS), self.sides.get(OURS))

    def ahead_wall(self) -> float | None:
        """The same, by the clock."""
        ours, theirs = self.sides.get(OURS), self.sides.get(THEIRS)
        if ours is None or theirs is None or not ours.wall or theirs.wall is None:
            return None
        return theirs.wall / ours.wall

    def of_floor(self) -> float | None:
        """How many times our figure is that of bare trio."""
        return _ratio(self.sides.get(OURS), self.sides.get(FLOOR))


def _ratio(over: Summary | None, under: Summary | None) -> float | None:
    if over is None or under is None or under.least <= 0:
        return None
    return over.least / under.least


def interleave(
    case: Case, known: Sequence[str], rounds: int, measure: Callable[[str, Case], Mapping[str, Reading]]
) -> dict[str, list[Mapping[str, Reading]]]:
    """Let all sides take turns, in turned order each round; a side that fails drops out.

    Args:
        case: What to do.
        known: The sides that there are.
        rounds: How many turns each.
        measure: Lets one side do it; an empty result if it could not.
    """
    found: dict[str, list[Mapping[str, Reading]]] = {which: [] for which in case.sides(known)}
    for number in range(rounds):
        for which in list(found)[:: -1 if number % 2 else 1]:
            readings = measure(which, case)
            if readings:
                found[which].append(readings)
            else:
                del found[which]
    return found


def rows(case: Case, found: Mapping[str, Sequence[Mapping[str, Reading]]]) -> list[Row]:
    """One row for each thing that was measured, in the order of whoever measured it first."""
    measures = dict.fromkeys(name for turns in found.values() for turn in turns[:1] for name in turn)
    return [
        Row(
            case.key,
            case.what.format(size=f"{case.size:,}"),
            measure,
            {which: Summary.of([turn[measure] for turn in turns]) for which, turns in found.items() if turns and measure in turns[0]},
        )
        for measure in measures
    ]


# -- tables --------------------------------------------------------------------------------------------------------------

HEADINGS: Final = (
    "what",
    "unit",
    *(f"{LABELS[which]} min / median / max" for which in SIDES),
    "x pipecat",
    "by the clock",
    "x bare trio",
)


def number(value: float | None, suffix: str = "") -> str:
    """Write a figure with three digits that count."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}{suffix}"
    return f"{value:.{1 if abs(value) >= 10 else 2}f}{suffix}"


def cells(row: Row) -> list[str]:
    """The cells of one row, below :data:`HEADINGS`."""
    summaries = [row.sides.get(which) for which in SIDES]
    figures = ["-" if each is None else " / ".join(map(number, (each.least, each.median, each.most))) for each in summaries]
    unit = next(each.unit for each in summaries if each is not None)
    ratios = [number(row.ahead(), "x"), number(row.ahead_wall(), "x"), number(row.of_floor(), "x")]
    return [f"{row.what}: {row.measure}", unit, *figures, *ratios]


def table(found: Sequence[Row]) -> str:
    """For a terminal."""
    lines = [list(HEADINGS), *(cells(row) for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    padded = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(line.rstrip() for line in padded)


def markdown(found: Sequence[Row]) -> str:
    """For a page."""
    rule = ["---", "---", *["---:"] * (len(HEADINGS) - 2)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(HEADINGS), rule, *(cells(row) for row in found)])


def included(page: str, text: str) -> str:
    """Return the page with this text between its marks.

    Raises:
        ValueError: The page has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has no place for what is measured")
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"


# -- budgets -------------------------------------------------------------------------------------------------------------

SLACK: Final = 0.10


@attrs.frozen
class Verdict:
    """What came of one budget; ratios are to the yardstick."""

    path: str
    instructions: float
    ratio: float
    allowed: float | None

    @property
    def exceeded(self) -> bool:
        """Whether it takes more than it may."""
        return self.allowed is not None and self.ratio > self.allowed * (1 + SLACK)


def judge(found: Mapping[str, float], budget: Mapping[str, Mapping[str, float]], yardstick: str) -> list[Verdict]:
    """Compare the instructions that each path took with its budget: as ratios to the yardstick, for interpreters differ."""
    unit = found[yardstick]
    return [Verdict(path, count, count / unit, budget[path]["ratio"] if path in budget else None) for path, count in found.items()]


def budget_of(found: Mapping[str, float], yardstick: str) -> dict[str, dict[str, float]]:
    """The budget that these counts would just keep."""
    return {path: {"instructions": round(count), "ratio": round(count / found[yardstick], 4)} for path, count in found.items()}
