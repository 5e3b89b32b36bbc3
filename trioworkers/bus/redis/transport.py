"""Frames and membership by way of a Redis server: connecting, and connecting again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import trio

from ..._checks import check_count, check_name, check_seconds
from ...errors import BusConnectionError
from ..remote.transport import SessionOver, Station, Transport
from .book import Book, Keys
from .dial import Refused, open_line
from .line import LineLost
from .replies import load_hiredis
from .session import Session
from .settings import RedisSettings

SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
LOADING: Final = frozenset({"LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"})
"""What a server says that will be there soon."""

SHORTEST_KEEP: Final = 60.0
LONGEST_KEEP: Final = 86_400.0


class RedisTransport(Transport):
    """Carries frames through streams at a Redis server, where leases say who is a member.

    Two connections for a runner: one reads and blocks, one writes. What a runner does costs the server and the others nothing unless
    it is for them, but for one small script for each runner and beat.

    Args:
        settings: Where the server is.
        bus: The name of the bus: whoever uses the same one is on the same bus.
        beat: How many seconds lie between two signs of life.
        ttl: After how many seconds of silence a runner is taken for dead; more than two beats. The longest of those that the runners
            of a bus ask for holds for all of them.
        outage_limit: For how many seconds the server may be away until this runner gives up; ``inf`` for never.
        batch: How many frames to write at once.
        protocol: What the frames are; all members of a bus must agree on it.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument makes no sense.
        ImportError: The extra ``redis`` is not installed.
    """

    def __init__(
        self,
        settings: RedisSettings,
        *,
        bus: str,
        beat: float = 1.0,
        ttl: float = 5.0,
        outage_limit: float = 30.0,
        batch: int = 256,
        protocol: int = 1,
    ) -> None:
        if not isinstance(settings, RedisSettings):
            raise TypeError(f"settings must be RedisSettings, not {settings!r}")
        if "{" in check_name(bus, "the name of a bus") or "}" in bus:
            raise ValueError(f"the name of a bus must not contain braces: {bus!r}")
        self._beat = check_seconds(beat, "beat")
        self._ttl = check_seconds(ttl, "ttl")
        if not self._beat or not 2 * self._beat < self._ttl < math.inf:
            raise ValueError(f"beat must be more than 0 s, and ttl more than two beats and not for ever, not {beat!r} and {ttl!r}")
        self._outage_limit = check_seconds(outage_limit, "outage_limit")
        self._batch = check_count(batch, "batch")
        self._protocol = check_count(protocol, "protocol")
        self._settings = settings
        self._keys = Keys(bus)
        self._session: Session | None = None
        load_hiredis()

    async def run(
        self, station: Station, *, replaces: str | None, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """See :meth:`Transport.run`. One at a time."""
        keep = max(SHORTEST_KEEP, 20 * self._ttl, min(2 * self._outage_limit, LONGEST_KEEP))
        book = Book(self._keys, station.incarnation, self._ttl, keep)
        session = Session(station, book, self._beat, self._batch, self._protocol, replaces, task_status.started)
        self._session = session
        reason = "this incarnation is no member any more"
        try:
            await self._stay_connected(session)
        except SessionOver as over:
            reason = str(over)
            raise
        finally:
            session.claims.close(reason)

    async def claim(self, name: str) -> None:
        """See :meth:`Transport.claim`."""
        if self._session is None:
            raise SessionOver("this incarnation is no member yet")
        await self._session.claims.claim(name)

    def release(self, names: Sequence[str]) -> None:
        """See :meth:`Transport.release`."""
        if self._session is not None:
            self._session.claims.release(names)

    async def _stay_connected(self, session: Session) -> None:
        limit = trio.current_time() + self._settings.connect_timeout
        pause = SHORTEST_PAUSE
        while True:
            since = trio.current_time()
            error = await self._connect(session, limit)
            now = trio.current_time()
            if session.left:
                return
            if session.connected:
                session.disconnect(str(error))
                limit = now + self._outage_limit
                if now - since > LONGEST_PAUSE:  # a connection that did not last is no success
                    pause = SHORTEST_PAUSE
            self._give_up(session, error, limit)
            await trio.sleep(min(pause, max(0.0, limit - now)))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _give_up(self, session: Session, error: Exception, limit: float) -> None:
        """Raise if trying again is of no use."""
        late = trio.current_time() >= limit
        if session.member:
            if late:
                place, seconds = self._settings.place, self._outage_limit
                raise SessionOver(f"the server at {place} could not be reached for {seconds:g} s: {error}") from error
        elif late or not (isinstance(error, LineLost) and error.code in LOADING):
            raise BusConnectionError(f"cannot use Redis at {self._settings.place}: {error}") from error

    async def _connect(self, session: Session, limit: float) -> Exception:
        """Connect and serve; return what it ended with, which is nothing special if the session has left."""
        name = f"trioworkers:{self._keys.bus}:{session.station.incarnation}"
        with trio.CancelScope(deadline=limit) as opening:  # noqa: ASYNC912 - opening a line waits
            try:
                async with (
                    open_line(self._settings, name=f"{name}:reads", silence=self._ttl / 2) as reading,
                    open_line(self._settings, name=f"{name}:writes", silence=self._ttl / 2) as writing,
                ):
                    if not session.member:
                        opening.deadline = math.inf  # how long it takes to join depends on others
                    await session.begin(writing)
                    opening.deadline = math.inf
                    if not session.left:
                        await session.serve(reading, writing)
            except (LineLost, Refused) as error:
                return error
            except BusConnectionError as error:
                raise BusConnectionError(f"cannot use Redis at {self._settings.place}: {error}") from error
        return LineLost("it has not answered in time")
