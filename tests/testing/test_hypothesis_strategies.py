"""Strategies for Hypothesis: plans of faults, and schedules."""

from __future__ import annotations

import importlib
import math
import random  # noqa: TID251 - seeded
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from testing.at_least_once import BUGS, NODES, Bug, story
from testing.toys import lost_wakeup, mixed
from unit.strategies import steady

from trioworkers.testing import DeadlockError, Pos, Schedule, simulate
from trioworkers.testing.faults import KINDS, TIMES, Crash, Drop, DropJob, Fault, FaultPlan, Partition
from trioworkers.testing.hypothesis import fault_plans, faults, schedules

quick = settings(
    max_examples=300,
    phases=[Phase.generate, Phase.shrink],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
"""A budget, nothing kept from one run to the next, and no explanations, which take most of the time."""

seeds = st.integers(0, 1000)


def seeded(seed: int) -> random.Random:
    """What Hypothesis draws from."""
    return random.Random(seed)  # noqa: S311 - it is to be repeated


# -- plans ---------------------------------------------------------------------------------------------------------------


@steady
@given(plan=fault_plans("a", "b", max_faults=2, messages=5, jobs=2))
def test_plans_are_as_asked_for(plan: FaultPlan) -> None:
    """A plan that is drawn has at most so many faults, all different, and can be read back from what is printed."""
    assert len(plan.faults) <= 2
    assert len(set(plan.faults)) == len(plan.faults)
    names: dict[str, Any] = {kind.__name__: kind for kind in KINDS}
    assert eval(repr(plan), {**names, "FaultPlan": FaultPlan, "inf": math.inf}) == plan  # noqa: S307 - it is our own text


def test_all_kinds_are_drawn() -> None:
    """With nodes every kind of fault is drawn, without any those that are not about nodes."""

    def drawn(strategy: st.SearchStrategy[Fault]) -> set[type[Fault]]:
        seen: set[type[Fault]] = set()

        @settings(steady, max_examples=300)
        @given(fault=strategy)
        def draw(fault: Fault) -> None:
            seen.add(type(fault))

        draw()
        return seen

    assert drawn(faults("a", "b")) == set(KINDS)
    assert drawn(faults()) == {kind for kind in KINDS if kind.__name__ not in ("Partition", "Slow", "Crash")}
    assert drawn(faults("a", kinds=[Crash, Drop])) == {Crash, Drop}


def test_what_cannot_be_drawn_is_refused() -> None:
    """Faults about nodes without nodes, no kinds, and no times are errors at the call."""
    bad: list[dict[str, Any]] = [{"kinds": [Partition]}, {"kinds": []}, {"times": []}]
    for how in bad:
        with pytest.raises(ValueError, match=r"can be drawn|must not be empty"):
            fault_plans(**how)


def test_the_simplest_plan() -> None:
    """Hypothesis shrinks to the fewest faults, of the simplest kind, with the smallest numbers."""
    assert find(fault_plans("a", "b"), lambda _: True, settings=quick, random=seeded(0)) == FaultPlan()
    some = find(fault_plans("a", "b"), lambda plan: len(plan.faults) > 0, settings=quick, random=seeded(0))
    assert some == FaultPlan(Drop(0))
    down = find(faults("a", "b"), lambda fault: isinstance(fault, Crash), settings=quick, random=seeded(0))
    assert down == Crash(TIMES[0], "a", down=math.inf)


# -- plans at work -------------------------------------------------------------------------------------------------------


@settings(steady, max_examples=300)
@given(plan=fault_plans(*NODES), seed=seeds)
def test_the_right_protocol_passes(plan: FaultPlan, seed: int) -> None:
    """The protocol that does it right survives 300 plans."""
    simulate(story, plan, seed=seed, strategy=Pos(seed), detail=False).unwrap()


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("number", range(3))
def test_each_mistake_is_found(bug: Bug, number: int) -> None:
    """Each of the classic mistakes is found within 300 plans, and what is left is one or two faults that have struck."""
    runs: Counter[str] = Counter()

    def fails(case: tuple[FaultPlan, int]) -> bool:
        plan, seed = case
        runs["all"] += 1
        return simulate(story, plan, bug, seed=seed, strategy=Pos(seed), detail=False).error is not None

    plan, seed = find(st.tuples(fault_plans(*NODES), seeds), fails, settings=quick, random=seeded(number))
    assert 1 <= len(plan.faults) <= 2
    assert seed == 0
    assert runs["all"] <= 400


def test_dropping_jobs_reaches_behind_retries() -> None:
    """All attempts at a job are lost by one fault; single losses do not get there."""

    def gives_up(plan: FaultPlan) -> bool:
        link = simulate(story, plan, detail=False).unwrap()
        answers = [line for line in link.log if line.sender == "worker" and line.event == "arrived"]
        return len({line.what for line in answers}) < 3

    plan = find(fault_plans(*NODES), gives_up, settings=quick, random=seeded(0))
    assert plan == FaultPlan(DropJob(0))
    with pytest.raises(NoSuchExample):
        find(fault_plans(*NODES, max_faults=2, kinds=[Drop]), gives_up, settings=quick, random=seeded(0))


# -- schedules -----------------------------------------------------------------------------------------------------------


@steady
@given(schedule=schedules(simulate(mixed), max_holds=3, step_costs=[0.0]))
def test_schedules_are_about_what_was_seen(schedule: Schedule) -> None:
    """A schedule that is drawn interrupts the tasks of the run it was drawn from, at steps they took, and can be run."""
    labels = {step.label for step in simulate(mixed).trace}
    assert len(schedule.holds) <= 3
    assert {hold.held for hold in schedule.holds} | {hold.run for hold in schedule.holds} <= labels
    assert all(hold.held != hold.run for hold in schedule.holds)
    assert schedule.step_cost == 0.0
    simulate(mixed, schedule=schedule).unwrap()


def test_a_schedule_that_breaks_it_is_found() -> None:
    """Hypothesis finds the one interruption that makes a program miss its wake-up."""
    seen = simulate(lost_wakeup, step_cost=0.0)

    def fails(schedule: Schedule) -> bool:
        return isinstance(simulate(lost_wakeup, schedule=schedule).error, DeadlockError)

    schedule = find(schedules(seen), fails, settings=quick, random=seeded(0))
    assert (len(schedule.holds), schedule.seed, schedule.step_cost) == (1, 0, 0.0)
    assert schedule.holds[0].held == "consumer"


def test_a_program_with_one_task_has_one_schedule() -> None:
    """Where there is nobody to choose from nobody is held."""

    async def alone() -> None:
        """Nothing."""

    simplest = find(schedules(simulate(alone)), lambda _: True, settings=quick, random=seeded(0))
    assert simplest == Schedule()
    with pytest.raises(ValueError, match="step_costs must not be empty"):
        schedules(simulate(alone), step_costs=[])


# -- without Hypothesis --------------------------------------------------------------------------------------------------


def test_without_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Hypothesis is not installed, the import says which extra brings it."""
    monkeypatch.delitem(sys.modules, "trioworkers.testing.hypothesis")
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match=r"pip install 'trioworkers\[test\]'"):
        importlib.import_module("trioworkers.testing.hypothesis")
