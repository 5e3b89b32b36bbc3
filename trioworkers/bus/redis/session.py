"""One incarnation's membership, across connections: joining, serving, looking again whether one is still a member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from ..._leaves import leaves
from ..._sources import random_name
from ...errors import BusConnectionError
from ..remote.transport import SessionOver, Station
from .book import Book, Joined, OtherProtocol, Taken
from .claims import Claims, Verdict
from .line import LineLost, RedisLine
from .reading import Reading
from .roster import Roster
from .writing import Writing

LONGEST_READ: Final = 10.0


@attrs.define(eq=False)
class Session:
    """What one incarnation knows and does, whichever lines it has.

    Args:
        station: Who.
        book: Where it is a member.
        beat: How many seconds lie between two signs of life.
        batch: How many frames to take from the station at once.
        protocol: What it speaks.
        replaces: Whom it replaces.
        tell_started: Called once, when it is a member and frames flow.
        connected: Whether the station was told so last.
        left: Whether it has left.
    """

    station: Station
    _book: Book
    _beat: float
    _batch: int
    _protocol: int
    _replaces: str | None
    _tell_started: Callable[[], None]
    _started: bool = attrs.field(default=False, init=False)
    connected: bool = attrs.field(default=False, init=False)
    left: bool = attrs.field(default=False, init=False)
    claims: Claims = attrs.field(init=False)
    _epoch: str | None = attrs.field(default=None, init=False)
    _roster: Roster = attrs.field(init=False)
    _reading: Reading = attrs.field(init=False)
    _writing: Writing = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.claims = Claims(self._book, self.station, self._beat / 2)
        self._roster = Roster(self.station.incarnation, self.station.members)
        block = min(2 * self._beat, LONGEST_READ)
        self._reading = Reading(self._book.keys, self.station, self._roster, block, self._book.ttl / 2)
        self._writing = Writing(self._book, self.station, self._reading, self._batch)

    @property
    def member(self) -> bool:
        """Whether it has joined, be it over by now or not."""
        return self._epoch is not None

    async def begin(self, line: RedisLine) -> None:
        """Become a member; or, if it was one, find out whether it still is.

        Raises:
            SessionOver: It is not.
            NameTakenError: It cannot be: one of its names is taken.
            BusConnectionError: It cannot be: the members speak another protocol.
            LineLost: The line is lost.
        """
        if self._epoch is None:
            await self._join(line)
            return
        try:
            self._roster.compare(await self._book.beat(line, self._epoch))
        except SessionOver:
            if not self._writing.goodbye:
                raise
            self.left = True
        self._roster.stale = True  # a server that has lost its last second may count to the same generation twice

    async def serve(self, reading: RedisLine, writing: RedisLine) -> None:
        """Read, write and beat until it has left.

        Raises:
            SessionOver: It is no member any more.
            LineLost: One of the lines is lost.
        """
        raised: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._reading.use(reading)  # before anything is written: what is written may give the next read
                self._connect(writing)
                for line in (reading, writing):
                    nursery.start_soon(_raise_loss, line)
                nursery.start_soon(self._reading.run, reading)
                nursery.start_soon(self._go_on_beating, writing)
                nursery.start_soon(self.claims.run, writing)
                await self._writing.run(writing)
                self.left = True
                nursery.cancel_scope.cancel(reason="left")
        except BaseExceptionGroup as group:
            raised = gravest(group)
        if isinstance(raised, SessionOver) and self._writing.goodbye:  # we have read of our own leave before its reply was there
            self.left = True
        elif raised is not None:  # not in the `except`, where it would get another context
            raise raised

    def disconnect(self, reason: str) -> None:
        """Tell the station that the connection is lost."""
        self.connected = False
        self.station.disconnected(reason)

    async def _join(self, line: RedisLine) -> None:
        verdict = Verdict()
        token = random_name("epoch")
        while True:
            names = list(self.station.claims)
            reply = await self._book.join(line, names, token=token, protocol=self._protocol, replaces=self._replaces)
            if isinstance(reply, Joined):
                self._epoch = reply.epoch
                self._reading.begin(reply.news)
                self._roster.fetched(reply.generation, reply.members)
                return
            if isinstance(reply, OtherProtocol):
                raise BusConnectionError(f"the others speak protocol {reply.protocol} and this one speaks {self._protocol}")
            await self._wait_for(reply, verdict)

    async def _wait_for(self, taken: Taken, verdict: Verdict) -> None:
        verdict.look(taken)
        await trio.sleep(self._beat / 2)

    def _connect(self, line: RedisLine) -> None:
        self.connected = True
        self.claims.connected(line)
        self.station.connected()
        if not self._started:
            self._started = True
            self._tell_started()

    async def _go_on_beating(self, line: RedisLine) -> None:
        assert self._epoch is not None  # noqa: S101 - whoever serves has joined
        while True:
            await trio.sleep(self._beat)
            self._roster.compare(await self._book.beat(line, self._epoch))


async def _raise_loss(line: RedisLine) -> None:
    raise await line.wait_lost()


def gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what ended a session: an error that nobody expects, else that it is over, else that a line is lost."""
    found = [error for error in leaves(group) if not isinstance(error, trio.Cancelled)]
    if not all(isinstance(error, (SessionOver, LineLost)) for error in found):
        return found[0] if len(found) == 1 else group
    return next((error for error in found if isinstance(error, SessionOver)), found[0] if found else group)
