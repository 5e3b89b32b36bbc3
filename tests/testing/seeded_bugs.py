"""Bugs that a tired maintainer could have made in the library, each a small patch, and the promise that is broken then.

A bug is a function that is given ``put(owner, attribute, wrong)``; its docstring is what went wrong. Where the right method can be
called, it is: then the patch goes on meaning the same when the library changes.
"""

from __future__ import annotations

import random  # noqa: TID251 - for a type: the generator is seeded
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from trioworkers._load import Load
from trioworkers._transitions import ACTIVATION, JobState, RequestState, advance, allows
from trioworkers.bus import Inbox, WorkerBus
from trioworkers.bus.lane import BATCH, Lane
from trioworkers.errors import DuplicateWorkerError
from trioworkers.jobs.block import JobContext
from trioworkers.jobs.credit import Credit
from trioworkers.jobs.events import Events
from trioworkers.jobs.group import Asked, JobGroup
from trioworkers.jobs.requester import JobRequester
from trioworkers.jobs.responder import Job, JobResponder
from trioworkers.jobs.slots import Pool, Slots
from trioworkers.messages import BusEndWorkerMessage, BusJobAnswerMessage, BusJobCancelMessage, BusJobResponseMessage, Priority
from trioworkers.registry import WorkerRegistry
from trioworkers.runner import WorkerRunner
from trioworkers.testing import LifecycleSystem, Operation
from trioworkers.types import JobOutcome, JobStatus, WorkerReadyData
from trioworkers.worker.activation import Activation
from trioworkers.worker.core import WorkerCore
from trioworkers.worker.ending import Ending
from trioworkers.worker.family import Family
from trioworkers.worker.watches import Watches

Put = Callable[[Any, str, Any], None]


@attrs.frozen
class Bug:
    """One of them.

    Args:
        plant: Puts it into the library.
        promises: Those of which one must be reported broken; ``Deadlock`` if clients wait for ever.
        budget: It must be found in so many worlds.
        system: What clients can do; less than usual, where otherwise little of what they do has to do with it.
    """

    plant: Callable[[Put], None]
    promises: tuple[str, ...]
    budget: int
    system: type[LifecycleSystem] = LifecycleSystem

    @property
    def name(self) -> str:
        """What it is called."""
        return self.plant.__name__

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The library with this bug."""
        with pytest.MonkeyPatch.context() as patch:
            self.plant(patch.setattr)
            yield


BUGS: list[Bug] = []


def bug(
    *promises: str, budget: int, system: type[LifecycleSystem] = LifecycleSystem
) -> Callable[[Callable[[Put], None]], Callable[[Put], None]]:
    """Add a function to the table."""

    def add(plant: Callable[[Put], None]) -> Callable[[Put], None]:
        BUGS.append(Bug(plant, promises, budget, system))
        return plant

    return add


class _Some(LifecycleSystem):
    """Clients do less than they could."""

    verbs: Sequence[str]

    def draw(self, rng: random.Random, number: int) -> Operation:
        """Nobody talks of those who cannot come."""
        if number == 1 and "add" not in self.verbs:
            self.names = [name for name in self.names if name not in self.spare]
        return super().draw(rng, number)

    def weights(self) -> Mapping[str, int]:
        """Only these."""
        return {verb: weight for verb, weight in super().weights().items() if verb in self.verbs}


class Farewells(_Some):
    """Workers leave while much goes on that takes long."""

    scripts = ("nap", "ask", "forever", "swallow")
    verbs = ("request", "ask", "order", "end_worker", "stop_worker", "flood")


class Groups(_Some):
    """Some members of a group fail."""

    scripts = ("raise", "fail", "nap")
    verbs = ("ask_group", "request")


class Floods(_Some):
    """Workers leave while much waits for them."""

    verbs = ("flood", "tell", "stop_worker", "end_worker", "leave")


class Moods(_Some):
    """Workers are active and not."""

    verbs = ("activate", "deactivate", "watch_worker")


class Comings(_Some):
    """Workers come and go."""

    verbs = ("watch_worker", "add", "end_worker", "stop_worker")


class Queues(_Some):
    """Jobs wait for each other."""

    scripts = ("nap", "again", "forever")
    uses = ("wait", "cancel")
    verbs = ("request", "order", "cancel_jobs")


class Answers(_Some):
    """Jobs are answered by others."""

    scripts = ("return", "nap", "defer")
    verbs = ("request", "ask", "order", "answer")


# -- lanes -----------------------------------------------------------------------------------------------------------------


@bug("B5", "L3", budget=100)
def lost_wakeup(put: Put) -> None:
    """A lane's task takes one more step after its last look, and what comes in that moment wakes nobody."""
    right = Lane._drain

    async def drain(self: Lane[Any]) -> None:
        await right(self)
        self._idle = False
        await trio.lowlevel.checkpoint()
        self._idle = True

    put(Lane, "_drain", drain)


