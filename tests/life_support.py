"""What the tests of ownership and lifecycle share: workers that follow a script, and ways to look at a running world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from trioworkers import BaseWorker, BusJobRequestMessage, WorkerRunner, job
from trioworkers._transitions import WorkerState

Log = list[Any]


class Actor(BaseWorker):
    """Follows a script while it is active."""

    def __init__(self, name: str, script: Callable[[Actor], Awaitable[object]], *, active: bool = True) -> None:
        super().__init__(name, active=active)
        self.script = script

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Follow the script."""
        await self.script(self)


class Napper(BaseWorker):
    """Writes down how its naps go."""

    def __init__(self, name: str, log: Log | None = None) -> None:
        super().__init__(name)
        self.log: Log = [] if log is None else log

    @job(name="nap")
    async def nap(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Sleep for ``seconds``; if cancelled, take another second to tidy up, shielded."""
        self.log.append((self.name, "begins"))
        try:
            await trio.sleep((message.payload or {}).get("seconds", float("inf")))
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            self.log.append((self.name, "tidied up", trio.current_time()))
            raise
        self.log.append((self.name, "wakes", trio.current_time()))
        return {"slept": trio.current_time()}


class Slow(BaseWorker):
    """Is ready after some seconds, and gone some seconds after it was told to be."""

    def __init__(self, name: str, *, up: float = 0, down: float = 0, log: Log | None = None) -> None:
        super().__init__(name)
        self.up = up
        self.down = down
        self.log: Log = [] if log is None else log

    async def run(self, params: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take its time at both ends."""
        try:
            await trio.sleep(self.up)
            await super().run(params, task_status=task_status)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.down)
            self.log.append((self.name, "gone", trio.current_time()))


async def idle(worker: BaseWorker) -> None:
    """A script: wait for whatever comes."""
    await trio.sleep_forever()


async def boom(worker: BaseWorker) -> None:
    """A script: die."""
    raise ValueError("boom")


async def ask(asker: BaseWorker | WorkerRunner, whom: str, name: str | None = None, **payload: Any) -> dict[str, Any]:
    """Ask a worker for a job and return what it answers."""
    async with asker.job(whom, name=name, payload=payload) as asked:
        pass
    return asked.response


def state(worker: BaseWorker) -> WorkerState:
    """Return where a worker is in its life."""
    return worker.statistics().state


def states(*workers: BaseWorker) -> list[WorkerState]:
    """Return where each worker is in its life."""
    return [state(worker) for worker in workers]


def own_tasks() -> dict[str, str]:
    """Return the name of each task below the present one, with the name of the task whose nursery it lives in."""
    found: dict[str, str] = {}
    waiting: list[trio.lowlevel.Task] = [trio.lowlevel.current_task()]
    while waiting:
        task = waiting.pop()
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)
            found |= {child.name: task.name for child in nursery.child_tasks}
    return found


def told(error: BaseException) -> Sequence[BaseException]:
    """Return what is in a group, which must be flat."""
    assert isinstance(error, BaseExceptionGroup)
    assert not any(isinstance(inner, BaseExceptionGroup) for inner in error.exceptions)
    return error.exceptions


async def errors_of(run: Callable[[], Awaitable[object]]) -> list[str]:
    """Run something; return what its flat group of errors told, or nothing if it just returned."""
    try:
        await run()
    except BaseExceptionGroup as error:
        return [f"{type(inner).__name__}: {inner}" for inner in told(error)]
    return []


class StateLog(trio.abc.Instrument):
    """Writes down each state that it sees a worker in, after every step of every task."""

    def __init__(self, *workers: BaseWorker) -> None:
        self.seen: dict[str, list[WorkerState]] = {worker.name: [state(worker)] for worker in workers}
        self._workers = workers

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Look."""
        for worker in self._workers:
            now = state(worker)
            if self.seen[worker.name][-1] is not now:
                self.seen[worker.name].append(now)
