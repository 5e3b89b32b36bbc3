"""Who runs next, decided by public means only: the fallback for a trio in which :mod:`._hook` finds nothing to hold on to.

When a task is spawned, an instrument puts its coroutine into a :class:`_Gated` one, which parks before every step of the inner one.
The host, between two turns, lets one of those that are parked go through. A parked task cannot be cancelled: its step is due, only
not yet. What the inner coroutine is sent is what trio sent, so it notices nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from types import CodeType, FrameType
from typing import Any, final

import attrs
import trio

from ._hook import Hook, Pick
from ._where import innermost_call, tree


@final
@attrs.define(eq=False)
class _Gated(Coroutine[Any, Any, Any]):
    """A coroutine that asks before every step. The ``cr_`` attributes are the inner one's, for those who look into a task."""

    inner: Coroutine[Any, Any, Any]
    park: Callable[[], Coroutine[Any, Any, None]]
    _parking: Coroutine[Any, Any, None] | None = attrs.field(default=None, init=False)
    _due: Any = attrs.field(default=None, init=False)

    def send(self, value: Any) -> Any:
        """Trio wakes the task: for its next step, which has to wait; or because it may take it now."""
        if self._parking is None:
            self._due = value
            self._parking = self.park()
            return self._parking.send(None)
        try:
            self._parking.send(value)
        except StopIteration:
            self._parking = None
        due, self._due = self._due, None
        return self.inner.send(due)

    def throw(self, *args: Any) -> Any:
        """What trio throws, it throws at once."""
        return self.inner.throw(*args)

    def close(self) -> None:
        """The task will never go on."""
        if self._parking is not None:
            self._parking.close()
        self.inner.close()

    def __await__(self) -> Any:
        return self.inner.__await__()

    @property
    def cr_frame(self) -> FrameType | None:
        """The inner one's."""
        return self.inner.cr_frame  # type: ignore[attr-defined,no-any-return]  # every coroutine trio runs has one

    @property
    def cr_code(self) -> CodeType:
        """The inner one's."""
        return self.inner.cr_code  # type: ignore[attr-defined,no-any-return]  # as above

    @property
    def cr_await(self) -> Any:
        """The inner one's."""
        return self.inner.cr_await  # type: ignore[attr-defined]  # as above

    @property
    def cr_running(self) -> bool:
        """The inner one's."""
        return self.inner.cr_running  # type: ignore[attr-defined,no-any-return]  # as above

    @property
    def cr_suspended(self) -> bool:
        """The inner one's."""
        return self.inner.cr_suspended  # type: ignore[attr-defined,no-any-return]  # as above


@final
class GateHook(Hook, trio.abc.Instrument):
    """The hook described above."""

    def __init__(self) -> None:
        self._parked: dict[trio.lowlevel.Task, None] = {}
        self._chosen: deque[trio.lowlevel.Task] = deque()

    @property
    def instruments(self) -> Sequence[trio.abc.Instrument]:
        """This is one."""
        return (self,)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Put the task behind the gate; not trio's first one, which must come up before the host has its turn."""
        if task.parent_nursery is not None:
            gated: Any = _Gated(task.coro, self._park)
            task.coro = gated  # its type says "native coroutine"; trio only sends to it and looks into it

    def is_holding(self) -> bool:
        """Whether somebody is parked."""
        return bool(self._parked)

    def turn(self, tick: Callable[[], object], pick: Pick) -> None:
        """Once all that are runnable are parked, let one through; those that ``pick`` has chosen with it follow in later turns."""
        if not trio.lowlevel.current_statistics().tasks_runnable and self._parked:
            self._chosen = self._chosen or deque(pick(list(self._parked)))
            task = self._chosen.popleft()
            del self._parked[task]
            trio.lowlevel.reschedule(task)
        tick()

    def idle_waiters(self) -> bool:
        """Look where each task waits."""
        return not self._parked and any(innermost_call(task) == "wait_all_tasks_blocked" for _, task in tree())

    def release(self) -> None:
        """Nothing was changed."""

    async def _park(self) -> None:
        self._parked[trio.lowlevel.current_task()] = None
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
