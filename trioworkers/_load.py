"""How much a worker still has to do."""

from __future__ import annotations

from collections.abc import Callable

import attrs


@attrs.define(eq=False, repr=False)
class Load:
    """A counter of what is queued or in progress, that may count into a larger one.

    Whoever takes something on calls :meth:`add`, and :meth:`done` when it is over: a hook that waits, a job that runs, a request
    that is out. A worker that ends joins its load to that of the whole ending family, so "is anything left to do, anywhere below
    the worker that was asked to end?" is one integer, not a walk over the tree.

    Args:
        count: What is open now.
    """

    count: int = 0
    _whole: Load | None = attrs.field(default=None, init=False)
    _when_idle: tuple[Callable[[], None], ...] = attrs.field(default=(), init=False)

    def add(self, amount: int = 1) -> None:
        """Something (more) is to be done."""
        self.count += amount
        if self._whole is not None:
            self._whole.add(amount)

    def done(self, amount: int = 1) -> None:
        """Something is over; who waits for idleness hears of it when nothing is left."""
        self.count -= amount
        if self._whole is not None:
            self._whole.done(amount)
        if not self.count:
            waiting, self._when_idle = self._when_idle, ()
            for call in waiting:
                call()

    @property
    def is_part(self) -> bool:
        """Whether it counts into a larger one."""
        return self._whole is not None

    def join(self, whole: Load) -> None:
        """Count into ``whole`` from now on, what is open now included."""
        whole.add(self.count)
        self._whole = whole

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once, the next time nothing is left."""
        self._when_idle += (call,)
