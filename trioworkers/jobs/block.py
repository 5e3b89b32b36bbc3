"""``async with worker.job(...)``: a nursery of one, whose child happens to run in another worker.

As with a nursery, three things may end a block: the body and the job are both done; the job fails or times out, then the body is
cancelled; the body is left with an error (or cancelled from outside), then the job is cancelled. And as with a nursery, whichever it
was, *when the block is left, nothing of the job runs any more*: the exit waits, shielded, until the answerer has said so. Locally
that wait has no bound, as trio's own has none for a task it cancelled; ``cancel_grace`` sets one.

What comes out: the body's own exception, or the outer cancellation, if there is one; the job's error only if the body left nothing
but the ``Cancelled`` that we caused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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


@asynccontextmanager
async def _asking(
    requester: JobRequester,
    group: JobGroup,
    events: Events[Any],
    request: Request,
    grace: float | None,
    shape: Callable[[JobGroupError], WorkersError],
) -> AsyncIterator[None]:
    group.events = events
    group.held_in = requester.lane_around()
    try:
        await requester.launch(group, request)
    except JobGroupError as error:
        raise shape(error) from None
    except Exception as error:
        if group.job_id in requester.groups:  # one could not be asked, and the others have been told to stop
            events.discard()
            _note_left_behind(error, await _wait_acknowledged(requester, group, grace))  # noqa: ASYNC102 - it shields itself
        raise
    scope = trio.CancelScope(deadline=group.deadline)
    _cancel_with(group, scope)
    own_failure: str | None = None
    left_behind: list[str] = []
    try:
        with scope:
            try:
                yield
                events.discard()
                await group.wait_decided()
            except BaseException as error:
                own_failure = group.failure
                requester.cancel(group, TIMEOUT if scope.cancel_called else f"its block was left with {type(error).__name__}")
                raise
            finally:
                events.discard()
                left_behind = await _wait_acknowledged(requester, group, grace)  # noqa: ASYNC102 - it shields itself
    except BaseException as error:
        if own_failure is not None:
            error.add_note(f"Meanwhile {shape(group.group_error())}")
        _note_left_behind(error, left_behind)
        raise
    if group.failure is not None:
        failure = shape(group.group_error())
        _note_left_behind(failure, left_behind)
        raise failure


def _cancel_with(group: JobGroup, scope: trio.CancelScope) -> None:
    """Tie the body to the request: it is cancelled if the request fails, and not hurried any more once it has succeeded."""

    def decided() -> None:
        if group.failure is not None:
            scope.cancel(reason=group.failure)
        else:
            scope.deadline = float("inf")

    group.when_decided = decided
    if group.is_done:
        decided()


async def _wait_acknowledged(requester: JobRequester, group: JobGroup, grace: float | None) -> list[str]:
    if group.is_over:
        return []
    with trio.CancelScope(shield=True, deadline=float("inf") if grace is None else trio.current_time() + grace):
        await group.wait_acknowledged()
    return requester.leave_behind(group)


def _note_left_behind(error: BaseException, names: list[str]) -> None:
    if names:
        error.add_note(f"Left behind, still running after cancel_grace: the handler on {', '.join(map(repr, names))}")


class _Block(Generic[E]):
    """What both kinds of block share."""

    def __init__(self, requester: JobRequester, request: Request, cancel_grace: float | None) -> None:
        requester.check_open()
        self._requester = requester
        self._request = request
        self._grace = check_optional_seconds(cancel_grace, "cancel_grace")
        self._group: JobGroup | None = None
        self._events: Events[E] = Events(self._shape)
        self._body: AbstractAsyncContextManager[None] | None = None

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

    async def __aenter__(self) -> Self:
        """Wait until all are ready, and ask them.

        Raises:
            JobError, JobGroupError: Not all are ready in time, or they never will be.
            WorkerStateError: It is entered a second time, or the asker has finished.
        """
        if self._group is not None:
            raise WorkerStateError("a job block asks once: call job() or job_group() again for another request")
        self._group = self._requester.prepare(self._request)
        self._body = _asking(self._requester, self._group, self._events, self._request, self._grace, self._shape_error)
        await self._body.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Wait for the outcome; when this returns or raises, nothing of the job runs any more."""
        assert self._body is not None  # noqa: S101 - __aenter__ has set it, or __aexit__ is not called
        return await self._body.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - handed through

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
