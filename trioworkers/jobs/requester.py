"""The part that asks.

**On arrival.** Answers, news and chunks take effect the moment they are posted: the record changes, waiters wake, credit is counted.
What user code sees of it (hooks) follows in a lane; what waits (a block, ``group.wait()``) does not wait for the hooks. That is why a
job can be awaited inside any hook, and why a hook that raises cannot lose an answer.

**One path per request.** Hooks of one request stay in order even when some of its messages are urgent: as long as an earlier one of
the same request is still in a lane, the next goes to that lane, whatever its priority.

**One decision.** :meth:`JobRequester._decide` is the only place where an outcome comes about: by an answer, or by giving up. Whatever
else arrives for that member later is its acknowledgement, and is not shown to anybody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import attrs
import trio

from .._checks import check_dict, check_name, check_names, check_optional_seconds
from .._leaves import describe
from .._load import Load
from .._routes import Effects
from ..bus.base import WorkerBus
from ..bus.inbox import Call, Inbox, Showing
from ..bus.lane import Lane
from ..errors import JobError, JobGroupError, UnknownWorkerError, WorkerStateError
from ..messages import (
    BusJobAnswerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamCreditMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusJobUpdateUrgentMessage,
    unchecked,
)
from ..registry import WorkerRegistry
from ..types import JobEvent, JobOutcome, JobStatus
from .chain import CHAIN
from .events import Receipt
from .group import TIMEOUT, JobGroup

UNREADY = "not ready within timeout"

_request = unchecked(BusJobRequestMessage)


def _nothing() -> None:
    """What an event without credit does when it is consumed."""


@attrs.frozen
class RequesterStatistics:
    """What a worker has asked for.

    Args:
        open: Requests of which some handler may still run.
        asked: Requests sent so far.
        strangers: Answers dropped: from somebody not asked, or a second one.
        left_behind: Handlers that were given up after their grace.
    """

    open: int
    asked: int
    strangers: int
    left_behind: int


@attrs.define(eq=False, repr=False)
class Request:
    """What is asked: checked arguments, nothing sent.

    Args:
        worker_names: Whom.
        name: Which handler.
        payload: What it reads.
        timeout: Seconds over readiness and work; ``None`` for no limit.
        cancel_on_error: Whether the first member that does not complete decides all.
    """

    worker_names: tuple[str, ...]
    name: str | None
    payload: dict[str, Any] | None
    timeout: float | None
    cancel_on_error: bool

    @classmethod
    def checked(
        cls, worker_names: Sequence[object], *, name: object, payload: object, timeout: object, cancel_on_error: bool = True
    ) -> Request:
        """Check everything at the call.

        Raises:
            TypeError: Something is of the wrong type.
            ValueError: No name, a doubled or empty one, a negative or NaN timeout.
        """
        return cls(
            check_names(worker_names),
            None if name is None else check_name(name, "a job's name"),
            check_dict(payload, "a job's payload"),
            check_optional_seconds(timeout),
            cancel_on_error,
        )


def ambient_deadline() -> float:
    """When the surroundings of this code will give up, by trio's clock; ``inf`` if never, or nested too deep for trio to say."""
    try:
        return trio.current_effective_deadline()
    except RecursionError:
        return math.inf


