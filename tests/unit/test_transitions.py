"""The lifecycle tables: what may follow what, and that nothing else can."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import steady

from trioworkers import TransitionError
from trioworkers._transitions import (
    ACTIVATION,
    JOB,
    REQUEST,
    WORKER,
    ActivationState,
    JobState,
    RequestState,
    Table,
    WorkerState,
    advance,
    allows,
)

TABLES: list[tuple[Table[Any], type[StrEnum], StrEnum, list[StrEnum]]] = [
    (WORKER, WorkerState, WorkerState.NEW, [WorkerState.FINISHED, WorkerState.FAILED]),
    (ACTIVATION, ActivationState, ActivationState.INACTIVE, []),
    (JOB, JobState, JobState.ACCEPTED, [JobState.GONE]),
    (REQUEST, RequestState, RequestState.ASKED, [RequestState.ACKNOWLEDGED]),
]
FORWARD: list[tuple[Table[Any], list[Sequence[StrEnum]]]] = [
    (
        WORKER,
        [
            [WorkerState.NEW],
            [WorkerState.ATTACHED],
            [WorkerState.STARTING],
            [WorkerState.READY],
            [WorkerState.ENDING],
            [WorkerState.CANCELLING],
            [WorkerState.FINISHED, WorkerState.FAILED],
        ],
    ),
    (JOB, [[JobState.ACCEPTED], [JobState.RUNNING], [JobState.STREAMING], [JobState.ANSWERED], [JobState.GONE]]),
    (REQUEST, [[RequestState.ASKED], [RequestState.DECIDED], [RequestState.ACKNOWLEDGED]]),
]
ids = ["worker", "activation", "job", "request"]
EVENTS = sorted({event for table, *_ in TABLES for _, event in table} | {"", "nonsense"})


@pytest.mark.parametrize(("table", "states", "first", "last"), TABLES, ids=ids)
def test_every_state_can_be_reached(table: Table[Any], states: type[StrEnum], first: StrEnum, last: list[StrEnum]) -> None:
    """From a table's first state there is a way to each of its states, and the last ones are those that nothing follows."""
    reached = {first}
    while more := {after for (before, _), after in table.items() if before in reached} - reached:
        reached |= more
    assert reached == {*states}
    assert {*states} - {before for before, _ in table} == {*last}


@pytest.mark.parametrize(("table", "ranks"), FORWARD, ids=["worker", "job", "request"])
def test_every_step_goes_forward(table: Table[Any], ranks: list[Sequence[StrEnum]]) -> None:
    """L2: each step of a table leads to a later state."""
    rank = {state: number for number, states in enumerate(ranks) for state in states}
    for (before, _), after in table.items():
        assert rank[before] < rank[after]


@steady
@given(st.sampled_from(FORWARD), st.lists(st.sampled_from(EVENTS)))
def test_no_story_goes_back(ranked: tuple[Table[Any], list[Sequence[StrEnum]]], story: list[str]) -> None:
    """L2: whatever happens in whatever order, a state's rank never decreases, and what the table lacks changes nothing."""
    table, ranks = ranked
    rank = {state: number for number, states in enumerate(ranks) for state in states}
    state = ranks[0][0]
    for event in story:
        before = state
        if allows(table, state, event):
            state = advance(table, state, event)
            assert rank[before] < rank[state]
        else:
            with pytest.raises(TransitionError):
                advance(table, state, event)


@pytest.mark.parametrize("state", [state for state in WorkerState if state not in (WorkerState.FINISHED, WorkerState.FAILED)])
def test_a_worker_can_always_be_stopped(state: WorkerState) -> None:
    """C1: from each state before the end one step leads out, or to CANCELLING, from where it does."""
    assert state is WorkerState.CANCELLING or advance(WORKER, state, "cancel") is WorkerState.CANCELLING
    assert {advance(WORKER, WorkerState.CANCELLING, event) for event in ("finish", "fail")} == {
        WorkerState.FINISHED,
        WorkerState.FAILED,
    }


def test_a_repeated_activation_is_none() -> None:
    """U46: repeating the present wish is no change; only other args make a second activation one."""
    assert allows(ACTIVATION, ActivationState.ACTIVE, "activate with other args")
    assert not allows(ACTIVATION, ActivationState.ACTIVE, "activate")
    assert not allows(ACTIVATION, ActivationState.INACTIVE, "deactivate")


def test_a_job_is_answered_once() -> None:
    """J1: after the answer there is no other."""
    assert advance(JOB, JobState.RUNNING, "answer") is JobState.ANSWERED
    assert not allows(JOB, JobState.ANSWERED, "answer")
    assert not allows(JOB, JobState.GONE, "answer")
    assert not allows(REQUEST, RequestState.DECIDED, "decide")


def test_a_step_that_is_not_there_is_a_defect() -> None:
    """A TransitionError says the state and the event, and asks for a report."""
    with pytest.raises(TransitionError, match="nothing finished can 'ready'; please report this as a defect of trioworkers") as caught:
        advance(WORKER, WorkerState.FINISHED, "ready")
    assert caught.value.__suppress_context__
