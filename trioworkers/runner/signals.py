"""Signals, as a task.

A process has one handler for a signal, but may have several runners, which leave in any order. If each of them put a handler of
its own on top of the one before, and that one back when it leaves, only the last would hear Ctrl-C, and one that outlives a later
one would be put back after it is gone. So all listeners of a signal share one handler: the first sets it, the last takes it away.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import trio


class _Exchange:
    """One signal in one run of trio, and everybody who listens for it, from the first to the last."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number
        self._token = trio.lowlevel.current_trio_token()
        self._listeners: list[_Listener] = []
        self._before = signal.signal(number, self._handle)

    @property
    def is_over(self) -> bool:
        """Whether nobody listens any more."""
        return not self._listeners

    @contextmanager
    def heard_by(self, listener: _Listener) -> Iterator[None]:
        """Let a channel, an unbounded one, hear of the signal."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
            if self.is_over and signal.getsignal(self.number) == self._handle:  # else somebody has set another over it
                self._give_back()

    def pass_on(self) -> None:
        """If nobody listens any more, the signal is for whoever had it before.

        Our handler may be called even then: by another that somebody has set over it, or as one that somebody has put back too late.
        """
        if self.is_over:
            over = signal.getsignal(self.number)
            self._give_back()
            try:
                signal.raise_signal(self.number)
            finally:
                if over is not None and over != self._handle:
                    signal.signal(self.number, over)

    def _handle(self, *_: object) -> None:
        try:
            self._token.run_sync_soon(self._deliver, idempotent=True)
        except trio.RunFinishedError:
            self._listeners.clear()
            self.pass_on()

    def _deliver(self) -> None:
        for listener in self._listeners:
            listener.send_nowait(self)
        self.pass_on()

    def _give_back(self) -> None:
        signal.signal(self.number, signal.SIG_DFL if self._before is None else self._before)


_Listener: TypeAlias = trio.MemorySendChannel[_Exchange]
_exchanges: trio.lowlevel.RunVar[dict[signal.Signals, _Exchange]] = trio.lowlevel.RunVar("signal exchanges")


def _exchange(number: signal.Signals) -> _Exchange:
    try:
        exchanges = _exchanges.get()
    except LookupError:
        _exchanges.set(exchanges := {})
    exchange = exchanges.get(number)
    if exchange is None or exchange.is_over:
        exchange = exchanges[number] = _Exchange(number)
    return exchange


def _pass_on(unheard: trio.MemoryReceiveChannel[_Exchange]) -> None:
    with ExitStack() as calls:  # all of them, whatever one raises
        while unheard.statistics().current_buffer_used:
            calls.callback(unheard.receive_nowait().pass_on)


async def watch_signals(
    signals: Sequence[signal.Signals],
    arrived: Callable[[signal.Signals], None],
    *,
    task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``arrived`` for each signal, until the scope given to ``task_status`` is cancelled.

    Everybody who watches a signal hears of it. One that comes too late for all of them is handled as if nobody had watched.
    Python delivers signals to the main thread only: in any other there is nothing to watch.
    """
    with trio.CancelScope() as scope:
        if threading.current_thread() is not threading.main_thread() or not signals:
            task_status.started(scope)
            return
        listener, received = trio.open_memory_channel[_Exchange](math.inf)
        with received, ExitStack() as stack:
            stack.callback(_pass_on, received)  # after the handlers have been put back
            for number in signals:
                stack.enter_context(_exchange(number).heard_by(listener))
            task_status.started(scope)
            async for exchange in received:
                arrived(exchange.number)
