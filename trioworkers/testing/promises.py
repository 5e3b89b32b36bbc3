"""The promises, watched: an observer that knows what may follow what, and writes down what contradicts it.

It folds the stream of events that every observer can have; no code runs for it that does not run otherwise. It is told in the middle
of things, so it never raises there: it notes, and :meth:`Promises.check` raises between two steps. The letters are those of the page
of guarantees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import trio

from .._decorators import collect
from .._transitions import WORKER, JobState, WorkerState
from ..messages import BusJobAnswerMessage, BusJobCancelMessage, BusJobRequestMessage, BusMessage
from ..observers import Observer
from ..runner import RunnerStatistics, WorkerRunner
from ..types import JobOutcome, JobStatus, WorkerRegistryEntry
from ..worker import BaseWorker

OVER = (WorkerState.FINISHED, WorkerState.FAILED)
SERVING = (WorkerState.READY, WorkerState.ENDING)
ROLES = ("worker:", "job:", "system:", "activation:", "failures:", "timeout:", "end:")
_STEPS = {(old, new) for (old, _), new in WORKER.items()}
_OPEN = (JobState.ACCEPTED, JobState.RUNNING, JobState.STREAMING)


class BrokenPromiseError(AssertionError):
    """A promise was broken; the text begins with its letter and number."""


@attrs.define(eq=False)
class _Life:
    """What was seen of one worker."""

    name: str
    parent: str | None
    state: WorkerState = WorkerState.NEW
    was_ready: bool = False
    active: bool = False
    activated: bool = False
    lanes: dict[str, object] = attrs.field(factory=dict)
    last: dict[str, object] = attrs.field(factory=dict)
    delivered: dict[str, list[BusMessage]] = attrs.field(factory=dict)
    news: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    jobs: dict[str, _Job] = attrs.field(factory=dict)
    ended_at: float | None = None


@attrs.define(eq=False)
class _Job:
    """What was seen of one job, where it is answered."""

    request: BusJobRequestMessage
    number: int
    state: JobState = JobState.ACCEPTED
    sequential: bool = False
    ran: bool = False
    cancelled: bool = False


@attrs.define(eq=False)
class _Ask:
    """What was seen of one member of a request, where it is asked."""

    decided: JobOutcome | None = None
    acknowledged: bool = False
    events: int = 0
    seen: int = 0


class Promises(Observer):
    """Watches over a runner and all its workers.

    ::

        promises = Promises(runner)
        ...                          # let something happen
        promises.check()             # raises BrokenPromiseError

    Args:
        runner: The runner; it must not run yet. This adds itself to the observers of its bus.
        shutdown_timeout: The runner's, seconds: how long an end may take.
        may_leave_behind: Whether ``cancel_grace`` is used, so that a handler may run on when its asker waits no more.
    """

    def __init__(self, runner: WorkerRunner, *, shutdown_timeout: float = float("inf"), may_leave_behind: bool = False) -> None:
        self.runner = runner
        self.broken: list[str] = []
        self.failed = False
        self.tally: Counter[str] = Counter()
        self._shutdown_timeout = shutdown_timeout
        self._may_leave_behind = may_leave_behind
        self._lives: dict[str, _Life] = {}
        self._asks: dict[tuple[str, str, str], _Ask] = {}
        self._registered: dict[str, WorkerRegistryEntry] = {}
        self._registrations: Counter[str] = Counter()
        self._underway: dict[int, tuple[BusMessage, list[str]]] = {}
        self._accepted = 0
        self._ready: Counter[str] = Counter()
        for worker in runner.statistics().workers:
            self._lives[worker.name] = _Life(worker.name, worker.parent, worker.state, active=worker.active)
        runner.bus.add_observer(self)

    # -- judging -----------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What must be true at any moment between two steps.

        Raises:
            BrokenPromiseError: Something is not, or was not at some moment since the last look.
        """
        statistics = self.runner.statistics()
        self._check_jobs(statistics)
        self._check_registry()
        self._check_ends()
        self._complain()

    def check_tree(self, tasks: Iterator[tuple[int, trio.lowlevel.Task]]) -> None:
        """L4: whoever owns a task is around it; see :meth:`World.tasks`."""
        path: list[tuple[int, str]] = []
        for depth, task in tasks:
            while path and path[-1][0] >= depth:
                path.pop()
            role, _, name = task.name.partition(":")
            if f"{role}:" in ROLES:
                owner = self._owner(role, name)
                around = [known for _, known in path]
                self._expect(
                    "L4", owner is None or around[-1:] == [owner], f"the task {task.name!r} is in {around[-1:]}, not in {owner!r}"
                )
            if role == "worker":
                path.append((depth, name))
        self._complain()

    def check_rest(self) -> None:
        """What must be true when nothing can go on without time passing.

        Raises:
            BrokenPromiseError: Something is not.
        """
        self.check()
        for worker in self.runner.statistics().workers:
            life = self._lives.get(worker.name)
            if life is not None and life.state is WorkerState.READY:
                waiting = {lane: getattr(worker.mailbox, lane) for lane in ("data", "system") if lane not in life.lanes}
                self._expect("B5", not any(waiting.values()), f"{life.name!r} rests, and messages wait for it: {waiting}")
        self._complain()

    def check_over(self, tasks: Iterator[tuple[int, trio.lowlevel.Task]]) -> None:
        """What must be true when the runner has returned.

        Raises:
            BrokenPromiseError: Something is left, or was never decided.
        """
        for life in self._lives.values():
            self._expect("L4", life.state in OVER, f"{life.name!r} is left, {life.state}")
            left = [job_id for job_id, job in life.jobs.items() if job.state is not JobState.GONE]
            self._expect("J4", not left, f"{life.name!r} has left the jobs {left}")
        for (asker, job_id, worker), ask in self._asks.items():
            done = ask.decided is not None and ask.acknowledged
            self._expect("J1", done, f"what {asker!r} asked of {worker!r} in {job_id} was never decided and acknowledged")
        left = [task.name for _, task in tasks if task.name.startswith(ROLES)]
        self._expect("L4", not left, f"tasks are left: {left}")
        bus = self.runner.bus.statistics()
        self._expect("L5", not bus.subscribers, f"{bus.subscribers} subscriptions are left")
        self._expect("J7", not bus.waiting, f"somebody still waits in a send: {bus.waiting}")
        self._expect("J7", not self.runner.registry.waiting(), f"somebody still waits for workers: {self.runner.registry.waiting()}")
        self._expect("R1", not self._registered, f"still registered: {list(self._registered)}")
        self._complain()

    def _expect(self, promise: str, kept: bool, otherwise: str) -> None:
        if not kept:
            self.broken.append(f"{promise}: {otherwise}")

    def _complain(self) -> None:
        if self.broken:
            broken, self.broken = self.broken, []
            self.failed = True
            raise BrokenPromiseError("\n".join(dict.fromkeys(broken)))

    def _check_jobs(self, statistics: RunnerStatistics) -> None:
        for worker in statistics.workers:
            life = self._lives.get(worker.name)
            if life is not None:
                known = sum(job.state in _OPEN for job in life.jobs.values())
                found = worker.answering.active
                self._expect("J4", known == found, f"{life.name!r} counts {found} jobs, and {known} are accepted and unanswered")
                self._expect("L3", worker.active == life.active, f"{life.name!r} is active: {worker.active}, and was told otherwise")
        for (asker, job_id, worker_name), ask in self._asks.items():
            job = self._job(worker_name, job_id)
            gone = job is None or job.request.source != asker or job.state not in _OPEN
            kept = gone or not ask.acknowledged or self._may_leave_behind
            self._expect("J2", kept, f"{asker!r} waits for {job_id} no more, and its handler runs on {worker_name!r}")

    def _check_registry(self) -> None:
        serving = {life.name for life in self._lives.values() if life.state in SERVING}
        living = {life.name for life in self._lives.values() if life.was_ready and life.state not in OVER}
        found = set(self.runner.registry.local_workers)
        self._expect("R1", serving <= found <= living, f"registered are {sorted(found)}, ready are {sorted(serving)}")
        self._expect("R1", found == set(self._registered), f"registered are {sorted(found)}, told of are {sorted(self._registered)}")

    def _check_ends(self) -> None:
        for life in self._lives.values():
            late = life.state is WorkerState.ENDING and self._now() > (life.ended_at or 0.0) + self._shutdown_timeout + _SLACK
            self._expect("L6", not late, f"{life.name!r} was to end at {life.ended_at}, and is still ending")

    def _owner(self, role: str, name: str) -> str | None:
        """Whose nursery a task belongs into; ``None`` for the runner's."""
        if role == "worker":
            life = self._lives.get(name)
            return None if life is None else life.parent
        owner = name.rpartition("@")[2]
        return owner if owner in self._lives else None

    def _job(self, worker: str, job_id: str) -> _Job | None:
        life = self._lives.get(worker)
        return None if life is None else life.jobs.get(job_id)

    @staticmethod
    def _now() -> float:
        return trio.lowlevel.current_clock().current_time()

    # -- lives -------------------------------------------------------------------------------------------------------------

    def worker_attached(self, name: str, parent: str | None, runner: str, /) -> None:
        """It is new, whoever had its name before."""
        before = self._lives.get(name)
        self._expect("L5", before is None or before.state in OVER, f"the name {name!r} is given away while it is taken")
        if name != runner:
            self._lives[name] = _Life(name, parent)
        self.tally["attached"] += 1

    def worker_state(self, name: str, old: WorkerState, new: WorkerState, reason: str | None, /) -> None:
        """L1, L2."""
        del reason
        self.tally[f"{new}"] += 1
        life = self._lives.get(name)
        if life is None:
            return
        self._expect("L2", life.state is old and (old, new) in _STEPS, f"{name!r} goes from {life.state} ({old}) to {new}")
        life.state = new
        life.was_ready |= new is WorkerState.READY
        if new is WorkerState.ENDING:
            life.ended_at = self._now()
        if new in OVER:
            alive = [other.name for other in self._lives.values() if other.parent == name and other.state not in OVER]
            self._expect("L1", not alive, f"{name!r} is over, and its children live: {alive}")

    def worker_active(self, name: str, active: bool, /) -> None:
        """L3: what it was told to be."""
        life = self._lives.get(name)
        if life is not None:
            life.active = active

    def worker_registered(self, entry: WorkerRegistryEntry, /) -> None:
        """R1."""
        if entry.name not in self._registered:
            self._registrations[entry.name] += 1
        self._registered[entry.name] = entry

    def worker_unregistered(self, name: str, /) -> None:
        """R1."""
        self._registered.pop(name, None)

    # -- messages and hooks ------------------------------------------------------------------------------------------------

    def message_posted(self, message: BusMessage, /) -> None:
        """B3: from here on it may be delivered."""
        self._underway = {id(message): (message, [])}

    def message_delivered(self, message: BusMessage, name: str, /) -> None:
        """B3, B4."""
        self.tally["delivered"] += 1
        receivers = self._underway.setdefault(id(message), (message, []))[1]
        self._expect("B3", message.target in (None, name), f"{name!r} got what was for {message.target!r}: {message}")
        self._expect("B3", name not in receivers, f"{name!r} got twice: {message}")
        receivers.append(name)
        life = self._lives.get(name)
        if life is not None:
            self._expect("B4", life.state not in OVER, f"{name!r} is over, and got {message}")
            life.delivered.setdefault(_channel(message), []).append(message)
            if isinstance(message, BusJobCancelMessage) and message.job_id in life.jobs:
                life.jobs[message.job_id].cancelled = True

    def hook_started(self, name: str, lane: str, hook: str, about: object, /) -> None:
        """B1, B2, B4, L3, R2."""
        self.tally[f"hook {hook}"] += 1
        life = self._lives.get(name)
        if life is None:
            return
        serves = life.state in SERVING or (life.state is WorkerState.CANCELLING and lane in life.last)
        self._expect("B4", serves, f"{name!r} is {life.state}, and its hook {hook} begins")
        self._expect("B1", lane not in life.lanes, f"{name!r} begins {hook} while {life.lanes.get(lane)} runs in its lane {lane}")
        follows = life.last.get(lane) is about
        if lane == "data" and not follows and "system" not in life.lanes:
            waiting = self._worker_mailbox(name)
            self._expect("B2", not waiting, f"{name!r} begins the data hook {hook} while {waiting} system messages wait")
        life.lanes[lane] = hook
        life.last[lane] = about
        if isinstance(about, BusMessage) and not isinstance(about, BusJobAnswerMessage) and not follows:
            self._check_order(life, about)
        if hook in _TOLD:
            _TOLD[hook](self, life, about)

    def hook_ended(self, name: str, lane: str, hook: str, error: BaseException | None, /) -> None:
        """Its lane is free."""
        del hook, error
        life = self._lives.get(name)
        if life is not None:
            life.lanes.pop(lane, None)

    def _worker_mailbox(self, name: str) -> int:
        worker = self.runner.get_worker(name)
        return 0 if worker is None else worker.statistics().mailbox.system

    def _check_order(self, life: _Life, message: BusMessage) -> None:
        """B1: what is shown now was not delivered before what was shown last."""
        delivered = life.delivered.get(_channel(message), [])
        places = [place for place, other in enumerate(delivered) if other is message]
        self._expect("B1", bool(places), f"{life.name!r} is shown out of order, or twice: {message}")
        if places:
            del delivered[: places[0] + 1]

    def _on_activated(self, life: _Life, about: object) -> None:
        del about
        life.activated = True

    def _on_deactivated(self, life: _Life, about: object) -> None:
        del about
        self._expect("L3", life.activated, f"{life.name!r} is deactivated, and was not activated")
        life.activated = False

    def _on_news(self, life: _Life, about: object) -> None:
        watched = getattr(about, "worker_name", "")
        kind = type(about).__name__
        life.news[kind, watched] += 1
        told = life.news[kind, watched]
        self._expect("R2", told <= self._registrations[watched], f"{life.name!r} is told {told} times of {watched!r}: {about}")

    # -- jobs --------------------------------------------------------------------------------------------------------------

    def job_asked(self, asker: str, job_id: str, names: tuple[str, ...], /) -> None:
        """J1: from here on it must be decided."""
        self.tally["asked"] += 1
        for name in names:
            self._expect("J1", (asker, job_id, name) not in self._asks, f"{asker!r} asks {name!r} twice in {job_id}")
            self._asks[asker, job_id, name] = _Ask()

    def job_decided(self, asker: str, job_id: str, worker: str, outcome: JobOutcome, /) -> None:
        """J1: once."""
        self.tally[f"decided {outcome.status}"] += 1
        ask = self._asks.get((asker, job_id, worker))
        self._expect(
            "J1", ask is not None and ask.decided is None, f"{job_id} of {asker!r} to {worker!r} is decided twice, or unasked"
        )
        self._expect("J1", outcome.status in tuple(JobStatus), f"{job_id} is decided as {outcome.status}")
        if ask is not None:
            ask.decided = outcome

    def job_acknowledged(self, asker: str, job_id: str, worker: str, /) -> None:
        """J1: once, and after it was decided."""
        ask = self._asks.get((asker, job_id, worker))
        kept = ask is not None and ask.decided is not None and not ask.acknowledged
        self._expect("J1", kept, f"{job_id} of {asker!r} to {worker!r} is acknowledged twice, or undecided")
        if ask is not None:
            ask.acknowledged = True

    def job_event(self, asker: str, job_id: str, worker: str, message: BusJobAnswerMessage, /) -> None:
        """J3: nothing after the end."""
        self.tally["event"] += 1
        ask = self._asks.get((asker, job_id, worker))
        self._expect("J3", ask is not None and ask.decided is None, f"{asker!r} hears of {job_id} after its end: {message}")
        if ask is not None:
            ask.events += 1

    def job_event_seen(self, asker: str, job_id: str, worker: str, /) -> None:
        """J6: at most once for each event."""
        ask = self._asks.get((asker, job_id, worker))
        if ask is not None:
            ask.seen += 1
            self._expect("J6", ask.seen <= ask.events, f"{asker!r} has consumed more events of {job_id} than there were")

    def job_accepted(self, name: str, request: BusJobRequestMessage, /) -> None:
        """J4, J5."""
        self.tally["accepted"] += 1
        life = self._lives.get(name)
        if life is not None:
            self._expect("L3", life.state in SERVING, f"{name!r} is {life.state}, and accepts a job")
            known = life.jobs.get(request.job_id)
            self._expect("J1", known is None or known.state is JobState.GONE, f"{name!r} has the job {request.job_id} twice")
            self._accepted += 1
            life.jobs[request.job_id] = _Job(request, self._accepted, sequential=self._is_sequential(name, request.job_name))

    def job_state(self, name: str, job_id: str, old: JobState, new: JobState, /) -> None:
        """J5: sequential ones never overlap, and run in the order they were accepted in."""
        self.tally[f"job {new}"] += 1
        job = self._job(name, job_id)
        if job is None:
            return
        self._expect("J4", job.state is old, f"the job {job_id} on {name!r} goes from {job.state} ({old}) to {new}")
        if new is JobState.RUNNING and job.sequential:
            self._check_turn(name, job)
            job.ran = True
        job.state = new

    def _check_turn(self, name: str, job: _Job) -> None:
        rivals = [other for other in self._lives[name].jobs.values() if other.request.job_name == job.request.job_name]
        running = [other.request.job_id for other in rivals if other.ran and other.state is not JobState.GONE]
        self._expect("J5", not running, f"{job.request.job_id} on {name!r} begins while {running} runs")
        due = [other for other in rivals if other.state is JobState.ACCEPTED and other.number < job.number and not other.cancelled]
        passed = [other.request.job_id for other in due if other.request.timeout is None]
        self._expect("J5", not passed, f"{job.request.job_id} on {name!r} begins before {passed}")

    def credit_spent(self, name: str, job_id: str, left: int, /) -> None:
        """J6: no more than there is."""
        self.tally["credit"] += 1
        self._expect("J6", left >= 0, f"{job_id} on {name!r} has sent {-left} events more than it may")

    def _is_sequential(self, name: str, job_name: str | None) -> bool:
        worker = self.runner.get_worker(name)
        return worker is not None and job_name is not None and _is_sequential(type(worker), job_name)


_SLACK = 1e-6
_TOLD: dict[str, Callable[[Promises, Any, object], None]] = {
    "on_activated": Promises._on_activated,  # noqa: SLF001 - its own
    "on_deactivated": Promises._on_deactivated,  # noqa: SLF001 - as above
    "on_worker_ready": Promises._on_news,  # noqa: SLF001 - as above
    "on_worker_lost": Promises._on_news,  # noqa: SLF001 - as above
}


def _channel(message: BusMessage) -> str:
    return f"{message.priority}:{message.source}"


def _is_sequential(cls: type[BaseWorker], job_name: str) -> bool:
    _, mark = collect(cls).jobs.get(job_name, ("", None))
    return mark is not None and mark.sequential
