"""A bus that spans runners within one process, in virtual time: a model of a server, and a transport to it that can fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from trioworkers import BusMessage
from trioworkers.bus.remote import NameTakenError, Parcel, RemoteBus, SessionOver, Station, Transport
from trioworkers.errors import BusConnectionError
from trioworkers.wire.packed import PackedCodec

BEAT = 1.0
TTL = 5.0
OUTAGE = 30.0
BATCH = 256


class LineLostError(Exception):
    """The line to the server is broken."""


@attrs.define(eq=False)
class Server:
    """What a server knows: who is a member, who holds which name, what lies in whose inbox.

    Args:
        latency: Virtual seconds from a writer to the server, and from there to a reader.
    """

    latency: float = 0.001
    members: dict[str, float] = attrs.field(factory=dict)
    names: dict[str, str] = attrs.field(factory=dict)
    inboxes: dict[str, tuple[deque[bytes], deque[bytes]]] = attrs.field(factory=dict)
    epoch: int = 0
    is_up: bool = True
    swept: float = 0.0
    news: trio.Event = attrs.field(factory=trio.Event)
    frames: int = 0
    lose_next: int = 0
    double_next: int = 0

    def tell(self) -> None:
        """Something has changed."""
        self.news.set()
        self.news = trio.Event()

    def crash(self, *, keep: bool) -> None:
        """Go down; without persistence, everything is forgotten."""
        self.is_up = False
        if not keep:
            self.members.clear()
            self.names.clear()
            self.inboxes.clear()
            self.epoch += 1
        self.tell()

    def restart(self) -> None:
        """Be up again."""
        self.is_up = True
        self.tell()

    def join(self, incarnation: str, names: Collection[str], replaces: str | None) -> None:
        """Make it a member, with these names, or not at all."""
        if replaces is not None:
            self.remove(replaces)
        for name in names:
            self.check(name, incarnation)
        self.members[incarnation] = trio.current_time()
        self.inboxes[incarnation] = deque(), deque()
        self.names |= dict.fromkeys(names, incarnation)
        self.tell()

    def check(self, name: str, incarnation: str) -> None:
        """Raise if somebody else has the name."""
        owner = self.names.get(name, incarnation)
        if owner != incarnation:
            raise NameTakenError(name, owner)

    def remove(self, incarnation: str) -> None:
        """It is no member any more."""
        self.members.pop(incarnation, None)
        self.inboxes.pop(incarnation, None)
        for name in [name for name, owner in self.names.items() if owner == incarnation]:
            del self.names[name]
        self.tell()

    def beat(self, incarnation: str, epoch: int) -> None:
        """It is alive; are the others?"""
        if epoch != self.epoch:
            raise SessionOver("the server has lost what it knew")
        if incarnation not in self.members:
            raise SessionOver("it was taken for dead")
        self.sweep(incarnation)

    def sweep(self, *alive: str) -> None:
        """Who has been silent for too long is no member any more; whoever comes by, does this."""
        now = trio.current_time()
        if now - self.swept > TTL / 2:  # nobody has looked for a while: it was the server that was away
            self.members |= dict.fromkeys(self.members, now)
        self.swept = now
        self.members |= dict.fromkeys(alive, now)
        for other in [other for other, last in self.members.items() if now - last > TTL]:
            self.remove(other)

    def write(self, parcel: Parcel) -> bool:
        """Put a frame into an inbox; return whether there is one."""
        self.frames += 1
        inboxes = self.inboxes.get(parcel.receiver)
        if inboxes is None:
            return False
        if self.lose_next:
            self.lose_next -= 1
            return True
        copies = 1
        if self.double_next:
            self.double_next -= 1
            copies = 2
        inboxes[parcel.lane].extend([parcel.data] * copies)
        self.tell()
        return True


@attrs.define(eq=False)
class MemoryTransport(Transport):
    """One runner's way to the server.

    Args:
        server: The server.
    """

    server: Server
    is_cut: bool = False
    is_paused: bool = False
    _station: Station | None = None
    _epoch: int = 0
    _online: bool = False
    _released: dict[str, None] = attrs.field(factory=dict)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, station: Station, *, replaces: str | None, task_status: trio.TaskStatus[None]) -> None:
        """Be a member."""
        await self._join(station, replaces)
        self._station, self._epoch, self._online = station, self.server.epoch, True
        try:
            station.members(tuple(self.server.members))
            station.connected()
            task_status.started()
            while not await self._serve(station):
                self._online = False
                station.disconnected("the line is lost")
                await self._reconnect(station)
                station.connected()
        finally:
            self._station, self._online = None, False

    async def _join(self, station: Station, replaces: str | None) -> None:
        seen: dict[str, float] = {}
        while True:
            await self._frozen()
            await trio.sleep(self.server.latency)
            if self.is_cut or not self.server.is_up:
                raise BusConnectionError("the server cannot be reached")
            try:
                self.server.join(station.incarnation, station.claims, replaces)
            except NameTakenError as error:
                if seen.setdefault(error.owner, self._last_beat(error.owner)) != self._last_beat(error.owner):
                    raise
                await trio.sleep(BEAT / 2)
                self.server.sweep()
            else:
                return

    def _last_beat(self, incarnation: str) -> float:
        return self.server.members.get(incarnation, -1.0)

    async def _reconnect(self, station: Station) -> None:
        lost = trio.current_time()
        while self.is_cut or not self.server.is_up:
            await trio.sleep(BEAT / 10)
            if trio.current_time() - lost > OUTAGE:
                raise SessionOver(f"the server could not be reached for {OUTAGE:g} s")
        await self._frozen()
        self.server.beat(station.incarnation, self._epoch)
        self._online = True
        released, self._released = self._released, {}
        self.release(list(released))

    async def _serve(self, station: Station) -> bool:
        """Use the line until it is lost; return whether the station has left in order."""
        ends: list[BaseException | None] = []
        async with trio.open_nursery() as nursery:

            async def part(work: Callable[[Station], Awaitable[None]]) -> None:
                end: BaseException | None = None
                try:
                    await work(station)
                except (LineLostError, SessionOver) as error:
                    end = error
                ends.append(end)
                nursery.cancel_scope.cancel()

            for work in (self._read, self._beat, self._write):
                nursery.start_soon(part, work)
        for end in ends:
            if isinstance(end, SessionOver):
                raise end
        return None in ends

    async def _write(self, station: Station) -> None:
        while not station.leaving.is_set():
            await station.wait_outgoing()
            if parcels := station.outgoing(BATCH):
                await self._put(station, parcels)
        while parcels := station.outgoing(BATCH):
            await self._put(station, parcels)
        await self._frozen()
        self._check()
        self.server.remove(station.incarnation)

    async def _put(self, station: Station, parcels: Sequence[Parcel]) -> None:
        await self._frozen()
        await trio.sleep(self.server.latency)
        self._check()
        lost = [parcel.receiver for parcel in parcels if not self.server.write(parcel)]
        await trio.sleep(self.server.latency)
        self._check()  # what was written and not answered will be written again
        for receiver in dict.fromkeys(lost):
            station.unreachable(receiver)

    async def _read(self, station: Station) -> None:
        present: tuple[str, ...] = ()
        while True:
            await self._frozen()
            news = self.server.news
            self._check()
            now = tuple(self.server.members)
            frames = [queue.popleft() for queue in self.server.inboxes.get(station.incarnation, ()) for _ in range(len(queue))]
            if frames:
                await trio.sleep(self.server.latency)
            station.arrived(frames)
            if now != present and station.incarnation in now:
                present = now
                station.members(now)
            if not frames:
                await news.wait()

    async def _beat(self, station: Station) -> None:
        while True:
            self._check()
            self.server.beat(station.incarnation, self._epoch)
            await trio.sleep(BEAT)
            await self._frozen()

    async def _frozen(self) -> None:
        while self.is_paused:
            await self._changed.wait()

    def _check(self) -> None:
        if self.is_cut or not self.server.is_up:
            raise LineLostError

    # -- names -------------------------------------------------------------------------------------------------------------

    async def claim(self, name: str) -> None:
        """Hold a name."""
        station = self._station
        await trio.lowlevel.checkpoint()
        heard: float | None = None
        while True:
            if station is None or self._station is not station:
                raise SessionOver("another incarnation")
            if self._online and not (self.is_cut or self.is_paused):
                self._released.pop(name, None)
                try:
                    self.server.check(name, station.incarnation)
                except NameTakenError as error:
                    last = self.server.members[error.owner]
                    if heard is not None and last > heard:
                        raise
                    heard = last
                else:
                    self.server.names[name] = station.incarnation
                    return
            await trio.sleep(BEAT)

    def release(self, names: Sequence[str]) -> None:
        """Give names back, as soon as there is a line."""
        station = self._station
        for name in names:
            if not self._online:
                self._released[name] = None
            elif station is not None and name not in station.claims and self.server.names.get(name) == station.incarnation:
                del self.server.names[name]

    # -- faults ------------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """The line is broken."""
        self.is_cut = True
        self.server.tell()

    def mend(self) -> None:
        """It can be had again."""
        self.is_cut = False

    def pause(self) -> None:
        """The process does nothing on its lines."""
        self.is_paused = True

    def resume(self) -> None:
        """It goes on."""
        self.is_paused = False
        changed, self._changed = self._changed, trio.Event()
        changed.set()


class MemoryBus(RemoteBus):
    """A bus over a :class:`MemoryTransport`."""

    def __init__(self, server: Server, *, types: dict[str, type[BusMessage]] | None = None, **options: Any) -> None:
        self.way = MemoryTransport(server)
        super().__init__(self.way, PackedCodec(types), **options)


@contextmanager
def no_server(server: Server, *, keep: bool) -> Iterator[None]:
    """The server is down during the block."""
    server.crash(keep=keep)
    try:
        yield
    finally:
        server.restart()
