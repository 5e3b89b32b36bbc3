"""Which hook to use: the exact one if it works with this trio, else the one that needs public names only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import trio
import trio.testing

from ._clock import VirtualClock
from ._gate import GateHook
from ._hook import Hook, SwitchHook

_kind: list[type[Hook]] = []


def new_hook() -> Hook:
    """A hook for one run."""
    if not _kind:
        _kind.append(SwitchHook if obeys(SwitchHook) else GateHook)
    return _kind[0]()


def use_hook(kind: type[Hook] | None) -> None:
    """Use this kind from now on; ``None``: find out anew which one works."""
    _kind[:] = [] if kind is None else [kind]


def obeys(kind: type[Hook]) -> bool:
    """The canary: whether two tasks run in just the orders asked for, step by step."""
    try:
        return all(_try(kind, order) == order for order in (list("aabb"), list("baba"), list("abba")))
    except Exception:  # noqa: BLE001 - whatever a future trio does to it: it does not work
        return False


def _try(kind: type[Hook], order: Sequence[str]) -> list[str]:
    hook = kind()
    host: deque[Callable[[], Any]] = deque()
    taken: list[str] = []
    wanted = deque(order)
    over: list[object] = []

    def pick(tasks: Sequence[trio.lowlevel.Task]) -> Sequence[trio.lowlevel.Task]:
        named = {task.name: task for task in tasks}
        return [named[wanted.popleft()]] if wanted and {*named} == {"a", "b"} else list(tasks)[:1]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(twice, name, name=name)

    async def twice(name: str) -> None:
        for _ in range(2):
            taken.append(name)
            await trio.lowlevel.checkpoint()

    try:
        trio.lowlevel.start_guest_run(
            main,
            run_sync_soon_threadsafe=host.append,
            run_sync_soon_not_threadsafe=host.append,
            done_callback=over.append,
            clock=VirtualClock(_nobody),
            instruments=hook.instruments,
            host_uses_signal_set_wakeup_fd=True,
        )
        for _ in range(200):
            if not over:
                hook.turn(host.popleft(), pick)
    finally:
        hook.release()
    return taken


def _nobody() -> bool:
    return False
