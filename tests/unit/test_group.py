"""The record of one request: decided once, acknowledged once, and told to whoever waits."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support import settle
from unit.strategies import steady

from trioworkers import JobEvent, JobGroup, JobGroupError, JobGroupResponse, JobOutcome, JobStatus, TransitionError
from trioworkers._transitions import RequestState
from trioworkers.jobs.events import Events
from trioworkers.jobs.group import Asked

COMPLETED = JobOutcome(JobStatus.COMPLETED, {"n": 1})
SILENT = JobOutcome(JobStatus.COMPLETED)
FAILED = JobOutcome(JobStatus.FAILED, {"partial": 2}, "no")
ERROR = JobOutcome(JobStatus.ERROR, None, "ValueError: boom", "Traceback: there")
CANCELLED = JobOutcome(JobStatus.CANCELLED, None, "timeout")


def make(*names: str) -> JobGroup:
    """A request to these workers."""
    return JobGroup("j", names)


def decided(**outcomes: JobOutcome) -> JobGroup:
    """A request with these outcomes."""
    group = make(*outcomes)
    for name, outcome in outcomes.items():
        group.decide(name, outcome)
    return group


# -- one member ----------------------------------------------------------------------------------------------------------


def test_the_first_decision_stays() -> None:
    """J1: a member is decided once; what comes later changes nothing."""
    member = Asked("w")
    assert member.decide(COMPLETED)
    assert not member.decide(ERROR)
    assert member.outcome is COMPLETED
    member.acknowledge()
    assert not member.decide(ERROR)
    assert (member.outcome, member.state) == (COMPLETED, RequestState.ACKNOWLEDGED)


def test_a_member_is_acknowledged_once_and_after_its_decision() -> None:
    """J1: an acknowledgement before the decision, or a second one, would be a defect."""
    member = Asked("w")
    with pytest.raises(TransitionError):
        member.acknowledge()
    member.decide(COMPLETED)
    member.acknowledge()
    with pytest.raises(TransitionError):
        member.acknowledge()


# -- what its asker reads ------------------------------------------------------------------------------------------------


def test_a_new_record_knows_nobody_s_outcome() -> None:
    """A request that was just made is neither done nor over."""
    group = make("a", "b")
    assert (group.job_id, group.worker_names, group.cancel_on_error, group.deadline) == ("j", ("a", "b"), True, float("inf"))
    assert not group.is_done
    assert not group.is_over
    assert (group.outcomes, group.responses, group.statuses, group.errors()) == ({}, {}, {}, {})
    assert (group.undecided(), group.unacknowledged()) == (["a", "b"], ["a", "b"])
    assert group.member("a").name == "a"


def test_outcomes_come_in_the_order_asked() -> None:
    """U15: outcomes, responses and statuses are in the order asked, whoever answered first; statuses are never lost."""
    group = make("a", "b", "c", "d")
    for name, outcome in [("d", ERROR), ("c", FAILED), ("b", SILENT), ("a", COMPLETED)]:
        assert not group.is_done
        group.decide(name, outcome)
    assert group.is_done
    assert list(group.outcomes.items()) == [("a", COMPLETED), ("b", SILENT), ("c", FAILED), ("d", ERROR)]
    assert group.responses == {"a": {"n": 1}, "b": {}, "c": {"partial": 2}}
    assert group.statuses == {
        "a": JobStatus.COMPLETED,
        "b": JobStatus.COMPLETED,
        "c": JobStatus.FAILED,
        "d": JobStatus.ERROR,
    }
    assert group.result == JobGroupResponse("j", group.responses, group.statuses)


def test_errors_are_those_that_did_not_complete() -> None:
    """U15: the errors carry each member's status, response, reason and traceback."""
    errors = decided(a=COMPLETED, b=FAILED, c=ERROR).errors()
    assert [(error.worker_name, error.job_id, error.status, error.response, error.reason) for error in errors.values()] == [
        ("b", "j", JobStatus.FAILED, {"partial": 2}, "no"),
        ("c", "j", JobStatus.ERROR, None, "ValueError: boom"),
    ]
    assert errors["c"].traceback == "Traceback: there"


def test_the_error_of_the_group_keeps_what_completed() -> None:
    """U15: a group's error has each member's error, the responses of those that completed, and the reason."""
    group = decided(a=COMPLETED, b=FAILED, c=CANCELLED)
    group.failure = "worker 'b' answered failed: no"
    group.late_errors.append("'c' raised while it was given up: ValueError: boom")
    error = group.group_error()
    assert (error.job_id, error.reason, error.responses) == ("j", "worker 'b' answered failed: no", {"a": {"n": 1}})
    assert {name: one.reason for name, one in error.errors.items()} == {"b": "no", "c": "timeout"}
    assert error.__notes__ == ["The handler on worker 'c' raised while it was given up: ValueError: boom"]


def test_a_stranger_is_no_member() -> None:
    """U16: whoever was not asked is neither awaited nor running."""
    group = make("a")
    assert group.awaits("a")
    assert group.may_run("a")
    assert not group.awaits("stranger")
    assert not group.may_run("stranger")


