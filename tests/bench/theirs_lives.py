"""Lives: the reference's side. What :mod:`lives` does, with pipecat."""

# mypy: ignore-errors
from __future__ import annotations

import asyncio

from bench.harness import THEIRS, Meter, side
from bench.theirs_messages import house
from pipecat.workers.base_worker import BaseWorker
from pipecat.workers.runner import WorkerRunner

FAN = 10


class Counted(BaseWorker):
    """Counts who has started."""

    started = 0
    wanted = 0
    all_started = None

    @classmethod
    def want(cls, count):
        """An event for when so many have started."""
        Counted.started, Counted.wanted, Counted.all_started = 0, count, asyncio.Event()
        return Counted.all_started

    async def start(self):
        """Start, and be counted."""
        await super().start()
        Counted.started += 1
        if Counted.started == Counted.wanted:
            Counted.all_started.set()


class Brief(BaseWorker):
    """Stops as soon as it is active."""

    async def on_activated(self, args):
        """Stop."""
        await super().on_activated(args)
        await self.stop()


async def start_and_stop(meter, size, parent):
    """Start so many workers together, then end them all."""
    runner = WorkerRunner(handle_sigint=False)
    if parent is not None:
        await runner.add_workers(parent)
    running = asyncio.create_task(runner.run(auto_end=False))
    while not (runner._running and (parent is None or parent.started_at)):
        await asyncio.sleep(0)
    with meter.timing("make", size):
        workers = [Counted(f"worker-{n}") for n in range(size)]
    started = Counted.want(size)
    with meter.timing("start", size):
        await (parent or runner).add_workers(*workers)
        await started.wait()
    with meter.timing("end", size):
        await runner.end()
        for worker in workers:
            await worker.wait()
    await running


@side(THEIRS, "roots")
async def theirs_roots(meter: Meter, size, times):
    """Started together, ended together."""
    await start_and_stop(meter, size, None)


@side(THEIRS, "children")
async def theirs_children(meter: Meter, size, times):
    """The same, as children of one worker."""
    await start_and_stop(meter, size, BaseWorker("parent"))


@side(THEIRS, "brief")
async def theirs_brief(meter: Meter, size, times):
    """Added to a runner that goes on; stopped at once."""
    async with house(BaseWorker("other")) as runner:
        with meter.timing("from birth to death", size):
            for n in range(size):
                worker = Brief(f"brief-{n}")
                await runner.add_workers(worker)
                await worker.wait()


async def start_and_cancel(meter, size, fan):
    """Start a tree level by level, for children need a running parent; and cancel it."""
    runner = WorkerRunner(handle_sigint=False)
    running = asyncio.create_task(runner.run(auto_end=False))
    while not runner._running:
        await asyncio.sleep(0)
    workers = [Counted(f"worker-{n}") for n in range(size)]
    started = Counted.want(size)
    with meter.timing("start", size):
        await runner.add_workers(workers[0])
        for n, worker in enumerate(workers):
            children = workers[n * fan + 1 : n * fan + fan + 1]
            while not worker.started_at:
                await asyncio.sleep(0)
            if children:
                await worker.add_workers(*children)
        await started.wait()
    with meter.timing("cancel", size):
        await runner.cancel()
        for worker in workers:
            await worker.wait()
    await running


@side(THEIRS, "tree")
async def theirs_tree(meter: Meter, size, times):
    """Cancelled from the top."""
    await start_and_cancel(meter, size, FAN)


@side(THEIRS, "chain")
async def theirs_chain(meter: Meter, size, times):
    """Cancelled from the top; a crash is not passed on."""
    await start_and_cancel(meter, size, 1)
