"""Lives: starting, ending, cancelling many workers, wide and deep; this library's side, and bare trio's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio
from bench.harness import FLOOR, OURS, THEIRS, Case, Meter, side

from trioworkers import BaseWorker, BusDataMessage, WorkerRunner, handles

CASES = (
    Case("roots", "{size} roots, each", 100, rounds=5),
    Case("roots", "{size} roots, each", 300, rounds=3, quick=False),
    Case("roots", "{size} roots, each", 1_000, rounds=2, quick=False),
    Case("roots", "{size} roots, each", 10_000, rounds=3, quick=False, without=(THEIRS,)),
    Case("children", "{size} children of one worker, each", 100, rounds=5, quick=False),
    Case("children", "{size} children of one worker, each", 300, rounds=3, quick=False),
    Case("children", "{size} children of one worker, each", 1_000, rounds=5, quick=False, without=(THEIRS,)),
    Case("children", "{size} children of one worker, each", 10_000, rounds=3, quick=False, without=(THEIRS,)),
    Case("brief", "{size} short lives, one after the other, each", 300, rounds=3, quick=False),
    Case("brief", "{size} short lives, one after the other, each", 2_000, rounds=3, quick=False, without=(THEIRS,)),
    Case("tree", "a tree of {size}, ten children each, each", 100, rounds=5),
    Case("tree", "a tree of {size}, ten children each, each", 300, rounds=3, quick=False),
    Case("tree", "a tree of {size}, ten children each, each", 1_000, rounds=2, quick=False),
    Case("chain", "a chain {size} deep, each", 100, rounds=5),
    Case("chain", "a chain {size} deep, each", 300, rounds=3, quick=False, without=(FLOOR,)),
    Case("chain", "a chain {size} deep, each", 1_000, rounds=3, quick=False, without=(THEIRS, FLOOR)),
)
FAN = 10


@attrs.frozen(kw_only=True)
class Blow(BusDataMessage):
    """Something that kills."""


class Leaf(BaseWorker):
    """The last of a chain."""

    @handles(Blow)
    async def blow(self, message: Blow) -> None:
        """Die."""
        raise ArithmeticError("a blow")


class Brief(BaseWorker):
    """Stops as soon as it is active."""

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Stop."""
        await self.stop()


@asynccontextmanager
async def running(runner: WorkerRunner) -> AsyncIterator[WorkerRunner]:
    """A runner; whoever leaves the block has ended it, and waits for the end."""
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))
        yield runner


async def start_and_stop(meter: Meter, size: int, *, parent: BaseWorker | None) -> None:
    """Start so many workers together, then end them all."""
    runner = WorkerRunner()
    async with running(runner):
        if parent is not None:
            await runner.add_workers(parent)
        with meter.timing("make", size):
            workers = [BaseWorker(f"worker-{n}") for n in range(size)]
        with meter.timing("start", size):
            await (parent or runner).add_workers(*workers)
        with meter.timing("end", size):
            runner.end_nowait()
            for worker in workers:
                await worker.wait()


@side(OURS, "roots")
async def ours_roots(meter: Meter, size: int, times: int) -> None:
    """Started together, ended together."""
    await start_and_stop(meter, size, parent=None)


@side(OURS, "children")
async def ours_children(meter: Meter, size: int, times: int) -> None:
    """The same, as children of one worker."""
    await start_and_stop(meter, size, parent=BaseWorker("parent"))


async def live(ready: Callable[[], None]) -> None:
    """A bare worker: a task with a nursery of its own."""
    async with trio.open_nursery():
        ready()
        await trio.sleep_forever()


class Countdown:
    """Counts down to an event."""

    def __init__(self, left: int) -> None:
        self.left, self.over = left, trio.Event()

    def __call__(self) -> None:
        """One less."""
        self.left -= 1
        if not self.left:
            self.over.set()


@side(FLOOR, "roots")
@side(FLOOR, "children")
async def floor_roots(meter: Meter, size: int, times: int) -> None:
    """Tasks with a nursery each, cancelled together."""
    ready = Countdown(size)
    async with trio.open_nursery() as outer:
        inner = await outer.start(_hold)
        with meter.timing("start", size):
            for _ in range(size):
                inner.start_soon(live, ready)
            await ready.over.wait()
        with meter.timing("end", size):
            inner.cancel_scope.cancel()
            while inner.child_tasks:
                await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()