@bug("B5", budget=100)
def one_batch_and_no_more(put: Put) -> None:
    """A lane that was flooded ends after its first batch."""

    async def drain(self: Lane[Any]) -> None:
        self._begin()
        try:
            await self._run_waiting(BATCH)
        finally:
            self._idle = True

    put(Lane, "_drain", drain)


@bug("B2", budget=100)
def data_before_system(put: Put) -> None:
    """The data lane gives way to a system lane that is busy, and not to one that is free."""
    put(Lane, "must_go_first", property(lambda self: bool(self.waiting) and self.busy))


@bug("B1", "J3", "R2", budget=100)
def newest_first(put: Put) -> None:
    """A lane that has fallen behind takes up the newest message."""
    right = Lane._run_waiting

    async def run_waiting(self: Lane[Any], limit: int) -> None:
        for _ in range(limit):
            if self.waiting > 8:
                self._items.rotate(1)
            await right(self, 1)

    put(Lane, "_run_waiting", run_waiting)


@bug("B1", "B5", "J1", budget=100)
def crowded_out(put: Put) -> None:
    """A lane that holds more than a batch drops the oldest without a word."""
    right = Lane.put

    def put_in(self: Lane[Any], item: Any) -> None:
        if self.waiting >= BATCH:
            self._items.popleft()
            self.waiting -= 1
        right(self, item)

    put(Lane, "put", put_in)


# -- the bus ---------------------------------------------------------------------------------------------------------------


@bug("B3", budget=100)
def broadcast_twice(put: Put) -> None:
    """Somebody who listens to a class and to its base is told for each of them."""

    def broadcast(self: WorkerBus, message: Any) -> None:
        for cls in type(message).__mro__:
            for inbox in list(self._listeners.get(cls, {}).values()):
                self._hand_over(message, inbox)

    put(WorkerBus, "_broadcast", broadcast)


@bug("B3", budget=100)
def told_to_everybody(put: Put) -> None:
    """An urgent message is given to all who listen, and not only to its target."""
    right = WorkerBus._route

    def route(self: WorkerBus, message: Any) -> None:
        right(self, message)
        if message.target is not None and message.priority is Priority.SYSTEM:
            for name, inbox in list(self._listeners.get(type(message), {}).items()):
                if name != message.target:
                    self._hand_over(message, inbox)

    put(WorkerBus, "_route", route)


@bug("B3", budget=100)
def quiet_when_busy(put: Put) -> None:
    """A broadcast leaves out those who have fallen behind."""
    right = WorkerBus._hand_over

    def hand_over(self: WorkerBus, message: Any, inbox: Inbox) -> None:
        if message.target is not None or inbox.data.waiting < 3:
            right(self, message, inbox)

    put(WorkerBus, "_hand_over", hand_over)


@bug("L5", budget=300)
def check_then_act(put: Put) -> None:
    """Whether a name is free is asked before a checkpoint, and the name is taken after it."""
    right = Family.adopt

    async def add_workers(self: WorkerRunner, *workers: Any) -> None:
        taken = [worker.name for worker in workers if worker.name in self.bus]
        await trio.lowlevel.checkpoint()
        if taken:
            raise DuplicateWorkerError(f"the name {taken[0]!r} is taken")
        families = [worker._family() for worker in workers]
        right(self._family, families)
        await self._family.start(families)

    def subscribe(self: WorkerBus, inbox: Inbox) -> None:
        self._inboxes[inbox.name] = inbox
        inbox.subscribed(self.observers)
        self.listen(inbox)

    put(WorkerRunner, "add_workers", add_workers)
    put(WorkerBus, "subscribe", subscribe)


