"""The reading half of a session: one `XREAD` after another, over both lanes of the inbox and the news."""

from __future__ import annotations

from typing import Final

import attrs

from ..remote.transport import Station
from .book import Keys, decoded, milliseconds, sound
from .line import RedisLine
from .replies import Command
from .roster import Roster

COUNT: Final = 256
"""How many entries of each stream one read takes at most."""


@attrs.define(eq=False)
class Cursor:
    """How far a stream has been read, and how far what has been read was removed."""

    key: str
    last: str = "0-0"
    trimmed: str = "0-0"

    def trim(self) -> Command:
        """Return the command that removes what has been read."""
        milli, _, number = self.last.partition("-")
        return ("XTRIM", self.key, "MINID", f"{milli}-{int(number) + 1}")


@attrs.define(eq=False)
class Reading:
    """Reads an inbox and the news, and fetches the list of members when it may have changed.

    Entries that have been read are removed with the next read; those that were read when a connection was lost are not read again.

    Args:
        keys: Where everything is.
        station: For whom.
        roster: Who is a member.
        block: How many seconds a read waits for something to come.
        patience: How many seconds longer the server may be silent then.
    """

    _keys: Keys
    _station: Station
    _roster: Roster
    _block: float
    _patience: float
    _inbox: tuple[Cursor, Cursor] = attrs.field(init=False)
    _news: Cursor = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        me = self._station.incarnation
        self._inbox = (Cursor(self._keys.inbox(me, 0)), Cursor(self._keys.inbox(me, 1)))
        self._news = Cursor(self._keys.of("news"))

    def begin(self, news: str) -> None:
        """Read the news after this entry only."""
        self._news.last = news

    async def run(self, line: RedisLine) -> None:
        """Read until the line is lost.

        Raises:
            LineLost: It is.
            SessionOver: The list of members is without us.
        """
        while True:
            await self._turn(line)

    async def _turn(self, line: RedisLine) -> None:
        trims = [cursor for cursor in self._inbox if cursor.last != cursor.trimmed]
        commands = [cursor.trim() for cursor in trims]
        look = self._roster.stale
        if look:  # the generation first: the list may be newer than it, which costs another look, but never older
            commands += [("HGET", self._keys.of("state"), "generation"), ("ZRANGE", self._keys.of("members"), 0, -1)]
        block = 0.0 if look or self._roster.waiting else self._block
        commands.append(self._xread(block))
        replies = sound(line, await line.pipeline(commands, silence=block + self._patience))
        for cursor in trims:
            cursor.trimmed = cursor.last
        if look:
            self._roster.fetched(int(replies[-3] or 0), decoded(replies[-2]))
        if self._take(dict(replies[-1] or [])):
            self._roster.emptied()

    def _xread(self, block: float) -> Command:
        cursors = (*self._inbox, self._news)
        wait = ("BLOCK", milliseconds(block)) if block else ()
        return ("XREAD", "COUNT", COUNT, *wait, "STREAMS", *(cursor.key for cursor in cursors), *(cursor.last for cursor in cursors))

    def _take(self, streams: dict[bytes, list[tuple[bytes, list[bytes]]]]) -> bool:
        """Hand over what has come, the urgent first; return whether nothing is left that was there when it was read."""
        emptied = True
        for cursor in self._inbox:
            entries = streams.get(cursor.key.encode(), [])
            for entry, fields in entries:
                cursor.last = entry.decode()
                self._station.arrived(fields[1])
            emptied = emptied and len(entries) < COUNT
        if news := streams.get(self._news.key.encode()):
            self._news.last = news[-1][0].decode()
            self._roster.stale = True
        return emptied
