"""How far a producer may be ahead of its consumer."""

from __future__ import annotations

import attrs
import trio


@attrs.define(eq=False)
class Credit:
    """So many events may be sent; more when the consumer grants more.

    A FIFO of waiting senders: credit granted while somebody waits is handed to the one who waits longest, and cannot be taken by
    somebody who comes later. Reference: credit-based flow control (Kung and Chapman, 1993).

    Args:
        left: How many events may be sent now.
    """

    left: int
    closed: bool = attrs.field(default=False, init=False)
    _lot: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def take_nowait(self) -> bool:
        """Take one if there is one and nobody waits for it."""
        if self.closed:
            return True
        if self.left <= 0 or self._lot:
            return False
        self.left -= 1
        return True

    async def take(self) -> None:
        """Take one, waiting for it if need be; returns at once when :meth:`close` has been called."""
        if not self.take_nowait():
            await self._lot.park()

    def grant(self, amount: int) -> None:
        """Let ``amount`` more events through."""
        woken = len(self._lot.unpark(count=amount))
        self.left += amount - woken

    def close(self) -> None:
        """Nobody need wait any more: there is no consumer."""
        self.closed = True
        self._lot.unpark_all()
