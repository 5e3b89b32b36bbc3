"""``async with worker.job(...)``: a nursery of one, whose child happens to run in another worker.

As with a nursery, three things may end a block: the body and the job are both done; the job fails or times out, then the body is
cancelled; the body is left with an error (or cancelled from outside), then the job is cancelled. And as with a nursery, whichever it
was, *when the block is left, nothing of the job runs any more*: the exit waits, shielded, until the answerer has said so. Locally
that wait has no bound, as trio's own has none for a task it cancelled; ``cancel_grace`` sets one.

What comes out: the body's own exception, or the outer cancellation, if there is one; the job's error only if the body left nothing
but the ``Cancelled`` that we caused.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final

import trio

from .._checks import check_optional_seconds
from ..errors import JobError, JobGroupError, WorkersError, WorkerStateError
from ..types import JobEvent, JobGroupEvent, JobStatus
from .events import EventIterator, Events
from .group import TIMEOUT, JobGroup
from .requester import JobRequester, Request

E = TypeVar("E", JobEvent, JobGroupEvent)


def _remainder(scope: trio.CancelScope, error: BaseException | None) -> BaseException | None:
    """Leave the scope with this error; return what it has not caused itself."""
    try:
        swallowed = scope.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
    except BaseException as rest:  # noqa: BLE001, ASYNC103 - raised by whoever asks
        return rest  # noqa: ASYNC104 - as above
    return None if swallowed else error


def _note_left_behind(error: BaseException, names: list[str]) -> None:
    if names:
        error.add_note(f"Left behind, still running after cancel_grace: the handler on {', '.join(map(repr, names))}")


class _Block(Generic[E]):
    """What both kinds of block share."""

    __slots__ = ("_events", "_grace", "_group", "_request", "_requester", "_scope")
    _scope: trio.CancelScope

    def __init__(self, requester: JobRequester, request: Request, cancel_grace: float | None) -> None:
        requester.open_bus()
        self._requester = requester
        self._request = request
        self._grace = check_optional_seconds(cancel_grace, "cancel_grace")
        self._group: JobGroup | None = None
        self._events: Events[E] = Events(self._shape)

    @staticmethod
    def _shape(source: str, kind: str, data: dict[str, Any] | None) -> E:
        raise NotImplementedError

    @staticmethod
    def _shape_error(error: JobGroupError) -> WorkersError:
        return error

    @property
    def job_id(self) -> str:
        """The request's id.

        Raises:
            WorkerStateError: The block has not been entered.
        """
        return self._entered().job_id

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        """Wait until all are ready, and ask them.

        Raises:
            JobError, JobGroupError: Not all are ready in time, or they never will be.
            WorkerStateError: It is entered a second time, or the asker has finished.
        """
        if self._group is not None:
            raise WorkerStateError("a job block asks once: call job() or job_group() again for another request")
        group = self._group = self._requester.prepare(self._request)
        group.events = self._events
        group.held_in = self._requester.lane_around()
        try:
            await self._requester.launch(group, self._request)
        except JobGroupError as error:
            raise self._shape_error(error) from None
        except Exception as error:
            if group.job_id in self._requester.groups:  # one could not be asked, and the others have been told to stop
                self._events.discard()
                _note_left_behind(error, await self._acknowledged(group))  # noqa: ASYNC102, ASYNC120 - it shields itself
            raise
        self._scope = trio.CancelScope(deadline=group.deadline)
        self._scope.__enter__()
        if group.is_done:
            self._decided()
        else:
            group.when_decided = self._decided
        return self

    def _decided(self) -> None:
        """The body is cancelled if the request has failed, and not hurried any more if it has succeeded."""
        group = self._entered()
        if group.failure is not None:
            self._scope.cancel(reason=group.failure)
        elif group.deadline < float("inf"):
            self._scope.deadline = float("inf")

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Wait for the outcome; when this returns or raises, nothing of the job runs any more."""
        group = self._entered()
        error = exc if exc is not None else await self._outcome(group)  # noqa: ASYNC102 - only without an exception
        own_failure = group.failure if error is not None else None
        if error is not None:
            reason = TIMEOUT if self._scope.cancel_called else f"its block was left with {type(error).__name__}"
            self._requester.cancel(group, reason)
        self._events.discard()
        left_behind: list[str] = []
        try:
            if not group.is_over:
                left_behind = await self._acknowledged(group)  # noqa: ASYNC102 - it shields itself
        except KeyboardInterrupt as interrupt:  # it comes out in place of what it has interrupted
            error = interrupt
        error = _remainder(self._scope, error)
        if error is None and group.failure is not None:
            error = self._shape_error(group.group_error())
        elif error is not None and own_failure is not None:
            error.add_note(f"Meanwhile {self._shape_error(group.group_error())}")
        if error is not None:
            _note_left_behind(error, left_behind)
        if error is None or error is exc:
            return error is None  # a Cancelled of our own goes no further; what the body has raised, Python raises again
        raise error

    async def _outcome(self, group: JobGroup) -> BaseException | None:
        """Wait until it is decided; return what comes instead, to be dealt with as if the body had raised it."""
        self._events.discard()
        try:
            await group.wait_decided()
        except BaseException as error:  # noqa: BLE001, ASYNC103 - it goes on when the job is over
            return error  # noqa: ASYNC104 - as above
        return None

    async def _acknowledged(self, group: JobGroup) -> list[str]:
        """Wait until no handler runs any more, or the grace is over; return whose still do.

        Raises:
            KeyboardInterrupt: It came meanwhile, for this is the main task: as in a nursery, it waits as well.
        """
        deadline = float("inf") if self._grace is None else trio.current_time() + self._grace
        interrupt: KeyboardInterrupt | None = None
        with trio.CancelScope(shield=True, deadline=deadline):  # noqa: ASYNC912 - it is only asked for while there is something to wait for
            while not group.is_over:
                try:
                    await group.wait_acknowledged()
                except KeyboardInterrupt as error:
                    interrupt = error
        left_behind = self._requester.leave_behind(group)
        if interrupt is not None:
            _note_left_behind(interrupt, left_behind)
            raise interrupt
        return left_behind

    def __aiter__(self) -> EventIterator[E]:
        """Iterate over what the handlers send; ends when all have answered.

        Raises:
            WorkerStateError: The block has not been entered.
        """
        self._entered()
        return self._events.iterate()

    def _entered(self) -> JobGroup:
        if self._group is None:
            raise WorkerStateError("enter the block first: 'async with worker.job(...) as job:'")
        return self._group


