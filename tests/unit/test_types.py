"""The small values of the API."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import dicts, steady, texts

from trioworkers import (
    JobEvent,
    JobGroupEvent,
    JobGroupResponse,
    JobOutcome,
    JobStatus,
    WorkerActivationArgs,
    WorkerErrorData,
    WorkerLostData,
    WorkerReadyData,
    WorkerRegistryEntry,
)


@attrs.define
class Handover(WorkerActivationArgs):
    """Activation arguments with more fields, as users write them."""

    topic: str | None = None
    depth: int | None = None


@attrs.define
class Secret(WorkerActivationArgs):
    """Activation arguments with a private field, and one that is computed."""

    _key: str = ""
    length: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Compute."""
        self.length = len(self._key)


def test_the_statuses_are_their_values() -> None:
    """A JobStatus is the str that travels."""
    assert [str(status) for status in JobStatus] == ["completed", "cancelled", "failed", "error"]
    assert JobStatus("failed") is JobStatus.FAILED


def test_activation_args_leave_out_none() -> None:
    """``to_dict`` leaves out what is None."""
    assert WorkerActivationArgs().to_dict() == {}
    assert Handover(topic="trees").to_dict() == {"topic": "trees"}


def test_activation_args_ignore_unknown_keys() -> None:
    """``from_dict`` ignores keys that are no field."""
    assert WorkerActivationArgs.from_dict({"metadata": {"a": 1}, "new": 2}) == WorkerActivationArgs({"a": 1})


def test_activation_args_are_shallow() -> None:
    """Nested values are handed over as they are, not copied, not turned into dicts."""
    inner = {"deep": JobEvent("update")}
    assert WorkerActivationArgs(inner).to_dict()["metadata"] is inner


@steady
@given(metadata=dicts, topic=st.none() | texts, depth=st.none() | st.integers(), more=st.dictionaries(texts, st.integers()))
def test_activation_args_of_a_subclass_go_there_and_back(
    metadata: dict[str, Any] | None, topic: str | None, depth: int | None, more: dict[str, int]
) -> None:
    """A subclass with more fields works with both methods unchanged, whatever else is in the dict."""
    args = Handover(metadata, topic, depth)
    strange = {key: value for key, value in more.items() if key not in ("metadata", "topic", "depth")}
    assert Handover.from_dict({**strange, **args.to_dict()}) == args


def test_activation_args_with_a_private_field_go_there_and_back() -> None:
    """A subclass may have private and computed fields."""
    args = Secret({"a": 1}, "xyz")
    assert Secret.from_dict(args.to_dict()) == args


@pytest.mark.parametrize(
    "value",
    [
        WorkerReadyData("w", "r"),
        WorkerLostData("w", "r"),
        WorkerErrorData("w", "boom"),
        WorkerRegistryEntry("w"),
        JobEvent("update"),
        JobGroupEvent("update", "w"),
        JobGroupResponse("j", {}),
        JobOutcome(JobStatus.COMPLETED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_frozen_and_comparable(value: Any) -> None:
    """Each value is equal to its copy, and cannot be changed."""
    field = attrs.fields(type(value))[0].name
    assert attrs.evolve(value) == value
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, field, "x")


def test_error_data_are_equal_whatever_the_exception() -> None:
    """The exception is local, and no part of the value."""
    error = ValueError("boom")
    data = WorkerErrorData("w", "boom", error)
    assert data.exception is error
    assert data == WorkerErrorData("w", "boom")


def test_a_registry_entry_has_defaults() -> None:
    """An entry is that of an active root, unless said otherwise."""
    entry = WorkerRegistryEntry("w")
    assert (entry.parent, entry.active, entry.bridged, entry.started_at) == (None, True, False, None)


@pytest.mark.parametrize("cls", [JobEvent, JobGroupEvent])
def test_events_have_the_constants_of_the_reference(cls: type[JobEvent | JobGroupEvent]) -> None:
    """Both kinds of events have the same four type constants."""
    assert (cls.UPDATE, cls.STREAM_START, cls.STREAM_DATA, cls.STREAM_END) == ("update", "stream_start", "stream_data", "stream_end")


def test_group_responses_have_statuses() -> None:
    """U15: a group's answer says how each member ended."""
    assert JobGroupResponse("j", {"a": {}}).statuses == {}
    assert JobGroupResponse("j", {"a": {}}, {"a": JobStatus.FAILED}).statuses == {"a": JobStatus.FAILED}
