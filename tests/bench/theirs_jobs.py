"""Jobs: the reference's side. What :mod:`jobs` does, with pipecat."""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import time  # noqa: TID251 - it measures

from bench.harness import THEIRS, Meter, side
from bench.theirs_messages import house
from pipecat.pipeline.job_context import JobGroupParams, JobParams
from pipecat.pipeline.job_decorator import job
from pipecat.workers.base_worker import BaseWorker

PAYLOAD = {"number": 1}


class Helper(BaseWorker):
    """Does all the jobs that are measured."""

    def __init__(self, name):
        super().__init__(name)
        self.running = self.gone = 0
        self.moved = asyncio.Event()

    @job(name="echo")
    async def on_echo(self, message):
        """Answer."""
        await self.send_job_response(message.job_id, {"number": message.payload["number"]})

    async def _stream(self, message, yields):
        await self.send_job_stream_start(message.job_id)
        for number in range(message.payload["number"]):
            await self.send_job_stream_data(message.job_id, {"number": number})
            if yields:
                await asyncio.sleep(0)
        await self.send_job_stream_end(message.job_id)

    @job(name="burst")
    async def on_burst(self, message):
        """Stream, never waiting."""
        await self._stream(message, yields=False)

    @job(name="trickle")
    async def on_trickle(self, message):
        """Stream, with a turn for the others after each piece."""
        await self._stream(message, yields=True)

    @job(name="sleep")
    async def on_sleep(self, message):
        """Run until it is cancelled."""
        self.running += 1
        self.moved.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.gone += 1
            self.moved.set()

    async def until(self, *, running=0, gone=0):
        """Wait until so many have begun, and so many are gone."""
        while self.running < running or self.gone < gone:
            self.moved = asyncio.Event()
            await self.moved.wait()


async def ask(asker, times, timeout=None):
    """Ask one after the other."""
    for _ in range(times):
        async with asker.job("helper", params=JobParams(name="echo", payload=PAYLOAD, timeout=timeout)) as asking:
            pass
        assert asking.response == PAYLOAD


async def time_jobs(meter, idle, times, timeout=None):
    """Round trips with some bystanders."""
    asker = BaseWorker("asker")
    async with house(asker, Helper("helper"), idle=idle):
        await ask(asker, 1, timeout)
        with meter.timing("round trip", times):
            await ask(asker, times, timeout)


@side(THEIRS, "job")
@side(THEIRS, "bystanders")
async def theirs_job(meter: Meter, size, times):
    """As a block, answered by a coroutine."""
    await time_jobs(meter, size, times)


@side(THEIRS, "deadline")
async def theirs_deadline(meter: Meter, size, times):
    """The same, with a deadline."""
    await time_jobs(meter, size, times, 60)


@side(THEIRS, "flight")
async def theirs_flight(meter: Meter, size, times):
    """From so many tasks."""
    asker = BaseWorker("asker")
    async with house(asker, Helper("helper")):
        await ask(asker, 1)
        with meter.timing("round trip", times):
            await asyncio.gather(*(ask(asker, times // size) for _ in range(size)))


@side(THEIRS, "group")
async def theirs_group(meter: Meter, size, times):
    """One request to so many workers."""
    asker, helpers = BaseWorker("asker"), [Helper(f"helper-{n}") for n in range(size)]
    names = [helper.name for helper in helpers]
    async with house(asker, *helpers):
        with meter.timing("until all have answered", times):
            for _ in range(times):
                async with asker.job_group(*names, params=JobGroupParams(name="echo", payload=PAYLOAD)) as asking:
                    pass
        assert len(asking.responses) == size


@side(THEIRS, "stream")
async def theirs_stream(meter: Meter, size, times):
    """With a producer that never waits, and with one that gives others a turn after each piece."""
    asker = BaseWorker("asker")
    async with house(asker, Helper("helper")):
        for measure, name in (("in bursts", "burst"), ("the producer yields after each", "trickle")):
            pieces = 0
            with meter.timing(measure, times):
                async with asker.job("helper", params=JobParams(name=name, payload={"number": times})) as asking:
                    async for _ in asking:
                        pieces += 1
            assert pieces >= times


@side(THEIRS, "cancel")
async def theirs_cancel(meter: Meter, size, times):
    """One after the other until each handler is gone; then all at once."""
    asker, helper = BaseWorker("asker"), Helper("helper")
    async with house(asker, helper):
        ids = [await asker.request_job("helper", params=JobParams(name="sleep")) for _ in range(size)]
        await helper.until(running=size)
        with meter.timing("one by one, until its handler is gone", size):
            for number, job_id in enumerate(ids):
                await asker.cancel_job_group(job_id)
                await helper.until(gone=number + 1)
        ids = [await asker.request_job("helper", params=JobParams(name="sleep")) for _ in range(size)]
        await helper.until(running=2 * size)
        with meter.timing("all at once", size):
            for job_id in ids:
                await asker.cancel_job_group(job_id)
            await helper.until(gone=2 * size)


@side(THEIRS, "many")
async def theirs_many(meter: Meter, size, times):
    """Whether the last cost what the first did."""
    asker = BaseWorker("asker")
    async with house(asker, Helper("helper")):
        await ask(asker, 100)
        first = [await _hundred(asker) for _ in range(10)]
        await ask(asker, max(0, size - 2_100))
        last = [await _hundred(asker) for _ in range(10)]
    meter.note("one of the first 1,000", min(first), "us")
    meter.note("one of the last 1,000", min(last), "us")


async def _hundred(asker):
    start = time.process_time()
    await ask(asker, 100)
    return (time.process_time() - start) * 1e4
