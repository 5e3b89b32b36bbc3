"""What ought to happen: a model too dumb to be wrong, and the log of what did.

Three sources are folded into one order: every message as the bus routes it (a tap), every hook and handler as its worker sees it,
every request and block as its asker sees it. All observers are called synchronously, and each first drains the tap, so "before" means
before.

The model knows no task, no scope, no lane. It knows what the pages promise: a message takes effect when it is routed, the first
decision about a job is its outcome, hooks follow in order. What contradicts that is written into ``broken``, with the name of the
promise, and stays there until somebody looks; nothing is raised inside the program under test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
from property.actor import Bell, Letter, PlantedError

from trioworkers import (
    BusActivateWorkerMessage,
    BusCancelWorkerMessage,
    BusDeactivateWorkerMessage,
    BusEndWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamCreditMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateUrgentMessage,
    BusMessage,
    BusSystemMessage,
    BusWorkerReadyMessage,
    JobError,
    JobGroupError,
    JobStatus,
    WorkerRegistry,
)

if TYPE_CHECKING:
    from property.actor import Actor

STATES = ("new", "attached", "starting", "ready", "ending", "cancelling", "finished", "failed")
OVER = ("finished", "failed")
NATURAL = {"raise": "error", "junk": "error", "fail": "failed"}
"""How a job ends by itself, unless it completes."""


@attrs.define(eq=False)
class Member:
    """One worker's part in a request.

    Args:
        name: Whose.
        status: The outcome at the asker.
        request: As routed.
        answer: As routed.
        cancelled: Whether it was asked to stop.
        begun: Whether its handler has taken its first step.
        running: Whether its handler runs.
        explicit: Whether user code has answered, or is about to.
        posted: Events sent that need credit.
        granted: Credit given back.
        hooked: Such events whose hook has run.
        iterated: Such events that the block gave out.
        last: The number of the last of these, by kind.
    """

    name: str
    status: str | None = None
    request: BusJobRequestMessage | None = None
    answer: BusMessage | None = None
    cancelled: bool = False
    begun: bool = False
    running: bool = False
    explicit: bool = False
    posted: int = 0
    granted: int = 0
    hooked: int = 0
    iterated: int = 0
    last: dict[str, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Ask:
    """One request.

    Args:
        k: Its number, which its payload carries.
        asker: Who asks; ``None`` for the runner.
        names: Whom.
        do: What the handlers are to do.
        block: Whether a block holds it.
        deadline: When it is given up.
        cancel_on_error: As asked.
        iterates: Whether somebody iterates, to the end.
        waits: Whether its block is being left, and only waits.
        grace: Whether handlers may be left behind.
    """

    k: int
    asker: Actor | None
    names: tuple[str, ...]
    do: str
    block: bool = False
    deadline: float = float("inf")
    cancel_on_error: bool = True
    iterates: bool = False
    waits: bool = False
    grace: bool = False
    job_id: str | None = None
    left: bool = False
    failed: bool = False
    members: dict[str, Member] = attrs.field(init=False)
    hooks: list[tuple[str, ...]] = attrs.field(factory=list, init=False)
    seen: list[tuple[str, ...]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        """Nobody is asked yet."""
        self.members = {name: Member(name) for name in self.names}

    @property
    def is_decided(self) -> bool:
        """Whether every outcome is known."""
        return all(member.status is not None for member in self.members.values())

    def decide(self, name: str, status: str) -> None:
        """One member's first outcome."""
        self.members[name].status = status
        if status != JobStatus.COMPLETED and self.cancel_on_error:
            self.give_up()
        elif self.is_decided:
            self.hooks.append(("on_job_completed",))

    def give_up(self) -> None:
        """Whatever is undecided is cancelled, and that is the end."""
        for member in self.members.values():
            member.status = member.status or JobStatus.CANCELLED.value
        self.failed = True
        self.hooks.append(("on_job_error",))


