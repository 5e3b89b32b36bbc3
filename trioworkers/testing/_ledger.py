"""What was seen of a runner and its workers: the page that those who watch over the promises write on and read from."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import trio

from .._decorators import Marks, collect
from .._hooks import WorkerHooks
from .._transitions import JobState, WorkerState
from ..jobs.chain import link
from ..messages import (
    WINDOW,
    BusCancelWorkerMessage,
    BusJobAnswerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamCreditMessage,
    BusJobStreamEndMessage,
    BusJobUpdateRequestMessage,
    BusMessage,
)
from ..runner import WorkerRunner
from ..types import JobOutcome, JobStatus, WorkerRegistryEntry
from ..worker import BaseWorker

OVER = (WorkerState.FINISHED, WorkerState.FAILED)
SERVING = (WorkerState.READY, WorkerState.ENDING)
UNANSWERED = (JobState.ACCEPTED, JobState.RUNNING, JobState.STREAMING)
INF = float("inf")
SLACK = 1e-6
_HOOKS = tuple(name for name in vars(WorkerHooks) if name.startswith("on_"))
_SOMETIMES = (
    BusCancelWorkerMessage,
    BusJobCancelMessage,
    BusJobUpdateRequestMessage,
    BusJobStreamCreditMessage,
    BusJobAnswerMessage,
)


@attrs.frozen(eq=False)
class Kind:
    """What a class of workers says of itself.

    Args:
        marks: What is marked in it.
        hooks: The hooks that it overrides.
    """

    marks: Marks = attrs.field(factory=Marks)
    hooks: tuple[str, ...] = ()

    @classmethod
    def of(cls, worker: type[Any]) -> Kind:
        """Look once at each class: it takes its time, and there is a world for every few milliseconds."""
        kind = _KINDS.get(worker)
        if kind is None:
            hooks = tuple(name for name in _HOOKS if getattr(worker, name) is not getattr(WorkerHooks, name))
            kind = _KINDS[worker] = cls(collect(worker), hooks)
        return kind


_KINDS: WeakKeyDictionary[type[Any], Kind] = WeakKeyDictionary()


@attrs.define(eq=False)
class Member:
    """One member of a request, as its asker sees it.

    Args:
        window: How many events it may be ahead.
        due: When the request is given up, by trio's clock.
        answer: The answer that was handed to the asker while it was undecided.
        decided: How it ended.
        free: Events that cost no credit.
        events: Events that took effect.
        seen: Those of them that count as consumed.
    """

    window: int = WINDOW
    due: float = INF
    answer: JobOutcome | None = None
    decided: JobOutcome | None = None
    free: int = 0
    events: int = 0
    seen: int = 0


@attrs.define(eq=False)
class Ask:
    """One request, as its asker sees it; it is kept until all members are acknowledged."""

    asker: str
    job_id: str
    members: dict[str, Member]

    @property
    def is_decided(self) -> bool:
        """Whether every member is."""
        return all(member.decided is not None for member in self.members.values())


@attrs.define(eq=False)
class Job:
    """One job, as its answerer sees it; it is kept until its handler is gone.

    Args:
        request: What was asked.
        number: It is the so-manyth that was accepted.
        due: When it is given up, by trio's clock.
        sequential: Whether it waits for others of its name.
        ran: Whether it has begun.
        cancelled: Whether it was told to stop.
        answered: Whether its answer was posted.
        spent: Credit spent.
        granted: Credit granted, besides the first.
    """

    request: BusJobRequestMessage
    number: int
    due: float
    sequential: bool
    state: JobState = JobState.ACCEPTED
    ran: bool = False
    cancelled: bool = False
    answered: bool = False
    spent: int = 0
    granted: int = 0


@attrs.define(eq=False)
class Ending:
    """One end of one subtree: in which jobs somebody may still be asked."""

    due: float
    links: dict[str, None] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Life:
    """What was seen of one worker, or of the runner.

    Args:
        name: Whose life.
        above: Whose nursery it is in; ``None`` above the runner.
        worker: The worker itself; ``None`` for the runner.
        kind: What its class says.
        active: What it was asked to be.
        args: What it was activated with.
        opened: Whether activation hooks follow.
        activations: The activation hooks that are to come: their names, what they are called with.
        lanes: The hook that runs in each lane.
        last: What the last hook of each lane was about.
        mail: What was delivered and may be shown, by channel, in order.
        watched: Of whom it was told that they are ready.
        news: The news of others that are to come, in order.
        told: The requests whose end its hooks were told of, or are going to be.
        ends: The requests whose end its hooks are to be told of.
        held: Requests that came before it was ready.
        jobs: Its jobs.
        ending: How it ends.
        lost: Jobs that were lost although nothing has stopped it.
        stopped: Whether it was told to stop.
        hurried: Whether it stopped before its end was due, and was not told to.
    """

    name: str
    above: Life | None
    worker: BaseWorker | None = None
    kind: Kind = attrs.field(factory=Kind)
    state: WorkerState = WorkerState.NEW
    was_ready: bool = False
    active: bool = False
    args: dict[str, Any] | None = None
    opened: bool = False
    activations: deque[tuple[str, object]] = attrs.field(factory=deque)
    lanes: dict[str, str] = attrs.field(factory=dict)
    last: dict[str, object] = attrs.field(factory=dict)
    mail: dict[object, deque[BusMessage]] = attrs.field(factory=dict)
    watched: dict[str, None] = attrs.field(factory=dict)
    news: deque[tuple[str, str]] = attrs.field(factory=deque)
    told: dict[str, None] = attrs.field(factory=dict)
    ends: dict[str, None] = attrs.field(factory=dict)
    held: dict[str, BusJobRequestMessage] = attrs.field(factory=dict)
    jobs: dict[str, Job] = attrs.field(factory=dict)
    ending: Ending | None = None
    lost: list[str] = attrs.field(factory=list)
    stopped: bool = False
    hurried: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in OVER

    @property
    def marks(self) -> Marks:
        """What is marked in its class."""
        return self.kind.marks

    def wants(self, hook: str) -> bool:
        """Whether its class overrides a hook."""
        return hook in self.kind.hooks

    def shows(self, message: BusMessage) -> bool:
        """Whether its class has something to be called with such a message."""
        return self.wants("on_bus_message") or any(isinstance(message, cls) for cls in self.marks.messages)

    def links(self) -> dict[str, None]:
        """The jobs whose handler is there, as chains name them."""
        return {link(job_id, self.name): None for job_id in self.jobs}


class Ledger:
    """Everything that was seen, and everything that was wrong.

    Args:
        runner: Whom it is about.
        shutdown_timeout: How long an end may take, seconds.
        may_shield: Whether user code shields itself from being cancelled.
    """

    def __init__(self, runner: WorkerRunner, shutdown_timeout: float, *, may_shield: bool) -> None:
        self.runner = runner
        self.shutdown_timeout = shutdown_timeout
        self.may_shield = may_shield
        self.broken: list[str] = []
        self.tally: Counter[str] = Counter()
        self.top = Life(runner.name, None, state=runner.statistics().state)
        self.lives: dict[str, Life] = {}
        self.asks: dict[tuple[str, str], Ask] = {}
        self.registered: dict[str, WorkerRegistryEntry] = {}

    def blame(self, promise: str, otherwise: str) -> None:
        """Write down that a promise is broken."""
        self.broken.append(f"{promise}: {otherwise}")

    def life(self, name: str) -> Life | None:
        """The worker of that name, or the runner."""
        return self.top if name == self.top.name else self.lives.get(name)

    def begin(self, name: str, parent: str | None) -> Life:
        """There is a new one."""
        above = self.top if parent is None else self.lives.get(parent)
        worker = self.runner.get_worker(name)
        life = self.lives[name] = Life(name, above, worker, Kind() if worker is None else Kind.of(type(worker)))
        return life

    def living(self) -> Iterator[Life]:
        """The workers that are not over."""
        return (life for life in self.lives.values() if life.state not in OVER)

    def below(self, life: Life) -> Iterator[Life]:
        """Its children that are not over."""
        return (other for other in self.living() if other.above is life)

    def job(self, worker: str, job_id: str) -> Job | None:
        """A job whose handler is there."""
        life = self.lives.get(worker)
        return None if life is None else life.jobs.get(job_id)

    def member(self, asker: str, job_id: str, worker: str) -> Member | None:
        """One member of a request that is not over."""
        ask = self.asks.get((asker, job_id))
        return None if ask is None else ask.members.get(worker)


def now() -> float:
    """The time, by trio's clock, inside a run or outside."""
    return trio.lowlevel.current_clock().current_time()


def channel(message: BusMessage) -> object:
    """Messages of the same channel are shown in the order they were posted in."""
    if isinstance(message, BusJobAnswerMessage):
        return message.source, message.job_id
    return message.priority, message.source


def is_always_shown(message: BusMessage) -> bool:
    """Whether everybody who looks at messages sees this one."""
    return not isinstance(message, _SOMETIMES)


def outcome_of(message: BusJobResponseMessage | BusJobStreamEndMessage) -> JobOutcome:
    """What an answer says."""
    if isinstance(message, BusJobStreamEndMessage):
        return JobOutcome(JobStatus.COMPLETED, message.data)
    return JobOutcome(message.status, message.response, message.reason, message.traceback)
