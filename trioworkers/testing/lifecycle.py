"""Workers under test: whatever clients do to them at the same time, the promises are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import trio

from .._decorators import collect, job
from ..errors import JobFailed, WorkersError
from ..jobs import DEFERRED
from ..messages import (
    BusActivateWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusJobRequestMessage,
    BusMessage,
    BusSystemMessage,
)
from ..runner import WorkerRunner
from ..types import JobStatus
from ..worker import BaseWorker
from .check import Verdict, check_system
from .promises import BrokenPromiseError, Promises
from .system import System, operation
from .world import Handle, World

MakeRunner = Callable[[], WorkerRunner] | Callable[[], Awaitable[WorkerRunner]]
SCRIPTS = ("return", "nap", "raise", "fail", "defer", "forever", "ask", "swallow")
"""What the jobs of a :class:`Puppet` can be told to do, in ``payload["do"]``."""


class PlantedError(Exception):
    """Raised on purpose, to see what becomes of it."""


class Note(BusDataMessage):
    """A message that nobody needs."""


class Bell(BusSystemMessage):
    """An urgent message that nobody needs."""


class Puppet(BaseWorker):
    """A worker whose jobs do what their payload says: see :data:`SCRIPTS`."""

    async def on_bus_message(self, message: BusMessage) -> None:
        """Take a moment over each."""
        del message
        await trio.lowlevel.checkpoint()

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Take a moment."""
        del args
        await trio.lowlevel.checkpoint()

    async def on_deactivated(self) -> None:
        """Take a moment."""
        await trio.lowlevel.checkpoint()

    @job
    async def work(self, message: BusJobRequestMessage) -> object:
        """Any number at a time."""
        return await self._play(message)

    @job(sequential=True)
    async def queue(self, message: BusJobRequestMessage) -> object:
        """One at a time."""
        return await self._play(message)

    @job
    async def stream(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """A few pieces, more than its asker takes at once."""
        for number in range(70):
            yield {"number": number}
        await self._play(message)

    async def _play(self, message: BusJobRequestMessage) -> object:
        await self.send_job_update(message.job_id, {"begun": True})
        match message.payload.get("do"):
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
            case "ask":
                async with self.job(message.payload["whom"], name="queue", timeout=1) as asked:
                    pass
                return asked.response
            case "swallow":
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.25)
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
    uses: Sequence[str] = ("wait", "iterate", "cancel", "fail")
    timeouts: Sequence[float | None] = (None, 0.25, 0.5, 2.0)

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
        self.spare = tuple(spare)
        self.names: Sequence[str] = (*(names if names is not None else names_of(make_runner)), *spare)
        self.owners: Sequence[str] = ("", *self.names)

    # -- a life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Build the runner, and run it."""
        self.runner = _built(self.world, self._make_runner)
        self.promises = Promises(self.runner, shutdown_timeout=self._shutdown_timeout)
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
        self.check()
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
        """What a worker can be asked for."""
        return [*collect(type(self.worker(name))).jobs]

    @operation("spare", "owners", weight=2)
    async def add(self, name: str, owner: str) -> None:
        """Add a worker to another, or to the runner."""
        worker = self._make_worker(name)
        await (self.worker(owner).add_workers(worker) if owner else self.runner.add_workers(worker))

    @operation("names", weight=2)
    async def activate(self, name: str) -> None:
        """Activate a worker."""
        self._post(BusActivateWorkerMessage(source=self.runner.name, target=name))

    @operation("names")
    async def deactivate(self, name: str) -> None:
        """Deactivate a worker."""
        self._post(BusDeactivateWorkerMessage(source=self.runner.name, target=name))

    @operation("names", range(3), "scripts", "uses", "timeouts", weight=6)
    async def request(self, name: str, which: int, script: str, use: str, timeout: float | None) -> None:
        """Ask a worker for a job, from outside."""
        await self._ask(self.runner, name, which, script, use, timeout)

    @operation("names", "names", range(3), "scripts", "uses", "timeouts", weight=4)
    async def ask(self, asker: str, name: str, which: int, script: str, use: str, timeout: float | None) -> None:
        """Ask a worker for a job, from another."""
        await self._ask(self.worker(asker), name, which, script, use, timeout)

    @operation("names", "names", "scripts", [True, False], weight=2)
    async def ask_group(self, one: str, other: str, script: str, cancel_on_error: bool) -> None:
        """Ask two workers at once."""
        names = dict.fromkeys((one, other))
        payload = self.payload(script)
        async with self.runner.job_group(*names, name="work", payload=payload, timeout=2, cancel_on_error=cancel_on_error):
            pass

    @operation("names", weight=2)
    async def answer(self, name: str) -> None:
        """Answer whatever is open at a worker, in its place."""
        worker = self.worker(name)
        for job_id in [*worker.active_jobs]:
            worker.send_job_response_nowait(job_id, {"answered": True}, status=JobStatus.COMPLETED)

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

    async def _ask(
        self,
        asker: WorkerRunner | BaseWorker,
        name: str,
        which: int,
        script: str,
        use: str,
        timeout: float | None,
    ) -> None:
        jobs = self.jobs(name) or [""]
        context = asker.job(name, name=jobs[which % len(jobs)] or None, payload=self.payload(script), timeout=timeout)
        with trio.move_on_after(0.25 if use == "cancel" else float("inf")):
            async with context:
                if use == "iterate":
                    async for _ in context:
                        pass
                if use == "fail":
                    raise PlantedError("planted in a body")

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

    Returns:
        What came of it; ``check()`` raises if a promise was broken, with the shrunk operations and schedule as a note.
    """
    names = names_of(make_runner)
    make = partial(system, make_runner, make_worker=make_worker, shutdown_timeout=shutdown_timeout, names=names)
    return check_system(make, max_examples=max_examples, length=length, seed=seed)


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


async def _crash(worker: BaseWorker, message: BusMessage) -> None:
    raise PlantedError(f"planted in {worker.name!r}, by {message.source!r}")
