"""SIGTERM arrives: the job that runs is finished, a new one is refused, then everybody leaves.

The first SIGTERM (or Ctrl-C) is a graceful end, the second one cancels. A handler that can stop at a good place waits for
``wait_ending()`` beside its work.

Prints::

    baking
    SIGTERM
    refused: worker 'baker' is ending
    baked: {'loaves': 3}
    oven off
"""

from __future__ import annotations

import os
import signal
from typing import Any

import trio

from trioworkers import BaseWorker, BusJobRequestMessage, JobError, WorkerParams, WorkerRunner, job


class Baker(BaseWorker):
    """Has an oven as long as it lives."""

    async def run(self, params: WorkerParams, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the oven around the whole life."""
        try:
            await super().run(params, task_status=task_status)
        finally:
            print("oven off")

    @job
    async def bake(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Take a moment."""
        print("baking")
        await trio.sleep(0.05)
        return {"loaves": 3}


async def customer(runner: WorkerRunner) -> None:
    """Order, pull the plug, and order again."""
    async with runner.job("baker", name="bake") as order:
        await trio.sleep(0.01)
        print("SIGTERM")
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep(0.01)
        try:
            async with runner.job("baker", name="bake"):
                pass
        except JobError as error:
            print("refused:", error.reason)
    print("baked:", order.response)


async def main() -> None:
    """Run a bakery with one customer."""
    runner = WorkerRunner(shutdown_timeout=5)
    await runner.add_workers(Baker("baker"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        nursery.start_soon(customer, runner)


if __name__ == "__main__":
    trio.run(main)
