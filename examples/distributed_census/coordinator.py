"""A census of the Python files below a folder, taken by readers in processes of their own.

::

    python coordinator.py redis://localhost ~/src

It knows no reader by name: each comes and asks for employment (:mod:`reader`). A reader that dies costs nothing but time: what it was
counting is given to the next one that is free. A batch may be counted twice so, but it is added up once, when its answer is here.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from typing import Any

import trio
from counting import python_files, report

from trioworkers import BaseWorker, BusJobRequestMessage, JobError, RedisBus, job, open_runner

BATCH = 25


class Census(BaseWorker):
    """Hands out batches of files, and adds up."""

    def __init__(self, files: list[str]) -> None:
        super().__init__("census")
        self.total: Counter[str] = Counter()
        self.done = trio.Event()
        self._give, self._take = trio.open_memory_channel[list[str]](math.inf)
        self._missing = 0
        for start in range(0, len(files), BATCH):
            self._give.send_nowait(files[start : start + BATCH])
            self._missing += 1
        self._look_whether_done()

    @job
    async def employ(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Keep one reader busy: as long as it lives, and as long as anything may be left to count."""
        reader = message.source
        say(f"{reader} has come")
        async for batch in self._take:
            try:
                async with self.job(reader, name="count", payload={"files": batch}) as counting:
                    pass
            except (JobError, trio.Cancelled):  # it leaves; or it is gone, and with it whoever has asked for this job
                self._give.send_nowait(batch)
                say(f"{reader} has not counted {len(batch)} files: they go to another")
                raise
            self.total.update(counting.response)
            self._missing -= 1
            self._look_whether_done()
        return {}

    def _look_whether_done(self) -> None:
        if not self._missing:
            self._give.close()  # all that wait for a batch are told that there will be none
            self.done.set()


def say(text: str) -> None:
    """Tell how it goes."""
    print(text, file=sys.stderr, flush=True)


async def main(server: str, folder: str) -> None:
    """Take the census."""
    census = Census(python_files(folder))
    async with open_runner(census, name="coordinator", bus=RedisBus(server, name="census", beat=0.5, ttl=2)):
        await census.done.wait()
    print(report(census.total))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
