"""A reader: asks whatever census there is for employment, and counts what it is given.

Start as many as you like, whenever you like::

python reader.py redis://localhost
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

import trio
from counting import count

from trioworkers import BaseWorker, BusJobRequestMessage, BusResetError, JobError, PeerDownError, RedisBus, WorkerRunner, job


class Reader(BaseWorker):
    """Counts files that others name. They have to be there where it runs, too."""

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Be employed until there is nothing left to count: one job, which lasts as long as the employment."""
        employed = True
        while employed:
            try:
                async with self.job("census", name="employ"):
                    print(f"{self.name} is looking for work", flush=True)
                employed = False
            except (PeerDownError, BusResetError) as loss:  # the census has died, or this reader was taken for dead
                print("once more:", loss.reason, flush=True)
            except JobError as error:
                print("dismissed:", error.reason, flush=True)
                employed = False
        await self.end(reason="there is nothing left to count")

    @job
    async def count(self, message: BusJobRequestMessage) -> dict[str, int]:
        """Count some files, in a thread: a process that stands still says nothing, and is taken for dead."""
        return await trio.to_thread.run_sync(count, message.payload["files"], abandon_on_cancel=True)


async def main(server: str) -> None:
    """Run one reader, under a name that nobody else has."""
    runner = WorkerRunner(bus=RedisBus(server, name="census", beat=0.5, ttl=2))
    await runner.add_workers(Reader(f"reader-{os.getpid()}@{platform.node()}"))
    await runner.run()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
