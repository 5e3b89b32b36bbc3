"""What the tests of jobs share: workers that do jobs by a script, and short ways to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

from trioworkers import BaseWorker, BusJobRequestMessage, BusMessage, JobError, WorkerRunner, job

Log = list[Any]


class Hand(BaseWorker):
    """Does the jobs called ``do`` by a script: what the script returns is what the handler returns."""

    def __init__(self, name: str, do: Callable[[Hand, BusJobRequestMessage], Awaitable[Any]]) -> None:
        super().__init__(name)
        self.script = do

    @job(name="do")
    async def handle(self, message: BusJobRequestMessage) -> Any:
        """Follow the script."""
        return await self.script(self, message)


class Counter(BaseWorker):
    """Streams numbers, and writes down which it has got rid of."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sent: list[int] = []

    @job(name="count")
    async def count(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """Count."""
        for number in range((message.payload or {})["to"]):
            yield {"n": number}
            self.sent.append(number)


async def echo(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
    """A script: answer with the payload."""
    return {"echo": message.payload}


async def forever(hand: Hand, message: BusJobRequestMessage) -> None:
    """A script: never come to an end."""
    await trio.sleep_forever()


async def boom(hand: Hand, message: BusJobRequestMessage) -> None:
    """A script: raise."""
    raise ValueError("boom")


def nap(seconds: float) -> Callable[[Hand, BusJobRequestMessage], Awaitable[Any]]:
    """Return a script that takes its time."""

    async def script(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        await trio.sleep(seconds)
        return {"slept": seconds}

    return script


def tidy(seconds: float, log: Log) -> Callable[[Hand, BusJobRequestMessage], Awaitable[Any]]:
    """Return a script that never ends, and takes its time, shielded, to clean up when it is cancelled."""

    async def script(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)
            log.append((hand.name, "gone", trio.current_time()))

    return script


async def ask(asker: BaseWorker | WorkerRunner, whom: str, name: str | None = "do", **settings: Any) -> dict[str, Any]:
    """Ask for a job, and return its response."""
    async with asker.job(whom, name=name, **settings) as asked:
        pass
    return asked.response


async def failure(asker: BaseWorker | WorkerRunner, whom: str, name: str | None = "do", **settings: Any) -> JobError:
    """Ask for a job that must not complete, and return how it failed."""
    with pytest.raises(JobError) as caught:
        await ask(asker, whom, name, **settings)
    return caught.value


def drain(messages: trio.MemoryReceiveChannel[BusMessage]) -> list[BusMessage]:
    """Return what a tap holds now."""
    received: list[BusMessage] = []
    with suppress(trio.WouldBlock):
        while True:
            received.append(messages.receive_nowait())
    return received


def idle(worker: BaseWorker | WorkerRunner) -> bool:
    """Whether a worker has no job, and no request, left; a runner only asks."""
    return isinstance(worker, WorkerRunner) or not (worker.active_jobs or worker.job_groups)
