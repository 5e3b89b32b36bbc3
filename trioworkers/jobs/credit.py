"""How far a producer may be ahead of its consumer."""

from __future__ import annotations

import attrs
import trio

from ..observers import NOBODY, Observers


@attrs.define(eq=False, repr=False)
class Credit:
    """So many events may be sent; more when the consumer grants more.

    A FIFO of waiting senders: credit granted while somebody waits is handed to the one who waits longest, and cannot be taken by
    somebody who comes later. Reference: credit-based flow control (Kung and Chapman, 1993).

    Args:
        left: How many events may be sent now.
        name: Whose credit it is, for those who look on.
        job_id: For which job.
        observers: Those who look on.
    """

    left: int
    _name: str = ""
    _job_id: str = ""
    _observers: Observers = NOBODY
    closed: bool = attrs.field(default=False, init=False)
    _lot: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def take_nowait(self) -> bool:
        """Take one if there is one and nobody waits for it."""
        if self.closed:
            return True
        if self.left <= 0 or self._lot:
            return False
        self._spend()
        return True

    async def take(self) -> None:
        """Take one, waiting for it if need be; returns at once when :meth:`close` has been called."""
        if not self.take_nowait():
            await self._lot.park()

    def grant(self, amount: int) -> None:
        """Let ``amount`` more events through."""
        self.left += amount
        if tell := self._observers.credit_granted:
            tell(self._name, self._job_id, amount, self.left)
        for _ in self._lot.unpark(count=amount):
            self._spend()

    def close(self) -> None:
        """Nobody need wait any more: there is no consumer."""
        self.closed = True
        if self._lot:  # to unpark nobody costs as much as a message
            self._lot.unpark_all()

    def _spend(self) -> None:
        self.left -= 1
        if tell := self._observers.credit_spent:
            tell(self._name, self._job_id, self.left)
