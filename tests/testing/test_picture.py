"""Runs, drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from testing.toys import consumer, lost_wakeup, mixed, steps
from unit.strategies import steady

from trioworkers.testing import Hold, Pct, Schedule, simulate
from trioworkers.testing._picture import Stretch, as_mermaid, as_text, stretches
from trioworkers.testing._scheduler import Step, Switch
from trioworkers.testing._where import Place

LOST = Schedule((Hold("consumer", 1, "producer"),))


def at(function: Callable[..., Any], line: int) -> str:
    """A line of a function, as pictures name it."""
    return f"{function.__name__} (toys.py:{function.__code__.co_firstlineno + line})"


def test_a_run_as_text() -> None:
    """The text says who took how many steps when, where that left it, and who was held."""
    assert simulate(lost_wakeup, schedule=LOST).picture().splitlines() == [
        f"t=0.000    lost_wakeup  1 step   waits at {at(lost_wakeup, 3)}",
        f"t=0.000    consumer     1 step   waits at {at(consumer, 3)}",
        "t=0.000    producer     2 steps  ends",
        f"t=0.000    consumer     1 step   waits at {at(consumer, 5)}",
        f"t=0.000  consumer is held at {at(consumer, 3)} while producer runs",
    ]


def test_a_run_as_a_diagram() -> None:
    """The diagram has a line of life for each task, a note for each stretch and an arrow for each change."""
    assert simulate(lost_wakeup, schedule=LOST).mermaid().splitlines() == [
        "sequenceDiagram",
        "    participant t0 as lost_wakeup",
        "    participant t1 as consumer",
        "    participant t2 as producer",
        f"    Note over t0: 1 step, waits at {at(lost_wakeup, 3)}",
        "    t0-->>t1: t=0.000",
        f"    Note over t1: 1 step, waits at {at(consumer, 3)}",
        "    t1-->>t2: t=0.000",
        "    Note over t2: 2 steps, ends",
        "    t2-->>t1: t=0.000",
        f"    Note over t1: 1 step, waits at {at(consumer, 5)}",
    ]


def test_times_are_told() -> None:
    """A stretch is told with the time of its first step."""

    async def late() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(steps, 0)
            await trio.sleep(1.5)

    lines = simulate(late, schedule=Schedule()).picture().splitlines()
    assert [line.split()[:3] for line in lines] == [["t=0.000", "late", "1"], ["t=0.000", "steps", "1"], ["t=1.500", "late", "2"]]


def test_who_was_held_before_its_first_step() -> None:
    """A task that had to wait before it could begin has no place."""
    switch = Switch(step=3, time=2.0, held="a", place=None, run="b", preempts=True)
    assert as_text([], [switch]) == "t=2.000  a is held before its first step while b runs"


def test_only_interruptions_are_told_in_the_text() -> None:
    """That somebody younger went first, when nobody was interrupted, is not told below the text."""
    switch = Switch(step=3, time=2.0, held="a", place=None, run="b", preempts=False)
    assert as_text([], [switch]) == ""


def test_without_detail_nothing_is_said_of_places() -> None:
    """A run that was recorded without places is drawn without them; nobody is said to have ended."""
    result = simulate(lost_wakeup, schedule=LOST, detail=False)
    assert result.picture().splitlines() == [
        "t=0.000    lost_wakeup  1 step",
        "t=0.000    consumer     1 step",
        "t=0.000    producer     2 steps",
        "t=0.000    consumer     1 step",
    ]
    assert "    Note over t2: 2 steps" in result.mermaid().splitlines()


def test_nothing_happened() -> None:
    """The picture of nothing is empty."""
    assert as_text([]) == ""
    assert as_mermaid([]) == "sequenceDiagram"


def test_trios_own_tasks_are_left_out() -> None:
    """What trio does in between is not shown, and does not split a stretch."""
    here = Place("f", "a.py", 1)
    trace = [Step("a", 0.0, here), Step("<init>", 1.0), Step("a", 2.0, here), Step("b", 3.0, here), Step("b", 4.0)]
    assert list(stretches(trace)) == [Stretch("a", 0.0, 2, "waits at f (a.py:1)"), Stretch("b", 3.0, 2, "ends")]


def test_a_task_that_waits_in_trios_code_has_not_ended() -> None:
    """A task that is all trio's own code waits there, and is not said to have ended before it has."""

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            nursery.start_soon(steps, 0)

    ends = [line.split(maxsplit=4)[4] for line in simulate(program, schedule=Schedule()).picture().splitlines() if " sleep " in line]
    assert ends[0].startswith("waits at sleep")
    assert ends[1] == "ends"


NAMES = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda name: not name.startswith("<"))


@steady
@given(st.lists(st.builds(Step, NAMES, st.floats(0, 1e6), st.none() | st.builds(Place, NAMES, NAMES, st.integers(1, 999)))))
def test_a_diagram_is_well_formed(trace: list[Step]) -> None:
    """Whatever tasks are called, each line of a diagram is one of three kinds, and speaks of those that take part."""
    first, *lines = as_mermaid(trace).split("\n")
    assert first == "sequenceDiagram"
    ids = [line.split()[1] for line in lines if line.startswith("    participant ")]
    assert ids == [f"t{number}" for number in range(len({step.label for step in trace}))]
    known = "|".join(ids) or "nobody"
    text = r"[^#;<>\r\n]"
    kinds = rf"    (participant t\d+ as {text}+|({known})-->>({known}): t=\d+\.\d{{3}}|Note over ({known}): \d+ steps?{text}*)"
    assert all(re.fullmatch(kinds, line) for line in lines)


def test_what_mermaid_would_misread_is_written_otherwise() -> None:
    """Signs that end a text, or begin a tag, are replaced by others."""
    diagram = as_mermaid([Step("a#2;b>c\r\n<d>", 0.0)])
    assert diagram.splitlines()[1] == "    participant t0 as a no. 2,b)c  (d)"


def test_second_tasks_are_numbered_in_words() -> None:
    """The number sign in the label of a task that is not the first of its name would end the line."""

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(steps, 1)
            nursery.start_soon(steps, 1)

    diagram = simulate(program, schedule=Schedule()).mermaid()
    assert [line for line in diagram.splitlines() if "participant" in line] == [
        "    participant t0 as program",
        "    participant t1 as steps",
        "    participant t2 as steps no. 2",
    ]


@pytest.mark.parametrize("seed", range(5))
def test_stretches_add_up(seed: int) -> None:
    """No step of the program's tasks is lost, and no two stretches in a row are of one task."""
    trace = simulate(mixed, strategy=Pct(seed)).trace
    rows = list(stretches(trace))
    assert [row.label for row in rows for _ in range(row.count)] == [step.label for step in trace if not step.label.startswith("<")]
    assert all(row.label != after.label for row, after in pairwise(rows))
