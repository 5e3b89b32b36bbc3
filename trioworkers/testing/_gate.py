"""Who runs next, decided by public means only: the fallback for a trio in which :mod:`._hook` finds nothing to hold on to.

When a task is spawned, an instrument puts its coroutine into a :class:`_Gated` one, which parks before every step of the inner one.
The host, between two turns, lets one of those that are parked go through. A parked task cannot be cancelled: its step is due, only
not yet. What the inner coroutine is sent is what trio sent, so it notices nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, final

import attrs
import trio

from ._hook import Hook, Pick
from ._where import innermost_call, tree


@final
@attrs.define(eq=False)
class _Gated:
    """A coroutine that asks before every step. To those who look into a task it looks like the inner one."""

    inner: Any
    park: Callable[[], Coroutine[Any, Any, None]]
    _parking: Coroutine[Any, Any, None] | None = attrs.field(default=None, init=False)
    _due: Callable[[], Any] | None = attrs.field(default=None, init=False)

    def send(self, value: Any) -> Any:
        """Trio wakes the task: for its next step, which has to wait; or because it may take it now."""
        if self._due is None:
            return self._wait(partial(self.inner.send, value))
        self._end_parking(value)
        due, self._due = self._due, None
        return due()

    def throw(self, error: BaseException) -> Any:
        """Trio tells the task that it waits for nothing trio knows: this has to wait, too."""
        return self._wait(partial(self.inner.throw, error))

    def _wait(self, due: Callable[[], Any]) -> Any:
        self._due = due
        self._parking = self.park()
        return self._parking.send(None)

    def _end_parking(self, value: Any) -> None:
        assert self._parking is not None  # noqa: S101 - its step is due
        try:
            self._parking.send(value)
        except StopIteration:
            self._parking = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@final
class GateHook(Hook, trio.abc.Instrument):
    """The hook described above."""

    def __init__(self) -> None:
        self.instruments = (self,)
        self._arrived: list[trio.lowlevel.Task] = []
        self._chosen: deque[trio.lowlevel.Task] = deque()

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Put the task behind the gate; not trio's first one, which must come up before the host has its turn."""
        if task.parent_nursery is not None:
            gated: Any = _Gated(task.coro, self._park)
            task.coro = gated  # its type says "native coroutine"; trio only sends to it and looks into it

    def is_holding(self) -> bool:
        """Whether somebody has come to the gate."""
        return bool(self._arrived)

    def turn(self, tick: Callable[[], object], pick: Pick) -> None:
        """Once all that are runnable are parked, let those through that are picked, one after another."""
        tick()
        while _is_runnable():
            tick()
        arrived, self._arrived = self._arrived, []
        self._chosen.extend(pick(arrived))
        while self._chosen:
            trio.lowlevel.reschedule(self._chosen.popleft())
            tick()

    def idle_waiters(self) -> bool:
        """Look where each task waits."""
        return not self._arrived and not self._chosen and any(innermost_call(task) == "wait_all_tasks_blocked" for _, task in tree())

    def release(self) -> None:
        """Nothing was changed."""

    async def _park(self) -> None:
        self._arrived.append(trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)


def _is_runnable() -> bool:
    return trio.lowlevel.in_trio_run() and trio.lowlevel.current_statistics().tasks_runnable > 0
