"""An event for which, as a rule, nobody waits."""

from __future__ import annotations

import attrs
import trio


@attrs.define(eq=False, repr=False)
class Moment:
    """Something that comes once. Few are ever waited for, so the event is made by who waits."""

    has_come: bool = attrs.field(default=False, init=False)
    _event: trio.Event | None = attrs.field(default=None, init=False)

    def come(self) -> None:
        """It has come; whoever waits for it goes on."""
        self.has_come = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Wait for it; a schedule point in any case."""
        if self._event is None:
            self._event = trio.Event()
        if self.has_come:
            self._event.set()
        await self._event.wait()
