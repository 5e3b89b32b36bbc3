"""The benchmarks' own arithmetic, and that each of them runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from itertools import chain

import pytest
from bench import jobs, lives, memory, messages
from bench.harness import (
    BEGIN,
    END,
    FLOOR,
    OURS,
    RUNS,
    THEIRS,
    Case,
    Meter,
    Moment,
    Reading,
    Row,
    Summary,
    budget_of,
    included,
    interleave,
    judge,
    markdown,
    number,
    rows,
    side,
    table,
)
from bench.turns import one

CASES = list(chain(messages.CASES, jobs.CASES, lives.CASES, memory.CASES))
SMALLEST = {case.scenario: case.size for case in reversed(CASES)}  # the cases of a scenario go from small to large
TIMES = {"busy": 2}  # each takes a twentieth of a second
SHRUNK = {"many": 2_200, "urgent": 100, "bystander": 200, "leftovers": 10}
HERE = sorted((which, scenario) for which, scenario in RUNS if scenario != "import")


def summary(least: float, median: float = 0.0, most: float = 0.0, wall: float | None = None) -> Summary:
    """A summary of microseconds."""
    return Summary(least, median, most, wall, "us")


# -- arithmetic ----------------------------------------------------------------------------------------------------------


def test_a_summary_has_the_least_the_median_and_the_most() -> None:
    """The readings of one thing are summed up, those of the clock by their least."""
    readings = [Reading(3.0, 9.0), Reading(1.0, 7.0), Reading(2.0, 8.0)]
    assert Summary.of(readings) == Summary(1.0, 2.0, 3.0, 7.0, "us")
    assert Summary.of([Reading(5.0, unit="bytes")]) == Summary(5.0, 5.0, 5.0, None, "bytes")


def test_ratios_are_of_the_least() -> None:
    """Ahead is how many times theirs is ours; of the floor is how many times ours is the floor's."""
    row = Row("job", "a job", "trip", {OURS: summary(10, 11, 99, 5.0), THEIRS: summary(60, 70, 80, 15.0), FLOOR: summary(4)})
    assert (row.ahead(), row.ahead_wall(), row.of_floor()) == (6.0, 3.0, 2.5)


@pytest.mark.parametrize("sides", [{}, {OURS: summary(1)}, {THEIRS: summary(1)}, {OURS: summary(0), THEIRS: summary(1)}])
def test_what_cannot_be_compared_has_no_ratio(sides: dict[str, Summary]) -> None:
    """Without both figures, or when ours is nothing, there is no ratio."""
    row = Row("job", "a job", "trip", sides)
    assert (row.ahead(), row.ahead_wall(), row.of_floor()) == (None, None, None)


def test_rounds_are_interleaved_and_turned_round() -> None:
    """All sides take turns, in turned order each round; who fails is not asked again; who is excused is not asked at all."""
    turns: list[str] = []

    def measure(which: str, case: Case) -> Mapping[str, Reading]:
        turns.append(which)
        return {} if which == THEIRS else {"trip": Reading(1.0)}

    case = Case("job", "a job")
    found = interleave(case, [OURS, THEIRS, FLOOR], 3, measure)
    assert turns == [OURS, THEIRS, FLOOR, FLOOR, OURS, OURS, FLOOR]
    assert {which: len(each) for which, each in found.items()} == {OURS: 3, FLOOR: 3}
    assert Case("job", "a job", without=(THEIRS,)).sides([OURS, THEIRS]) == [OURS]
    assert Case("busy", "no floor").sides([OURS, THEIRS, FLOOR]) == [OURS, THEIRS]


def test_each_measurement_is_a_row() -> None:
    """A case has a row for each thing that anybody has measured."""
    turn, less = {"start": Reading(1.0), "end": Reading(2.0)}, {"end": Reading(4.0)}
    made = rows(Case("roots", "{size} roots", 1_000), {OURS: [turn, turn], FLOOR: [less], THEIRS: []})
    assert [(row.case, row.what, row.measure, list(row.sides)) for row in made] == [
        ("roots-1000", "1,000 roots", "start", [OURS]),
        ("roots-1000", "1,000 roots", "end", [OURS, FLOOR]),
    ]


