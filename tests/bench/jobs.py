"""Jobs: this library's side, and bare trio's."""

from __future__ import annotations

import time  # noqa: TID251 - it measures
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import trio
import trio.testing
from bench.harness import FLOOR, OURS, THEIRS, Case, Meter, side

from trioworkers import BaseWorker, job, open_runner

CASES = (
    Case("job", "a job, one after the other", times=500),
    Case("bystanders", "a job, with {size} idle workers around", 100, 500),
    Case("bystanders", "a job, with {size} idle workers around", 1_000, 100, rounds=3, quick=False),
    Case("deadline", "a job with a timeout", times=500),
    Case("flight", "a job, {size} of them at once", 100, 1_000),
    Case("group", "a group of {size} jobs", 10, 100),
    Case("group", "a group of {size} jobs", 100, 10, rounds=5),
    Case("stream", "a piece of a stream", times=3_200),
    Case("cancel", "the cancel of a running job, of {size}", 100),
    Case("cancel", "the cancel of a running job, of {size}", 1_000, rounds=3, quick=False),
    Case("many", "{size} jobs, one after the other", 10_000, rounds=2, quick=False),
    Case("many", "{size} jobs, one after the other", 100_000, rounds=1, quick=False, without=(THEIRS,)),
)
PAYLOAD = {"number": 1}


class Helper(BaseWorker):
    """Does all the jobs that are measured."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.running = self.gone = 0
        self.moved = trio.Event()

    @job
    async def echo(self, message: Any) -> dict[str, Any]:
        """Answer."""
        return {"number": message.payload["number"]}

    @job
    async def burst(self, message: Any) -> AsyncIterator[dict[str, Any]]:
        """Stream, never waiting."""
        for number in range(message.payload["number"]):
            yield {"number": number}

    @job
    async def trickle(self, message: Any) -> AsyncIterator[dict[str, Any]]:
        """Stream, with a turn for the others after each piece."""
        for number in range(message.payload["number"]):
            yield {"number": number}
            await trio.lowlevel.checkpoint()

    @job
    async def sleep(self, message: Any) -> None:
        """Run until it is cancelled."""
        self.running += 1
        self.moved.set()
        try:
            await trio.sleep_forever()
        finally:
            self.gone += 1
            self.moved.set()

    async def until(self, *, running: int = 0, gone: int = 0) -> None:
        """Wait until so many have begun, and so many are gone."""
        while self.running < running or self.gone < gone:
            self.moved = trio.Event()
            await self.moved.wait()


class Naive:
    """What one would write without a library: requests in a channel, a task and a scope for each, answers in a fresh channel."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.send, self.receive = trio.open_memory_channel[tuple[dict[str, Any], trio.MemorySendChannel[dict[str, Any]]]](inf)
        nursery.start_soon(self.serve)

    async def serve(self) -> None:
        """Start a task for each request."""
        async for payload, reply in self.receive:
            self.nursery.start_soon(self.run, payload, reply)

    async def run(self, payload: dict[str, Any], reply: trio.MemorySendChannel[dict[str, Any]]) -> None:
        """Answer one."""
        with trio.CancelScope():  # noqa: ASYNC100 - it is what it costs
            reply.send_nowait({"number": payload["number"]})

    async def ask(self) -> dict[str, Any]:
        """One round trip."""
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self.send.send_nowait((PAYLOAD, send))
        return await receive.receive()

    async def ask_all(self, count: int) -> None:
        """Several at once, one channel for all answers."""
        send, receive = trio.open_memory_channel[dict[str, Any]](count)
        for _ in range(count):
            self.send.send_nowait((PAYLOAD, send))
        for _ in range(count):
            await receive.receive()


@asynccontextmanager
async def naive() -> AsyncIterator[Naive]:
    """The naive dispatcher, running."""
    async with trio.open_nursery() as nursery:
        yield Naive(nursery)
        nursery.cancel_scope.cancel()


async def ask(asker: BaseWorker, times: int, timeout: float | None = None) -> None:
    """Ask one after the other."""
    for _ in range(times):
        async with asker.job("helper", name="echo", payload=PAYLOAD, timeout=timeout) as asking:
            pass
        assert asking.response == PAYLOAD


async def time_jobs(meter: Meter, idle: int, times: int, timeout: float | None = None) -> None:
    """Round trips with some bystanders."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Helper("helper"), *(BaseWorker(f"idle-{n}") for n in range(idle))):
        await ask(asker, 1, timeout)
        with meter.timing("round trip", times):
            await ask(asker, times, timeout)


@side(OURS, "job")
@side(OURS, "bystanders")
async def ours_job(meter: Meter, size: int, times: int) -> None:
    """As a block, answered by a coroutine."""
    await time_jobs(meter, size, times)


@side(OURS, "deadline")
async def ours_deadline(meter: Meter, size: int, times: int) -> None:
    """The same, with a deadline."""
    await time_jobs(meter, size, times, 60)


@side(FLOOR, "job")
@side(FLOOR, "bystanders")
async def floor_job(meter: Meter, size: int, times: int) -> None:
    """The naive job."""
    async with naive() as dispatcher:
        with meter.timing("round trip", times):
            for _ in range(times):
                await dispatcher.ask()


@side(FLOOR, "deadline")
async def floor_deadline(meter: Meter, size: int, times: int) -> None:
    """The naive job, with a deadline on the asker's side."""
    async with naive() as dispatcher:
        with meter.timing("round trip", times):
            for _ in range(times):
                with trio.fail_after(60):
                    await dispatcher.ask()


