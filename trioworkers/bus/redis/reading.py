"""The reading half of a session: one `XREAD` after another, over both lanes of the inbox and the news.

**What a read has brought is answered before the next is given.** To read again first would delay that, and take what comes in crumbs.
So when a read has brought several frames, the next one waits for some turns of the scheduler: in these, what came is handled,
whoever has waited for it goes on, and what they say to it is written. When it has brought one frame, somebody is talking with us, and
will get an answer: whoever writes that gives the next read with it, in the same step (:attr:`Reading.is_asked`), and no task has to
wake up for either. If there is no answer, the next read is given after a moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import attrs
import trio

from ..remote.transport import Station
from .book import Keys, decoded, milliseconds, sound
from .line import RedisLine
from .replies import Argument, Command, Reply
from .roster import Roster

COUNT: Final = 32
"""How many entries of each stream one read takes at most: all their frames are handed over without a pause."""

TURNS: Final = 3
"""How many turns of the scheduler come between a read that has brought several frames and the next."""

MOMENT: Final = 0.001
"""For so many seconds an answer to the one frame that a read has brought may give the next read."""

KEPT: Final = 65_536
"""About how many bytes that have been read may lie in a stream before they are removed."""

_LIGHTEST: Final = KEPT // 64
"""What an entry counts at least."""


@attrs.define(eq=False)
class Cursor:
    """How far a stream has been read, and how much of that has not been removed."""

    key: str
    last: bytes = b"0-0"
    kept: int = 0
    name: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.name = self.key.encode()

    def move(self, entry: bytes, frames: Iterable[bytes]) -> None:
        """Entries up to this id, with these frames, have been read."""
        self.last = entry
        self.kept += sum([max(len(frame), _LIGHTEST) for frame in frames])

    def trim(self) -> Command:
        """Return the command that removes what has been read; if it is lost, the next one makes up for it."""
        self.kept = 0
        milli, _, number = self.last.partition(b"-")
        return ("XTRIM", self.key, "MINID", b"%s-%d" % (milli, int(number) + 1))


@attrs.define(eq=False)
class Reading:
    """Reads an inbox and the news, and fetches the list of members when it may have changed.

    What comes is handed over where the server's replies are read: no other task has to wake up for it. Entries that have been read are
    removed when they are many, or nothing comes; those that were read when a connection was lost are not read again.

    Args:
        keys: Where everything is.
        station: For whom.
        roster: Who is a member.
        block: How many seconds a read waits for something to come.
        patience: How many seconds longer the server may be silent then.
        is_asked: Whether the last read has brought one frame, and the next is not given yet.
    """

    _keys: Keys
    _station: Station
    _roster: Roster
    _block: float
    _patience: float
    _inbox: tuple[Cursor, Cursor] = attrs.field(init=False)
    _news: Cursor = attrs.field(init=False)
    _milliseconds: int = attrs.field(init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)
    _moment: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _brought: int = attrs.field(default=1, init=False)
    _line: RedisLine | None = attrs.field(default=None, init=False)
    _given: bool = attrs.field(default=False, init=False)
    is_asked: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        me = self._station.incarnation
        self._inbox = (Cursor(self._keys.inbox(me, 0)), Cursor(self._keys.inbox(me, 1)))
        self._news = Cursor(self._keys.of("news"))
        self._milliseconds = milliseconds(self._block)

    def begin(self, news: str) -> None:
        """Read the news after this entry only."""
        self._news.last = news.encode()

    def use(self, line: RedisLine) -> None:
        """Read from this line from now on. Who was asked on the last one is not any more."""
        self._line = line
        self.is_asked = False

    def go_on(self) -> None:
        """Give the next read, now that the frame that the last one has brought is answered.

        Raises:
            LineLost: The line is lost.
        """
        assert self._line is not None  # noqa: S101 - there is one as long as somebody is asked
        self._follow(self._line)
        self._moment.deadline = math.inf

    async def run(self, line: RedisLine) -> None:
        """Read until the line, which is in use, is lost.

        Raises:
            LineLost: It is.
            SessionOver: The list of members is without us.
        """
        while True:
            while self._must_look:
                await self._look(line)
            self._came = trio.Event()
            self._follow(line)
            await self._next()
            for _ in range(TURNS if self._brought > 1 else 0):
                await trio.lowlevel.checkpoint()

    async def _next(self) -> None:
        """Wait until the next read is to be given."""
        while self._given:
            with trio.CancelScope() as self._moment:
                await self._came.wait()
        self.is_asked = False

    @property
    def _must_look(self) -> bool:
        return self._roster.stale or self._roster.waiting

    async def _look(self, line: RedisLine) -> None:
        """Read what is there, and before that the list of members, if it may have changed."""
        commands = self._trims(0)
        look = self._roster.stale
        if look:  # the generation first: the list may be newer than it, which costs another look, but never older
            commands += [("HGET", self._keys.of("state"), "generation"), ("ZRANGE", self._keys.of("members"), 0, -1)]
        replies = await line.pipeline([*commands, self._xread()])
        if not sound(line, replies):
            raise await line.wait_lost()
        if look:
            self._roster.fetched(int(replies[-3] or 0), decoded(replies[-2]))
        if self._take(dict(replies[-1] or [])):
            self._roster.emptied()

    def _follow(self, line: RedisLine) -> None:
        """Read what comes; remove what has been read, if it is much, or if nothing came."""
        self.is_asked = False
        commands = [*self._trims(KEPT if self._brought else 0), self._xread("BLOCK", self._milliseconds)]
        line.give(commands, partial(self._answered, line), silence=self._block + self._patience)
        self._given = True

    def _answered(self, line: RedisLine, replies: Sequence[Reply]) -> None:
        if sound(line, replies):
            self._given = False
            self._take(dict(replies[-1] or []))
            if self._brought == 1 and not self._must_look:
                self.is_asked = True
                self._moment.deadline = trio.current_time() + MOMENT
            else:
                self._came.set()

    def _trims(self, kept: int) -> list[Command]:
        return [cursor.trim() for cursor in self._inbox if cursor.kept > kept]

    def _xread(self, *wait: Argument) -> Command:
        urgent, data = self._inbox
        news = self._news
        return ("XREAD", "COUNT", COUNT, *wait, "STREAMS", urgent.key, data.key, news.key, urgent.last, data.last, news.last)

    def _take(self, streams: dict[bytes, list[tuple[bytes, list[bytes]]]]) -> bool:
        """Hand over what has come, the urgent first; return whether nothing is left that was there when it was read."""
        emptied = True
        self._brought = 0
        for cursor in self._inbox:
            entries = streams.get(cursor.name)
            if entries:
                frames = [frame for _, fields in entries for frame in fields[1::2]]
                self._brought += len(frames)
                self._station.arrived(frames)
                cursor.move(entries[-1][0], frames)
                emptied = emptied and len(entries) < COUNT
        if news := streams.get(self._news.name):
            self._news.last = news[-1][0]
            self._roster.stale = True
        return emptied