def test_the_meter_measures() -> None:
    """A block that is timed, a thing that is noted, and the pauses of somebody who stood by."""
    meter = Meter()
    with meter.timing("work", 2):
        sum(range(1000))
    meter.note("weight", 7.0, "bytes")
    moments = [Moment(cpu, wall) for cpu, wall in ((0.0, 0.0), (0.001, 0.002), (0.004, 0.01))]
    meter.note_moment("moment", *moments[:2])
    meter.note_pauses(moments)
    assert 0 < meter.found.pop("work").value < 1e6
    assert {name: (reading.value, reading.wall, reading.unit) for name, reading in meter.found.items()} == {
        "weight": (7.0, None, "bytes"),
        "moment": (1000.0, 2000.0, "us"),
        "longest pause": (3.0, 8.0, "ms"),
        "99 of 100 pauses are shorter": (3.0, 8.0, "ms"),
    }


# -- tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0, "0"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346"), (0.04, "0.04")]
)
def test_figures_have_three_digits_that_count(value: float | None, text: str) -> None:
    """More would be noise."""
    assert number(value) == text


ROWS = [
    Row("job", "a job", "trip", {OURS: summary(10, 11, 12, 5.0), THEIRS: summary(60, 70, 80, 15.0), FLOOR: summary(4, 4, 4)}),
    Row("idle", "an idle worker", "each", {OURS: summary(7, 7, 7)}),
]


def test_the_table_for_a_terminal() -> None:
    """Columns are as wide as what stands in them."""
    head, job, idle = table(ROWS).splitlines()
    assert " ".join(job.split()) == "a job: trip us 10.0 / 11.0 / 12.0 60.0 / 70.0 / 80.0 4.00 / 4.00 / 4.00 6.00x 3.00x 2.50x"
    assert " ".join(idle.split()) == "an idle worker: each us 7.00 / 7.00 / 7.00 - - - - -"
    assert len(head) == len(job) == len(idle)


def test_the_table_for_a_page() -> None:
    """The same cells, in Markdown."""
    lines = markdown(ROWS).splitlines()
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert lines[3] == "| an idle worker: each | us | 7.00 / 7.00 / 7.00 | - | - | - | - | - |"


def test_what_was_measured_is_put_between_the_marks() -> None:
    """The rest of the page stays; a second time changes nothing; a page without marks is refused."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = included(page, "\nnew\n")
    assert new == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert included(new, "new") == new
    with pytest.raises(ValueError, match="no place"):
        included("no marks", "new")


# -- budgets -------------------------------------------------------------------------------------------------------------


def test_budgets_are_compared_as_ratios() -> None:
    """A tenth more than the budget passes, whatever the interpreter makes of the yardstick; a path without a budget does, too."""
    budget = budget_of({"naive": 100.0, "job": 150.0, "post": 20.0}, "naive")
    assert budget["job"] == {"instructions": 150, "ratio": 1.5}
    verdicts = judge({"naive": 200.0, "job": 329.0, "post": 45.0, "new": 9.0}, budget, "naive")
    assert [(each.path, each.ratio, each.allowed, each.exceeded) for each in verdicts] == [
        ("naive", 1.0, 1.0, False),
        ("job", 1.645, 1.5, False),
        ("post", 0.225, 0.2, True),
        ("new", 0.045, None, False),
    ]


# -- the scenarios -------------------------------------------------------------------------------------------------------


@pytest.fixture
def _tidy() -> Iterator[None]:
    """The meter collects garbage each time; what the whole suite holds need not be looked at."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_tidy")
@pytest.mark.parametrize(("which", "scenario"), HERE)
def test_each_scenario_runs(which: str, scenario: str) -> None:
    """This library's side and bare trio's do their work, if not for long, and measure something."""
    size = SHRUNK.get(scenario, min(SMALLEST[scenario], 12))
    assert one(which, scenario, size, TIMES.get(scenario, 16)) != {}


def test_what_is_registered_is_a_scenario() -> None:
    """Each case has our side at least; each side belongs to a case."""
    assert {scenario for _, scenario in RUNS} == {case.scenario for case in CASES}
    assert {scenario for which, scenario in RUNS if which == OURS} == set(SMALLEST)
    assert len({case.key for case in CASES}) == len(CASES)


def test_a_side_is_registered_by_name() -> None:
    """The decorator returns what it registers."""

    @side(OURS, "for this test")
    def run(meter: Meter, size: int, times: int) -> None:
        meter.note("seen", size, "things")

    try:
        assert one(OURS, "for this test", 3, 1)["seen"] == Reading(3, None, "things")
    finally:
        del RUNS[OURS, "for this test"]
