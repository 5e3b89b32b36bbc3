"""What things take and leave behind: the reference's side. What :mod:`memory` does, with pipecat."""

# mypy: ignore-errors
from __future__ import annotations

import asyncio

from bench.harness import THEIRS, Meter, side
from bench.memory_meter import counting, import_time, weighing
from bench.theirs_jobs import Helper, ask
from bench.theirs_lives import Counted
from bench.theirs_messages import house
from pipecat.pipeline.job_context import JobParams
from pipecat.workers.base_worker import BaseWorker


@side(THEIRS, "idle")
async def theirs_idle(meter: Meter, size, times):
    """Workers that were added and wait."""
    async with house(BaseWorker("first")) as runner:
        with weighing(meter, "each", size):
            started = Counted.want(size)
            await runner.add_workers(*(Counted(f"worker-{n}") for n in range(size)))
            await started.wait()
            for _ in range(20):
                await asyncio.sleep(0)


@side(THEIRS, "pending")
async def theirs_pending(meter: Meter, size, times):
    """Jobs whose handler waits, as both ends hold them."""
    asker, helper = BaseWorker("asker"), Helper("helper")
    async with house(asker, helper):
        await ask(asker, 1)
        with weighing(meter, "each", size):
            for _ in range(size):
                await asker.request_job("helper", params=JobParams(name="sleep"))
            await helper.until(running=size)


@side(THEIRS, "leftovers")
async def theirs_leftovers(meter: Meter, size, times):
    """What is still there when all have been answered."""
    asker = BaseWorker("asker")
    async with house(asker, Helper("helper")):
        await ask(asker, 100)
        with counting(meter, "objects left"):
            await ask(asker, size)


@side(THEIRS, "import")
def theirs_import(meter: Meter, size, times):
    """The workers' part of it, with what that needs."""
    import_time(meter, "import pipecat.workers.runner")