async def _hold(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


@side(OURS, "brief")
async def ours_brief(meter: Meter, size: int, times: int) -> None:
    """Added to a runner that goes on; stopped at once."""
    runner = WorkerRunner()
    async with running(runner):
        with meter.timing("from birth to death", size):
            for n in range(size):
                worker = Brief(f"brief-{n}")
                await runner.add_workers(worker)
                await worker.wait()
        runner.end_nowait()


@side(FLOOR, "brief")
async def floor_brief(meter: Meter, size: int, times: int) -> None:
    """A task with a nursery, started and waited for."""

    async def live_briefly(over: trio.Event) -> None:
        async with trio.open_nursery():
            over.set()

    async with trio.open_nursery() as nursery:
        with meter.timing("from birth to death", size):
            for _ in range(size):
                over = trio.Event()
                nursery.start_soon(live_briefly, over)
                await over.wait()


async def grow(workers: list[BaseWorker], fan: int) -> BaseWorker:
    """Make a tree of new workers, with so many children each; return its root."""
    for n, worker in enumerate(workers):
        await worker.add_workers(*workers[n * fan + 1 : n * fan + fan + 1])
    return workers[0]


@side(OURS, "tree")
async def ours_tree(meter: Meter, size: int, times: int) -> None:
    """Started in one go, cancelled from the top."""
    await start_and_cancel(meter, await grow([BaseWorker(f"worker-{n}") for n in range(size)], FAN), size)


async def start_and_cancel(meter: Meter, root: BaseWorker, size: int) -> None:
    """Start a tree, and cancel it."""
    runner = WorkerRunner()
    async with running(runner):
        with meter.timing("start", size):
            await runner.add_workers(root)
        with meter.timing("cancel", size):
            runner.cancel_nowait()
            await root.wait()


async def bare(size: int, fan: int, ready: Callable[[], None], number: int = 0) -> None:
    """Nested nurseries."""
    async with trio.open_nursery() as nursery:
        for child in range(number * fan + 1, min(number * fan + fan + 1, size)):
            nursery.start_soon(bare, size, fan, ready, child)
        ready()
        await trio.sleep_forever()


async def bare_tree(meter: Meter, size: int, fan: int) -> None:
    """Start nested nurseries, and cancel them from the top."""
    ready = Countdown(size)
    async with trio.open_nursery() as nursery:
        with meter.timing("start", size):
            nursery.start_soon(bare, size, fan, ready)
            await ready.over.wait()
        with meter.timing("cancel", size):
            nursery.cancel_scope.cancel()
            while nursery.child_tasks:
                with trio.CancelScope(shield=True):
                    await trio.lowlevel.checkpoint()


@side(FLOOR, "tree")
async def floor_tree(meter: Meter, size: int, times: int) -> None:
    """The same of nurseries."""
    await bare_tree(meter, size, FAN)


@side(OURS, "chain")
async def ours_chain(meter: Meter, size: int, times: int) -> None:
    """Started in one go; cancelled from the top; and once more, killed from the bottom."""
    await start_and_cancel(meter, await chain(size), size)
    runner = WorkerRunner()
    await runner.add_workers(await chain(size))
    try:
        async with running(runner):
            with meter.timing("crash", size):
                runner.bus.post(Blow(source="me", target=f"worker-{size - 1}"))
                await runner.get_worker("worker-0").wait()  # type: ignore[union-attr]
    except BaseExceptionGroup as error:
        meter.note("groups around the error of a crash", depth(error) - 1, "groups")  # one is of the nursery above


async def chain(size: int) -> BaseWorker:
    """New workers, each the child of the one before."""
    return await grow([*(BaseWorker(f"worker-{n}") for n in range(size - 1)), Leaf(f"worker-{size - 1}")], 1)


def depth(error: BaseException) -> int:
    """How many groups there are around what was raised."""
    return 1 + max(map(depth, error.exceptions)) if isinstance(error, BaseExceptionGroup) else 0


@side(FLOOR, "chain")
async def floor_chain(meter: Meter, size: int, times: int) -> None:
    """The same of nurseries; not deeper than trio can cancel them."""
    await bare_tree(meter, size, 1)
