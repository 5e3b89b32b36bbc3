"""The part that answers.

**A request becomes a job on arrival**: its record and its cancel scope exist before its task does, so that a cancel finds them
however early it comes; the task is started from within the sender's task, so that the handler sees the sender's context variables.
Requests that come before the worker is ready are held, with their context, until it is; those that come when it no longer accepts
any are answered at once.

**One task, one scope, one path.** Whatever a handler is (a coroutine that returns, a generator that streams, ``on_job_request``, a
handler that defers) it runs in :meth:`JobResponder._handle`, in the task and the scope of a slot (see :mod:`.slots`), and whatever way
it ends (return, raise, cancelled, worker stopped) it leaves through :meth:`JobResponder._gone`, which answers unless it has answered.
A deferred job's task parks in its scope until somebody answers, so cancelling it is nothing special.

**Sequential jobs** take their place in the line on arrival; a task that has to wait for its turn waits inside its scope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from contextvars import Context, copy_context
from functools import partial
from typing import Any, ClassVar, Final, final

import attrs
import trio

from .._checks import check_dict
from .._decorators import JobMark
from .._leaves import describe, leaves, trace
from .._load import Load
from .._routes import Effects
from .._transitions import JOB, JobState, advance, allows
from ..bus.base import WorkerBus
from ..bus.inbox import Inbox
from ..errors import JobFailed, NoSuchJobError, WireError, WorkerStateError
from ..messages import (
    BusJobAnswerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobStreamCreditMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusJobUpdateUrgentMessage,
    BusMessage,
    unchecked,
)
from ..observers import Observers
from ..types import JobStatus
from .chain import CHAIN, link
from .credit import Credit
from .group import TIMEOUT
from .slots import Pool, Slot, Slots, Traces

_completed = unchecked(BusJobResponseMessage)
_chunk = unchecked(BusJobStreamDataMessage)


@final
class _Deferred:
    """The type of :data:`DEFERRED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DEFERRED"


DEFERRED: Final = _Deferred()
"""Returned by a handler: the job stays open, somebody will answer it later with ``send_job_response``."""


@attrs.frozen
class ResponderStatistics:
    """What a worker has been asked for.

    Args:
        active: Jobs accepted and not answered.
        deferred: Those of them whose handler has returned without an answer.
        held: Requests that wait for this worker to be ready.
        ended: Jobs answered, by status.
        strangers: Messages dropped that were about no job of their sender's.
    """

    active: int
    deferred: int
    held: int
    ended: dict[str, int]
    strangers: int


@attrs.define(eq=False, repr=False)
class Handler:
    """What does a job.

    Args:
        call: The method: a coroutine function, or an async generator function.
        streaming: Whether it is the latter.
        sequential: Whether it does one at a time.
    """

    call: Callable[[BusJobRequestMessage], Any]
    streaming: bool = False
    sequential: bool = False
    queue: list[Job] = attrs.field(factory=list, init=False)


@attrs.define(eq=False, repr=False)
class Job:
    """One accepted request.

    Args:
        name: Who does it.
        request: What was asked.
        handler: What does it.
        observers: Those who look on.
        scope: Cancels it.
        turn: Set when a sequential job may begin; ``None`` if it need not wait.
        cancel: The message that cancelled it.
        answered: Set with the answer, if it is deferred.
    """

    name: str
    request: BusJobRequestMessage
    handler: Handler
    observers: Observers
    scope: trio.CancelScope
    turn: trio.Event | None = None
    state: JobState = JobState.ACCEPTED
    cancel: BusJobCancelMessage | None = None
    answered: trio.Event | None = None
    _credit: Credit | None = None

    @property
    def credit(self) -> Credit:
        """How many events its asker still takes; made when first needed: most jobs have none."""
        if self._credit is None:
            self._credit = Credit(self.request.window, self.name, self.request.job_id, self.observers)
            if self.cancel is not None:
                self._credit.close()
        return self._credit

    def stop_counting(self) -> None:
        """Nobody consumes its events any more: who waits to send one need not."""
        if self._credit is not None:
            self._credit.close()

    def step(self, event: str) -> None:
        """Go on by one event of the table."""
        old = self.state
        self.state = advance(JOB, old, event)
        if tell := self.observers.job_state:
            tell(self.name, self.request.job_id, old, self.state)


@attrs.define(eq=False, repr=False)
class JobResponder:
    """Answers the jobs that others ask for.

    Args:
        name: Who answers.
        inbox: Where requests come in.
        load: Counts each job from its acceptance until its handler is gone.
        bus: The bus; raises as long as there is none.
        handlers: What does which job.
        refuses: Why a request cannot be accepted now, or ``None``.
    """

    name: str
    _inbox: Inbox
    _load: Load
    _bus: Callable[[], WorkerBus]
    _handlers: Mapping[str, Handler]
    _refuses: Callable[[BusJobRequestMessage], str | None]
    active: dict[str, Job] = attrs.field(factory=dict, init=False)
    running: dict[str, Job] = attrs.field(factory=dict, init=False)
    _fallback: Handler = attrs.field(init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _pool: Pool | None = attrs.field(default=None, init=False)
    _made: Slots[Job] | None = attrs.field(default=None, init=False)
    _held: dict[str, tuple[BusJobRequestMessage, Context]] = attrs.field(factory=dict, init=False)
    _closed: str | None = attrs.field(default=None, init=False)
    _ended: dict[JobStatus, int] = attrs.field(factory=dict, init=False)
    _strangers: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Jobs that no handler is for go to the hook, which defers them."""
        self._fallback = Handler(self._call_hook)

    # -- accepting ---------------------------------------------------------------------------------------------------------

    def open(self, nursery: trio.Nursery, pool: Pool) -> None:
        """Accept jobs from now on, in tasks of ``nursery``, those held first."""
        self._nursery, self._pool = nursery, pool
        held, self._held = self._held, {}
        for request, context in held.values():
            context.run(self._accept, request)

    def close(self, reason: str) -> None:
        """Accept nothing more; what was held is answered. Running jobs are the nursery's affair."""
        self._closed = reason
        held, self._held = self._held, {}
        for request, _ in held.values():
            self._refuse(request, JobStatus.CANCELLED, reason)
        if self._made is not None:
            self._made.close()

    def statistics(self) -> ResponderStatistics:
        """A snapshot."""
        deferred = sum(job.answered is not None for job in self.active.values())
        ended = {status.value: count for status, count in self._ended.items()}
        return ResponderStatistics(len(self.active), deferred, len(self._held), ended, self._strangers)

    def _on_request(self, request: BusJobRequestMessage) -> None:
        self._inbox.show(request)
        known = self._known(request.job_id)
        if known is not None:
            self._drop(request)
            if known.source != request.source:
                self._refuse(request, JobStatus.ERROR, f"worker {self.name!r} has a job {request.job_id!r} of somebody else")
        elif self._closed is None and self._nursery is None:
            self._held[request.job_id] = (request, copy_context())
        else:
            self._accept(request)

    def _known(self, job_id: str) -> BusJobRequestMessage | None:
        if job_id in self._held:
            return self._held[job_id][0]
        job = self.running.get(job_id)
        return None if job is None else job.request

    def _accept(self, request: BusJobRequestMessage) -> None:
        reason = self._closed or self._refuses(request)
        if reason is not None:
            self._refuse(request, JobStatus.CANCELLED, reason)
            return
        handler = self._handler_for(request)
        if handler is None:
            self._refuse(request, JobStatus.FAILED, f"no handler for job {request.job_name!r} on worker {self.name!r}")
            return
        if handler.sequential and any(self._link(job) in request.chain for job in handler.queue):
            circle = " -> ".join((*request.chain, link(request.job_id, self.name)))
            reason = f"sequential job {request.job_name!r} on worker {self.name!r} would wait for itself: {circle}"
            self._refuse(request, JobStatus.FAILED, reason)
            return
        self._begin(request, handler)

    def _begin(self, request: BusJobRequestMessage, handler: Handler) -> None:
        slot = self._slots.take()
        observers = self._inbox.observers
        job = Job(self.name, request, handler, observers, slot.scope)
        if request.timeout is not None:
            job.scope.deadline = trio.current_time() + request.timeout
        if handler.sequential:
            if handler.queue:
                job.turn = trio.Event()
            handler.queue.append(job)
        self.active[request.job_id] = self.running[request.job_id] = job
        self._load.add()
        self._slots.begin(slot, job, f"job:{request.job_name or 'on_job_request'}#{request.job_id}@{self.name}")
        if tell := observers.job_accepted:  # last: who is told may cancel what is around, and a slot that is taken would not know
            tell(self.name, request)

    @property
    def _slots(self) -> Slots[Job]:
        """Where jobs run; made for the first: most workers of a large system are never asked."""
        if self._made is None:
            assert self._nursery is not None  # noqa: S101 - _on_request holds whatever comes before open()
            assert self._pool is not None  # noqa: S101 - as above
            self._made = Slots(f"idle:{self.name}", self._nursery, self._pool, self._work)
        return self._made

    def _handler_for(self, request: BusJobRequestMessage) -> Handler | None:
        handler = self._handlers.get(request.job_name) if request.job_name is not None else None
        return handler or (self._fallback if self._inbox.hooks.wants("on_job_request") else None)

    def _refuse(self, request: BusJobRequestMessage, status: JobStatus, reason: str) -> None:
        self._count(status)
        if tell := self._inbox.observers.job_refused:
            tell(self.name, request.job_id, status, reason)
        self._post(BusJobResponseMessage(source=self.name, target=request.source, job_id=request.job_id, status=status, reason=reason))

    # -- running -----------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection  # an interrupt is the handler's affair: whoever has asked is answered
    async def _work(self, slot: Slot[Job]) -> None:
        answer: BusJobAnswerMessage | None = None
        try:
            answer = await self._perform(slot)
        finally:
            if slot.job is not None:
                self._gone(slot.job, answer or self._stopped(slot.job))

    async def _perform(self, slot: Slot[Job]) -> BusJobAnswerMessage | None:
        """Do the slot's job, and others after it, as long as they end well; return the answer to the last one.

        What a handler raises is its job's answer, unless it is somebody else's cancellation.
        """
        try:
            with slot.scope:
                traces = Traces()
                while slot.job is not None:
                    answer = await self._handle(slot.job)
                    if slot.scope.cancel_called or traces:
                        return answer
                    self._gone(slot.leave(), answer)
                    del answer  # nothing of a job stays while its task waits for another
                    await self._slots.another(slot)
                return None
        except BaseException as error:  # noqa: ASYNC103 - judged: what is not the job's own is raised again
            if slot.job is None:
                raise
            return await self._judge(slot.job, error)  # noqa: ASYNC102, ASYNC104 - a checkpoint is how it finds out
        assert slot.job is not None  # noqa: S101 - nobody cancels a slot that waits
        return self._given_up(slot.job)

    @trio.lowlevel.disable_ki_protection
    async def _handle(self, job: Job) -> BusJobAnswerMessage:
        await trio.lowlevel.checkpoint_if_cancelled()
        if job.turn is not None:
            await job.turn.wait()
            await trio.lowlevel.checkpoint_if_cancelled()  # the turn and a cancel may come in one instant
        if not allows(JOB, job.state, "run"):
            return self._response(job, None)  # somebody else has answered it already; this is not used
        CHAIN.set((*job.request.chain, self._link(job)))
        job.step("run")
        result = await (self._stream(job) if job.handler.streaming else job.handler.call(job.request))
        if result is None or isinstance(result, dict):
            return self._response(job, result)
        if not isinstance(result, _Deferred):
            raise TypeError(f"the handler returned {result!r}: a job is answered by a dict, None or DEFERRED")
        if job.state is not JobState.ANSWERED:
            job.answered = trio.Event()
            await job.answered.wait()
        return self._response(job, None)

    async def _stream(self, job: Job) -> None:
        """Send what the generator yields; what goes wrong in sending is thrown into it, where it can be handled."""
        job_id = job.request.job_id
        async with aclosing(job.handler.call(job.request)) as generator:
            resume: Callable[[], Awaitable[Any]] = generator.__anext__
            self.stream_start(job_id, None)
            answered: NoSuchJobError | None = None
            while True:
                try:
                    chunk = await resume()
                except StopAsyncIteration:
                    break
                except NoSuchJobError as error:
                    if error is not answered:
                        raise
                    break  # somebody else has answered, and the generator does not mind: it is closed
                try:
                    await self._send(_chunk, self._streaming(job_id), data=check_dict(chunk, "a stream's data"))
                    resume = generator.__anext__
                except BaseException as error:  # noqa: BLE001, ASYNC103 - the generator decides: unhandled, it comes straight back out of athrow
                    answered = error if isinstance(error, NoSuchJobError) else None
                    resume = partial(generator.athrow, error)

    async def _call_hook(self, request: BusJobRequestMessage) -> _Deferred:
        await self._inbox.hooks.fire("on_job_request", request)
        return DEFERRED

    # -- how it ended ------------------------------------------------------------------------------------------------------

    async def _judge(self, job: Job, error: BaseException) -> BusJobAnswerMessage:
        found = leaves(error)
        errors = [leaf for leaf in found if not isinstance(leaf, trio.Cancelled)]
        if not all(isinstance(leaf, Exception) for leaf in errors) or (errors and not allows(JOB, job.state, "answer")):
            raise error  # not the job's: an interrupt, or a handler that has answered and is the worker's own code since
        if not errors:
            await trio.lowlevel.checkpoint_if_cancelled()  # raises if an enclosing scope has caused it
            return self._failure(job, JobStatus.ERROR, "Cancelled was raised, but nothing was cancelled", traceback=trace(error))
        if len(errors) == 1 and isinstance(failed := errors[0], JobFailed):
            return self._failure(job, JobStatus.FAILED, failed.reason, failed.response)
        reason = describe(errors[0] if len(errors) == 1 else error)
        return self._failure(job, JobStatus.ERROR, reason, traceback=trace(error))

    def _given_up(self, job: Job) -> BusJobAnswerMessage:
        if job.cancel is None:  # nobody asked for it: the deadline, which the requester keeps too
            request = job.request
            job.cancel = BusJobCancelMessage(source=request.source, target=self.name, job_id=request.job_id, reason=TIMEOUT)
        return self._failure(job, JobStatus.CANCELLED, job.cancel.reason)

    def _stopped(self, job: Job) -> BusJobAnswerMessage:
        return self._failure(job, JobStatus.CANCELLED, f"worker {self.name!r} stopped")

    def _response(self, job: Job, response: dict[str, Any] | None) -> BusJobAnswerMessage:
        """The answer of a handler that has done what it was asked for."""
        source, target, job_id = self.name, job.request.source, job.request.job_id
        if job.state is JobState.STREAMING:
            return BusJobStreamEndMessage(source=source, target=target, job_id=job_id, data=response)
        return _completed(
            source=source,
            target=target,
            job_id=job_id,
            status=JobStatus.COMPLETED,
            response=response,
            reason=None,
            traceback=None,
            loss=None,
        )

    def _failure(
        self,
        job: Job,
        status: JobStatus,
        reason: str | None,
        response: dict[str, Any] | None = None,
        traceback: str | None = None,
    ) -> BusJobResponseMessage:
        source, target, job_id = self.name, job.request.source, job.request.job_id
        return BusJobResponseMessage(
            source=source, target=target, job_id=job_id, status=status, response=response, reason=reason, traceback=traceback
        )

    def _gone(self, job: Job, answer: BusJobAnswerMessage) -> None:
        """No line of the handler can run any more: answer, give the turn on, tell who wants to know."""
        self._release(job)
        if allows(JOB, job.state, "answer"):
            try:
                self._bus().check(answer)
            except WireError as error:  # what the handler returned cannot leave the process: that is its job's error
                answer = self._failure(job, JobStatus.ERROR, describe(error))
            self._answer(job, answer)
        job.step("go")
        del self.running[job.request.job_id]
        if job.cancel is not None:
            self._inbox.call(("on_job_cancelled", job.cancel), lane=self._inbox.system)
        self._load.done()

    def _release(self, job: Job) -> None:
        if job.handler.sequential:
            queue = job.handler.queue
            first = queue[0] is job
            queue.remove(job)
            if first and queue and queue[0].turn is not None:
                queue[0].turn.set()

    def _answer(self, job: Job, message: BusJobAnswerMessage) -> None:
        job.step("answer")
        if job.request.timeout is not None:
            job.scope.deadline = float("inf")
        if job.answered is not None:
            job.answered.set()
        if job.turn is not None:
            job.turn.set()
        job.stop_counting()
        del self.active[job.request.job_id]
        self._count(message.status if isinstance(message, BusJobResponseMessage) else JobStatus.COMPLETED)
        self._post(message)

    def _count(self, status: JobStatus) -> None:
        self._ended[status] = self._ended.get(status, 0) + 1

    # -- answering, from user code -----------------------------------------------------------------------------------------

    def respond(self, job_id: str, response: dict[str, Any] | None, status: JobStatus, *, urgent: bool) -> None:
        """Answer a job.

        Raises:
            NoSuchJobError: There is no such active job.
            TypeError: The response is no dict.
            ValueError: The status is none.
        """
        job = self._active(job_id)
        make = BusJobResponseUrgentMessage if urgent else BusJobResponseMessage
        message = make(
            source=self.name,
            target=job.request.source,
            job_id=job_id,
            status=JobStatus(status),
            response=check_dict(response, "a job's response"),
        )
        self._bus().check(message)
        self._answer(job, message)

    async def update(self, job_id: str, update: dict[str, Any] | None, *, urgent: bool) -> None:
        """Send news, after waiting for credit unless it is urgent."""
        if urgent:
            await self._bus().pace()
            self.update_nowait(job_id, update, urgent=True)
        else:
            job = self._active(job_id)
            await self._send(BusJobUpdateMessage, job, update=check_dict(update, "a job's update"))

    def update_nowait(self, job_id: str, update: dict[str, Any] | None, *, urgent: bool) -> None:
        """Send news now.

        Raises:
            NoSuchJobError: There is no such active job.
            trio.WouldBlock: The asker has to consume something first.
        """
        job = self._active(job_id)
        checked = check_dict(update, "a job's update")
        if urgent:
            self._post(BusJobUpdateUrgentMessage(source=self.name, target=job.request.source, job_id=job_id, update=checked))
        else:
            self._send_nowait(BusJobUpdateMessage, job, update=checked)

    def stream_start(self, job_id: str, data: dict[str, Any] | None) -> None:
        """Begin a stream; it costs no credit.

        Raises:
            NoSuchJobError: There is no such active job.
            WorkerStateError: Its stream has begun already.
        """
        job = self._active(job_id)
        checked = check_dict(data, "a stream's data")
        if not allows(JOB, job.state, "stream"):
            raise WorkerStateError(f"job {job_id!r} on worker {self.name!r} is {job.state}: a stream is started once, by its handler")
        message = BusJobStreamStartMessage(source=self.name, target=job.request.source, job_id=job_id, data=checked)
        self._bus().check(message)
        job.step("stream")
        self._post(message)

    async def stream_data(self, job_id: str, data: dict[str, Any] | None) -> None:
        """Send a piece of a stream, after waiting for credit."""
        await self._send(_chunk, self._streaming(job_id), data=check_dict(data, "a stream's data"))

    def stream_data_nowait(self, job_id: str, data: dict[str, Any] | None) -> None:
        """Send a piece of a stream now.

        Raises:
            trio.WouldBlock: The asker has to consume something first.
        """
        self._send_nowait(_chunk, self._streaming(job_id), data=check_dict(data, "a stream's data"))

    def stream_end(self, job_id: str, data: dict[str, Any] | None) -> None:
        """End a stream and its job, COMPLETED."""
        job = self._streaming(job_id)
        checked = check_dict(data, "a stream's data")
        message = BusJobStreamEndMessage(source=self.name, target=job.request.source, job_id=job_id, data=checked)
        self._bus().check(message)
        self._answer(job, message)

    async def _send(self, make: Callable[..., BusJobAnswerMessage], job: Job, **fields: dict[str, Any] | None) -> None:
        bus = self._bus()
        message = make(source=self.name, target=job.request.source, job_id=job.request.job_id, **fields)
        bus.check(message)
        await bus.pace()
        if not job.credit.take_nowait():
            await job.credit.take()
        if not self._is_active(job):
            raise self._no_such_job(job.request.job_id)
        bus.post(message)

    def _send_nowait(self, make: Callable[..., BusJobAnswerMessage], job: Job, **fields: dict[str, Any] | None) -> None:
        bus = self._bus()
        message = make(source=self.name, target=job.request.source, job_id=job.request.job_id, **fields)
        bus.check(message)
        if not job.credit.take_nowait():
            raise trio.WouldBlock
        bus.post(message)

    def _post(self, message: BusMessage) -> None:
        self._bus().post(message)

    def _active(self, job_id: str) -> Job:
        job = self.active.get(job_id)
        if job is None:
            raise self._no_such_job(job_id)
        return job

    def _no_such_job(self, job_id: str) -> NoSuchJobError:
        return NoSuchJobError(f"worker {self.name!r} has no active job {job_id!r}: it was answered, cancelled, or never accepted")

    def _streaming(self, job_id: str) -> Job:
        job = self._active(job_id)
        if job.state is not JobState.STREAMING:
            raise WorkerStateError(f"job {job_id!r} on worker {self.name!r} has no stream: call send_job_stream_start first")
        return job

    # -- other arrivals ----------------------------------------------------------------------------------------------------

    def _on_cancel(self, message: BusJobCancelMessage) -> None:
        held = self._held.get(message.job_id)
        job = self.active.get(message.job_id)
        if held is not None and held[0].source == message.source:
            del self._held[message.job_id]
            self._refuse(held[0], JobStatus.CANCELLED, message.reason or "cancelled")
        elif job is not None and job.request.source == message.source and job.cancel is None:
            job.cancel = message
            job.scope.cancel(reason=message.reason)
            job.stop_counting()  # what its cleanup still sends need not wait
        else:
            self._drop(message)
            return
        self._inbox.show(message)

    def _on_update_request(self, message: BusJobUpdateRequestMessage) -> None:
        job = self.active.get(message.job_id)
        if job is not None and job.request.source == message.source:
            self._inbox.show(message, ("on_job_update_requested", message), still=partial(self._is_active, job))
        else:
            self._drop(message)

    def running_links(self) -> list[str]:
        """The jobs whose handler is there, as chains name them."""
        return [self._link(job) for job in self.running.values()]

    def _link(self, job: Job) -> str:
        return link(job.request.job_id, self.name)

    def _is_active(self, job: Job) -> bool:
        return self.active.get(job.request.job_id) is job

    def _on_credit(self, message: BusJobStreamCreditMessage) -> None:
        job = self.active.get(message.job_id)
        if job is not None and job.request.source == message.source:
            job.credit.grant(message.credit)
            self._inbox.show(message)
        else:
            self._drop(message)

    effects: ClassVar[Effects] = {
        BusJobRequestMessage: _on_request,
        BusJobCancelMessage: _on_cancel,
        BusJobUpdateRequestMessage: _on_update_request,
        BusJobStreamCreditMessage: _on_credit,
    }

    def _drop(self, message: BusMessage) -> None:
        self._strangers += 1
        self._inbox.lose(message, "stranger")


def handlers_of(owner: object, jobs: Mapping[str, tuple[str, JobMark]]) -> dict[str, Handler]:
    """Return the handlers that the marks of a class make of an object's methods."""
    made: dict[str, Handler] = {}
    for name, (attribute, mark) in jobs.items():
        made[name] = Handler(getattr(owner, attribute), streaming=mark.streaming, sequential=mark.sequential)
    return made
