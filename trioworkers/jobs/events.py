"""The events of one request, between the asker's inbox and its ``async for``.

Each event is *consumed* when everybody who can see it has: the hooks have run, and, for a block, the iterator has given it out. Only
then does credit go back to the answerer. That makes the memory of a request bounded however slow its consumer is, and needs care at
the edges, for somebody who stopped looking must not hold the answerer up for ever:

- before the first ``async for``, events wait for it (the body may start to iterate late);
- an iterator that is left early (``break``) drops what waits; later events count as consumed at once, unless a new ``async for``
  is begun, which sees what comes from then on;
- when the block is being left, nothing is kept any more.

Python does not tell an iterator that its ``async for`` was left. Its last reference goes at that moment, though, so the iterator
says it in ``__del__``: on CPython at once, elsewhere at the next collection, at the latest when the block is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import attrs
import trio

from ..bus.base import PACE

E = TypeVar("E")


@attrs.define(eq=False, repr=False)
class Receipt:
    """Counts who has still to see one event.

    Args:
        left: How many lookers-on there are.
        consumed: Called when the last has seen it.
    """

    left: int
    _consumed: Callable[[], None]

    def seen(self) -> None:
        """One more has seen it."""
        self.left -= 1
        if not self.left:
            self._consumed()


@attrs.define(eq=False, repr=False)
class Events(Generic[E]):
    """A buffer that any number of iterators share; each event goes to one of them.

    Args:
        shape: Makes what the iterator gives out of the member's name, the event's type and its data.
    """

    _shape: Callable[[str, str, dict[str, Any] | None], E]
    open: bool = attrs.field(default=True, init=False)
    _keeping: bool = attrs.field(default=True, init=False)
    _iterators: int = attrs.field(default=0, init=False)
    _given: int = attrs.field(default=0, init=False)
    _finished: bool = attrs.field(default=False, init=False)
    _made: tuple[trio.MemorySendChannel[tuple[E, Receipt]], trio.MemoryReceiveChannel[tuple[E, Receipt]]] | None = attrs.field(
        default=None, init=False
    )

    @property
    def _channel(self) -> tuple[trio.MemorySendChannel[tuple[E, Receipt]], trio.MemoryReceiveChannel[tuple[E, Receipt]]]:
        """Where events wait, made when the first comes or somebody asks: most jobs have none. Its bound is the answerer's credit."""
        if self._made is None:
            self._made = trio.open_memory_channel(float("inf"))
            if self._finished:
                self._made[0].close()
        return self._made

    @property
    def waiting(self) -> int:
        """How many events wait to be iterated."""
        return self._channel[1].statistics().current_buffer_used if self.open else 0

    def put(self, source: str, kind: str, data: dict[str, Any] | None, receipt: Receipt) -> None:
        """Append, or count as seen if nobody will iterate it."""
        if self.open and self._keeping:
            self._channel[0].send_nowait((self._shape(source, kind, data), receipt))
        else:
            receipt.seen()

    def finish(self) -> None:
        """No event will come any more: iteration ends after what waits."""
        self._finished = True
        if self._made is not None:
            self._made[0].close()

    def discard(self) -> None:
        """Nobody will iterate any more: what waits is consumed, and so is what comes."""
        if self.open:
            self._drop()
            self.open = False
            self.finish()

    def iterate(self) -> EventIterator[E]:
        """Begin an ``async for``."""
        self._iterators += 1
        self._keeping = True
        return EventIterator(self)

    async def next(self) -> E:
        """The next event.

        Raises:
            StopAsyncIteration: There will be no more.
        """
        try:
            event, receipt = await self._receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None
        receipt.seen()
        return event

    async def _receive(self) -> tuple[E, Receipt]:
        """Take the next one: a cancel point always, and a schedule point if there is none, or one time in 32."""
        self._given += 1
        if self._given % PACE:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                return self._channel[1].receive_nowait()
            except trio.WouldBlock:
                pass
        return await self._channel[1].receive()

    def left(self) -> None:
        """One ``async for`` is over."""
        self._iterators -= 1
        if self.open and not self._iterators:
            self._keeping = False
            self._drop()

    def _drop(self) -> None:
        while self._made is not None:
            try:
                _, receipt = self._made[1].receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return
            receipt.seen()


@attrs.define(eq=False, repr=False)
class EventIterator(Generic[E]):
    """One ``async for`` over the events of a request."""

    _events: Events[E]
    _over: bool = attrs.field(default=False, init=False)

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> E:
        """The next event: a cancel point, and a schedule point if it has to wait, or one time in 32."""
        try:
            return await self._events.next()
        except StopAsyncIteration:
            self._leave()
            raise

    def _leave(self) -> None:
        if not self._over:
            self._over = True
            self._events.left()

    def __del__(self) -> None:
        """The ``async for`` was left."""
        self._leave()
