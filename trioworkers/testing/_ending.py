"""The last means against a program that does not end although it is cancelled. They, too, need public names only."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import trio


def unshield(tasks: Iterable[trio.lowlevel.Task]) -> None:
    """Take away the shields of all scopes that these tasks are in."""
    for scope in _scopes(tasks):
        scope.shield = False


def break_off(tasks: Sequence[trio.lowlevel.Task]) -> None:
    """Close what these tasks run, and put nothing in its place, so that they end with their next step.

    Args:
        tasks: The tasks, parents before their children.
    """
    for task in reversed(tasks):
        closing, gone = task.coro, _Gone()
        task.coro = gone  # type: ignore[assignment]  # its type says "native coroutine"; trio only sends to it
        with suppress(BaseException):  # it is asked for nothing any more
            closing.close()


def wake(tasks: Iterable[trio.lowlevel.Task]) -> None:
    """Wake those of these tasks, all of which wait, that have no children: the others wait for theirs."""
    for task in tasks:
        if not any(nursery.child_tasks for nursery in task.child_nurseries):
            trio.lowlevel.reschedule(task)


class _Gone:
    """A coroutine that is at its end."""

    def send(self, value: Any) -> Any:
        """Trio's next step."""
        raise StopIteration(value)

    def close(self) -> None:
        """As ever."""


def _scopes(tasks: Iterable[trio.lowlevel.Task]) -> Iterator[trio.CancelScope]:
    """Nobody tells which scopes a task is in. So follow what it refers to, as far as it is trio's."""
    seen: set[int] = set()
    waiting: list[object] = list(tasks)
    while waiting:
        found = waiting.pop()
        if id(found) not in seen and type(found).__module__.partition(".")[0] == "trio":
            seen.add(id(found))
            waiting.extend(gc.get_referents(found))
            if isinstance(found, trio.CancelScope):
                yield found