@attrs.define(eq=False, repr=False)
class JobRequester:
    """Asks other workers for jobs, and keeps the record of each request until it is acknowledged.

    Args:
        name: Who asks.
        inbox: Where answers come in.
        load: Counts each request until it is acknowledged.
        bus: The bus; raises as long as there is none.
        registry: The registry; raises as long as there is none.
        may_wait_for: Raises if waiting for these workers to be ready could never end.
    """

    name: str
    _inbox: Inbox
    _load: Load
    _bus: Callable[[], WorkerBus]
    _registry: Callable[[], WorkerRegistry]
    _may_wait_for: Callable[[tuple[str, ...]], None]
    groups: dict[str, JobGroup] = attrs.field(factory=dict, init=False)
    _waits: dict[trio.CancelScope, None] = attrs.field(factory=dict, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _closed: str | None = attrs.field(default=None, init=False)
    _asked: int = attrs.field(default=0, init=False)
    _strangers: int = attrs.field(default=0, init=False)
    _left_behind: int = attrs.field(default=0, init=False)

    # -- asking ------------------------------------------------------------------------------------------------------------

    def open_bus(self) -> WorkerBus:
        """The bus, unless to ask can lead nowhere.

        Raises:
            WorkerStateError: The worker is on no bus, or has finished.
        """
        if self._closed is not None:
            raise WorkerStateError(f"worker {self.name!r} cannot ask for jobs any more: {self._closed}")
        return self._bus()

    def prepare(self, request: Request) -> JobGroup:
        """Make the record; its deadline runs from now. Nothing is sent.

        Raises:
            WorkerStateError: See :meth:`open_bus`.
        """
        bus = self.open_bus()
        deadline = math.inf if request.timeout is None else trio.current_time() + request.timeout
        return JobGroup(bus.new_id(), request.worker_names, request.cancel_on_error, deadline, self.name, bus.observers)

    async def launch(self, group: JobGroup, request: Request) -> None:
        """Wait until all are ready, then ask them, in order, in one go.

        If this is cancelled or raises, nothing has been asked, or everything asked has been cancelled again.

        Raises:
            JobGroupError: Not all were ready in time, or they never will be.
            WorkerStateError: The worker has finished meanwhile, or waiting for one of them would never end.
        """
        self._may_wait_for(group.worker_names)
        ambient = ambient_deadline()
        await self._bus().pace()
        if not self._registry().has(group.worker_names) or group.is_late():
            await self._wait_ready(group)
        self._send(self.open_bus(), group, request, ambient)

    async def _wait_ready(self, group: JobGroup) -> None:
        reason = UNREADY
        with trio.move_on_at(group.deadline) as scope:  # noqa: ASYNC912 - wait_ready() is a cancel point
            self._waits[scope] = None
            try:
                await self._registry().wait_ready(*group.worker_names)
            except UnknownWorkerError as error:
                reason = str(error)
            else:
                return
            finally:
                del self._waits[scope]
        if reason is UNREADY:
            self.open_bus()
        raise self._unready(group, reason)

    async def ask(self, request: Request) -> JobGroup:
        """Ask, and leave it to a task of this worker to give up at the deadline.

        Raises:
            JobGroupError: Not all were ready in time, or they never will be.
            WorkerStateError: The worker does not run, or has finished.
        """
        group = self.prepare(request)
        nursery = self._nursery
        if nursery is None:
            raise WorkerStateError(f"worker {self.name!r} does not run yet: ask from a hook, or hold the job in a block")
        await self.launch(group, request)
        if request.timeout is not None and not group.is_done:
            nursery.start_soon(self._guard, group, name=f"timeout:{group.job_id}@{self.name}")
        return group

    async def ask_one(self, request: Request) -> JobGroup:
        """Like :meth:`ask`, for a request to one worker.

        Raises:
            JobError: It was not ready in time, or never will be.
        """
        try:
            return await self.ask(request)
        except JobGroupError as error:
            raise error.errors[request.worker_names[0]] from None

    async def _guard(self, group: JobGroup) -> None:
        with trio.move_on_at(group.deadline):
            await group.wait_decided()
        self.cancel(group, TIMEOUT)

    def cancel(self, group: JobGroup, reason: str | None) -> None:
        """Give up whatever is undecided; nothing happens if all is decided."""
        told = group.undecided()
        if told:
            why = reason or "cancelled"
            decisive = BusJobResponseMessage(
                source=told[0], target=self.name, job_id=group.job_id, status=JobStatus.CANCELLED, reason=why
            )
            self._end_early(group, decisive, why, told)

    def cancel_by_id(self, job_id: str, reason: str | None) -> None:
        """Give up the request of that id; nothing happens if there is none."""
        group = self.groups.get(job_id)
        if group is not None:
            self.cancel(group, reason)

    def request_update(self, job_id: str, worker_name: str) -> None:
        """Ask a member for news; nothing happens if it has none to give any more."""
        group = self.groups.get(check_name(job_id, "a job's id"))
        if group is not None and group.awaits(check_name(worker_name)):
            self._bus().post(BusJobUpdateRequestMessage(source=self.name, target=worker_name, job_id=job_id))

    def leave_behind(self, group: JobGroup) -> list[str]:
        """Stop waiting for handlers that were cancelled and still run; return whose they are."""
        names = group.unacknowledged()
        self._left_behind += len(names)
        for name in names:
            self._acknowledge(group, name)
        return names

    # -- the life of the worker --------------------------------------------------------------------------------------------

    def open(self, nursery: trio.Nursery) -> None:
        """Requests without a block may have a deadline from now on: a task of ``nursery`` keeps it."""
        self._nursery = nursery

    def close(self, reason: str) -> None:
        """Ask nothing more, and give up all that is out."""
        if self._closed is None:
            self._closed = reason
        for scope in self._waits:
            scope.cancel(reason=reason)
        for group in list(self.groups.values()):
            self.cancel(group, reason)

    def forsake(self) -> None:
        """Wait for nothing of what is out: it has been cancelled, but who asked has never lived, and never will."""
        for group in list(self.groups.values()):
            self.leave_behind(group)

    async def wait_acknowledged(self) -> None:
        """Wait until nothing asked from here can run any more."""
        for group in list(self.groups.values()):
            await group.wait_acknowledged()

    async def farewell(self) -> None:
        """Like :meth:`wait_acknowledged`, whatever is cancelled around: the last thing that whoever asks does."""
        if self.groups:
            with trio.CancelScope(shield=True):
                await self.wait_acknowledged()

    def statistics(self) -> RequesterStatistics:
        """A snapshot."""
        return RequesterStatistics(len(self.groups), self._asked, self._strangers, self._left_behind)

    # -- arrivals ----------------------------------------------------------------------------------------------------------

    def _on_response(self, message: BusJobResponseMessage) -> None:
        group = self._group_of(message)
        if group is None:
            return
        if group.awaits(message.source):
            self._show(group, message, ("on_job_response", message))
            if group.cancel_on_error and message.status is not JobStatus.COMPLETED:
                said = f"worker {message.source!r} answered {message.status}: {message.reason or 'no reason given'}"
                told = [name for name in group.undecided() if name != message.source]
                self._end_early(group, message, said, told)
            else:
                self._decide(group, message, _outcome(message))
        elif message.status is JobStatus.ERROR:
            group.late_errors.append(f"{message.source!r} raised while it was given up: {message.reason}")
        self._acknowledge(group, message.source)

    def _on_stream_end(self, message: BusJobStreamEndMessage) -> None:
        group = self._group_of(message)
        if group is None:
            return
        if group.awaits(message.source):
            receipt = self._receipt(group, message, 1, credited=False)
            if group.events is not None:
                group.events.put(message.source, JobEvent.STREAM_END, message.data, receipt)
            else:
                receipt.seen()
            self._show(group, message, ("on_job_stream_end", message))
            self._decide(group, message, JobOutcome(JobStatus.COMPLETED, message.data))
        self._acknowledge(group, message.source)

    def _on_update(self, message: BusJobUpdateMessage) -> None:
        self._on_event(message, JobEvent.UPDATE, message.update, "on_job_update")

    def _on_stream_start(self, message: BusJobStreamStartMessage) -> None:
        self._on_event(message, JobEvent.STREAM_START, message.data, "on_job_stream_start")

    def _on_stream_data(self, message: BusJobStreamDataMessage) -> None:
        self._on_event(message, JobEvent.STREAM_DATA, message.data, "on_job_stream_data")

    effects: ClassVar[Effects] = {
        BusJobResponseMessage: _on_response,
        BusJobStreamStartMessage: _on_stream_start,
        BusJobStreamDataMessage: _on_stream_data,
        BusJobStreamEndMessage: _on_stream_end,
        BusJobUpdateMessage: _on_update,
    }

    def _on_event(self, message: BusJobAnswerMessage, kind: str, data: dict[str, Any] | None, hook: str) -> None:
        group = self._group_of(message)
        if group is None or not group.awaits(message.source):
            return
        credited = not isinstance(message, (BusJobUpdateUrgentMessage, BusJobStreamStartMessage))  # as the answerer counts
        receipt = self._receipt(group, message, 2, credited=credited)
        if group.events is not None:
            group.events.put(message.source, kind, data, receipt)
        else:
            receipt.seen()
        if not self._inbox.would_show(message, hook):
            receipt.seen()
        elif self._lane_now(group, message) is group.held_in:  # it waits behind the hook that reads: it cannot hold the reader up
            receipt.seen()
            self._queue(group, message, (hook, message), _nothing)
        else:
            self._queue(group, message, (hook, message), receipt.seen)

    def _receipt(self, group: JobGroup, message: BusJobAnswerMessage, lookers: int, *, credited: bool) -> Receipt:
        if tell := self._inbox.observers.job_event:
            tell(self.name, group.job_id, message.source, message)
        return Receipt(lookers, partial(self._consumed, group, message.source, credited))

    def _group_of(self, message: BusJobAnswerMessage) -> JobGroup | None:
        """The request that this is about, unless nobody there was asked, or has answered already."""
        group = self.groups.get(message.job_id)
        if group is None or not group.may_run(message.source):
            self._strangers += 1
            self._inbox.lose(message, "stranger")
            return None
        if group.is_late():
            self.cancel(group, TIMEOUT)  # both ends keep the deadline; whichever task is first, it is the request that timed out
        return group

    # -- deciding ----------------------------------------------------------------------------------------------------------

    def _decide(self, group: JobGroup, message: BusJobAnswerMessage, outcome: JobOutcome) -> None:
        group.decide(message.source, outcome)
        if group.is_done:
            group.settle()
            if self._inbox.hooks.wants("on_job_completed"):
                self._show_end(group, message, ("on_job_completed", group.result))

    def _end_early(self, group: JobGroup, decisive: BusJobResponseMessage, reason: str, told: list[str]) -> None:
        """One answer, or our own giving up, decides all that is undecided; ``told`` are asked to stop."""
        group.failure = reason
        group.decide(decisive.source, _outcome(decisive))
        for name in told:
            group.decide(name, JobOutcome(JobStatus.CANCELLED, reason=reason))
        group.settle()
        self._show_end(group, decisive, ("on_job_error", decisive))
        for name in told:
            if group.member(name).asked:
                self._tell_to_stop(group, name, reason)

    def _tell_to_stop(self, group: JobGroup, name: str, reason: str) -> None:
        try:
            self._bus().post(BusJobCancelMessage(source=self.name, target=name, job_id=group.job_id, reason=reason))
        except Exception:  # noqa: BLE001 - the bus cannot reach it: nobody there can be waited for, and the others want to be told
            self._left_behind += 1
            self._acknowledge(group, name)

    def _acknowledge(self, group: JobGroup, name: str) -> None:
        group.acknowledge(name)
        if group.is_over:
            del self.groups[group.job_id]
            if tell := self._inbox.observers.job_over:
                tell(self.name, group.job_id)
            self._load.done()

    def _consumed(self, group: JobGroup, name: str, credited: bool) -> None:
        if tell := self._inbox.observers.job_event_seen:
            tell(self.name, group.job_id, name)
        member = group.member(name)
        member.owed += credited
        if member.owed >= max(1, group.window // 2) and group.awaits(name):
            credit, member.owed = member.owed, 0
            self._bus().hand_in(BusJobStreamCreditMessage(source=self.name, target=name, job_id=group.job_id, credit=credit))

    # -- sending and showing -----------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def _send(self, bus: WorkerBus, group: JobGroup, request: Request, ambient: float) -> None:
        self.groups[group.job_id] = group
        self._load.add()
        self._asked += 1
        if tell := self._inbox.observers.job_asked:
            tell(self.name, group.job_id, group.worker_names)
        chain, window = CHAIN.get(), group.window
        timeout = None if request.timeout is None else max(0.0, group.deadline - trio.current_time())
        for name in group.worker_names:
            if not group.awaits(name):  # an earlier member has refused at once, and that decided for all
                self._acknowledge(group, name)
                continue
            message = _request(
                source=self.name,
                target=name,
                job_id=group.job_id,
                job_name=request.name,
                payload={} if request.payload is None else request.payload,
                timeout=timeout,
                deadline=ambient,
                chain=chain,
                window=window,
            )
            self._post_or_undo(bus, group, message)

    def _post_or_undo(self, bus: WorkerBus, group: JobGroup, message: BusJobRequestMessage) -> None:
        member = group.member(message.target or "")
        member.asked = True
        try:
            bus.post(message)
        except BaseException as error:
            member.asked = False
            names = list(group.worker_names)
            for name in names[names.index(member.name) :]:
                group.decide(name, JobOutcome(JobStatus.CANCELLED, reason="not asked"))
                self._acknowledge(group, name)
            self.cancel(group, f"the request could not be sent: {describe(error)}")
            raise

    def _show(self, group: JobGroup, message: BusJobAnswerMessage, call: Call) -> None:
        if self._inbox.would_show(message, call[0]):
            self._queue(group, message, call, _nothing)

    def _queue(self, group: JobGroup, message: BusJobAnswerMessage, call: Call, seen: Callable[[], None]) -> None:
        self._inbox.show(message, call, lane=self._lane(group, message), seen=partial(self._shown, group, seen))

    def _show_end(self, group: JobGroup, message: BusJobAnswerMessage, call: Call) -> None:
        self._inbox.call(call, lane=self._lane(group, message), seen=partial(self._shown, group, _nothing))

    def _lane_now(self, group: JobGroup, message: BusJobAnswerMessage) -> Lane[Showing]:
        """Where hooks of this request go now: behind those that are there already, else by priority."""
        return group.lane if group.showing and group.lane is not None else self._inbox.lane_of(message)

    def _lane(self, group: JobGroup, message: BusJobAnswerMessage) -> Lane[Showing]:
        group.lane = self._lane_now(group, message)
        group.showing += 1
        return group.lane

    def lane_around(self) -> Lane[Showing] | None:
        """The lane of ours in one of whose hooks this code runs."""
        return self._inbox.lane_around()

    def _shown(self, group: JobGroup, seen: Callable[[], None]) -> None:
        group.showing -= 1
        seen()

    def _unready(self, group: JobGroup, reason: str) -> JobGroupError:
        missing = [name for name in group.worker_names if name not in self._registry()] or list(group.worker_names)
        errors = {name: JobError(name, group.job_id, JobStatus.CANCELLED, reason=reason) for name in missing}
        return JobGroupError(group.job_id, errors, {}, reason)


def _outcome(message: BusJobResponseMessage) -> JobOutcome:
    return JobOutcome(message.status, message.response, message.reason, message.traceback, message.loss)
