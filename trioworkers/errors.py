"""Every exception of trioworkers, under :class:`WorkersError`, by who caused it.

*You did something the rules do not allow*: :class:`WorkerStateError`, :class:`NoSuchJobError`, :class:`DuplicateWorkerError`,
:class:`FamilyError`. They are also the built-in exception one would expect (``RuntimeError``, ``ValueError``), and nothing has
happened when they are raised. Plain mistakes of type and value are plain ``TypeError`` and ``ValueError``.

*Somebody else did, or could not*: :class:`UnknownWorkerError`, :class:`WorkerStartError`, :class:`JobError`,
:class:`JobGroupError`, :class:`WireError`; on a bus that spans processes also :class:`BusConnectionError`, and the two ways in which
a job ends that is nobody's fault: :class:`PeerDownError`, :class:`BusResetError`.

*You say so yourself*: raise :class:`JobFailed` in a handler to end its job as FAILED.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .types import JobStatus


class WorkersError(Exception):
    """The base of all exceptions defined here: ``except WorkersError`` catches each of them."""


class TransitionError(WorkersError, RuntimeError):
    """A lifecycle was asked for a step that its table does not have: a defect of this library, please report it."""


# -- you did something the rules do not allow ----------------------------------------------------------------------------


class WorkerStateError(WorkersError, RuntimeError):
    """A call that makes no sense in the worker's present state, such as asking for a job after the worker has finished."""


class NoSuchJobError(WorkerStateError):
    """An answer for a job that this worker does not have: never accepted, already answered, or cancelled."""


class DuplicateWorkerError(WorkersError, ValueError):
    """The name is taken: by a worker of this bus that has not finished, or by the runner itself."""


class FamilyError(WorkersError, ValueError):
    """The family tree cannot look like that: a second parent, a worker that would be its own ancestor."""


# -- somebody else did, or could not -------------------------------------------------------------------------------------


class UnknownWorkerError(WorkersError, LookupError):
    """Nobody of that name is there."""


class WorkerStartError(WorkersError, RuntimeError):
    """A worker was stopped before it was ready, so those who waited for it cannot have it."""


class WireError(WorkersError, ValueError):
    """Bytes that are no message, or a message that cannot become bytes: nothing was sent, nothing was made of it."""


class MessageTooLargeError(WireError):
    """A message is larger than its bus carries: send a reference to what is large instead."""


class BusConnectionError(WorkersError, ConnectionError):
    """The bus cannot be reached, or refuses: its server is down, the password is wrong, the other side speaks another protocol."""


class JobError(WorkersError):
    """A job did not complete.

    Args:
        worker_name: Who was asked.
        job_id: The job's id.
        status: How it ended; never COMPLETED.
        response: What came with the answer, if anything.
        reason: Why, in words: ``"timeout"``, ``"ValueError: boom"``, a cancel's reason.
        traceback: The handler's traceback as text, if it raised; shown as a note.

    Reference: JobError, which carried a string only.
    """

    def __init__(
        self,
        worker_name: str,
        job_id: str,
        status: JobStatus,
        response: dict[str, Any] | None = None,
        reason: str | None = None,
        traceback: str | None = None,
    ) -> None:
        super().__init__(worker_name, job_id, status, response, reason, traceback)
        self.worker_name = worker_name
        self.job_id = job_id
        self.status = status
        self.response = response
        self.reason = reason
        self.traceback = traceback
        if traceback is not None:
            self.add_note(f"The handler on worker {worker_name!r} raised:\n{traceback}")

    def __str__(self) -> str:
        """One line: the job, the worker, the status, the reason."""
        return f"job {self.job_id!r} on worker {self.worker_name!r} ended {self.status}: {self.reason or 'no reason given'}"


class PeerDownError(JobError):
    """The runner on which a job ran is gone: it has crashed, has left, or nothing was heard of it for too long.

    Whether the job was done, half done or never begun, nobody can say.
    """


class BusResetError(JobError):
    """This runner has lost its place on the bus: it was taken for dead, or the server has lost what it knew.

    The runners on the other side have been told that this one is gone, and have cancelled the job, if they had it.
    """


class JobGroupError(WorkersError):
    """A group of jobs did not complete: a plain exception, not an exception group.

    Args:
        job_id: The id that all its jobs share.
        errors: One :class:`JobError` for each member that did not complete, by worker name.
        responses: What the others answered, by worker name: nothing that came is lost.
        reason: Why the whole group was given up, if one decision did that.

    Reference: JobGroupError.
    """

    def __init__(
        self,
        job_id: str,
        errors: Mapping[str, JobError],
        responses: Mapping[str, dict[str, Any]],
        reason: str | None = None,
    ) -> None:
        super().__init__(job_id, dict(errors), dict(responses), reason)
        self.job_id = job_id
        self.errors: dict[str, JobError] = dict(errors)
        self.responses: dict[str, dict[str, Any]] = dict(responses)
        self.reason = reason

    def __str__(self) -> str:
        """One line: the job, the reason, and each member that did not complete."""
        members = ", ".join(f"{name}: {error.status} ({error.reason or 'no reason given'})" for name, error in self.errors.items())
        return f"job group {self.job_id!r} did not complete ({self.reason or 'see its members'}): {members}"


# -- you say so yourself -------------------------------------------------------------------------------------------------


class JobFailed(WorkersError):  # noqa: N818 - it is the handler's verdict on its job, and reads as one: ``raise JobFailed(...)``
    """Raised by a handler: this job ends as FAILED, the worker is fine.

    ::

        @job
        async def resize(self, message):
            if message.payload["width"] <= 0:
                raise JobFailed("width must be positive", response={"width": message.payload["width"]})

    Args:
        reason: Why, in words: the requester's ``JobError.reason``.
        response: What the requester may want to know beside it.
    """

    def __init__(self, reason: str = "failed", response: dict[str, Any] | None = None) -> None:
        if not isinstance(reason, str):
            raise TypeError(f"the reason of a failed job must be a str, not {reason!r}")
        if not (response is None or isinstance(response, dict)):
            raise TypeError(f"the response of a failed job must be a dict or None, not {response!r}")
        super().__init__(reason, response)
        self.reason = reason
        self.response = response
