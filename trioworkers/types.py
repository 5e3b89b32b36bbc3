"""The small values that cross the API: frozen, comparable, without behaviour of their own."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Self

import attrs


class JobStatus(StrEnum):
    """How a job ended.

    Reference: JobStatus.
    """

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    ERROR = "error"


@attrs.define
class WorkerActivationArgs:
    """What an activation hands over. Subclass it with more fields (``@attrs.define``) and both methods still work.

    ::

        @attrs.define
        class Handover(WorkerActivationArgs):
            topic: str | None = None

        await self.activate_worker("writer", args=Handover(topic="trees"), deactivate_self=True)

    Args:
        metadata: Anything JSON-able.

    Reference: WorkerActivationArgs.
    """

    metadata: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from what ``on_activated`` received; keys that are no field are ignored."""
        known = {field.name: field.alias for field in attrs.fields(cls) if field.init}
        return cls(**{known[key]: value for key, value in data.items() if key in known})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are not ``None``, shallowly: nested values are handed over as they are."""
        return {key: value for key, value in attrs.asdict(self, recurse=False).items() if value is not None}


@attrs.frozen
class WorkerReadyData:
    """Said of a worker that is ready: its name, and the name of the runner it lives in.

    Reference: WorkerReadyData.
    """

    worker_name: str
    runner: str


@attrs.frozen
class WorkerLostData:
    """Said of a worker that was ready and is no longer there: it finished, or its runner vanished."""

    worker_name: str
    runner: str


@attrs.frozen
class WorkerErrorData:
    """Said of a worker that reported an error, or died of one.

    Args:
        worker_name: Whose error it is.
        error: The error in words.
        exception: The exception itself when the worker died of it in this process; never sent anywhere.

    Reference: WorkerErrorData.
    """

    worker_name: str
    error: str
    exception: BaseException | None = attrs.field(default=None, eq=False)


@attrs.frozen
class WorkerRegistryEntry:
    """One line of the registry.

    Args:
        name: The worker.
        parent: Its parent's name; ``None`` for a root.
        active: Whether it is active now.
        bridged: Whether it bridges to something outside.
        started_at: Unix time (seconds) at which it became ready.

    Reference: WorkerRegistryEntry.
    """

    name: str
    parent: str | None = None
    active: bool = True
    bridged: bool = False
    started_at: float | None = None


class Loss(StrEnum):
    """What was lost, when a job ends because something between its asker and its answerer was."""

    PEER_DOWN = "peer down"
    BUS_RESET = "bus reset"


@attrs.frozen
class JobEvent:
    """What ``async for event in job`` gives: an update, or a piece of a stream.

    Args:
        type: One of the class constants.
        data: What the handler sent.

    Reference: JobEvent.
    """

    UPDATE: ClassVar[str] = "update"
    STREAM_START: ClassVar[str] = "stream_start"
    STREAM_DATA: ClassVar[str] = "stream_data"
    STREAM_END: ClassVar[str] = "stream_end"

    type: str
    data: dict[str, Any] | None = None


@attrs.frozen
class JobGroupEvent:
    """What ``async for event in group`` gives: a :class:`JobEvent` that also says whose it is.

    Args:
        type: One of the class constants.
        worker_name: The member that sent it.
        data: What its handler sent.

    Reference: JobGroupEvent.
    """

    UPDATE: ClassVar[str] = JobEvent.UPDATE
    STREAM_START: ClassVar[str] = JobEvent.STREAM_START
    STREAM_DATA: ClassVar[str] = JobEvent.STREAM_DATA
    STREAM_END: ClassVar[str] = JobEvent.STREAM_END

    type: str
    worker_name: str
    data: dict[str, Any] | None = None


@attrs.frozen
class JobGroupResponse:
    """All answers of one request.

    Args:
        job_id: The id that all its jobs share.
        responses: What each member answered, by worker name, in the order asked.
        statuses: How each member ended, by worker name.

    Reference: JobGroupResponse, which lost the statuses.
    """

    job_id: str
    responses: dict[str, dict[str, Any]]
    statuses: dict[str, JobStatus] = attrs.field(factory=dict)


@attrs.frozen
class JobOutcome:
    """How one member of a request ended.

    Args:
        status: COMPLETED, CANCELLED, FAILED or ERROR.
        response: What came with it.
        reason: Why, unless it completed.
        traceback: The handler's traceback as text, if it raised.
        loss: What was lost, if that is why it did not complete.
    """

    status: JobStatus
    response: dict[str, Any] | None = None
    reason: str | None = None
    traceback: str | None = None
    loss: Loss | None = None
