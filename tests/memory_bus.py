"""A bus that spans runners within one process, in virtual time: a model of a server, and a transport to it that can fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs
import trio

from trioworkers.bus.remote import NameTakenError, Parcel, RemoteBus, SessionOver, Station, Transport
from trioworkers.errors import BusConnectionError
from trioworkers.wire.packed import PackedCodec

BEAT = 1.0
TTL = 5.0
OUTAGE = 30.0


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

    def join(self, incarnation: str, names: Sequence[str], replaces: str | None) -> None:
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
        now = trio.current_time()
        if now - self.swept > TTL / 2:  # nobody has looked for a while: it was the server that was away
            self.members |= dict.fromkeys(self.members, now)
        self.swept = now
        self.members[incarnation] = now
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
    _session: Station | None = None
    _over: SessionOver | None = None
    _epoch: int = 0
    _connected: trio.Event = attrs.field(factory=trio.Event)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, station: Station, *, replaces: str | None, task_status: trio.TaskStatus[None]) -> None:
        """Be a member."""
        self._check()
        await trio.sleep(self.server.latency)
        self._check()
        self.server.join(station.incarnation, list(station.claims), replaces)
        self._session, self._epoch = station, self.server.epoch
        try:
            while not await self._connection(station, task_status):
                task_status = trio.TASK_STATUS_IGNORED
                self._connected = trio.Event()
                station.disconnected("the line is cut")
                await self._reconnect(station)
        finally:
            self._session = None

    async def _reconnect(self, station: Station) -> None:
        lost = trio.current_time()
        while self.is_cut or not self.server.is_up:
            await trio.sleep(0.1)
            if trio.current_time() - lost > OUTAGE:
                raise SessionOver(f"the server could not be reached for {OUTAGE:g} s")
        self.server.beat(station.incarnation, self._epoch)

    async def _connection(self, station: Station, task_status: trio.TaskStatus[None]) -> bool:
        """Return whether it has left in order."""
        station.members(tuple(self.server.members))
        station.connected()
        self._connected.set()
        task_status.started()
        outcome: BaseException | None = None
        left = False
        async with trio.open_nursery() as nursery:
            try:
                for task in (self._read, self._write, self._beat):
                    nursery.start_soon(self._until_lost, task, station, nursery.cancel_scope)
                await station.leaving.wait()
                nursery.cancel_scope.shield = True
                await self._flush(station)
                left = True
            except LineLostError:
                pass
            except SessionOver as error:
                outcome = error
            nursery.cancel_scope.cancel()
        if self._over is not None:
            over, self._over = self._over, None
            raise over
        if outcome is not None:
            raise outcome
        return left

    async def _until_lost(self, task: Callable[[Station], Awaitable[None]], station: Station, scope: trio.CancelScope) -> None:
        try:
            await task(station)
        except LineLostError:
            scope.cancel()
        except SessionOver as error:
            self._over = error
            scope.cancel()

    async def _flush(self, station: Station) -> None:
        while parcels := station.outgoing(256):
            await self._put(station, parcels)
        self._check()
        self.server.remove(station.incarnation)

    async def _write(self, station: Station) -> None:
        while True:
            await station.wait_outgoing()
            await self._awake()
            await self._put(station, station.outgoing(256))

    async def _put(self, station: Station, parcels: list[Parcel]) -> None:
        await trio.sleep(self.server.latency)
        self._check()
        for parcel in parcels:
            if not self.server.write(parcel):
                station.unreachable(parcel.receiver)

    async def _read(self, station: Station) -> None:
        present: tuple[str, ...] = ()
        while True:
            await self._awake()
            news = self.server.news
            self._check()
            now = tuple(self.server.members)
            inboxes = self.server.inboxes.get(station.incarnation)
            frames = [queue.popleft() for queue in inboxes or () for _ in range(len(queue))]
            if frames:
                await trio.sleep(self.server.latency)
            for frame in frames:
                station.arrived(frame)
            if now != present:
                present = now
                if station.incarnation in now:
                    station.members(now)
            if not frames:
                await news.wait()

    async def _beat(self, station: Station) -> None:
        while True:
            self._check()
            self.server.beat(station.incarnation, self._epoch)
            await trio.sleep(BEAT)
            await self._awake()

    async def _awake(self) -> None:
        while self.is_paused:
            await self._changed.wait()

    def _check(self) -> None:
        if self.is_cut or not self.server.is_up:
            if self._session is None:
                raise BusConnectionError("the server cannot be reached")
            raise LineLostError

    async def claim(self, name: str) -> None:
        """Hold a name."""
        session = self._session
        await trio.lowlevel.checkpoint()
        while True:
            if session is None or self._session is not session:
                raise SessionOver("another incarnation")
            try:
                self._check()
                break
            except LineLostError:
                await trio.sleep(0.1)
        while True:
            try:
                self.server.check(name, session.incarnation)
                break
            except NameTakenError as error:
                last = self.server.members.get(error.owner)
                await trio.sleep(BEAT)
                if self.server.members.get(error.owner) not in (last, None):
                    raise
        self.server.names[name] = session.incarnation

    def release(self, names: Sequence[str]) -> None:
        """Give names back."""
        session = self._session
        for name in names:
            if session is not None and name not in session.claims and self.server.names.get(name) == session.incarnation:
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
        """The process does nothing."""
        self.is_paused = True

    def resume(self) -> None:
        """It goes on."""
        self.is_paused = False
        changed, self._changed = self._changed, trio.Event()
        changed.set()


class MemoryBus(RemoteBus):
    """A bus over a :class:`MemoryTransport`."""

    def __init__(self, server: Server, **options: object) -> None:
        self.way = MemoryTransport(server)
        super().__init__(self.way, PackedCodec(), **options)  # type: ignore[arg-type]


@contextmanager
def no_server(server: Server, *, keep: bool) -> Iterator[None]:
    """The server is down during the block."""
    server.crash(keep=keep)
    try:
        yield
    finally:
        server.restart()
