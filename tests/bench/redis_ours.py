"""This library's side of the Redis benchmark: one process, told by lines on its standard input what to measure."""

from __future__ import annotations

import json
import os
import sys
import time  # noqa: TID251 - it measures
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from trioworkers import BaseWorker, BusDataMessage, RedisBus, WorkerRunner, handles, job, open_runner

PAYLOAD = {"text": "x" * 50, "number": 1.5, "list": [1, 2, 3], "flag": True}


@attrs.frozen(kw_only=True)
class Ping(BusDataMessage):
    """Wants a pong."""

    number: int
    payload: dict[str, Any]


@attrs.frozen(kw_only=True)
class Pong(BusDataMessage):
    """What a ping wants."""

    number: int
    payload: dict[str, Any]


class Echo(BaseWorker):
    """Answers with what it was asked."""

    @handles(Ping)
    async def ping(self, message: Ping) -> None:
        """Answer, without a job."""
        pong = Pong(source=self.name, target=message.source, number=message.number, payload=message.payload)
        await self.send_bus_message(pong)

    @job
    async def echo(self, message: Any) -> dict[str, Any]:
        """Answer."""
        return dict(message.payload)


class Asker(BaseWorker):
    """Asks, by message."""

    def __init__(self) -> None:
        super().__init__(f"asker-{os.getpid()}")
        self.waiting: dict[int, trio.Event] = {}
        self.sent = 0

    @handles(Pong)
    async def pong(self, message: Pong) -> None:
        """Somebody's answer."""
        assert message.payload == PAYLOAD
        self.waiting.pop(message.number).set()

    async def ask_message(self) -> None:
        """Send a ping, wait for the pong."""
        self.sent += 1
        event = self.waiting[self.sent] = trio.Event()
        await self.send_bus_message(Ping(source=self.name, target="echo", number=self.sent, payload=PAYLOAD))
        await event.wait()

    async def ask_job(self) -> None:
        """Ask for a job."""
        async with self.job("echo", name="echo", payload=PAYLOAD) as asking:
            pass
        assert asking.response == PAYLOAD


@asynccontextmanager
async def house(url: str, role: str) -> AsyncIterator[tuple[WorkerRunner, Asker]]:
    """A runner in this role."""
    asker = Asker()
    workers = [Echo("echo")] if role == "answer" else [asker]
    async with open_runner(*workers, bus=RedisBus(url, name="bench", types={"ping": Ping, "pong": Pong})) as runner:
        yield runner, asker


async def ask(verb: Callable[[], Awaitable[None]], times: int, latencies: list[float]) -> None:
    """Ask so many times, one after the other."""
    for _ in range(times):
        start = time.perf_counter()
        await verb()
        latencies.append(time.perf_counter() - start)


async def measure(asker: Asker, kind: str, at_once: int, times: int) -> dict[str, Any]:
    """Ask from so many tasks at once; return how long it took."""
    latencies: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(ask, getattr(asker, f"ask_{kind}"), times // at_once, latencies)
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "latencies": sorted(latencies)}


async def main(*arguments: str) -> None:
    """Play the role until the input ends."""
    url, role = arguments
    async with house(url, role) as (runner, asker):
        if role == "ask":
            await runner.registry.wait_ready("echo")
        print("ready", flush=True)
        async for line in trio.wrap_file(sys.stdin):
            kind, at_once, times = line.split()
            print(json.dumps(await measure(asker, kind, int(at_once), int(times))), flush=True)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
