"""A station that writes down what its transport tells it, and a runner's life on a transport."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from redis_support import until

from trioworkers.bus.remote.transport import Parcel, Transport


@attrs.define(eq=False)
class FakeStation:
    """Takes everything down.

    Args:
        incarnation: Its id.
        claims: The names it holds.
        log: What it was told, but for frames, in order.
        frames: The frames that have arrived.
        on_frame: What is done with a frame.
        present: The members it was told last, sorted.
        losses: How many times the connection was lost.
        prompt: Who is asked first to take what is to be sent.
        woken: How often somebody was woken to take something.
    """

    incarnation: str
    claims: list[str] = attrs.field(factory=list)
    leaving: trio.Event = attrs.field(factory=trio.Event)
    log: list[tuple[Any, ...]] = attrs.field(factory=list)
    frames: list[bytes] = attrs.field(factory=list)
    present: list[str] = attrs.field(factory=list)
    on_frame: Callable[[bytes], None] = attrs.field(init=False)
    online: bool = False
    losses: int = 0
    prompt: Callable[[], bool] | None = None
    woken: int = 0
    _waiting: deque[Parcel] = attrs.field(factory=deque)
    _given: list[Parcel] = attrs.field(factory=list)
    _filled: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.on_frame = self.frames.append

    def send(self, receiver: str, *frames: bytes, lane: int = 1) -> None:
        """Have frames to write."""
        self._waiting.extend(Parcel(receiver, lane, frame) for frame in frames)
        if self.prompt is None or not self.prompt():
            self._filled.set()

    def leave(self) -> None:
        """Want to leave."""
        self.leaving.set()
        self._filled.set()

    def acknowledged(self) -> None:
        """Everything that was given has arrived: it is not given again."""
        self._given.clear()

    async def wait_outgoing(self) -> None:
        """Wait for :meth:`send`, for :meth:`leave`, or for what has to be given again."""
        if not self._filled.is_set():
            await self._filled.wait()
        await trio.lowlevel.checkpoint_if_cancelled()  # no turn is given away if there is something: as the real one
        self.woken += 1

    def outgoing(self, limit: int) -> list[Parcel]:
        """Give the next ones."""
        parcels = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self._given += parcels
        if not self._waiting and self._filled.is_set():
            self._filled = trio.Event()
        return parcels

    def connected(self) -> None:
        """Write it down; have everything to write once more."""
        assert not self.online
        self.online = True
        self.log.append(("connected",))
        self._waiting.extendleft(reversed(self._given))
        self._given.clear()
        if self._waiting:
            self._filled.set()

    def disconnected(self, reason: str) -> None:
        """Write it down."""
        assert self.online
        self.online = False
        self.losses += 1
        self.log.append(("disconnected", reason))

    def arrived(self, frames: Iterable[bytes]) -> None:
        """Write it down."""
        for data in frames:
            self.on_frame(data)

    def members(self, present: Collection[str]) -> None:
        """Write it down, with how many frames had arrived."""
        self.present = sorted(present)
        self.log.append(("members", self.present, len(self.frames)))

    def unreachable(self, receiver: str) -> None:
        """Write it down."""
        self.log.append(("unreachable", receiver))


@attrs.define(eq=False)
class Life:
    """One run of a transport.

    Args:
        station: For whom.
        transport: The transport.
        error: What it has ended with, if with an error.
        ended: Whether it has ended.
    """

    station: FakeStation
    transport: Transport
    replaces: str | None = None
    error: Exception | None = None
    ended: bool = False
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def live(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until it ends or is cancelled by :meth:`crash`."""
        began = False

        class Status:
            def started(self, value: None = None) -> None:
                nonlocal began
                began = True
                task_status.started(value)

        try:
            with self.scope:
                await self.transport.run(self.station, replaces=self.replaces, task_status=Status())
        except Exception as error:
            if not began:
                raise
            self.error = error
        self.ended = True

    async def leave(self) -> None:
        """Leave, and wait until it has."""
        self.station.leave()
        await self.over()

    async def over(self) -> None:
        """Wait until it has ended."""
        await until(lambda: self.ended, "the end of a session")

    async def crash(self) -> None:
        """Be cancelled, and wait until it was."""
        self.scope.cancel()
        await self.over()


class Place:
    """Where lives are begun; whoever is left in the end is cancelled."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def begin(self, transport: Transport, incarnation: str, *claims: str, replaces: str | None = None) -> Life:
        """Begin a life; return when it has started."""
        life = Life(FakeStation(incarnation, list(claims)), transport, replaces)
        await self._nursery.start(life.live)
        return life


@asynccontextmanager
async def a_place() -> AsyncIterator[Place]:
    """A place for lives."""
    async with trio.open_nursery() as nursery:
        yield Place(nursery)
        nursery.cancel_scope.cancel()
