"""Workers under test: whatever clients do to them at the same time, the promises are kept."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import trio

from .._decorators import handles, job
from ..errors import JobError, JobFailed, WorkersError, WorkerStateError
from ..jobs import DEFERRED, JobContext, JobGroupContext
from ..messages import (
    BusActivateWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobUpdateMessage,
    BusMessage,
    BusSystemMessage,
)
from ..runner import WorkerRunner
from ..types import JobEvent, JobGroupResponse, JobStatus, WorkerErrorData, WorkerLostData, WorkerReadyData
from ..worker import BaseWorker
from ._ledger import Kind
from .check import Plan, Verdict, check_system
from .promises import BrokenPromiseError, Promises
from .system import Operation, System, operation
from .world import Handle, World

T = TypeVar("T")
MakeRunner = Callable[[], WorkerRunner] | Callable[[], Awaitable[WorkerRunner]]
SCRIPTS = ("return", "nap", "raise", "fail", "defer", "forever", "ask", "again", "swallow")
"""What the jobs of a :class:`Puppet` can be told to do, in ``payload["do"]``."""
ENDS: Mapping[str, Sequence[JobStatus]] = {
    "return": (JobStatus.COMPLETED,),
    "nap": (JobStatus.COMPLETED,),
    "swallow": (JobStatus.COMPLETED,),
    "raise": (JobStatus.ERROR,),
    "fail": (JobStatus.FAILED,),
    "defer": (),
    "forever": (),
}
"""How a job of a :class:`Puppet` may end that is neither cancelled nor answered by somebody else; left out: in any way."""
MANNERS = ("", "slow", "fail")
"""How a :class:`Puppet` can start."""
ANSWER = {"answered": True}
"""What is answered in a job's place."""
BEGUN = {"begun": True}
"""What each job says when its script begins."""
PIECES = 70
"""More than a window, and more than a batch."""


class PlantedError(Exception):
    """Raised on purpose, to see what becomes of it."""


class Note(BusDataMessage):
    """A message that nobody needs."""


class Bell(BusSystemMessage):
    """An urgent message that nobody needs."""