def test_a_decided_member_may_still_run() -> None:
    """J2: between its decision and its acknowledgement a member is not awaited, but may run."""
    group = decided(a=CANCELLED)
    assert (group.awaits("a"), group.may_run("a")) == (False, True)
    group.acknowledge("a")
    assert (group.awaits("a"), group.may_run("a")) == (False, False)


@pytest.mark.parametrize(("members", "window"), [(1, 64), (2, 32), (3, 21), (64, 1), (65, 1), (1000, 1)])
def test_a_group_shares_one_window(members: int, window: int) -> None:
    """J6: the members of a group share the window, at least one event each."""
    assert make(*(f"w{number}" for number in range(members))).window == window


# -- waiting -------------------------------------------------------------------------------------------------------------


async def test_waiting_for_the_result() -> None:
    """J1: ``wait`` returns the result when the record is settled, as often as it is called."""
    group = make("a", "b")
    results: list[JobGroupResponse] = []

    async def wait() -> None:
        results.append(await group.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        group.decide("a", COMPLETED)
        await settle()
        assert results == []
        group.decide("b", SILENT)
        group.settle()
    await group.wait_decided()
    assert [*results, await group.wait()] == [group.result] * 3


async def test_waiting_for_what_failed() -> None:
    """U13, I3: ``wait`` raises if something ended the request early, a cancel without a reason included."""
    group = decided(a=COMPLETED, b=CANCELLED)
    group.failure = "cancelled"
    group.settle()
    with pytest.raises(JobGroupError, match="did not complete") as caught:
        await group.wait()
    assert {*caught.value.errors} == {"b"}
    await group.wait_decided()


async def test_failures_that_ended_nothing_early() -> None:
    """U15: without ``cancel_on_error`` the result tells who failed, and nothing is raised."""
    group = decided(a=COMPLETED, b=FAILED)
    group.settle()
    result = await group.wait()
    assert result.statuses == {"a": JobStatus.COMPLETED, "b": JobStatus.FAILED}


async def test_cancelling_the_wait_leaves_the_record_alone() -> None:
    """A wait that is cancelled changes nothing."""
    group = make("a")
    with trio.CancelScope() as scope:
        scope.cancel()
        await group.wait()
    assert scope.cancelled_caught
    assert group.undecided() == ["a"]


async def test_waiting_until_nothing_can_run() -> None:
    """J2: ``wait_acknowledged`` returns when the last member has said that it is done."""
    group = decided(a=COMPLETED, b=CANCELLED)
    group.settle()
    log: list[str] = []

    async def wait() -> None:
        await group.wait_acknowledged()
        log.append("over")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for name in ("a", "b"):
            await settle()
            log.append(name)
            group.acknowledge(name)
    assert log == ["a", "b", "over"]
    assert group.is_over


async def test_settling_tells_the_block() -> None:
    """I13: when a record is settled its iterator ends, and the block is told."""
    group = make("a")
    log: list[str] = []
    events: Events[JobEvent] = Events(lambda source, kind, data: JobEvent(kind, data))
    group.events = events
    group.when_decided = lambda: log.append("decided")
    group.decide("a", COMPLETED)
    group.settle()
    assert log == ["decided"]
    assert [event async for event in events.iterate()] == []


# -- anything ------------------------------------------------------------------------------------------------------------


class GroupMachine(RuleBasedStateMachine):
    """A record, beside two dictionaries: what was decided first, and who has acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.names = ("a", "b", "c")
        self.group = make(*self.names)
        self.first: dict[str, JobOutcome] = {}
        self.acknowledged: dict[str, None] = {}

    @rule(name=st.sampled_from("abc"), outcome=st.sampled_from([COMPLETED, SILENT, FAILED, ERROR, CANCELLED]))
    def decide(self, name: str, outcome: JobOutcome) -> None:
        """Something decides a member, perhaps too late."""
        self.group.decide(name, outcome)
        self.first.setdefault(name, outcome)

    @precondition(lambda self: len(self.acknowledged) < len(self.first))
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """A decided member is done."""
        name = data.draw(st.sampled_from([name for name in self.first if name not in self.acknowledged]))
        self.group.acknowledge(name)
        self.acknowledged[name] = None

    @invariant()
    def the_record_is_right(self) -> None:
        """J1: the first decisions, in the order asked; done when all are decided, over when all have acknowledged."""
        group = self.group
        assert list(group.outcomes.items()) == [(name, self.first[name]) for name in self.names if name in self.first]
        assert group.undecided() == [name for name in self.names if name not in self.first]
        assert group.unacknowledged() == [name for name in self.names if name not in self.acknowledged]
        assert group.is_done is (len(self.first) == 3)
        assert group.is_over is (len(self.acknowledged) == 3)
        assert {*group.errors()} == {name for name, outcome in self.first.items() if outcome.status is not JobStatus.COMPLETED}


TestGroup: Any = GroupMachine.TestCase
TestGroup.settings = settings(steady, stateful_step_count=15)
TestGroup.__doc__ = "J1: however decisions and acknowledgements come, each member is decided once, by the first."
