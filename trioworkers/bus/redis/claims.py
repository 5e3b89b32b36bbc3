"""Names held and given back, across lost connections, and the verdict on owners that are silent.

**Silence.** Whether the owner of a name is alive, its beats say: while its score stands still, it may be dead, and is waited for; if
the score moves, it lives, and the name is taken; if it is dead, it is swept, and the name is free.

**Giving back and taking again.** What was given back is written by a task when there is a line. A claim takes its name out of what is
still to be written, and out of what is under way: if that was lost with its line, it must not be written later, over the claim. On
one line everything is executed in the order it was given.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import trio

from ..remote.transport import NameTakenError, SessionOver, Station
from .book import Book, Taken
from .line import LineLost, RedisLine


@attrs.define(eq=False)
class Verdict:
    """Looks at the owner of a name again and again."""

    _last: Taken | None = attrs.field(default=None, init=False)

    def look(self, taken: Taken) -> None:
        """Compare with the last look.

        Raises:
            NameTakenError: The owner was heard of in between.
        """
        last, self._last = self._last, taken
        if last is not None and (last.name, last.owner) == (taken.name, taken.owner) and last.heard != taken.heard:
            raise NameTakenError(taken.name, taken.owner)


@attrs.define(eq=False)
class Claims:
    """The names of one incarnation.

    Args:
        book: Where they are written.
        station: Who holds them.
        pause: How many seconds lie between two looks at an owner.
    """

    _book: Book
    _station: Station
    _pause: float
    _returned: dict[str, None] = attrs.field(factory=dict, init=False)
    _under_way: dict[str, None] = attrs.field(factory=dict, init=False)
    _to_write: trio.Event = attrs.field(factory=trio.Event, init=False)
    _line: RedisLine | None = attrs.field(default=None, init=False)
    _over: str | None = attrs.field(default=None, init=False)
    _change: trio.Event = attrs.field(factory=trio.Event, init=False)

    def connected(self, line: RedisLine) -> None:
        """Use a line from now on, until it is lost."""
        self._line = line
        self._change.set()
        self._change = trio.Event()

    def close(self, reason: str) -> None:
        """Nothing can be claimed any more."""
        self._over = reason
        self._change.set()

    async def claim(self, name: str) -> None:
        """Hold a name.

        Raises:
            NameTakenError: Somebody else holds it, and is alive.
            SessionOver: The incarnation is over.
        """
        self._returned.pop(name, None)
        self._under_way.pop(name, None)
        verdict = Verdict()
        try:
            while (taken := await self._ask(name)) is not None:
                verdict.look(taken)
                await trio.sleep(self._pause)
        except trio.Cancelled:
            self.release([name])  # it may be held, and nobody would know
            raise

    def release(self, names: Iterable[str]) -> None:
        """Give names back as soon as there is a line."""
        self._returned |= dict.fromkeys(names)
        self._to_write.set()

    async def run(self, line: RedisLine) -> None:
        """Write what is given back until the line is lost.

        Raises:
            LineLost: It is.
        """
        while True:
            await self._to_write.wait()
            self._to_write = trio.Event()
            claims = self._station.claims
            self._under_way = {name: None for name in self._returned if name not in claims}
            self._returned = {}
            try:
                if self._under_way:
                    await self._book.release(line, tuple(self._under_way))
                self._under_way = {}
            finally:  # lost, or perhaps lost: once more over the next line
                if self._under_way:
                    self.release(self._under_way)

    async def _ask(self, name: str) -> Taken | None:
        while True:
            line = await self._online()
            try:
                return await self._book.claim(line, name)
            except LineLost:
                continue

    async def _online(self) -> RedisLine:
        while self._over is None:
            if self._line is not None and self._line.lost is None:
                return self._line
            await self._change.wait()
        raise SessionOver(self._over)
