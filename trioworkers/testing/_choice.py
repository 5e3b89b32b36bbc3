"""Which hook to use: the exact one if it works with this trio, else the one that needs public names only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import attrs
import outcome
import trio
import trio.testing

from ._clock import VirtualClock
from ._gate import GateHook
from ._hook import Hook, SwitchHook

_kind: list[type[Hook]] = []
_TURNS = 200
"""More than enough."""


def new_hook() -> Hook:
    """A hook for one run."""
    if not _kind:
        _kind.append(SwitchHook if obeys(SwitchHook) else GateHook)
    return _kind[0]()


def use_hook(kind: type[Hook] | None) -> None:
    """Use this kind from now on; ``None``: find out anew which one works."""
    _kind[:] = [] if kind is None else [kind]


def obeys(kind: type[Hook]) -> bool:
    """The canary: whether two tasks run in just the orders asked for, step by step.

    It is tried on a thread of its own: should it get stuck half-way, this thread is not left with its trio program.
    """
    with ThreadPoolExecutor(1) as thread:
        return all(thread.submit(_Trial(deque(order)).run, kind).result() == order for order in ("aabb", "baba", "abba"))


@attrs.define(eq=False)
class _Trial:
    """A small program under a hook.

    Args:
        order: The order asked for.
    """

    _order: deque[str]
    _taken: list[str] = attrs.field(factory=list, init=False)
    _due: dict[str, trio.lowlevel.Task] = attrs.field(factory=dict, init=False)
    _host: deque[Callable[[], object]] = attrs.field(factory=deque, init=False)
    _over: list[outcome.Outcome[None]] = attrs.field(factory=list, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def run(self, kind: type[Hook]) -> str:
        """The order that came of it; empty if something went wrong."""
        with suppress(Exception), ExitStack() as stack:  # whatever a future trio does to it: it does not work then
            hook = kind()
            stack.callback(self._end)
            stack.callback(hook.release)
            self._begin(hook)
            self._go_on(lambda: hook.turn(self._tick, self._pick))
            self._over[0].unwrap()
            return "".join(self._taken)
        return ""

    def _begin(self, hook: Hook) -> None:
        trio.lowlevel.start_guest_run(
            self._main,
            hook,
            run_sync_soon_threadsafe=self._host.append,
            run_sync_soon_not_threadsafe=self._host.append,
            done_callback=self._over.append,
            clock=VirtualClock(hook.idle_waiters),
            instruments=hook.instruments,
            host_uses_signal_set_wakeup_fd=True,
        )

    async def _main(self, hook: Hook) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                for name in "ab":
                    nursery.start_soon(self._twice, name, name=name)
            hook.is_holding()
            await trio.testing.wait_all_tasks_blocked()

    async def _twice(self, name: str) -> None:
        for _ in range(2):
            self._taken.append(name)
            await trio.lowlevel.checkpoint()

    def _pick(self, tasks: Sequence[trio.lowlevel.Task]) -> Sequence[trio.lowlevel.Task]:
        self._due.update((task.name, task) for task in tasks)
        name = self._order.popleft() if self._order and {*self._due} == {"a", "b"} else next(iter(self._due), None)
        return [] if name is None else [self._due.pop(name)]

    def _go_on(self, turn: Callable[[], object]) -> None:
        for _ in range(_TURNS):
            if not self._over:
                turn()

    def _tick(self) -> None:
        self._host.popleft()()

    def _end(self) -> None:
        self._scope.cancel()
        self._go_on(self._tick)