@final
class JobContext(_Block[JobEvent]):
    """One job of one worker, asked for with ``async with``.

    ::

        async with self.job("writer", name="draft", payload={"topic": "trees"}, timeout=30) as job:
            async for event in job:
                print(event.data)
        print(job.response)

    Raises:
        JobError: The job did not complete (on leaving the block, or on entering it if the worker is not ready in time).

    Reference: JobContext.
    """

    __slots__ = ()

    @staticmethod
    def _shape(source: str, kind: str, data: dict[str, Any] | None) -> JobEvent:
        del source
        return JobEvent(kind, data)

    @property
    def response(self) -> dict[str, Any]:
        """What the worker answered; ``{}`` if it answered without a response, or has not answered yet.

        Raises:
            WorkerStateError: The block has not been entered.
        """
        group = self._entered()
        return group.responses.get(group.worker_names[0], {})

    @staticmethod
    def _shape_error(error: JobGroupError) -> JobError:
        """The one member's error, with the notes of the whole."""
        only = next(iter(error.errors.values()))
        for note in getattr(error, "__notes__", ()):
            only.add_note(note)
        return only


@final
class JobGroupContext(_Block[JobGroupEvent]):
    """One job of several workers, asked for with ``async with``.

    ::

        async with self.job_group("a", "b", name="draft", timeout=30) as group:
            async for event in group:
                print(event.worker_name, event.data)
        print(group.responses)

    Raises:
        JobGroupError: Not all completed (on leaving the block, or on entering it if not all are ready in time).

    Reference: JobGroupContext.
    """

    __slots__ = ()

    @staticmethod
    def _shape(source: str, kind: str, data: dict[str, Any] | None) -> JobGroupEvent:
        return JobGroupEvent(kind, source, data)

    @property
    def responses(self) -> dict[str, dict[str, Any]]:
        """What each worker answered, so far.

        Raises:
            WorkerStateError: The block has not been entered.
        """
        return self._entered().responses

    @property
    def statuses(self) -> dict[str, JobStatus]:
        """How each worker's job ended, so far.

        Raises:
            WorkerStateError: The block has not been entered.
        """
        return self._entered().statuses
