"""``@job``, ``@worker_ready``, ``@handles``: marks on methods, collected and checked when the class is made.

A mark is a small frozen value hung on the function. A subclass that overrides a marked method without marking it again takes the
handler away, as it would take away any other decoration.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

import attrs

from ._checks import check_name
from .messages import BusMessage

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__trioworkers_marks__"


@attrs.frozen
class JobMark:
    """This method handles jobs of that name."""

    name: str
    sequential: bool = False
    streaming: bool = False


@attrs.frozen
class ReadyMark:
    """This method is called when the worker of that name is ready."""

    name: str


@attrs.frozen
class MessageMark:
    """This method is called for messages of that class and its subclasses."""

    cls: type[BusMessage]


Mark = JobMark | ReadyMark | MessageMark


@attrs.frozen
class Marks:
    """All marks of a class: attribute names by job name, by worker name, by message class."""

    jobs: dict[str, tuple[str, JobMark]] = attrs.field(factory=dict)
    ready: dict[str, str] = attrs.field(factory=dict)
    messages: dict[type[BusMessage], str] = attrs.field(factory=dict)


def is_message_class(cls: object) -> bool:
    """Whether this is a class of messages."""
    return isinstance(cls, type) and issubclass(cls, BusMessage)


def _hang(function: F, mark: Mark) -> F:
    setattr(function, _MARK, (*getattr(function, _MARK, ()), mark))
    return function


def _check_async(function: Callable[..., Any], what: str) -> None:
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{what} marks an 'async def' method, not {function!r}")


@overload
def job(function: F, /) -> F: ...


@overload
def job(*, name: str | None = None, sequential: bool = False) -> Callable[[F], F]: ...


def job(function: F | None = None, /, *, name: str | None = None, sequential: bool = False) -> F | Callable[[F], F]:
    """Mark an async method as the handler of jobs of one name.

    ::

        class Adder(BaseWorker):
            @job(name="add")
            async def add(self, message):
                return {"sum": sum(message.payload["numbers"])}

            @job(name="count", sequential=True)
            async def count(self, message):        # an async generator: a stream
                for n in range(message.payload["to"]):
                    yield {"n": n}

    A returned ``dict`` (or ``None``) is the COMPLETED response; ``DEFERRED`` keeps the job open for a later answer;
    :class:`JobFailed` ends it FAILED; any other exception ends it ERROR, and the worker lives on.

    Args:
        name: The job's name; the method's own if left out.
        sequential: One at a time, in the order they arrived.

    Raises:
        TypeError: The method is not async, or the name no str.
        ValueError: The name is empty.

    Reference: @job.
    """

    def mark(target: F) -> F:
        streaming = inspect.isasyncgenfunction(target)
        if not streaming:
            _check_async(target, "@job")
        chosen = target.__name__ if name is None else check_name(name, "a job's name")
        return _hang(target, JobMark(chosen, bool(sequential), streaming))

    return mark if function is None else mark(function)


def worker_ready(*, name: str) -> Callable[[F], F]:
    """Mark an async method to be called whenever the worker called ``name`` is ready.

    ::

        @worker_ready(name="planner")
        async def planner_is_there(self, data):
            await self.activate_worker("planner")

    It runs in this worker's own data lane, before ``on_worker_ready``.

    Raises:
        TypeError: The method is not async, or the name no str.
        ValueError: The name is empty.

    Reference: @worker_ready.
    """
    check_name(name)

    def mark(target: F) -> F:
        _check_async(target, "@worker_ready")
        return _hang(target, ReadyMark(name))

    return mark


def handles(cls: type[BusMessage]) -> Callable[[F], F]:
    """Mark an async method to be called for messages of one class (subclasses included), broadcast or sent to this worker.

    ::

        @handles(PriceChanged)
        async def price_changed(self, message):
            self.cents = message.cents

    It runs in the lane of the message's priority, before ``on_bus_message``.

    Raises:
        TypeError: The method is not async, or ``cls`` is no class of messages.
    """
    if not is_message_class(cls):
        raise TypeError(f"@handles wants a class of messages, not {cls!r}")

    def mark(target: F) -> F:
        _check_async(target, "@handles")
        return _hang(target, MessageMark(cls))

    return mark


def refuse_overriding(cls: type, base: type, marks: Marks) -> None:
    """Refuse marked methods that would silently replace a method of ``base``.

    Raises:
        ValueError: There is one.
    """
    for attribute in (*(name for name, _ in marks.jobs.values()), *marks.ready.values(), *marks.messages.values()):
        if hasattr(base, attribute):
            raise ValueError(f"{cls.__name__}.{attribute} is marked, and would replace {base.__name__}.{attribute}: rename the method")


def _marked(cls: type) -> Iterator[tuple[str, Mark]]:
    seen: dict[str, None] = {}
    for base in cls.__mro__:
        for attribute in vars(base):
            seen.setdefault(attribute)
    for attribute in seen:
        function = inspect.getattr_static(cls, attribute)
        for mark in getattr(function, _MARK, ()):
            yield attribute, mark


def collect(cls: type) -> Marks:
    """Return the marks of ``cls``, inherited ones included.

    Raises:
        ValueError: Two methods answer for the same thing.
    """
    marks = Marks()
    for attribute, mark in _marked(cls):
        match mark:
            case JobMark(name=name):
                _once(cls, f"jobs called {name!r}", attribute, marks.jobs.get(name, (None,))[0])
                marks.jobs[name] = (attribute, mark)
            case ReadyMark(name=name):
                _once(cls, f"the readiness of {name!r}", attribute, marks.ready.get(name))
                marks.ready[name] = attribute
            case _:
                _once(cls, f"messages of class {mark.cls.__name__}", attribute, marks.messages.get(mark.cls))
                marks.messages[mark.cls] = attribute
    return marks


def _once(cls: type, what: str, attribute: str, other: str | None) -> None:
    if other is not None:
        raise ValueError(f"{cls.__name__}.{other} and {cls.__name__}.{attribute} both handle {what}: keep one")