# -- asking ----------------------------------------------------------------------------------------------------------------


@bug("J3", "J1", budget=100)
def heard_after_cancel(put: Put) -> None:
    """A member that was given up is listened to until its handler is gone."""
    put(JobGroup, "awaits", JobGroup.may_run)


@bug("J1", budget=100)
def decided_twice(put: Put) -> None:
    """Each outcome is recorded, not only the first."""

    def decide(self: Asked, outcome: JobOutcome) -> bool:
        self.state = RequestState.DECIDED
        self.outcome = outcome
        return True

    put(Asked, "decide", decide)


@bug("J7", budget=100)
def starved_acknowledgement(put: Put) -> None:
    """An answer that comes too late is dropped before it is taken for the acknowledgement that it is."""
    right = JobRequester._on_response

    def on_response(self: JobRequester, message: Any) -> None:
        group = self.groups.get(message.job_id)
        if group is None or group.awaits(message.source):
            right(self, message)

    put(JobRequester, "effects", {**JobRequester.effects, BusJobResponseMessage: on_response})


@bug("J7", budget=100)
def no_timeout_at_the_asker(put: Put) -> None:
    """The block leaves its deadline to the answerer, who may shield itself."""
    right = JobContext.__aenter__

    async def enter(self: JobContext) -> JobContext:
        await right(self)
        self._scope.deadline = float("inf")
        return self

    put(JobContext, "__aenter__", enter)


@bug("J1", "J7", budget=300, system=Groups)
def member_left_undecided(put: Put) -> None:
    """With ``cancel_on_error`` the others are told to stop, and only their answers decide them."""
    right = JobRequester._end_early

    def end_early(self: JobRequester, group: JobGroup, decisive: Any, reason: str, told: list[str]) -> None:
        if decisive.source in told:
            right(self, group, decisive, reason, told)
            return
        right(self, group, decisive, reason, [])
        for name in told:
            self._tell_to_stop(group, name, reason)

    put(JobRequester, "_end_early", end_early)


@bug("J1", budget=100)
def silent_failure(put: Put) -> None:
    """The hook for the end of a request is queued before it is known that it failed, so that failures go untold."""
    right = JobRequester._show_end

    def show_end(self: JobRequester, group: JobGroup, message: Any, call: Any) -> None:
        if group.failure is None:
            right(self, group, message, call)

    put(JobRequester, "_show_end", show_end)


@bug("J2", budget=100)
def block_left_early(put: Put) -> None:
    """A block that was cancelled waits for the decision, and not for the handler to be gone."""

    async def acknowledged(self: JobContext, group: JobGroup) -> list[str]:
        with trio.CancelScope(shield=True):
            await group.wait_decided()
        return []

    put(JobContext, "_acknowledged", acknowledged)


@bug("J1", "L6", budget=100, system=Farewells)
def finished_before_acknowledged(put: Put) -> None:
    """A worker leaves without waiting for the handlers that it has asked for."""

    async def wait_acknowledged(self: JobRequester) -> None:
        await trio.lowlevel.checkpoint()

    put(JobRequester, "wait_acknowledged", wait_acknowledged)


@bug("Deadlock", "J7", budget=100)
def readiness_never_given_up(put: Put) -> None:
    """Whoever waits for a worker to be ready is not woken when the runner ends."""

    def close(self: WorkerRegistry, reason: str) -> None:
        self._closed = reason

    put(WorkerRegistry, "close", close)
    put(JobRequester, "close", _close_without_waits)


def _close_without_waits(self: JobRequester, reason: str) -> None:
    if self._closed is None:
        self._closed = reason


# -- events and credit -----------------------------------------------------------------------------------------------------


@bug("J6", budget=100)
def credit_never_given_back(put: Put) -> None:
    """Whether enough is owed to be paid, is asked of the last event alone."""
    right = JobRequester._consumed

    def consumed(self: JobRequester, group: JobGroup, name: str, credited: bool) -> None:
        member = group.member(name)
        owed, member.owed = member.owed, 0
        right(self, group, name, credited)
        member.owed += owed

    put(JobRequester, "_consumed", consumed)


