"""The reference's side of the Redis benchmark: what :mod:`redis_ours` does, with pipecat."""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import json
import os
import sys
import time  # noqa: TID251 - it measures
from dataclasses import dataclass

from loguru import logger

logger.remove()

from pipecat.bus.messages import BusDataMessage
from pipecat.bus.network.redis import RedisBus
from pipecat.bus.subscriber import BusSubscriber
from pipecat.pipeline.job_decorator import job
from pipecat.utils.base_object import BaseObject
from pipecat.workers.base_worker import BaseWorker, JobParams
from pipecat.workers.runner import WorkerRunner
from redis.asyncio import Redis

PAYLOAD = {"text": "x" * 50, "number": 1.5, "list": [1, 2, 3], "flag": True}


@dataclass(kw_only=True)
class Ping(BusDataMessage):
    """Wants a pong."""

    number: int
    payload: dict


@dataclass(kw_only=True)
class Pong(BusDataMessage):
    """What a ping wants."""

    number: int
    payload: dict


class Echoing(BaseObject, BusSubscriber):
    """Answers without a job: a bare subscriber, as little as the reference's bus allows."""

    def __init__(self, bus):
        super().__init__(name="bare-echo")
        self.bus = bus

    async def on_bus_message(self, message):
        """Answer."""
        if type(message) is Ping:
            await self.bus.send(Pong(source=self.name, target=message.source, number=message.number, payload=message.payload))


class Asking(BaseObject, BusSubscriber):
    """Asks without a job."""

    def __init__(self, bus):
        super().__init__(name=f"bare-{os.getpid()}")
        self.bus = bus
        self.waiting = {}
        self.sent = 0

    async def on_bus_message(self, message):
        """Somebody's answer."""
        if type(message) is Pong and message.target == self.name:
            assert message.payload == PAYLOAD
            self.waiting.pop(message.number).set()

    async def ask_message(self):
        """Send a ping, wait for the pong."""
        self.sent += 1
        event = self.waiting[self.sent] = asyncio.Event()
        await self.bus.send(Ping(source=self.name, target="bare-echo", number=self.sent, payload=PAYLOAD))
        await event.wait()


class Echo(BaseWorker):
    """Answers with what it was asked."""

    @job(name="echo")
    async def on_echo(self, message):
        """Answer."""
        await self.send_job_response(message.job_id, dict(message.payload))


class Asker(BaseWorker):
    """Asks for jobs."""

    async def ask_job(self):
        """Ask for a job."""
        async with self.job("echo", params=JobParams(name="echo", payload=PAYLOAD)) as asking:
            pass
        assert asking.response == PAYLOAD


async def ask(verb, times, latencies):
    """Ask so many times, one after the other."""
    for _ in range(times):
        start = time.perf_counter()
        await verb()
        latencies.append(time.perf_counter() - start)


async def measure(verb, at_once, times):
    """Ask from so many tasks at once; return how long it took."""
    latencies = []
    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask(verb, times // at_once, latencies) for _ in range(at_once)))
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "latencies": sorted(latencies)}


async def main(url, role):
    """Play the role until the input ends."""
    bus = RedisBus(redis=Redis.from_url(url), channel="bench")
    runner = WorkerRunner(bus=bus, handle_sigint=False)
    worker = Echo("echo") if role == "answer" else Asker(f"{role}-{runner.name}")
    bare = Echoing(bus) if role == "answer" else Asking(bus)
    await bus.subscribe(bare)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run(auto_end=False))
    await asyncio.sleep(1)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        kind, at_once, times = line.split()
        verb = worker.ask_job if kind == "job" else bare.ask_message
        print(json.dumps(await measure(verb, int(at_once), int(times))), flush=True)
    await runner.cancel()
    await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