@attrs.define(eq=False)
class Record:
    """What is known of one worker.

    Args:
        actor: The worker.
    """

    actor: Actor
    rank: int = 0
    begun: bool = False
    served: bool = False
    over: bool = False
    last_state: str = "new"
    ready: bool = False
    ended: float | None = None
    end_jobs: tuple[str, ...] = ()
    told_to_stop: bool = False
    wish: bool = False
    args: dict[str, Any] | None = None
    activations: list[tuple[Any, ...]] = attrs.field(factory=list)
    activated: list[tuple[Any, ...]] = attrs.field(factory=list)
    unanswered: dict[str, Member] = attrs.field(factory=dict)
    sequence: dict[str, list[str]] = attrs.field(factory=dict)
    letters: list[tuple[str, str, int]] = attrs.field(factory=list)
    read: list[tuple[str, str, int]] = attrs.field(factory=list)
    lanes: dict[str, str] = attrs.field(factory=dict)
    shown: dict[str, object] = attrs.field(factory=dict)
    watched: dict[str, int] = attrs.field(factory=dict)
    kin: dict[str, None] = attrs.field(factory=dict)
    news: dict[str, list[str]] = attrs.field(factory=dict)


class Model:
    """The log, and everything that is wrong with it.

    Args:
        shutdown_timeout: As the runner was given.
        tap: What the bus routes.
    """

    def __init__(self, shutdown_timeout: float, tap: trio.MemoryReceiveChannel[BusMessage]) -> None:
        self.shutdown_timeout = shutdown_timeout
        self.log: list[str] = []
        self.broken: list[str] = []
        self.tally: Counter[str] = Counter()
        self.tap = tap
        self.actors: list[Actor] = []
        self.asks: dict[int, Ask] = {}
        self.by_id: dict[str, Ask] = {}
        self.deferred: list[tuple[Actor, str]] = []
        self.crashes: list[tuple[Actor, PlantedError]] = []
        self.registrations: dict[str, list[int]] = {}
        self.runner_stops: Callable[[], bool] = lambda: False

    # -- saying ------------------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """One line of the log, after what was routed before it."""
        self.drain()
        self.log.append(f"{trio.current_time():8.3f} {text}")

    def check(self, promise: str, holds: object, *what: object) -> None:
        """Write down that a promise is broken, unless it holds."""
        if not holds:
            self.broken.append(f"{promise}: {' '.join(map(str, what))} (log line {len(self.log)})")

    def worker(self, actor: Actor) -> Record:
        """There is a new worker."""
        self.actors.append(actor)
        return Record(actor, wish=actor.active)

    def planted(self, actor: Actor, where: str) -> PlantedError:
        """An error to raise."""
        error = PlantedError(f"{where} of {actor.name}")
        self.crashes.append((actor, error))
        self.tally[f"planted in {where}"] += 1
        return error

    def state(self, actor: Actor) -> str:
        """Where a worker is in its life; L2 is checked on the way."""
        state = actor.statistics().state.value
        rank = min(STATES.index(state), STATES.index("finished"))
        record = actor.record
        self.check("L2", rank >= record.rank, actor.name, "went from", record.last_state, "to", state)
        self.check("L2", record.last_state not in OVER or state == record.last_state, actor.name, record.last_state, "is now", state)
        record.rank, record.last_state = rank, state
        return state

    def holder(self, name: str | None) -> Record | None:
        """The worker that has a name on the bus now."""
        for actor in self.actors[::-1]:
            if actor.name == name and self.state(actor) not in ("new", *OVER):
                return actor.record
        return None

    def is_stopping(self, record: Record) -> bool:
        """Whether a worker, or one above it, is being stopped."""
        if record.told_to_stop or record.last_state == "cancelling" or any(actor is record.actor for actor, _ in self.crashes):
            return True
        above = self.holder(record.actor.parent)
        return self.runner_stops() if above is None else self.is_stopping(above)

    # -- the wire ----------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Fold in what the bus has routed since."""
        while True:
            try:
                message = self.tap.receive_nowait()
            except trio.WouldBlock:
                return
            self.log.append(f"         | {_short(message)}")
            self._route(message)

    def _route(self, message: BusMessage) -> None:
        match message:
            case BusJobRequestMessage():
                self._requested(message)
            case BusJobResponseMessage():
                self._answered(message, message.job_id, message.status.value)
            case BusJobStreamEndMessage():
                self._answered(message, message.job_id, JobStatus.COMPLETED.value)
            case BusJobUpdateMessage() | BusJobStreamStartMessage() | BusJobStreamDataMessage():
                self._event(message)
            case BusJobCancelMessage():
                self._cancelled(message)
            case BusJobStreamCreditMessage():
                self._credited(message)
            case BusActivateWorkerMessage() | BusDeactivateWorkerMessage():
                self._wished(message)
            case BusEndWorkerMessage() | BusCancelWorkerMessage():
                self._told_to_leave(message)
            case BusWorkerReadyMessage():
                self._ready(message)
            case Letter() | Bell():
                self._posted(message)

    def _requested(self, message: BusJobRequestMessage) -> None:
        ask = self.asks[(message.payload or {})["k"]]
        ask.job_id = message.job_id
        self.by_id[message.job_id] = ask
        member = ask.members[message.target or ""]
        self.check("J1", member.request is None, "request", ask.k, "was sent twice to", message.target)
        self.check("J1", member.status is None, "request", ask.k, "was sent to", message.target, "though it was decided")
        member.request = message
        record = self.holder(message.target)
        if record is not None:
            record.unanswered[message.job_id] = member
            record.sequence.setdefault(message.job_name or "", []).append(message.job_id)

    def _answered(self, message: BusMessage, job_id: str, status: str) -> None:
        ask = self.by_id.get(job_id)
        member = None if ask is None else ask.members.get(message.source)
        self.check("J1", member is not None, "an answer that nobody asked for:", _short(message))
        if ask is None or member is None:
            return
        self.check("J1", member.answer is None, "request", ask.k, "was answered twice by", member.name)
        self.check("J2", member.explicit or not member.running, "request", ask.k, "was answered while its handler ran on", member.name)
        member.answer = message
        for actor in self.actors:
            if actor.name == member.name:
                actor.record.unanswered.pop(job_id, None)
        self._justify(ask, member, message, status)
        self.tally[f"answered {status}"] += 1
        self._expire(ask)
        if member.status is None:
            kind = "on_job_stream_end" if isinstance(message, BusJobStreamEndMessage) else "on_job_response"
            ask.hooks.append((kind, message.source))
            ask.decide(message.source, status)

    def _expire(self, ask: Ask) -> None:
        """Both ends keep the deadline; whatever arrives then or later, the request has timed out."""
        if trio.current_time() >= ask.deadline and not ask.is_decided:
            ask.give_up()

    def _justify(self, ask: Ask, member: Member, message: BusMessage, status: str) -> None:
        """Whether a job had a right to end like that."""
        if member.explicit or status == self._natural(ask, member):
            return
        reason = str(getattr(message, "reason", None))
        record = self.holder(member.name)
        bounced = record is None and reason.startswith("no worker")
        refused = reason.startswith("no handler") or "would wait for itself" in reason
        if status == JobStatus.CANCELLED:
            leaving = record is not None and (record.ended is not None or self.is_stopping(record))
            timed = member.request is not None and member.request.timeout is not None and reason == "timeout"
            self.check("L6, J1", member.cancelled or leaving or timed, "request", ask.k, "on", member.name, "was cancelled:", reason)
            self._justify_refusal(ask, member, record, reason)
        else:
            self.check("J1", bounced or refused or ask.do == "nested", "request", ask.k, "on", member.name, "is", status, reason)

    def _natural(self, ask: Ask, member: Member) -> str:
        job = None if member.request is None else member.request.job_name
        if job == "strand" or (job == "stream" and ask.do == "junk"):
            return JobStatus.COMPLETED.value
        return NATURAL.get(ask.do, JobStatus.COMPLETED.value)

    def _justify_refusal(self, ask: Ask, member: Member, record: Record | None, reason: str) -> None:
        """L6: while a worker drains, only what is asked inside a job that it had accepted is accepted."""
        if record is not None and reason == f"worker {member.name!r} is ending" and member.request is not None:
            above = self.holder(record.actor.parent)
            jobs = (*record.end_jobs, *(above.end_jobs if above is not None and above.ended == record.ended else ()))
            inside = [job_id for job_id in member.request.chain if job_id in jobs]
            self.check("L6", not inside, "request", ask.k, "was refused by", member.name, "though it was made inside", inside)
            self.tally["refused while ending"] += 1

    def _event(self, message: BusJobUpdateMessage | BusJobStreamStartMessage | BusJobStreamDataMessage) -> None:
        ask = self.by_id[message.job_id]
        member = ask.members[message.source]
        self.check("J3", member.answer is None, "request", ask.k, "of", member.name, "goes on after its answer:", _short(message))
        self._expire(ask)
        credited = not isinstance(message, (BusJobUpdateUrgentMessage, BusJobStreamStartMessage))
        member.posted += credited
        window = 0 if member.request is None else member.request.window
        self.check(
            "J6",
            member.cancelled or member.posted - member.granted <= window,
            "request",
            ask.k,
            "of",
            member.name,
            "is",
            member.posted,
            "ahead",
        )
        self.tally["window reached"] += member.posted - member.granted == window
        if member.status is None:  # pragma: no branch - the library drops the others before anybody sees them
            ask.hooks.append((_hook_of(message), message.source, str(_number(message))))

    def _credited(self, message: BusJobStreamCreditMessage) -> None:
        ask = self.by_id[message.job_id]
        member = ask.members[message.target or ""]
        member.granted += message.credit
        self.tally["credit"] += 1
        if ask.asker is not None:
            self.check("J6", member.granted <= member.hooked, "request", ask.k, "has more credit than hooks have run")
        if ask.iterates:
            self.check("J6", member.granted <= member.iterated + 1, "request", ask.k, "has more credit than was iterated")

    def _cancelled(self, message: BusJobCancelMessage) -> None:
        ask = self.by_id.get(message.job_id)
        if ask is None:
            return
        member = ask.members[message.target or ""]
        self.check("J1", not member.cancelled, "request", ask.k, "was cancelled twice on", member.name)
        self.check(
            "J1", member.answer is None or member.status == JobStatus.CANCELLED, "cancelled after its answer:", ask.k, member.name
        )
        member.cancelled = True
        self.tally["cancelled"] += 1
        self.tally["timed out"] += message.reason == "timeout"
        if not ask.is_decided:
            ask.give_up()

    def _wished(self, message: BusActivateWorkerMessage | BusDeactivateWorkerMessage) -> None:
        record = self.holder(message.target)
        if record is None:
            return
        wish, args = isinstance(message, BusActivateWorkerMessage), getattr(message, "args", None)
        if (wish, args) == (record.wish, record.args):
            return
        record.wish, record.args = wish, args
        self.tally["activations" if wish else "deactivations"] += 1
        if record.ready:
            record.activations.append(("on_activated", args) if wish else ("on_deactivated", None))

    def _told_to_leave(self, message: BusEndWorkerMessage | BusCancelWorkerMessage) -> None:
        record = self.holder(message.target)
        if record is None:
            return
        if isinstance(message, BusEndWorkerMessage):
            if record.ended is None and not record.told_to_stop:
                record.ended = trio.current_time()
                record.end_jobs = tuple(f"{job_id}@{record.actor.name}" for job_id in record.unanswered)
            return
        record.told_to_stop = True
        for ask in self.by_id.values():
            if ask.asker is record.actor and not ask.is_decided:
                ask.give_up()

    def _ready(self, message: BusWorkerReadyMessage) -> None:
        record = self.holder(message.source)
        self.check("R1", record is not None and record.begun, message.source, "is said to be ready")
        self.registrations.setdefault(message.source, []).append(len(self.log))
        if record is None:
            return
        self.check("L2", not record.ready, message.source, "is ready twice")
        record.ready = True
        if record.wish and record.ended is None:
            record.activations.append(("on_activated", record.args))

    def _posted(self, message: Letter | Bell) -> None:
        lane = "system" if isinstance(message, BusSystemMessage) else "data"
        for actor in self.actors:
            if message.target in (None, actor.name) and self.holder(actor.name) is actor.record:
                actor.record.letters.append((message.source, lane, message.number))

    # -- what workers see --------------------------------------------------------------------------------------------------

    def run_begins(self, actor: Actor) -> None:
        """The first line of its ``run``."""
        self.say(f"{actor.name} begins to run")
        self.check("L2", not actor.record.begun, actor.name, "runs twice")
        actor.record.begun = True

    def run_is_over(self, actor: Actor) -> None:
        """The last line of its ``run``."""
        self.say(f"{actor.name} has run")
        record = actor.record
        record.over = True
        self.check("L5", actor.name in actor.bus, actor.name, "had lost its subscription before its nursery was closed")
        below = [other.name for other in self.actors if other.parent == actor.name and other.record.begun and not other.record.over]
        self.check("L1", not below, below, "outlive", actor.name)
        for ask in self.by_id.values():
            for member in ask.members.values():
                mine = member.name == actor.name and member.request is not None and member.running
                self.check("L4", not mine or self.holder(actor.name) is not record, "job", ask.k, "outlives", actor.name)

    def answers(self, job_id: str, name: str) -> None:
        """User code is about to answer."""
        self.say(f"{name} answers {job_id} itself")
        self.by_id[job_id].members[name].explicit = True

    @contextmanager
    def performing(self, actor: Actor, message: BusJobRequestMessage) -> Iterator[None]:
        """A handler, from its first line to its last."""
        self.say(f"{actor.name} begins {message.job_id}")
        ask = self.by_id[message.job_id]
        member = ask.members[actor.name]
        self.check("J1", not member.begun, "request", ask.k, "runs twice on", actor.name)
        self.check("J2", not member.cancelled, "request", ask.k, "begins on", actor.name, "though it was cancelled")
        self.check("J2", member.answer is None, "request", ask.k, "begins on", actor.name, "though it was answered")
        self.check("J2", not ask.left, "request", ask.k, "begins on", actor.name, "though its block was left")
        state = self.state(actor)
        self.check("B4", state in ("ready", "ending"), "request", ask.k, "begins on", actor.name, "which is", state)
        if message.job_name in ("queue", "strand"):
            self._in_turn(actor, message)
        member.begun = member.running = True
        try:
            yield
        finally:
            self.say(f"{actor.name} is done with {message.job_id}")
            member.running = False

    def _in_turn(self, actor: Actor, message: BusJobRequestMessage) -> None:
        """J5: sequential handlers never overlap and keep the order in which they were asked for."""
        earlier = actor.record.sequence[message.job_name or ""]
        for job_id in earlier[: earlier.index(message.job_id)]:
            other = self.by_id[job_id].members[actor.name]
            self.check("J5", not other.running, message.job_id, "overlaps", job_id, "on", actor.name)
            self.check("J5", other.answer is not None or other.cancelled, message.job_id, "overtakes", job_id, "on", actor.name)
        self.tally["sequential"] += 1

    @contextmanager
    def hook(self, actor: Actor, name: str, about: object) -> Iterator[None]:
        """A hook, from its first line to its last."""
        self.say(f"{actor.name}.{name} {_short(about)}")
        record = actor.record
        task = trio.lowlevel.current_task().name
        role, _, owner = task.partition(":")
        lane = role if owner == actor.name and role in ("system", "activation", "failures") else "data"
        state = self.state(actor)
        self.tally[name] += 1
        busy = record.lanes.get(lane)
        follows = name == "on_bus_message" and record.shown.get(lane) is about  # it belongs to the hook before it
        served = state in ("ready", "ending") or (lane == "failures" and state == "starting")  # children may die as soon as they live
        self.check("B4", not record.over and (follows or served), actor.name, name, "begins, but it is", state)
        self.check("B1", busy is None, actor.name, name, "begins while", busy, "still runs in the lane of", lane)
        if lane == "data" and "system" not in record.lanes and not follows:
            waiting = actor.statistics().mailbox.system
            self.check("B2", waiting == 0, actor.name, name, "begins while", waiting, "system messages wait")
        record.lanes[lane] = name
        record.shown[lane] = about
        self._look(record, name, about)
        try:
            yield
        finally:
            self.say(f"{actor.name}.{name} is over")
            record.lanes.pop(lane, None)
            self._looked(name, about)

    def _look(self, record: Record, name: str, about: Any) -> None:
        actor = record.actor
        match name:
            case "on_letter" | "on_bell":
                self.check("B3", about.target in (None, actor.name), actor.name, "got what was for", about.target)
                record.read.append((about.source, "system" if name == "on_bell" else "data", about.number))
                self._in_order(record, record.read[-1])
            case "on_activated" | "on_deactivated":
                record.activated.append((name, about))
                expected = record.activations[: len(record.activated)]
                self.check("L3", record.activated == expected, actor.name, "activation hooks are", record.activated, "not", expected)
            case "on_worker_ready" | "on_worker_lost":
                self._told(record, name, about.worker_name)
            case "on_job_cancelled":
                member = self.by_id[about.job_id].members[actor.name]
                self.check("J2", not member.running, "on_job_cancelled of", about.job_id, "while its handler runs on", actor.name)
                self.check("J1", member.answer is not None, "on_job_cancelled of", about.job_id, "before its answer on", actor.name)
            case "on_job_update_requested":
                member = self.by_id[about.job_id].members[actor.name]
                self.check("J3", member.answer is None, actor.name, "is asked for news of", about.job_id, "which it has answered")
            case "on_bus_message" | "on_worker_failed":
                pass
            case _:
                self._heard(record, name, about)

    def _looked(self, name: str, about: Any) -> None:
        if name in ("on_job_update", "on_job_stream_data") and not isinstance(about, BusJobUpdateUrgentMessage):
            self.by_id[about.job_id].members[about.source].hooked += 1

    def _in_order(self, record: Record, letter: tuple[str, str, int]) -> None:
        """B1: in order for each sender and priority; B3: at most once."""
        sent = [other for other in record.letters if other[:2] == letter[:2]]
        read = [other for other in record.read if other[:2] == letter[:2]]
        self.check("B1, B3, B5", read == sent[: len(read)], record.actor.name, "read", read, "of", sent)

    def watches(self, actor: Actor, names: tuple[str, ...], registry: WorkerRegistry) -> None:
        """A worker asks for news of others: of those it hears of by itself it hears once more."""
        for name in names:
            entry = registry.get(name)
            again = entry is not None and entry.parent is None and actor.parent is None
            actor.record.watched.setdefault(name, int(again))

    def _told(self, record: Record, name: str, about: str) -> None:
        """R2: one call per registration."""
        news = record.news.setdefault(about, [])
        news.append(name)
        times = self.registrations.get(about, [])
        allowed = len(times) + (record.watched.get(about, 0) if name == "on_worker_ready" else 0)
        self.check("R2", news.count(name) <= allowed, record.actor.name, "hears too often of", about, news)

    def _heard(self, record: Record, name: str, about: Any) -> None:
        """J1, J3: what an asker sees of a request, in order, and nothing after its end."""
        ask = self.by_id[about.job_id]
        seen: tuple[str, ...] = (name,)
        if name not in ("on_job_completed", "on_job_error"):
            seen += (about.source,)
        if name in ("on_job_update", "on_job_stream_start", "on_job_stream_data"):
            seen += (str(_number(about)),)
        ask.seen.append(seen)
        self.check("B3", ask.asker is record.actor, record.actor.name, "sees", name, "of somebody else's request", ask.k)
        expected = ask.hooks[: len(ask.seen)]
        self.check(
            "J1, J3, B1", ask.seen == expected, record.actor.name, "of request", ask.k, "sees", ask.seen[-3:], "not", expected[-3:]
        )

    # -- what askers see ---------------------------------------------------------------------------------------------------

    def iterated(self, k: int, source: str, kind: str, data: dict[str, Any] | None, *, urgent: bool) -> None:
        """A block gave out an event."""
        self.say(f"request {k}: iterates {kind} of {source} {data}")
        ask = self.asks[k]
        self.check("J3", not ask.left, "request", k, "gives out", kind, "after its block was left")
        self.tally[f"iterated {kind}"] += 1
        if kind in ("update", "stream_data") and not urgent:
            member = ask.members[source]
            number = (data or {})["i"]
            self.check("B1", number > member.last.get(kind, -1), "request", k, "gives out", data, "twice or too late")
            member.last[kind] = number
            member.iterated += 1
            self.check("J6", member.iterated <= member.posted, "request", k, "gives out more than was sent")

    def left(self, k: int, statuses: dict[str, str], error: BaseException | None) -> None:
        """A block is left."""
        self.say(f"request {k}: left with {error!r}")
        ask = self.asks[k]
        ask.left = True
        unborn = ask.asker is not None and not ask.asker.record.begun  # given up before it was started: nobody could wait
        for member in ask.members.values():
            gone = not member.running or member.explicit or ask.grace or unborn
            self.check("J2", gone, "request", k, "left, and runs on", member.name)
        if ask.job_id is None:
            self.check("J1", error is not None, "request", k, "was never sent, and yet its block was left as if it had been done")
            return
        self.check("J7", ask.is_decided, "request", k, "left undecided")
        wanted = {name: member.status for name, member in ask.members.items()}
        self.check("J1", statuses in ({}, wanted), "request", k, "ended as", statuses, "not", wanted)
        self.tally[f"block left with {type(error).__name__}"] += 1
        if isinstance(error, JobGroupError) and error.job_id == ask.job_id:
            found = {name: one.status.value for name, one in error.errors.items()}
            bad = {name: status for name, status in wanted.items() if status != JobStatus.COMPLETED}
            self.check("J1", found == bad, "request", k, "failed with", found, "not", bad)
        elif isinstance(error, JobError) and error.job_id == ask.job_id:
            self.check("J1", error.status == wanted[ask.names[0]], "request", k, "failed with", error.status, "not", wanted)
        elif error is None:
            self.check("J1", not ask.failed, "request", k, "ended as if nothing had happened, but", wanted)
            lost = [member.name for member in ask.members.values() if ask.iterates and member.iterated != member.posted]
            self.check("B5", not lost, "request", k, "did not give out all that was sent by", lost)


def _hook_of(message: BusMessage) -> str:
    if isinstance(message, BusJobUpdateMessage):
        return "on_job_update"
    return "on_job_stream_start" if isinstance(message, BusJobStreamStartMessage) else "on_job_stream_data"


def _number(message: Any) -> object:
    data = message.update if isinstance(message, BusJobUpdateMessage) else message.data
    return None if data is None else data.get("i")


def _short(message: object) -> str:
    if not isinstance(message, BusMessage):
        return repr(message)
    fields = {field.name: getattr(message, field.name) for field in attrs.fields(type(message))}
    told = [
        f"{key}={value!r}"
        for key, value in fields.items()
        if value not in (None, (), float("inf")) and key not in ("source", "target", "traceback")
    ]
    return f"{message.source}->{message.target} {type(message).__name__}({', '.join(told)})"