@bug("J6", budget=100)
def credit_granted_twice(put: Put) -> None:
    """What is owed is not set back when it is paid."""
    right = JobRequester._consumed

    def consumed(self: JobRequester, group: JobGroup, name: str, credited: bool) -> None:
        member = group.member(name)
        owed = member.owed + credited
        right(self, group, name, credited)
        member.owed = owed

    put(JobRequester, "_consumed", consumed)


@bug("J6", budget=100)
def no_credit_needed(put: Put) -> None:
    """Credit is taken without a look at whether there is any."""

    def take_nowait(self: Credit) -> bool:
        self._spend()
        return True

    put(Credit, "take_nowait", take_nowait)


@bug("B5", budget=200)
def events_before_the_loop_are_lost(put: Put) -> None:
    """Events that come before the first ``async for`` are counted as seen."""
    right = Events.put

    def put_in(self: Events[Any], source: str, kind: str, data: Any, receipt: Any) -> None:
        if self._iterators:
            right(self, source, kind, data, receipt)
        else:
            receipt.seen()

    put(Events, "put", put_in)


@bug("J3", budget=100, system=Answers)
def piece_after_the_answer(put: Put) -> None:
    """A producer that has waited for credit does not ask whether its job is still open."""

    async def send(self: JobResponder, make: Callable[..., Any], job: Job, **fields: Any) -> None:
        await self._bus().pace()
        await job.credit.take()
        self._post(make(source=self.name, target=job.request.source, job_id=job.request.job_id, **fields))

    put(JobResponder, "_send", send)


# -- answering -------------------------------------------------------------------------------------------------------------


@bug("L4", budget=100)
def orphan_job(put: Put) -> None:
    """Jobs run in a system task, so that their errors do not fail the worker; nobody waits for them at its end."""
    right = JobResponder._begin

    class _Nursery:
        @staticmethod
        def start_soon(run: Any, job: Job, *, name: str) -> None:
            trio.lowlevel.spawn_system_task(run, job, name=name)

    def begin(self: JobResponder, request: Any, handler: Any) -> None:
        own, self._slots._nursery = self._slots._nursery, _Nursery()  # type: ignore[assignment]
        right(self, request, handler)
        self._slots._nursery = own

    put(JobResponder, "_begin", begin)


@bug("J7", "J4", "J1", budget=100)
def queued_job_dropped(put: Put) -> None:
    """A job that never began has nothing to say when it is over."""
    right = JobResponder._gone

    def gone(self: JobResponder, job: Job, message: BusJobAnswerMessage) -> None:
        if job.state is not JobState.ACCEPTED:
            right(self, job, message)
            return
        self._release(job)
        del self.active[job.request.job_id], self.running[job.request.job_id]
        self._load.done()

    put(JobResponder, "_gone", gone)


@bug("J2", budget=100)
def cancelled_before_it_began(put: Put) -> None:
    """A cancel that comes before a job's first step finds nothing to cancel."""
    right = JobResponder._on_cancel

    def on_cancel(self: JobResponder, message: Any) -> None:
        job = self.active.get(message.job_id)
        if job is None or job.state is not JobState.ACCEPTED:
            right(self, message)

    put(JobResponder, "effects", {**JobResponder.effects, BusJobCancelMessage: on_cancel})


@bug("J1", budget=300)
def doubled_request_runs_twice(put: Put) -> None:
    """Whether a request is here already is looked up among those that wait for readiness, and no further."""

    def known(self: JobResponder, job_id: str) -> Any:
        return self._held[job_id][0] if job_id in self._held else None

    put(JobResponder, "_known", known)


@bug("J7", budget=200)
def no_deadline_at_the_answerer(put: Put) -> None:
    """A job's deadline is left to its asker, who may shield itself."""
    right = JobResponder._begin

    def begin(self: JobResponder, request: Any, handler: Any) -> None:
        right(self, request, handler)
        self.running[request.job_id].scope.deadline = float("inf")

    put(JobResponder, "_begin", begin)


@bug("B5", budget=100)
def held_request_forgotten(put: Put) -> None:
    """Requests that came before READY are set free, and nobody accepts them."""
    right = JobResponder.open

    def open_up(self: JobResponder, nursery: trio.Nursery, pool: Pool) -> None:
        self._held = {}
        right(self, nursery, pool)

    put(JobResponder, "open", open_up)


