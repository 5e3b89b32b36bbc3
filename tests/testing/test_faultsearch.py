"""The search for plans that break a program, without Hypothesis."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
from testing.at_least_once import BUGS, NODES, Bug, story
from testing.toys import lost_wakeup

from trioworkers.testing import DeadlockError, Schedule, VacuousError, simulate
from trioworkers.testing.faults import KINDS, Burst, Crash, Drop, DropJob, Fault, FaultPlan, Partition, Slow
from trioworkers.testing.faultsearch import check_faults, simpler_faults


def test_the_right_protocol_passes() -> None:
    """The protocol that does it right survives 300 plans, in which faults of every kind strike."""
    verdict = check_faults(story, nodes=NODES)
    verdict.check()
    assert verdict.examples == 300
    assert set(verdict.struck) == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("seed", range(4))
def test_each_mistake_is_found(bug: Bug, seed: int) -> None:
    """Each of the classic mistakes is found within 100 plans, and made small in 100 runs: one fault, and nobody is held."""
    verdict = check_faults(story, bug, nodes=NODES, max_examples=100, seed=seed)
    failure = verdict.failure
    assert failure is not None
    assert failure.example == verdict.examples
    assert len(failure.plan.faults) == 1
    assert failure.result.schedule.holds == ()
    assert failure.runs <= 100


def test_a_failure_says_how_to_see_it_again() -> None:
    """What went wrong is raised with a note: the faults that are needed, and a line that runs just that."""
    verdict = check_faults(story, BUGS[2], nodes=NODES)
    assert verdict.failure is not None
    with pytest.raises(AssertionError, match="ended") as caught:
        verdict.check()
    assert caught.value is verdict.failure.error
    head, *faults, again = caught.value.__notes__[0].splitlines()
    assert head.startswith(f"found by plan {verdict.examples}; made small in {verdict.failure.runs} runs (faults: 1, preemptions: 0):")
    assert faults == [f"  {verdict.failure.plan.faults[0]}"]
    names: dict[str, Any] = {kind.__name__: kind for kind in KINDS}
    names |= {"simulate": simulate, "story": story, "FaultPlan": FaultPlan, "Schedule": Schedule, "inf": math.inf}
    with pytest.raises(AssertionError, match="ended"):
        eval(again.removeprefix("again: "), names)  # noqa: S307 - it is our own text


async def racy(plan: FaultPlan) -> None:
    """When the one message there is gets lost, what is done instead has a race in it."""
    async with plan.link(*NODES) as link:
        client, worker = link
        await client.send("hello")
        with trio.move_on_after(20):
            await worker.receive()
            return
        await lost_wakeup()


def test_plan_and_schedule_are_made_small_together() -> None:
    """A failure that needs a fault and an interruption is found, and nothing else is left of plan and schedule."""
    verdict = check_faults(racy, nodes=NODES, max_examples=1000)
    assert verdict.failure is not None
    assert isinstance(verdict.failure.error, DeadlockError)
    assert len(verdict.failure.plan.faults) == 1
    assert [hold.held for hold in verdict.failure.result.schedule.holds] == ["consumer"]
    assert "(faults: 1, preemptions: 1)" in verdict.failure.report()
    assert "consumer is held at consumer" in verdict.failure.report()


def test_nothing_struck() -> None:
    """A check in which no fault has ever struck is an error: it has tested nothing."""

    async def deaf(plan: FaultPlan) -> None:
        """Does not use its plan."""
        del plan

    verdict = check_faults(deaf, nodes=NODES, max_examples=3)
    assert (verdict.examples, verdict.struck, verdict.failure) == (3, {}, None)
    with pytest.raises(VacuousError, match="no fault of 3 plans has struck"):
        verdict.check()


def test_an_error_without_a_fault() -> None:
    """A program that fails whatever the plan is shown to need no fault."""

    async def fails(plan: FaultPlan) -> None:
        raise KeyError(len(plan.faults) > 99)

    verdict = check_faults(fails, nodes=NODES)
    assert verdict.failure is not None
    assert verdict.failure.plan == FaultPlan()


SIMPLER: list[tuple[Fault, list[Fault]]] = [
    (Drop(0), []),
    (Drop(1), [Drop(0)]),
    (Drop(9), [Drop(0), Drop(4), Drop(8)]),
    (DropJob(0, "back"), [DropJob(0)]),
    (Crash(0.01, "a", down=math.inf), [Crash(0.0, "a", down=math.inf), Crash(0.001, "a", down=math.inf)]),
    (Crash(0.0, "a", down=0.001), [Crash(0.0, "a"), Crash(0.0, "a", down=0.0)]),
    (Partition(0.0, 0.0, "a", one_way=True), [Partition(0.0, math.inf, "a", one_way=True), Partition(0.0, 0.0, "a")]),
    (Burst(0, 2, "delay"), [Burst(0, 0, "delay"), Burst(0, 1, "delay"), Burst(0, 2)]),
    (Slow(0.0, math.inf, ("a", "b"), 0.0), []),
]


@pytest.mark.parametrize(("fault", "simpler"), SIMPLER)
def test_what_is_simpler(fault: Fault, simpler: list[Fault]) -> None:
    """Simpler than a fault is one of its kind with a smaller number, a shorter time, or less to say."""
    assert list(simpler_faults(fault)) == simpler


def test_bad_arguments() -> None:
    """Numbers of nothing are errors at the call."""
    bad: list[dict[str, Any]] = [{"max_faults": 0}, {"messages": 0}, {"jobs": 0}, {"nodes": []}, {"times": []}, {"kinds": []}]
    for how in bad:
        with pytest.raises(ValueError, match=r"must be 1 or more|must not be empty"):
            check_faults(story, **{"nodes": NODES, **how})
