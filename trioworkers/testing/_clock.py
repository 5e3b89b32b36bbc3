"""Time that goes on only when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import attrs
import trio
import trio.testing


@final
@attrs.define(eq=False)
class VirtualClock(trio.abc.Clock):
    """A clock for a guest run whose host lets time pass.

    Trio asks a clock how long it may sleep when nothing is runnable. The answer here is "not at all", so that the run comes straight
    back to its host, which knows better; except when somebody waits for all tasks to be blocked: then it is "for ever", which makes
    trio look for those who wait for just that.

    Args:
        idle_waiters: Whether somebody waits for all tasks to be blocked.
        base: A clock whose time is the time: one that a program brought along and moves by itself. Without one, time starts at 0.
    """

    _idle_waiters: Callable[[], bool]
    _base: trio.testing.MockClock | None = None
    _time: float = attrs.field(default=0.0, init=False)

    def start_clock(self) -> None:
        """It needs no start."""

    def current_time(self) -> float:
        """Virtual seconds."""
        return self._time if self._base is None else self._base.current_time()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """See above."""
        del deadline
        return float("inf") if self._idle_waiters() else 0.0

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        if self._base is None:
            self._time += seconds
        else:
            self._base.jump(seconds)
