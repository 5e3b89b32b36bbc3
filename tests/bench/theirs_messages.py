"""Messages: the reference's side. What :mod:`messages` does, with pipecat, whose logger is silent."""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass

from loguru import logger

logger.remove()

from bench.harness import THEIRS, Meter, Moment, side
from pipecat.bus import BusDataMessage, BusSystemMessage
from pipecat.workers.base_worker import BaseWorker
from pipecat.workers.runner import WorkerRunner

BURST = 64


@dataclass(kw_only=True)
class Note(BusDataMessage):
    """Something to be told."""

    number: int = 0


@dataclass(kw_only=True)
class Alarm(BusSystemMessage):
    """Something to be told first."""


@asynccontextmanager
async def house(*workers, idle=0):
    """A runner with these workers running, and bystanders that are merely attached: its bus would have each message seen by all."""
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(*workers)
    running = asyncio.create_task(runner.run(auto_end=False))
    while not all(worker.started_at for worker in workers):
        await asyncio.sleep(0)
    for n in range(idle):
        await BaseWorker(f"idle-{n}").attach(registry=runner.registry, bus=runner.bus, worker_runner=runner)
    yield runner
    await runner.cancel()
    await running


class Sink(BaseWorker):
    """Counts what comes."""

    def __init__(self, name):
        super().__init__(name)
        self.handled = self.wanted = self.before = self.nap = 0
        self.enough = asyncio.Event()
        self.alarmed = asyncio.Event()
        self.seen = Moment()

    def want(self, count):
        """An event for when so many more have come."""
        self.wanted, self.enough = self.handled + count, asyncio.Event()
        return self.enough

    async def on_bus_message(self, message):
        """Count, or look at the clock."""
        await super().on_bus_message(message)
        if message.target not in {None, self.name}:
            return
        if isinstance(message, Note):
            self.handled += 1
            if self.handled == self.wanted:
                self.enough.set()
            if self.nap:
                await asyncio.sleep(self.nap)
        elif isinstance(message, Alarm):
            self.before, self.seen = self.handled, Moment()
            self.alarmed.set()


@side(THEIRS, "message")
async def theirs_message(meter: Meter, size, times):
    """Its `send` is both our `post` and our `send`: it neither waits nor yields."""
    sink = Sink("sink")
    async with house(sink, idle=size - 1) as runner:
        for measure in ("post", "send"):
            enough = sink.want(times)
            with meter.timing(measure, times):
                for n in range(times):
                    await runner.bus.send(Note(source="me", target="sink", number=n))
                    if n % BURST == 0:
                        await asyncio.sleep(0)
                await enough.wait()
        with meter.timing("send, and wait until it is handled", times // 8):
            for n in range(times // 8):
                enough = sink.want(1)
                await runner.bus.send(Note(source="me", target="sink", number=n))
                await enough.wait()


@side(THEIRS, "broadcast")
async def theirs_broadcast(meter: Meter, size, times):
    """To workers that all listen."""
    sinks = [Sink(f"sink-{n}") for n in range(size)]
    async with house(*sinks) as runner:
        events = [sink.want(times) for sink in sinks]
        with meter.timing("all have handled it", times):
            for n in range(times):
                await runner.bus.send(Note(source="me", number=n))
                if n % BURST == 0:
                    await asyncio.sleep(0)
            for event in events:
                await event.wait()


@side(THEIRS, "urgent")
async def theirs_urgent(meter: Meter, size, times):
    """How long it takes, and how many of the others are handled first."""
    sink = Sink("sink")
    async with house(sink) as runner:
        enough = sink.want(size)
        for n in range(size):
            await runner.bus.send(Note(source="me", target="sink", number=n))
        await asyncio.sleep(0)
        start = Moment()
        await runner.bus.send(Alarm(source="me", target="sink"))
        await sink.alarmed.wait()
        meter.note_moment("until it is handled", start, sink.seen)
        meter.note("handled before it", sink.before, "messages")
        await enough.wait()


@side(THEIRS, "busy")
async def theirs_busy(meter: Meter, size, times):
    """The least of a few, for it is short."""
    sink = Sink("sink")
    took = []
    async with house(sink) as runner:
        sink.nap = 0.05
        for _ in range(times):
            begun = sink.want(1)
            await runner.bus.send(Note(source="me", target="sink"))
            await begun.wait()
            sink.alarmed = asyncio.Event()
            start = Moment()
            await runner.bus.send(Alarm(source="me", target="sink"))
            await sink.alarmed.wait()
            took.append((start, sink.seen))
    meter.note_moment("until it is handled", *min(took, key=lambda span: span[1].cpu - span[0].cpu))


@side(THEIRS, "bystander")
async def theirs_bystander(meter: Meter, size, times):
    """How long a task that only wants its turn has to wait for it."""
    sink = Sink("sink")
    async with house(sink) as runner:
        enough, moments = sink.want(size), []

        async def stand_by():
            while not enough.is_set():
                moments.append(Moment())
                await asyncio.sleep(0)
            moments.append(Moment())

        standing = asyncio.create_task(stand_by())
        await asyncio.sleep(0)
        for n in range(size):
            await runner.bus.send(Note(source="me", target="sink", number=n))
        await enough.wait()
        await standing
    meter.note_pauses(moments)
