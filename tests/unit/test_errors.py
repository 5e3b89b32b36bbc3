"""The exceptions: who they are, what they say, that they survive a trip through pickle."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import dicts, job_ids, maybe_text, names, steady

from trioworkers import (
    DuplicateWorkerError,
    FamilyError,
    JobError,
    JobFailed,
    JobGroupError,
    JobStatus,
    NoSuchJobError,
    TransitionError,
    UnknownWorkerError,
    WireError,
    WorkersError,
    WorkerStartError,
    WorkerStateError,
)

statuses = st.sampled_from([JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.ERROR])
job_errors = st.builds(JobError, names, job_ids, statuses, dicts, maybe_text, maybe_text)


def again(error: Exception) -> Any:
    """The exception that comes out of pickle."""
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes


def state(error: BaseException) -> tuple[Any, ...]:
    """All that can be read off an exception; exceptions inside compared by theirs."""
    attributes = {key: value for key, value in vars(error).items() if key != "errors"}
    inner = {name: state(one) for name, one in getattr(error, "errors", {}).items()}
    return type(error), str(error), attributes, inner


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (TransitionError, RuntimeError),
        (WorkerStateError, RuntimeError),
        (NoSuchJobError, WorkerStateError),
        (DuplicateWorkerError, ValueError),
        (FamilyError, ValueError),
        (UnknownWorkerError, LookupError),
        (WorkerStartError, RuntimeError),
        (WireError, ValueError),
        (JobError, WorkersError),
        (JobGroupError, WorkersError),
        (JobFailed, WorkersError),
    ],
)
def test_every_error_has_two_families(error: type[Exception], builtin: type[Exception]) -> None:
    """Every exception is a WorkersError, and the built-in exception that one would expect."""
    assert issubclass(error, WorkersError)
    assert issubclass(error, builtin)


def test_a_job_error_tells_everything() -> None:
    """U15: a JobError carries the worker, the job, the status, the response and the reason, and says them in one line."""
    error = JobError("w", "j-1", JobStatus.FAILED, {"partial": 1}, "too wide")
    assert (error.worker_name, error.job_id, error.status, error.response, error.reason) == (
        "w",
        "j-1",
        JobStatus.FAILED,
        {"partial": 1},
        "too wide",
    )
    assert str(error) == "job 'j-1' on worker 'w' ended failed: too wide"
    assert error.traceback is None
    assert not hasattr(error, "__notes__")


def test_a_job_error_without_a_reason_says_so() -> None:
    """U13: a cancel without a reason is still an error with a message."""
    assert str(JobError("w", "j-1", JobStatus.CANCELLED)) == "job 'j-1' on worker 'w' ended cancelled: no reason given"


def test_the_handlers_traceback_is_a_note() -> None:
    """The traceback of the handler that raised is shown below the error, once, even after a copy."""
    error = JobError("w", "j-1", JobStatus.ERROR, reason="ValueError: boom", traceback="Traceback: there")
    expected = ["The handler on worker 'w' raised:\nTraceback: there"]
    assert error.__notes__ == expected
    assert copy.copy(error).__notes__ == expected
    assert again(error).__notes__ == expected


def test_a_group_error_names_each_member_that_failed() -> None:
    """U15: a JobGroupError keeps each member's error and what the others answered, and is a plain exception."""
    errors = {
        "b": JobError("b", "j", JobStatus.ERROR, reason="KeyError: 1"),
        "c": JobError("c", "j", JobStatus.CANCELLED),
    }
    error = JobGroupError("j", errors, {"a": {"n": 1}}, "worker 'b' answered error")
    assert (error.job_id, error.errors, error.responses) == ("j", errors, {"a": {"n": 1}})
    assert (
        str(error)
        == "job group 'j' did not complete (worker 'b' answered error): b: error (KeyError: 1), c: cancelled (no reason given)"
    )
    assert not isinstance(error, BaseExceptionGroup)


def test_a_group_error_without_one_decision_points_at_its_members() -> None:
    """A group that was not cancelled has no single reason."""
    error = JobGroupError("j", {"a": JobError("a", "j", JobStatus.FAILED, reason="no")}, {})
    assert error.reason is None
    assert str(error) == "job group 'j' did not complete (see its members): a: failed (no)"


def test_a_group_error_keeps_its_own_dictionaries() -> None:
    """What happens to the caller's dictionaries later does not change the error."""
    errors: dict[str, JobError] = {"a": JobError("a", "j", JobStatus.FAILED)}
    responses: dict[str, dict[str, Any]] = {"b": {}}
    error = JobGroupError("j", errors, responses)
    errors.clear()
    responses.clear()
    assert list(error.errors) == ["a"]
    assert list(error.responses) == ["b"]


def test_job_failed_has_defaults() -> None:
    """``raise JobFailed`` without arguments is a verdict, too."""
    assert (JobFailed().reason, JobFailed().response) == ("failed", None)


def test_job_failed_refuses_what_it_could_not_send() -> None:
    """A reason that is no str, or a response that is no dict, is refused where it is raised."""
    wrong: Any = 5
    with pytest.raises(TypeError, match="the reason of a failed job must be a str, not 5"):
        JobFailed(wrong)
    with pytest.raises(TypeError, match="the response of a failed job must be a dict or None, not 5"):
        JobFailed("no", response=wrong)


@steady
@given(job_errors)
def test_job_errors_survive_pickle(error: JobError) -> None:
    """A JobError is the same after a trip through pickle or copy: attributes, message, notes."""
    assert state(again(error)) == state(error)
    assert state(copy.copy(error)) == state(error)


@steady
@given(
    st.builds(
        JobGroupError,
        job_ids,
        st.dictionaries(names, job_errors, max_size=3),
        st.dictionaries(names, st.just({}), max_size=3),
        maybe_text,
    )
)
def test_group_errors_survive_pickle(error: JobGroupError) -> None:
    """A JobGroupError is the same after a trip through pickle or copy, its members' errors included."""
    assert state(again(error)) == state(error)
    assert state(copy.copy(error)) == state(error)


@steady
@given(st.builds(JobFailed, st.text(), dicts))
def test_job_failed_survives_pickle(error: JobFailed) -> None:
    """A JobFailed is the same after a trip through pickle."""
    assert state(again(error)) == state(error)
