"""The writing half of a session: frames in batches, and, in the end, the farewell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final

import attrs

from ..remote.transport import Parcel, Station
from .book import Book, sound
from .line import LineLost, RedisLine
from .reading import Reading
from .replies import Argument, Command, Reply

PORTION: Final = 262_144
"""About how many bytes are written before the server's answers are waited for: beats go in between."""

RUN: Final = 64
"""How many frames an entry holds at most. The first entry wakes its reader, which takes what is there by then: better all of it than
some. But it hands over all that it takes without a pause."""

_INBOX: Final = attrgetter("receiver", "lane")
_LIGHTEST: Final = PORTION // 256
"""What a frame counts at least, for there is an answer to each."""


@attrs.define(eq=False)
class Writing:
    """Writes what a station gives, and leaves when it wants to.

    What is lost with a line the station gives again: nothing overtakes anything. Of the server's answers all that matters is that they
    are good, so they are not waited for, as long as there are few.

    An answer to the one frame that a read has brought is written in the step in which it is given, and the next read is given with
    it. Others are gathered: what is given in one turn of the scheduler is written in the next.

    Args:
        book: Where membership is given up.
        station: Who gives.
        reading: The other half.
        batch: How many frames to take at once.
        goodbye: Whether it was tried to leave: then, to be no member is no surprise.
    """

    _book: Book
    _station: Station
    _reading: Reading
    _batch: int
    goodbye: bool = attrs.field(default=False, init=False)
    _busy: bool = attrs.field(default=False, init=False)
    _unanswered: int = attrs.field(default=0, init=False)

    async def run(self, line: RedisLine) -> None:
        """Write until the station wants to leave; then write the rest, and leave.

        Raises:
            LineLost: The line is lost.
        """
        self._unanswered = 0
        self._busy = False
        self._station.prompt = partial(self._answer, line)
        try:
            while not self._station.leaving.is_set():
                await self._station.wait_outgoing()
                self._busy = True
                await self._write(line, self._station.outgoing(self._batch))
                self._busy = False
        finally:
            self._station.prompt = None
        while parcels := self._station.outgoing(self._batch):
            await self._write(line, parcels)
            await line.settled()
        self.goodbye = True
        await self._book.leave(line)

    def _answer(self, line: RedisLine) -> bool:
        if self._busy or not self._reading.is_asked or self._unanswered >= PORTION:
            return False
        self._busy = True  # a garbage collection may prompt in the midst of this
        parcels = self._station.outgoing(self._batch)
        if parcels:
            with suppress(LineLost):  # whoever serves the line raises it
                self._post(line, parcels)
        self._busy = False
        return True

    async def _write(self, line: RedisLine, parcels: Sequence[Parcel]) -> None:
        for portion in portions(parcels):
            self._post(line, portion)
            if self._unanswered >= PORTION:
                await line.settled()
                self._unanswered = 0

    def _post(self, line: RedisLine, parcels: Sequence[Parcel]) -> None:
        entries = list(runs(parcels))
        line.post([self._xadd(run) for run in entries], partial(self._written, line, [run[0].receiver for run in entries]))
        self._unanswered += sum(map(weight, parcels))
        if self._reading.is_asked:
            self._reading.go_on()

    def _written(self, line: RedisLine, receivers: Sequence[str], replies: Sequence[Reply]) -> None:
        if sound(line, replies):
            unwritten = (receiver for receiver, reply in zip(receivers, replies, strict=True) if reply is None)
            for receiver in dict.fromkeys(unwritten):
                self._station.unreachable(receiver)

    def _xadd(self, run: Sequence[Parcel]) -> Command:
        inbox = self._book.keys.inbox(run[0].receiver, run[0].lane)
        fields: list[Argument] = [word for parcel in run for word in ("f", parcel.data)]
        return ("XADD", inbox, "NOMKSTREAM", "*", *fields)


def runs(parcels: Iterable[Parcel]) -> Iterator[list[Parcel]]:
    """Cut into runs for one inbox each, of at most :data:`RUN` frames: each becomes one entry."""
    for _, run in groupby(parcels, _INBOX):
        frames = list(run)
        for start in range(0, len(frames), RUN):
            yield frames[start : start + RUN]


def weight(parcel: Parcel) -> int:
    """What a frame counts."""
    return max(len(parcel.data), _LIGHTEST)


def portions(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """Cut into runs of about :data:`PORTION` bytes: at least one parcel, and no more after that is exceeded."""
    portion: list[Parcel] = []
    size = 0
    for parcel in parcels:
        portion.append(parcel)
        size += weight(parcel)
        if size >= PORTION:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
