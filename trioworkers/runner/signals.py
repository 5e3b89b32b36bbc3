"""Signals, as a task."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence

import trio


async def watch_signals(
    signals: Sequence[signal.Signals],
    arrived: Callable[[signal.Signals], None],
    *,
    task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``arrived`` for each signal, until the scope given to ``task_status`` is cancelled.

    Python delivers signals to the main thread only: in any other there is nothing to watch.
    """
    with trio.CancelScope() as scope:
        if threading.current_thread() is not threading.main_thread() or not signals:
            task_status.started(scope)
            return
        with trio.open_signal_receiver(*signals) as received:
            task_status.started(scope)
            async for number in received:
                arrived(signal.Signals(number))
