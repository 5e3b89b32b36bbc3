"""This library's side of the Redis benchmark: one process, told by lines on its standard input what to measure."""

from __future__ import annotations

import json
import sys
import time  # noqa: TID251 - it measures
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from trioworkers import BaseWorker, RedisBus, WorkerRunner, job, open_runner

PAYLOAD = {"text": "x" * 50, "number": 1.5, "list": [1, 2, 3], "flag": True}


class Echo(BaseWorker):
    """Answers with what it was asked."""

    @job
    async def echo(self, message: Any) -> dict[str, Any]:
        """Answer."""
        return dict(message.payload)


@asynccontextmanager
async def house(url: str, role: str) -> AsyncIterator[WorkerRunner]:
    """A runner in this role."""
    workers = [Echo("echo")] if role == "answer" else []
    async with open_runner(*workers, bus=RedisBus(url, name="bench")) as runner:
        yield runner


async def ask(runner: WorkerRunner, times: int, latencies: list[float]) -> None:
    """Ask so many times, one after the other."""
    for _ in range(times):
        start = time.perf_counter()
        async with runner.job("echo", name="echo", payload=PAYLOAD) as asking:
            pass
        latencies.append(time.perf_counter() - start)
        assert asking.response == PAYLOAD


async def measure(runner: WorkerRunner, at_once: int, times: int) -> dict[str, Any]:
    """Ask from so many tasks at once; return how long it took."""
    latencies: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(ask, runner, times // at_once, latencies)
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "latencies": sorted(latencies)}


async def main(*arguments: str) -> None:
    """Play the role until the input ends."""
    url, role = arguments
    async with house(url, role) as runner:
        print("ready", flush=True)
        async for line in trio.wrap_file(sys.stdin):
            at_once, times = map(int, line.split())
            print(json.dumps(await measure(runner, at_once, times)), flush=True)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