@side(OURS, "flight")
async def ours_flight(meter: Meter, size: int, times: int) -> None:
    """From so many tasks."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Helper("helper")):
        await ask(asker, 1)
        with meter.timing("round trip", times):
            async with trio.open_nursery() as nursery:
                for _ in range(size):
                    nursery.start_soon(ask, asker, times // size)


@side(FLOOR, "flight")
async def floor_flight(meter: Meter, size: int, times: int) -> None:
    """The naive job, from so many tasks."""
    async with naive() as dispatcher:

        async def ask_naive() -> None:
            for _ in range(times // size):
                await dispatcher.ask()

        with meter.timing("round trip", times):
            async with trio.open_nursery() as nursery:
                for _ in range(size):
                    nursery.start_soon(ask_naive)


@side(OURS, "group")
async def ours_group(meter: Meter, size: int, times: int) -> None:
    """One request to so many workers; all of it is one operation."""
    asker, helpers = BaseWorker("asker"), [Helper(f"helper-{n}") for n in range(size)]
    names = [helper.name for helper in helpers]
    async with open_runner(asker, *helpers):
        with meter.timing("until all have answered", times):
            for _ in range(times):
                async with asker.job_group(*names, name="echo", payload=PAYLOAD):
                    pass


@side(FLOOR, "group")
async def floor_group(meter: Meter, size: int, times: int) -> None:
    """Naive jobs that share the channel for their answers."""
    async with naive() as dispatcher:
        with meter.timing("until all have answered", times):
            for _ in range(times):
                await dispatcher.ask_all(size)


@side(OURS, "stream")
async def ours_stream(meter: Meter, size: int, times: int) -> None:
    """With a producer that never waits, and with one that gives others a turn after each piece."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Helper("helper")):
        for measure, name in (("in bursts", "burst"), ("the producer yields after each", "trickle")):
            pieces = 0
            with meter.timing(measure, times):
                async with asker.job("helper", name=name, payload={"number": times}) as asking:
                    async for _ in asking:
                        pieces += 1
            assert pieces == times + 2


@side(FLOOR, "stream")
async def floor_stream(meter: Meter, size: int, times: int) -> None:
    """A channel as deep as our window."""

    async def produce(send: trio.MemorySendChannel[dict[str, int]], yields: bool) -> None:
        async with send:
            for number in range(times):
                await send.send({"number": number})
                if yields:
                    await trio.lowlevel.checkpoint()

    for measure, yields in (("in bursts", False), ("the producer yields after each", True)):
        with meter.timing(measure, times):
            async with trio.open_nursery() as nursery:
                send, receive = trio.open_memory_channel[dict[str, int]](64)
                nursery.start_soon(produce, send, yields)
                async for _ in receive:
                    pass


@side(OURS, "cancel")
async def ours_cancel(meter: Meter, size: int, times: int) -> None:
    """One after the other until each handler is gone; then all at once."""
    asker, helper = BaseWorker("asker"), Helper("helper")
    async with open_runner(asker, helper):
        ids = [await asker.request_job("helper", name="sleep") for _ in range(size)]
        await helper.until(running=size)
        with meter.timing("one by one, until its handler is gone", size):
            for number, job_id in enumerate(ids):
                await asker.cancel_job_group(job_id)
                await helper.until(gone=number + 1)
        ids = [await asker.request_job("helper", name="sleep") for _ in range(size)]
        await helper.until(running=2 * size)
        with meter.timing("all at once", size):
            for job_id in ids:
                await asker.cancel_job_group(job_id)
            await helper.until(gone=2 * size)


class Sleepers:
    """Tasks with a scope each."""

    def __init__(self) -> None:
        self.scopes: list[trio.CancelScope] = []
        self.gone = 0
        self.moved = trio.Event()

    async def sleep(self) -> None:
        """Run until it is cancelled."""
        with trio.CancelScope() as scope:
            self.scopes.append(scope)
            try:
                await trio.sleep_forever()
            finally:
                self.gone += 1
                self.moved.set()

    async def until(self, gone: int) -> None:
        """Wait until so many are gone."""
        while self.gone < gone:
            self.moved = trio.Event()
            await self.moved.wait()


@side(FLOOR, "cancel")
async def floor_cancel(meter: Meter, size: int, times: int) -> None:
    """One after the other; then all at once."""
    async with trio.open_nursery() as nursery:
        for measure, together in (("one by one, until its handler is gone", False), ("all at once", True)):
            sleepers = Sleepers()
            for _ in range(size):
                nursery.start_soon(sleepers.sleep)
            await trio.testing.wait_all_tasks_blocked()
            with meter.timing(measure, size):
                for number, scope in enumerate(sleepers.scopes):
                    scope.cancel()
                    await sleepers.until(0 if together else number + 1)
                await sleepers.until(size)


@side(OURS, "many")
async def ours_many(meter: Meter, size: int, times: int) -> None:
    """Whether the last cost what the first did."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Helper("helper")):
        await ask(asker, 100)
        first = [await _hundred(asker) for _ in range(10)]
        await ask(asker, max(0, size - 2_100))
        last = [await _hundred(asker) for _ in range(10)]
    meter.note("one of the first 1,000", min(first), "us")
    meter.note("one of the last 1,000", min(last), "us")


async def _hundred(asker: BaseWorker) -> float:
    start = time.process_time()
    await ask(asker, 100)
    return (time.process_time() - start) * 1e4