@bug("J1", budget=200)
def swallowed_cancelled(put: Put) -> None:
    """A job that is cancelled with its worker is taken for one that has raised Cancelled by itself."""
    right = JobResponder._judge

    async def judge(self: JobResponder, job: Job, error: BaseException) -> BusJobAnswerMessage:
        if isinstance(error, trio.Cancelled):
            return self._failure(job, JobStatus.ERROR, "Cancelled was raised")
        return await right(self, job, error)

    put(JobResponder, "_judge", judge)


@bug("J1", budget=200)
def failure_completes(put: Put) -> None:
    """An exception that a handler raises is logged, and its job completes."""
    right = JobResponder._judge

    async def judge(self: JobResponder, job: Job, error: BaseException) -> BusJobAnswerMessage:
        answer = await right(self, job, error)
        failed = isinstance(answer, BusJobResponseMessage) and answer.status is JobStatus.ERROR
        return self._response(job, None) if failed else answer

    put(JobResponder, "_judge", judge)


@bug("J5", budget=200, system=Queues)
def turn_kept_when_cancelled(put: Put) -> None:
    """A sequential job that is cancelled does not give its turn on."""
    right = JobResponder._release

    def release(self: JobResponder, job: Job) -> None:
        if job.cancel is None:
            right(self, job)

    put(JobResponder, "_release", release)


@bug("J5", budget=300, system=Queues)
def last_in_line_first(put: Put) -> None:
    """The turn is given to whoever came last."""
    right = JobResponder._release

    def release(self: JobResponder, job: Job) -> None:
        queue = job.handler.queue
        if job.handler.sequential and len(queue) > 2 and queue[0] is job:
            queue.insert(1, queue.pop())
        right(self, job)

    put(JobResponder, "_release", release)


@bug("J5", budget=300, system=Queues)
def no_waiting_in_line(put: Put) -> None:
    """A sequential job looks at its turn, and forgets to wait for it when it comes while another is about to begin."""
    right = JobResponder._begin

    def begin(self: JobResponder, request: Any, handler: Any) -> None:
        right(self, request, handler)
        if handler.sequential and all(job.state is JobState.ACCEPTED for job in handler.queue):
            self.running[request.job_id].turn = None

    put(JobResponder, "_begin", begin)


@bug("L4", "L6", "L2", budget=200)
def slots_not_closed(put: Put) -> None:
    """Tasks that wait for another job wait on when their worker ends."""

    def close(self: Slots[Any]) -> None:
        del self

    put(Slots, "close", close)


