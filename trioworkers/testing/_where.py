"""Where a task is: its place in the program, as a reader would name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from operator import attrgetter
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any

import attrs
import trio

_OWN = __name__.rpartition(".")[0]
_MACHINERY = ("trio", "outcome", "contextlib", "pytest_trio", _OWN)
_SUSPENDING = trio.lowlevel.wait_task_rescheduled.__globals__
"""Every task that waits is in there, in the end: it says nothing about any."""


@attrs.frozen
class Place:
    """A line of a program.

    Args:
        function: Its name.
        file: The file's name, without folders.
        line: The line's number.
    """

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({self.file}:{self.line})"


def places(task: trio.lowlevel.Task) -> list[Place]:
    """The calls of the program that a suspended task is in, outermost first; if there are none, the one of trio's it waits in."""
    calls = list(task.iter_await_frames())
    program = [call for call in calls if not _is_machinery(_module(call[0]))]
    return [_place(frame.f_code, line) for frame, line in program or _trios(calls)[-1:]]


def place(task: trio.lowlevel.Task) -> Place | None:
    """The innermost of its :func:`places`; ``None`` if there are none."""
    found = places(task)
    return found[-1] if found else None


def innermost_call(task: trio.lowlevel.Task) -> str:
    """The name of the function of trio's that a suspended task waits in; empty if it waits in none."""
    calls = [frame for frame, _ in task.iter_await_frames() if frame.f_globals is not _SUSPENDING]
    return calls[-1].f_code.co_name if calls and _is_trios(_module(calls[-1])) else ""


def tree(order: Callable[[trio.lowlevel.Task], Any] = attrgetter("name")) -> Iterator[tuple[int, trio.lowlevel.Task]]:
    """All tasks of the present run and how deep they are, parents before their children.

    Args:
        order: What children are ordered by.
    """
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [(0, root)]
    while waiting:
        depth, task = waiting.pop()
        yield depth, task
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        waiting.extend((depth + 1, child) for child in sorted(children, key=order, reverse=True))


def short_name(task: trio.lowlevel.Task) -> str:
    """A task's name; of one that is named after its function, only the function's own name. Trio's own tasks are in ``<>``."""
    if task.name == f"{_OWN}.world.World._main":
        return "<world>"
    function = task.coro.cr_code.co_qualname
    return _own_name(function if task.name.endswith(f".{function}") else task.name)


def _own_name(qualified: str) -> str:
    return qualified.rpartition("<locals>.")[2]


def _trios(calls: list[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    return [call for call in calls if _is_trios(_module(call[0])) and call[0].f_globals is not _SUSPENDING]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


@cache
def _is_machinery(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in _MACHINERY)


@cache
def _is_trios(module: str) -> bool:
    return module.partition(".")[0] == "trio"


@lru_cache(maxsize=10_000)
def _place(code: CodeType, line: int) -> Place:
    return Place(_own_name(code.co_qualname), PurePath(code.co_filename).name, line)
