"""Where a task is: its place in the program, as a reader would name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from types import FrameType

import attrs
import trio

_OWN = __name__.rpartition(".")[0]
_MACHINERY = ("trio", "outcome", "contextlib", "pytest_trio", _OWN)


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
    """The calls a suspended task is in, outermost first, without those of trio's machinery."""
    return [_place(frame, line) for frame, line in task.iter_await_frames() if not _is_machinery(frame)]


def place(task: trio.lowlevel.Task) -> Place | None:
    """The line of the program a suspended task is at; ``None`` if it has not begun, or is all machinery."""
    found = places(task)
    return found[-1] if found and task.coro.cr_frame is not None else None


def innermost_call(task: trio.lowlevel.Task) -> str:
    """The name of the function of trio's (or of the program's) that a suspended task waits in."""
    names = [frame.f_code.co_name for frame, _ in task.iter_await_frames()]
    return next((name for name in reversed(names) if name not in ("wait_task_rescheduled", "_park")), "")


def tree() -> Iterator[tuple[int, trio.lowlevel.Task]]:
    """All tasks of the present run and how deep they are, parents before their children, by name."""
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [(0, root)]
    while waiting:
        depth, task = waiting.pop()
        yield depth, task
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        waiting.extend((depth + 1, child) for child in sorted(children, key=lambda child: child.name, reverse=True))


def short_name(task: trio.lowlevel.Task) -> str:
    """A task's name; of one that is named after its function, only the function's own name. Trio's own tasks are in ``<>``."""
    if task.name.startswith(f"{_OWN}."):
        return "<world>"
    named_after_function = task.name.endswith(f".{task.coro.cr_code.co_qualname}")
    return task.coro.cr_code.co_qualname.rpartition("<locals>.")[2] if named_after_function else task.name


def _is_machinery(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return any(module == name or module.startswith(f"{name}.") for name in _MACHINERY)


def _place(frame: FrameType, line: int) -> Place:
    code = frame.f_code
    return Place(code.co_qualname.rpartition("<locals>.")[2], PurePath(code.co_filename).name, line)