class Puppet(BaseWorker):
    """A worker whose jobs do what their payload says: see ``SCRIPTS``. It hears of everything, and takes a moment over much.

    Args:
        name: Its name.
        manner: How it starts: one of ``MANNERS``.
    """

    def __init__(self, name: str, manner: str = "") -> None:
        super().__init__(name)
        self.manner = manner
        self.playing: dict[str, None] = {}

    async def start(self) -> None:
        """Take its time over it, or fail."""
        match self.manner:
            case "slow":
                await trio.sleep(0.5)
            case "fail":
                raise PlantedError(f"planted in the start of {self.name!r}")
            case _:
                pass
        await super().start()

    async def on_bus_message(self, message: BusMessage) -> None:
        """Take a moment over each."""
        del message
        await trio.lowlevel.checkpoint()

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Take a moment, or longer if there is something to do."""
        await trio.sleep(0.25 if args else 0)

    async def on_deactivated(self) -> None:
        """Take a moment."""
        await trio.lowlevel.checkpoint()

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        """Hear of it."""

    async def on_worker_lost(self, data: WorkerLostData) -> None:
        """Hear of it."""

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        """Take a moment over a child's error."""
        del data
        await trio.lowlevel.checkpoint()

    async def on_job_update(self, message: BusJobUpdateMessage) -> None:
        """Hear of it."""

    async def on_job_completed(self, result: JobGroupResponse) -> None:
        """Hear of it."""

    async def on_job_error(self, message: BusJobResponseMessage) -> None:
        """Hear of it."""

    @handles(Bell)
    async def ring(self, message: Bell) -> None:
        """Hear of it."""

    @job
    async def work(self, message: BusJobRequestMessage) -> object:
        """Any number at a time."""
        with self._on_stage(message):
            return await self._play(message)

    @job(sequential=True)
    async def queue(self, message: BusJobRequestMessage) -> object:
        """One at a time."""
        with self._on_stage(message):
            return await self._play(message)

    @job
    async def stream(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """A few pieces, more than its asker takes at once."""
        with self._on_stage(message):
            for number in range(PIECES):
                yield {"number": number}
            await self._play(message)

    @contextmanager
    def _on_stage(self, message: BusJobRequestMessage) -> Iterator[None]:
        self.playing[message.job_id] = None
        try:
            yield
        finally:
            del self.playing[message.job_id]

    async def _play(self, message: BusJobRequestMessage) -> object:
        payload = message.payload
        await self.send_job_update(message.job_id, BEGUN)
        match payload.get("do" if payload.get("only") in {None, self.name} else "else"):
            case "nap":
                await trio.sleep(0.5)
            case "raise":
                raise PlantedError(f"planted in {message.job_id}")
            case "fail":
                raise JobFailed("planted")
            case "defer":
                return DEFERRED
            case "forever":
                await trio.sleep_forever()
            case "ask" | "again" as script:
                await trio.sleep(0.25)
                async with self.job(payload["whom"] if script == "ask" else self.name, name="queue", timeout=1) as asked:
                    pass
                return asked.response
            case "swallow":
                await _sleep_soundly()
            case _:
                pass
        return {"done": True}


async def puppet_theatre() -> WorkerRunner:
    """A runner with puppets: two roots, one of which has two children."""
    runner = WorkerRunner(name="runner", handle_sigint=False, handle_sigterm=False, shutdown_timeout=4)
    boss = Puppet("boss")
    await boss.add_workers(Puppet("left"), Puppet("right"))
    await runner.add_workers(boss, Puppet("loner"))
    return runner


class LifecycleSystem(System):
    """A runner and its workers, what can be done to them, and the promises. Subclass it to add operations of your own.

    Args:
        make_runner: Makes the runner, with its workers; sync or async.
        make_worker: Makes a worker to be added later.
        spare: Names for workers that are added later.
        shutdown_timeout: The runner's, to see that an end is no later.
    """

    expected: tuple[type[Exception], ...] = (WorkersError, PlantedError)
    finishes = False
    scripts: Sequence[str] = SCRIPTS
    uses: Sequence[str] = ("wait", "iterate", "late", "peek", "cancel", "fail", "shield")
    timeouts: Sequence[float | None] = (None, 0.25, 0.5, 2.0)
    may_shield: bool = False
    """Whether both askers and handlers shield themselves, so that a deadline may pass unheard."""

    runner: WorkerRunner
    promises: Promises
    running: Handle[None]

    def __init__(
        self,
        make_runner: MakeRunner = puppet_theatre,
        *,
        make_worker: Callable[[str], BaseWorker] = Puppet,
        spare: Sequence[str] = ("spare", "other"),
        shutdown_timeout: float = float("inf"),
        names: Sequence[str] | None = None,
    ) -> None:
        self._make_runner = make_runner
        self._make_worker = make_worker
        self._shutdown_timeout = shutdown_timeout
        self.spare: tuple[str, ...] = tuple(spare)
        self.names: Sequence[str] = (*(names if names is not None else names_of(make_runner)), *spare)
        self.owners: Sequence[str] = ("", *self.names)
        self._verbs: Sequence[str] | None = None

    # -- a life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Build the runner, and run it."""
        self.runner = _built(self.world, self._make_runner)
        self.knocks: int = 0
        self.answered: dict[tuple[str, str], None] = {}
        self.promises = Promises(self.runner, shutdown_timeout=self._shutdown_timeout, may_shield=self.may_shield)
        self.running = self.world.spawn(partial(self.runner.run, auto_end=False), name="runner")

    def watch(self) -> None:
        """Nothing was broken in this step."""
        if self.promises.broken:
            self.promises.check()

    def check(self) -> None:
        """All promises that are about a moment."""
        self.promises.check()
        self.promises.check_tree(self.world.tasks())

    def check_rest(self) -> None:
        """All promises that are about a moment at which nothing happens."""
        self.check()
        self.promises.check_rest()

    def stop(self) -> None:
        """End, and when that takes too long, cancel."""
        self.runner.end_nowait("it is over")
        self.world.advance(5.0)
        self.check_rest()
        self.runner.cancel_nowait("it is really over")
        self.world.advance(30.0)

    def check_over(self) -> None:
        """Nothing is left, and what the runner raised was planted."""
        if not self.running.done:
            raise BrokenPromiseError(f"C1: the runner was cancelled, and still runs:\n{self.world.tree()}")
        self.promises.check_over(self.world.tasks())
        try:
            if self.running.error is not None:
                raise self.running.error
        except* self.expected:
            pass

    # -- what is drawn -----------------------------------------------------------------------------------------------------

    def draw(self, rng: random.Random, number: int) -> Operation:
        """One operation. Each world draws from a part of all there is, so that what is there meets more often.

        (The idea: Groce et al., "Swarm testing", ISSTA 2012.)
        """
        if number == 1:
            for attribute in ("names", "scripts", "uses", "timeouts"):
                setattr(self, attribute, _some(rng, getattr(self, attribute)))
            self.owners = ("", *self.names)
            self._verbs = _some(rng, [*self.weights()]) if rng.getrandbits(1) else None
        return super().draw(rng, number)

    def weights(self) -> Mapping[str, int]:
        """The operations and how often each is drawn, compared to the others."""
        weights = super().weights()
        return weights if self._verbs is None else {verb: weights[verb] for verb in self._verbs}

    # -- what can be done --------------------------------------------------------------------------------------------------

    def worker(self, name: str) -> BaseWorker:
        """The worker of that name.

        Raises:
            LookupError: There is none now.
        """
        worker = self.runner.get_worker(name)
        if worker is None:
            raise WorkersError(f"there is no {name!r} now")
        return worker

    def payload(self, script: str) -> dict[str, Any]:
        """What a job is asked with: override it for jobs of your own."""
        return {"do": script, "whom": self.names[0]}

    def jobs(self, name: str) -> Sequence[str]:
        """What a worker can be asked for; one that is not there is taken for one that will be added."""
        worker = self.runner.get_worker(name)
        kind = self._make_worker if worker is None else type(worker)
        return [*Kind.of(kind).marks.jobs] if isinstance(kind, type) else []

    @operation("spare", "owners", MANNERS, weight=2)
    async def add(self, name: str, owner: str, manner: str = "") -> None:
        """Add a worker to another, or to the runner."""
        worker = self._make_worker(name)
        if isinstance(worker, Puppet):
            worker.manner = manner
        await (self.worker(owner).add_workers(worker) if owner else self.runner.add_workers(worker))

    @operation("names", range(3), weight=2)
    async def activate(self, name: str, number: int = 0) -> None:
        """Activate a worker, with arguments or without."""
        self._post(BusActivateWorkerMessage(source=self.runner.name, target=name, args={"number": number} if number else None))

    @operation("names")
    async def deactivate(self, name: str) -> None:
        """Deactivate a worker."""
        self._post(BusDeactivateWorkerMessage(source=self.runner.name, target=name))

    @operation("names", "names")
    async def watch_worker(self, watcher: str, name: str) -> None:
        """Watch a worker, whether it is there or not."""
        await self.worker(watcher).watch_workers(name)

    @operation("names", range(3), "scripts", "uses", "timeouts", weight=6)
    async def request(self, name: str, which: int, script: str, use: str, timeout: float | None) -> None:
        """Ask a worker for a job, from outside."""
        await self._ask(self.runner, name, which, script, use, timeout)

    @operation("names", "names", range(3), "scripts", "uses", "timeouts", weight=4)
    async def ask(self, asker: str, name: str, which: int, script: str, use: str, timeout: float | None) -> None:
        """Ask a worker for a job, from another."""
        await self._ask(self.worker(asker), name, which, script, use, timeout)

    @operation("names", "names", range(3), "scripts", "timeouts", range(1, 4), weight=2)
    async def order(self, asker: str, name: str, which: int, script: str, timeout: float | None, times: int) -> None:
        """Ask a worker for a job, from another, a few times, and do not wait for it."""
        job_name, payload = self.job_name(name, which), self.payload(script)
        for _ in range(times):
            await self.worker(asker).request_job(name, name=job_name, payload=payload, timeout=timeout)

    @operation("names", "names", "scripts", [True, False], "owners", weight=2)
    async def ask_group(self, one: str, other: str, script: str, cancel_on_error: bool, asker: str = "") -> None:
        """Ask two workers at once; the other one takes its time."""
        names = dict.fromkeys((one, other))
        payload = {**self.payload(script), "only": one, "else": "nap"}
        source = self.worker(asker) if asker else self.runner
        async with source.job_group(*names, name="work", payload=payload, timeout=2, cancel_on_error=cancel_on_error) as group:
            async for _ in group:
                pass
            self._see_decided(group, names)

    @operation("names", range(3), "scripts", range(1, 3))
    async def knock(self, name: str, which: int, script: str, times: int) -> None:
        """Post a request by hand, whether somebody is ready or not, perhaps a doubled one; nobody waits for the answer."""
        self.knocks += 1
        job_id = f"knock-{self.knocks}"
        for _ in range(times):
            self._post(
                BusJobRequestMessage(
                    source=self.runner.name,
                    target=name,
                    job_id=job_id,
                    job_name=self.job_name(name, which),
                    payload=self.payload(script),
                    timeout=2,
                )
            )

    @operation("owners", weight=2)
    async def answer(self, name: str) -> None:
        """Answer whatever is open at a worker, or at all, in its place."""
        for worker in [self.worker(name)] if name else filter(None, map(self.runner.get_worker, self.names)):
            for job_id in [*worker.active_jobs]:
                self.answered[worker.name, job_id] = None
                worker.send_job_response_nowait(job_id, ANSWER, status=JobStatus.COMPLETED)

    @operation("names")
    async def cancel_jobs(self, name: str) -> None:
        """Give up whatever a worker has asked for."""
        worker = self.worker(name)
        for job_id in [*worker.job_groups]:
            await worker.cancel_job_group(job_id, reason="cancelled by a client")

    @operation("names", "owners", range(1, 4), weight=3)
    async def tell(self, source: str, target: str, count: int) -> None:
        """Send messages of both kinds."""
        for _ in range(count):
            self._post(Note(source=source, target=target or None))
            self._post(Bell(source=source, target=target or None))
            await trio.lowlevel.checkpoint()

    @operation("names", "names")
    async def flood(self, source: str, target: str) -> None:
        """Send more messages at once than a lane takes up in one go."""
        for _ in range(PIECES):
            self._post(Bell(source=source, target=target))

    @operation("names")
    async def report(self, name: str) -> None:
        """Report an error that nobody dies of."""
        await self.worker(name).send_bus_error_message("planted")

    @operation("names", weight=2)
    async def stop_worker(self, name: str) -> None:
        """Stop a worker at once."""
        await self.worker(name).stop()

    @operation("names", weight=2)
    async def end_worker(self, name: str) -> None:
        """End a worker, by its owner."""
        worker = self.worker(name)
        owner = self.runner if worker.parent is None else self.worker(worker.parent)
        await owner.end_workers(name)

    @operation("names")
    async def crash(self, name: str) -> None:
        """Make a hook of a worker raise."""
        worker = self.worker(name)
        worker.add_event_handler("on_bus_message", _crash)
        self._post(Note(source=self.runner.name, target=name))

    @operation([False, True])
    async def leave(self, at_once: bool) -> None:
        """End everything, or cancel it."""
        await (self.runner.cancel("a client says so") if at_once else self.runner.end("a client says so"))

    def job_name(self, name: str, which: int) -> str | None:
        """One of the jobs that a worker can be asked for."""
        jobs = self.jobs(name) or [""]
        return jobs[which % len(jobs)] or None

    async def _ask(
        self,
        asker: WorkerRunner | BaseWorker,
        name: str,
        which: int,
        script: str,
        use: str,
        timeout: float | None,
    ) -> None:
        job_name = self.job_name(name, which)
        context = asker.job(name, name=job_name, payload=self.payload(script), timeout=timeout)
        try:
            with trio.move_on_after(0.25 if use == "cancel" else float("inf")):
                async with context:
                    events = await self._use(context, use, script)
                self._see(name, job_name, script, JobStatus.COMPLETED, context.response)
                self._see_events(name, job_name, context.response, events)
        except JobError as error:
            self._see(name, job_name, script, error.status, error.response)
            raise
        finally:
            self._see_left(name, context)

    @staticmethod
    async def _use(context: JobContext, use: str, script: str) -> Sequence[JobEvent] | None:
        """Live in a block; the events, if all were iterated over."""
        match use:
            case "iterate":
                return [event async for event in context]
            case "late":
                await trio.sleep(0.25)
                return [event async for event in context]
            case "peek":
                async for _ in context:
                    break
            case "fail":
                raise PlantedError("planted in a body")
            case "shield":
                if script != "swallow":  # or nobody would hear of its deadline
                    await _sleep_soundly()
            case _:
                pass
        return None

    def _see_events(self, name: str, job_name: str | None, response: dict[str, Any], events: Sequence[JobEvent] | None) -> None:
        """B5: all that a puppet has sent came, in order, if it has completed its job itself."""
        if events is None or response == ANSWER or not isinstance(self.runner.get_worker(name), Puppet):
            return
        pieces = [{"number": number} for number in range(PIECES)] if job_name == "stream" else []
        came = [event.data for event in events if event.type in {JobEvent.STREAM_DATA, JobEvent.UPDATE}]
        if came != [*pieces, BEGUN]:
            raise BrokenPromiseError(f"B5: {name!r} has sent {len(pieces)} pieces and an update, and these came: {came}")

    def _see(self, name: str, job_name: str | None, script: str, status: JobStatus, response: dict[str, Any] | None) -> None:
        """J1: how a puppet's job ends is what it was told to do, unless somebody else has answered or stopped it."""
        if not isinstance(self.runner.get_worker(name), Puppet) or status is JobStatus.CANCELLED or response == ANSWER:
            return
        due = (JobStatus.COMPLETED,) if job_name == "stream" and script == "defer" else ENDS.get(script, tuple(JobStatus))
        if status not in due:
            raise BrokenPromiseError(f"J1: {job_name} on {name!r} was to {script}, and is {status}: {response}")

    @staticmethod
    def _see_decided(group: JobGroupContext, names: Collection[str]) -> None:
        """J1: when the events of a group have ended, every member's outcome is known."""
        if len(group.statuses) < len(names):
            raise BrokenPromiseError(f"J1: the events of a group have ended, and only these are decided: {group.statuses}")

    def _see_left(self, name: str, context: JobContext) -> None:
        """J2: when its block is left, a puppet's handler is gone, unless somebody else has answered for it."""
        worker = self.runner.get_worker(name)
        with suppress(WorkerStateError):  # it was never entered, and has no id
            job_id = context.job_id
            if isinstance(worker, Puppet) and job_id in worker.playing and (name, job_id) not in self.answered:
                raise BrokenPromiseError(f"J2: the block of {job_id} is left, and its handler plays on {name!r}")

    def _post(self, message: BusMessage) -> None:
        self.runner.bus.post(message)


def check_lifecycle(
    make_runner: MakeRunner = puppet_theatre,
    *,
    system: type[LifecycleSystem] = LifecycleSystem,
    make_worker: Callable[[str], BaseWorker] = Puppet,
    shutdown_timeout: float = float("inf"),
    max_examples: int = 500,
    length: int = 12,
    seed: int = 0,
    must: Sequence[str] | None = None,
    replay: Plan | None = None,
) -> Verdict:
    """Let clients do everything that can be done to workers, at once, under many schedules; every promise is checked all along.

    ::

        async def my_team():
            runner = WorkerRunner()
            await runner.add_workers(Planner("planner"), Coder("coder"))
            return runner

        def test_my_team():
            check_lifecycle(my_team).check()

    Args:
        make_runner: Makes the runner, with its workers; sync or async.
        system: A subclass of :class:`LifecycleSystem`, with operations of your own.
        make_worker: Makes a worker to be added later.
        shutdown_timeout: The runner's, to see that an end is no later.
        max_examples: How many worlds at most.
        length: How many operations at most.
        seed: Other seeds look elsewhere.
        must: See :func:`check_system`.
        replay: See :func:`check_system`: what the note on a failure says.

    Returns:
        What came of it; ``check()`` raises if a promise was broken, with the shrunk operations and schedule as a note.
    """
    names = names_of(make_runner)
    make = partial(system, make_runner, make_worker=make_worker, shutdown_timeout=shutdown_timeout, names=names)
    return check_system(make, max_examples=max_examples, length=length, seed=seed, must=must, replay=replay)


def names_of(make_runner: MakeRunner) -> Sequence[str]:
    """Whom the runner has from the beginning: looked at in a world of its own."""
    with World() as world:
        runner = _built(world, make_runner)
        names = [worker.name for worker in runner.statistics().workers]
        runner.cancel_nowait("only looked at")
        world.run(runner.run)
    return names


def _built(world: World, make_runner: MakeRunner) -> WorkerRunner:
    async def build() -> WorkerRunner:
        made = make_runner()
        return made if isinstance(made, WorkerRunner) else await made

    return world.run(build)


def _some(rng: random.Random, values: Sequence[T]) -> Sequence[T]:
    """Some of them, rather few than many, in the same order; at least one."""
    count = min(rng.randint(1, len(values)), rng.randint(1, len(values)))
    chosen = rng.sample(range(len(values)), count)
    return [values[place] for place in sorted(chosen)]


async def _sleep_soundly() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(1)


async def _crash(worker: BaseWorker, message: BusMessage) -> None:  # noqa: ASYNC124 - handlers may be either
    raise PlantedError(f"planted in {worker.name!r}, by {message.source!r}")