@bug("J7", budget=300, system=Queues)
def waits_for_itself(put: Put) -> None:
    """A sequential job that asks for itself is not seen to: those before it in the queue are not looked for in its chain."""
    right = JobResponder._accept

    def accept(self: JobResponder, request: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(JobResponder, "_link", lambda responder, job: "")
            right(self, request)

    put(JobResponder, "_accept", accept)


@bug("J4", "J3", budget=100, system=Answers)
def active_until_gone(put: Put) -> None:
    """A job that somebody else has answered is active until its handler is gone."""
    right_answer, right_gone = JobResponder._answer, JobResponder._gone

    def answer(self: JobResponder, job: Job, message: BusJobAnswerMessage) -> None:
        right_answer(self, job, message)
        self.active[job.request.job_id] = job

    def gone(self: JobResponder, job: Job, message: BusJobAnswerMessage) -> None:
        right_gone(self, job, message)
        self.active.pop(job.request.job_id, None)

    put(JobResponder, "_answer", answer)
    put(JobResponder, "_gone", gone)


# -- lives -----------------------------------------------------------------------------------------------------------------


@bug("R1", budget=100)
def unregistered_late(put: Put) -> None:
    """Others are told that a worker is lost in a step of their own, when it is over already."""
    right = WorkerRegistry.unregister

    def unregister(self: WorkerRegistry, name: str, *, runner: str | None = None) -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(partial(right, self, name, runner=runner))

    put(WorkerRegistry, "unregister", unregister)


@bug("R1", budget=100)
def unregistered_early(put: Put) -> None:
    """A worker that is asked to end is taken from the registry at once, so that nobody finds it."""
    right = WorkerCore._on_end

    def on_end(self: WorkerCore, message: Any) -> None:
        right(self, message)
        self.registry().unregister(self.name)

    put(WorkerCore, "_effects", {**WorkerCore._effects, BusEndWorkerMessage: on_end})


@bug("R1", budget=100, system=Moods)
def registered_as_it_was(put: Put) -> None:
    """A worker's entry is not replaced when it is activated."""
    put(WorkerCore, "_activation_changed", WorkerCore._tell_active)


@bug("L4", "L1", budget=100)
def everybody_in_one_nursery(put: Put) -> None:
    """To keep the tree flat, all workers run in the runner's nursery; a parent may be over before its children."""
    right = Family.start

    async def start(self: Family, families: Sequence[Family]) -> None:
        top = [self, *self.ancestors()][-1]
        own, self.nursery = self.nursery, top.nursery
        await _first_step_then(right(self, families), lambda: setattr(self, "nursery", own))

    put(Family, "start", start)


async def _first_step_then(work: Awaitable[None], then: Callable[[], None]) -> None:
    """Await ``work``, and call ``then`` when it has first suspended, or is over."""
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await work

        nursery.start_soon(run)
        await trio.lowlevel.checkpoint()
        then()


@bug("L5", budget=100)
def name_kept_after_failed_start(put: Put) -> None:
    """Only who was ready gives its name back."""
    right = Family.detach

    def detach(self: Family) -> None:
        if self.lifecycle.was_ready:
            right(self)

    put(Family, "detach", detach)


@bug("L5", budget=100)
def over_before_detached(put: Put) -> None:
    """A worker says that it is over, and gives its name back in a step of its own."""
    right = Family.detach

    def detach(self: Family) -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(right, self)

    put(Family, "detach", detach)


@bug("L7", budget=100)
def child_error_swallowed(put: Put) -> None:
    """The hook for a child that died is taken for all there is to do about it."""
    right = Family._account_for

    async def account_for(self: Family, child: Family, launch: Any) -> None:
        if child.lifecycle.was_ready and child.lifecycle.errors and not self.lifecycle.is_leaving and not self.is_runner:
            await self._duties.child_failed(Any)  # type: ignore[arg-type]
        else:
            await right(self, child, launch)

    put(Family, "_account_for", account_for)


@bug("L6", budget=300, system=Farewells)
def wrong_clock(put: Put) -> None:
    """The deadline of an end is a length of time where a moment is wanted."""
    right = Family.end

    def end(self: Family, reason: str | None, jobs: Callable[[], Sequence[str]]) -> None:
        right(self, reason, jobs)
        if self.lifecycle.scope.deadline < float("inf"):
            self.lifecycle.scope.deadline = self.params.shutdown_timeout

    put(Family, "end", end)


@bug("L6", budget=300, system=Farewells)
def end_not_inherited(put: Put) -> None:
    """A child that ends with its parent makes an end of its own, with its own jobs alone."""
    right = Family.end

    def end(self: Family, reason: str | None, jobs: Callable[[], Sequence[str]]) -> None:
        above, self.parent = self.parent, None
        try:
            right(self, reason, jobs)
        finally:
            self.parent = above

    put(Family, "end", end)


@bug("L6", budget=200, system=Farewells)
def no_end_to_an_end(put: Put) -> None:
    """An end has no deadline."""
    right = Family.end

    def end(self: Family, reason: str | None, jobs: Callable[[], Sequence[str]]) -> None:
        right(self, reason, jobs)
        self.lifecycle.scope.deadline = float("inf")

    put(Family, "end", end)


@bug("L6", budget=100)
def end_overtakes_a_job(put: Put) -> None:
    """A worker that ends counts the hooks that wait, and not the jobs that run: they are cancelled."""
    right = Family._wind_down

    async def wind_down(self: Family) -> None:
        await trio.lowlevel.checkpoint()
        self.lifecycle.scope.deadline = trio.current_time()
        await right(self)

    put(Family, "_wind_down", wind_down)


@bug("L6", budget=300, system=Farewells)
def accepts_while_it_ends(put: Put) -> None:
    """A worker that ends accepts whatever comes until it is drained."""
    put(Ending, "admits", lambda self, chain: True)


@bug("L6", budget=100)
def load_never_joined(put: Put) -> None:
    """What was open when a worker began to end is not counted in the whole."""

    def join(self: Load, whole: Load) -> None:
        self._whole = whole

    put(Load, "join", join)


@bug("L6", budget=200, system=Floods)
def dropped_and_never_done(put: Put) -> None:
    """What a lane drops when it is closed counts as something to do for ever."""
    right = Lane.close

    def close(self: Lane[Any]) -> None:
        if not self.closed:
            self._load.add(self.waiting)
        right(self)

    put(Lane, "close", close)


@bug("L5", "B3", budget=100)
def deaf_while_it_leaves(put: Put) -> None:
    """A worker that is told to stop gives its name back at once, though its children and jobs have still something to say."""
    right = Family.cancel

    def cancel(self: Family, reason: str | None) -> None:
        right(self, reason)
        if not self.is_runner:
            self.detach()

    put(Family, "cancel", cancel)


@bug("B4", "L4", budget=100)
def hooks_outlive_their_worker(put: Put) -> None:
    """Activation hooks, which may live long, run in the owner's nursery, so that they hold nobody up."""
    right = Lane.open

    def open_up(self: Lane[Any], nursery: trio.Nursery) -> None:
        owner = nursery.parent_task.parent_nursery if self.name.startswith("activation:") else None
        right(self, owner or nursery)

    put(Lane, "open", open_up)


# -- activation, news ------------------------------------------------------------------------------------------------------


@bug("L3", budget=300)
def activated_twice(put: Put) -> None:
    """To be asked for what is already so fires the hook again."""

    def activate(self: Activation, args: dict[str, Any] | None) -> None:
        event = "activate with other args" if self.active else "activate"
        self._step(event, args, ("on_activated", args))

    put(Activation, "activate", activate)


@bug("L3", budget=100)
def activated_before_ready(put: Put) -> None:
    """Activation hooks run as soon as there is a nursery, though the worker is still starting."""
    right_household, right_open = Family.household, Activation.open

    async def household(self: Family, params: Any, body: Any, *args: Any) -> None:
        async def dwell(nursery: trio.Nursery) -> None:
            if not self.is_runner:
                core: Any = self._duties
                core.activation.open(nursery)
            await body(nursery, *args)

        await right_household(self, params, dwell)

    def open_up(self: Activation, nursery: trio.Nursery) -> None:
        if not self._open:
            right_open(self, nursery)

    put(Family, "household", household)
    put(Activation, "open", open_up)


@bug("L3", budget=100, system=Moods)
def deactivation_forgotten(put: Put) -> None:
    """A worker that is deactivated while its activation hook runs is not told of it."""
    right = Activation.deactivate

    def deactivate(self: Activation) -> None:
        if self.lane.busy and allows(ACTIVATION, self.state, "deactivate"):
            self.state = advance(ACTIVATION, self.state, "deactivate")
            self.args = None
            self._changed()
        else:
            right(self)

    put(Activation, "deactivate", deactivate)


@bug("R2", budget=100, system=Moods)
def watch_fires_again(put: Put) -> None:
    """Watchers are told whenever an entry is written, not only when it is new."""
    right = WorkerRegistry.register

    def register(self: WorkerRegistry, entry: Any, *, runner: str | None = None) -> bool:
        new = right(self, entry, runner=runner)
        if not new:
            for watch in self._watching(entry, self.runner_name):
                self._tell_ready(watch, WorkerReadyData(entry.name, self.runner_name))
        return new

    put(WorkerRegistry, "register", register)


@bug("R2", budget=100)
def loss_untold(put: Put) -> None:
    """Watchers of roots hear of their coming, and not of their going."""
    right = WorkerRegistry.unregister

    def unregister(self: WorkerRegistry, name: str, *, runner: str | None = None) -> None:
        watches, self._root_watches = self._root_watches, []
        right(self, name, runner=runner)
        self._root_watches = watches

    put(WorkerRegistry, "unregister", unregister)


@bug("R2", budget=100)
def watch_outlives_its_owner(put: Put) -> None:
    """A worker's watches are not dropped when it leaves."""
    put(Watches, "close", lambda watches: None)


@bug("R2", budget=100, system=Comings)
def told_once_in_a_life(put: Put) -> None:
    """Who was told of a name is never told of it again."""
    right = Watches._lost

    def lost(self: Watches, data: Any) -> None:
        right(self, data)
        self._told[data.worker_name] = None

    put(Watches, "_lost", lost)
