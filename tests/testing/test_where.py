"""Where a task is, and what it is called."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trioworkers.testing import World
from trioworkers.testing._where import Place, place, places, tree


def task_named(world: World, name: str) -> trio.lowlevel.Task:
    """The task with that label."""
    return next(task for _, task in world.tasks() if world._scheduler.label_of(task) == name)


@asynccontextmanager
async def visiting() -> AsyncIterator[None]:
    """Machinery of contextlib, around lines of the program."""
    yield
    await trio.sleep_forever()


async def inner() -> None:
    """Wait for ever, by way of trio and contextlib."""
    async with visiting():
        pass


async def outer() -> None:
    """One call further out."""
    await inner()


async def generate() -> AsyncIterator[int]:
    """Wait after the first one."""
    yield 0
    await trio.sleep_forever()


async def iterate() -> None:
    """Wait in a generator."""
    _ = [number async for number in generate()]


def test_a_place_is_a_line_of_the_program() -> None:
    """The calls a task is in are those of the program, outermost first, with file and line; not those of trio and contextlib."""
    with World() as world:
        world.spawn(outer)
        world.settle()
        found = places(task_named(world, "outer"))
        assert [(each.function, each.file) for each in found] == [
            ("outer", "test_where.py"),
            ("inner", "test_where.py"),
            ("visiting", "test_where.py"),
        ]
        assert place(task_named(world, "outer")) == found[-1]
        lines = [each.line for each in found]
        assert [line - lines[2] for line in lines] == [lines[0] - lines[2], lines[1] - lines[2], 0]
        assert lines[2] < lines[1] < lines[0]


def test_a_place_may_be_in_a_generator() -> None:
    """A task that waits inside an async generator is shown there, too."""
    with World() as world:
        world.spawn(iterate)
        world.settle()
        assert places(task_named(world, "iterate"))[0].function == "iterate"
        assert str(place(task_named(world, "iterate"))).startswith("generate (test_where.py:")


def test_a_task_in_trios_own_code_is_there() -> None:
    """A task that runs nothing of the program's stands where it is in trio: it has not ended."""
    with World() as world:
        world.spawn(trio.sleep, 5, name="nap")
        world.settle()
        (found,) = places(task_named(world, "nap"))
        assert (found.function, found.file) == ("sleep_forever", "_timeouts.py")


def test_a_task_that_waits_in_nothing_of_anybodys_has_no_place() -> None:
    """Without a call of the program's or of trio's there is no place."""
    with World() as world:
        world.spawn(trio.sleep_forever, name="not begun")
        assert places(task_named(world, "not begun")) == []
        assert place(task_named(world, "not begun")) is None


def test_a_place_reads_like_a_traceback() -> None:
    """As text, a place is its function, its file and its line."""
    assert str(Place("work", "worker.py", 7)) == "work (worker.py:7)"


def test_code_without_a_module_is_the_programs() -> None:
    """What was made by ``exec`` has a place, too."""
    made: dict[str, Any] = {"trio": trio}
    exec("async def made():\n    await trio.sleep_forever()", made)  # noqa: S102 - that is what is tested
    del made["__builtins__"]
    with World() as world:
        world.spawn(made["made"])
        world.settle()
        assert place(task_named(world, "made")) == Place("made", "<string>", 2)


def test_there_is_no_tree_without_a_root() -> None:
    """Before trio has its first task, the tree is empty."""

    class Early(trio.abc.Instrument):
        def before_run(self) -> None:
            seen.append([*tree()])

    seen: list[Any] = []
    with World(instruments=[Early()]):
        pass
    assert seen == [[]]


def wrapped(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """A decorator, as they are."""

    @functools.wraps(function)
    async def wrapper(*args: Any) -> None:
        await function(*args)

    return wrapper


@wrapped
async def decorated() -> None:
    """Nothing."""


class Robot:
    """Has a method."""

    async def work(self) -> None:
        """Nothing."""


async def at_module() -> None:
    """Nothing."""


def starts() -> Iterator[tuple[Any, str | None, str]]:
    """What may be started, under which name, and the label it gets."""

    async def local() -> None:
        """Nothing."""

    yield at_module, None, "at_module"
    yield local, None, "local"
    yield Robot().work, None, "Robot.work"
    yield functools.partial(local), None, "local"
    yield decorated, None, f"{__name__}.decorated"
    yield wrapped(local), None, "local"
    yield at_module, "worker:planner", "worker:planner"
    yield at_module, "a.b.c", "a.b.c"


@pytest.mark.parametrize(("function", "name", "label"), [*starts()])
def test_labels_are_short(function: Any, name: str | None, label: str) -> None:
    """A task is called by its name; one that is called after its function, by the function's own name, without modules."""

    async def start() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function, name=name)
        labels.extend(each.label for each in world.trace)

    labels: list[str] = []
    with World() as world:
        world.run(start)
    assert label in labels
