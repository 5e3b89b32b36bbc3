"""Small programs that are run under many schedules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

Program = Callable[[], Awaitable[Any]]
step = trio.lowlevel.checkpoint


@attrs.define(eq=False)
class Box:
    """Is full at some time; who finds it empty leaves a bell."""

    full: bool = False
    bell: trio.Event | None = None


async def lost_wakeup() -> None:
    """Between the look and the bell, the other one may have come and gone."""
    box = Box()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consumer, box)
        nursery.start_soon(producer, box)


async def consumer(box: Box) -> None:
    """Wait until the box is full."""
    if not box.full:
        await step()
        box.bell = trio.Event()
        await box.bell.wait()


async def producer(box: Box) -> None:
    """Fill the box."""
    await step()
    box.full = True
    if box.bell is not None:
        box.bell.set()


async def steps(count: int) -> None:
    """So many checkpoints."""
    for _ in range(count):
        await step()


async def counts_of_steps(*counts: int) -> None:
    """Tasks that do nothing but so many checkpoints each."""
    async with trio.open_nursery() as nursery:
        for number, count in enumerate(counts):
            nursery.start_soon(steps, count, name="abcdefgh"[number])


async def mixed() -> str:
    """Some of everything: checkpoints, sleep, channels, timeouts, tasks that start tasks."""
    said: list[str] = []
    send, receive = trio.open_memory_channel[str](1)

    async def talk(name: str, pause: float) -> None:
        async with send.clone() as mine:
            for number in range(3):
                await trio.sleep(pause)
                await mine.send(f"{name}{number}")

    async def listen() -> None:
        async for word in receive:
            said.append(word)
            await step()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        async with send, trio.open_nursery() as talkers:
            for name, pause in (("a", 0.0), ("b", 0.0), ("c", 1.0)):
                talkers.start_soon(talk, name, pause, name=name)
            with trio.move_on_after(1):
                await trio.sleep_forever()
    return " ".join(said)
