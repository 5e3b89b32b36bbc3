"""Whether a worker is active, and the hooks that follow.

The *wish* changes on arrival, so that whoever asks ``worker.active`` right after a message was posted sees the new state, and two
workers that hand over are never both active. The *hooks* follow one after another in a lane of their own: each accepted change after
READY queues exactly one; before READY only the last change counts. Asking for what is already so changes nothing and fires nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import trio

from .._hooks import Hooks
from .._transitions import ACTIVATION, ActivationState, advance, allows
from ..bus.inbox import Call, Showing, one
from ..bus.lane import Lane


@attrs.define(eq=False, repr=False)
class Activation:
    """The wish, and the lane of its hooks.

    Args:
        lane: Runs the hooks.
        hooks: The worker's hooks.
        changed: Called whenever the wish has changed.
        state: The first wish.
    """

    lane: Lane[Showing]
    _hooks: Hooks
    _changed: Callable[[], None]
    state: ActivationState
    args: dict[str, Any] | None = attrs.field(default=None, init=False)
    _open: bool = attrs.field(default=False, init=False)

    @property
    def active(self) -> bool:
        """The wish."""
        return self.state is ActivationState.ACTIVE

    def activate(self, args: dict[str, Any] | None) -> None:
        """Be active, with these arguments."""
        event = "activate with other args" if self.active and args != self.args else "activate"
        if allows(ACTIVATION, self.state, event):
            self._step(event, args, ("on_activated", args))

    def deactivate(self) -> None:
        """Be inactive."""
        if allows(ACTIVATION, self.state, "deactivate"):
            self._step("deactivate", None, ("on_deactivated",))

    def open(self, nursery: trio.Nursery) -> None:
        """The worker is ready: run the hooks from now on, in tasks of ``nursery``."""
        self._open = True
        self.lane.open(nursery)
        if self.active:
            self._show(("on_activated", self.args))

    def _step(self, event: str, args: dict[str, Any] | None, call: Call) -> None:
        old, self.state = self.state, advance(ACTIVATION, self.state, event)
        self.args = args
        if self.state is not old:
            self._changed()
        if self._open:
            self._show(call)

    def _show(self, call: Call) -> None:
        if self._hooks.wants(call[0]):
            self.lane.put(one(call))
