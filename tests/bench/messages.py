"""Messages: this library's side, and bare trio's."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Any

import attrs
import trio
import trio.testing
from bench.harness import FLOOR, OURS, THEIRS, Case, Meter, Moment, side

from trioworkers import BaseWorker, BusDataMessage, BusSystemMessage, handles, open_runner

BURST = 64
CASES = (
    Case("message", "a message to one of {size} workers", 2, 6_400),
    Case("message", "a message to one of {size} workers", 10, 6_400),
    Case("message", "a message to one of {size} workers", 100, 1_280),
    Case("message", "a message to one of {size} workers", 1_000, 640, rounds=3, quick=False),
    Case("message", "a message to one of {size} workers", 10_000, 6_400, rounds=3, quick=False, without=(THEIRS,)),
    Case("broadcast", "a broadcast to {size} workers", 100, 192),
    Case("urgent", "a system message behind {size} others", 10_000, rounds=5),
    Case("urgent", "a system message behind {size} others", 100_000, rounds=3, quick=False),
    Case("busy", "a system message while a data hook sleeps 50 ms", times=10, rounds=3),
    Case("bystander", "a bystander while somebody sends {size} messages", 20_000, rounds=5),
)


@attrs.frozen(kw_only=True)
class Note(BusDataMessage):
    """Something to be told."""

    number: int = 0


@attrs.frozen(kw_only=True)
class Alarm(BusSystemMessage):
    """Something to be told first."""


class Sink(BaseWorker):
    """Counts what comes."""

    handled = 0
    wanted = 0
    before = 0
    nap = 0.0

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.enough = trio.Event()
        self.alarmed = trio.Event()
        self.seen = Moment()

    def want(self, count: int) -> trio.Event:
        """An event for when so many more have come."""
        self.wanted, self.enough = self.handled + count, trio.Event()
        return self.enough

    @handles(Note)
    async def note(self, message: Note) -> None:
        """Count."""
        self.handled += 1
        if self.handled == self.wanted:
            self.enough.set()
        if self.nap:
            await trio.sleep(self.nap)

    @handles(Alarm)
    async def alarm(self, message: Alarm) -> None:
        """Look at the clock."""
        self.before, self.seen = self.handled, Moment()
        self.alarmed.set()


@side(OURS, "message")
async def ours_message(meter: Meter, size: int, times: int) -> None:
    """Post in bursts; send one by one; send and wait until it was handled."""
    sink = Sink("sink")
    async with open_runner(sink, *(BaseWorker(f"idle-{n}") for n in range(size - 1))) as runner:
        bus = runner.bus
        enough = sink.want(times)
        with meter.timing("post", times):
            for n in range(times):
                bus.post(Note(source="me", target="sink", number=n))
                if n % BURST == 0:
                    await trio.lowlevel.checkpoint()
            await enough.wait()
        enough = sink.want(times)
        with meter.timing("send", times):
            for n in range(times):
                await bus.send(Note(source="me", target="sink", number=n))
            await enough.wait()
        with meter.timing("send, and wait until it is handled", times // 8):
            for n in range(times // 8):
                enough = sink.want(1)
                await bus.send(Note(source="me", target="sink", number=n))
                await enough.wait()


class Drained:
    """A memory channel, and a task that takes out whatever is in it."""

    def __init__(self, size: float) -> None:
        self.send, self.receive = trio.open_memory_channel[dict[str, Any]](size)
        self.seen, self.wanted, self.enough = 0, -1, trio.Event()

    def want(self, count: int) -> trio.Event:
        """An event for when so many more have come."""
        self.wanted, self.enough = self.seen + count, trio.Event()
        return self.enough

    async def drain(self) -> None:
        """Wait for one; take all that are there."""
        while True:
            await self.receive.receive()
            self.seen += 1
            with suppress(trio.WouldBlock):
                while True:
                    self.receive.receive_nowait()
                    self.seen += 1
            if self.seen == self.wanted:
                self.enough.set()


@side(FLOOR, "message")
async def floor_message(meter: Meter, size: int, times: int) -> None:
    """A memory channel: drained in bursts; sent to one by one; an event for what was handled."""
    loose, tight = Drained(inf), Drained(BURST)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loose.drain)
        nursery.start_soon(tight.drain)
        await trio.testing.wait_all_tasks_blocked()
        enough = loose.want(times)
        with meter.timing("post", times):
            for n in range(times):
                loose.send.send_nowait({"number": n})
                if n % BURST == 0:
                    await trio.lowlevel.checkpoint()
            await enough.wait()
        enough = tight.want(times)
        with meter.timing("send", times):
            for n in range(times):
                await tight.send.send({"number": n})
            await enough.wait()
        with meter.timing("send, and wait until it is handled", times // 8):
            for n in range(times // 8):
                enough = loose.want(1)
                loose.send.send_nowait({"number": n})
                await enough.wait()
        nursery.cancel_scope.cancel()


@side(OURS, "broadcast")
async def ours_broadcast(meter: Meter, size: int, times: int) -> None:
    """To workers that all listen; a whole broadcast is one operation."""
    sinks = [Sink(f"sink-{n}") for n in range(size)]
    async with open_runner(*sinks) as runner:
        events = [sink.want(times) for sink in sinks]
        with meter.timing("all have handled it", times):
            for n in range(times):
                await runner.bus.send(Note(source="me", number=n))
            for event in events:
                await event.wait()


@side(FLOOR, "broadcast")
async def floor_broadcast(meter: Meter, size: int, times: int) -> None:
    """One channel for each."""
    channels = [trio.open_memory_channel[int](inf) for _ in range(size)]

    async def drain(receive: trio.MemoryReceiveChannel[int]) -> None:
        for _ in range(times):
            try:
                receive.receive_nowait()
            except trio.WouldBlock:
                await receive.receive()

    with meter.timing("all have handled it", times):
        async with trio.open_nursery() as nursery:
            for _, receive in channels:
                nursery.start_soon(drain, receive)
            for n in range(times):
                for send, _ in channels:
                    send.send_nowait(n)
                if n % 32 == 0:
                    await trio.lowlevel.checkpoint()


@side(OURS, "urgent")
async def ours_urgent(meter: Meter, size: int, times: int) -> None:
    """How long it takes, and how many of the others are handled first."""
    sink = Sink("sink")
    async with open_runner(sink) as runner:
        enough = sink.want(size)
        for n in range(size):
            runner.bus.post(Note(source="me", target="sink", number=n))
        start = Moment()
        runner.bus.post(Alarm(source="me", target="sink"))
        await sink.alarmed.wait()
        meter.note_moment("until it is handled", start, sink.seen)
        meter.note("handled before it", sink.before, "messages")
        await enough.wait()


@side(OURS, "busy")
async def ours_busy(meter: Meter, size: int, times: int) -> None:
    """The least of a few, for it is short."""
    sink = Sink("sink")
    sink.nap = 0.05
    took: list[tuple[Moment, Moment]] = []
    async with open_runner(sink) as runner:
        for _ in range(times):
            begun = sink.want(1)
            runner.bus.post(Note(source="me", target="sink"))
            await begun.wait()
            sink.alarmed = trio.Event()
            start = Moment()
            runner.bus.post(Alarm(source="me", target="sink"))
            await sink.alarmed.wait()
            took.append((start, sink.seen))
    meter.note_moment("until it is handled", *min(took, key=lambda span: span[1].cpu - span[0].cpu))


@side(OURS, "bystander")
async def ours_bystander(meter: Meter, size: int, times: int) -> None:
    """How long a task that only wants its turn has to wait for it."""
    sink = Sink("sink")
    async with open_runner(sink) as runner, trio.open_nursery() as nursery:
        enough, moments = sink.want(size), list[Moment]()

        async def stand_by() -> None:
            while True:
                moments.append(Moment())
                await trio.lowlevel.checkpoint()

        nursery.start_soon(stand_by)
        await trio.lowlevel.checkpoint()
        for n in range(size):
            await runner.bus.send(Note(source="me", target="sink", number=n))
        await enough.wait()
        nursery.cancel_scope.cancel()
    meter.note_pauses(moments)
