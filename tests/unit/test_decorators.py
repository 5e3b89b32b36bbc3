"""``@job``, ``@worker_ready``, ``@handles``: marks, and what is collected of them when the class is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from trioworkers import BaseWorker, BusDataMessage, BusMessage, BusSystemMessage, handles, job, worker_ready
from trioworkers._decorators import JobMark, Marks, collect, is_message_class

# -- what is collected ---------------------------------------------------------------------------------------------------


class Everything:
    """A class with every kind of mark; a mark needs no worker."""

    @job
    async def plain(self, message: Any) -> None:
        """A job called like the method."""

    @job()
    async def called(self, message: Any) -> None:
        """The same, with parentheses."""

    @job(name="given", sequential=True)
    async def named(self, message: Any) -> None:
        """A job of another name, one at a time."""

    @job(name="stream")
    async def streaming(self, message: Any) -> AsyncIterator[dict[str, Any]]:
        """An async generator: a stream."""
        yield {"n": 1}

    @worker_ready(name="planner")
    async def planner_is_there(self, data: Any) -> None:
        """Somebody else is ready."""

    @handles(BusDataMessage)
    async def any_data(self, message: Any) -> None:
        """A message."""

    async def unmarked(self) -> None:
        """Nothing of interest."""


def test_all_marks_are_collected() -> None:
    """A class's marks are found by job name, by worker name, by message class, with the attribute that bears them."""
    assert collect(Everything) == Marks(
        jobs={
            "plain": ("plain", JobMark("plain")),
            "called": ("called", JobMark("called")),
            "given": ("named", JobMark("given", sequential=True)),
            "stream": ("streaming", JobMark("stream", streaming=True)),
        },
        ready={"planner": "planner_is_there"},
        messages={BusDataMessage: "any_data"},
    )


def test_a_mark_changes_nothing_else() -> None:
    """A decorator returns the very function it was given, which can be called as before."""

    async def function() -> None:
        """Whatever."""

    assert job(function) is function
    assert job(name="x")(function) is function
    assert worker_ready(name="x")(function) is function
    assert handles(BusMessage)(function) is function
    with pytest.raises(StopIteration) as first:
        anext(Everything().streaming(None)).__await__().send(None)
    assert first.value.value == {"n": 1}


def test_one_method_may_bear_several_marks() -> None:
    """The same method can answer for several names, and for messages, too."""

    class Both:
        @job(name="a")
        @job(name="b")
        @handles(BusSystemMessage)
        async def both(self, message: Any) -> None:
            """Whatever."""

    marks = collect(Both)
    assert {name: attribute for name, (attribute, _) in marks.jobs.items()} == {"b": "both", "a": "both"}
    assert marks.messages == {BusSystemMessage: "both"}


def test_marks_are_inherited() -> None:
    """A subclass has its bases' handlers, from every side, and its own."""

    class Mixin:
        @job
        async def mixed(self, message: Any) -> None:
            """From the other side."""

    class Child(Everything, Mixin):
        @job
        async def own(self, message: Any) -> None:
            """Its own."""

    assert {*collect(Child).jobs} == {"plain", "called", "given", "stream", "mixed", "own"}


def test_overriding_without_a_mark_takes_the_handler_away() -> None:
    """A subclass that overrides a marked method without marking it, or sets it to something else, has no such handler."""

    class Without(Everything):
        async def plain(self, message: Any) -> None:
            """No mark."""

        called = None  # type: ignore[assignment]

    assert {*collect(Without).jobs} == {"given", "stream"}


def test_overriding_with_a_mark_replaces_the_handler() -> None:
    """A subclass that overrides a marked method and marks it anew has the new mark alone."""

    class Anew(Everything):
        @job(name="renamed")
        async def plain(self, message: Any) -> None:
            """Another name."""

    jobs = collect(Anew).jobs
    assert "plain" not in jobs
    assert jobs["renamed"] == ("plain", JobMark("renamed"))


def test_another_method_cannot_take_over_an_inherited_name() -> None:
    """Two methods for one name are two, even if one is inherited: override the method itself."""

    class Twice(Everything):
        @job(name="plain")
        async def another(self, message: Any) -> None:
            """The same name."""

    with pytest.raises(ValueError, match=r"Twice\.another and Twice\.plain both handle jobs called 'plain': keep one"):
        collect(Twice)


def test_a_method_marked_twice_for_one_name_is_an_error() -> None:
    """The same mark twice on one method is as doubtful as two methods."""

    class Doubled:
        @job(name="a")
        @job(name="a")
        async def one(self, message: Any) -> None:
            """Doubly marked."""

    with pytest.raises(ValueError, match="both handle jobs called 'a'"):
        collect(Doubled)


def test_two_methods_for_one_readiness() -> None:
    """Two ``@worker_ready`` for one worker are an error that names both."""

    class Two:
        @worker_ready(name="w")
        async def one(self, data: Any) -> None:
            """First."""

        @worker_ready(name="w")
        async def two(self, data: Any) -> None:
            """Second."""

    with pytest.raises(ValueError, match=r"Two\.one and Two\.two both handle the readiness of 'w': keep one"):
        collect(Two)


def test_two_methods_for_one_class_of_messages() -> None:
    """Two ``@handles`` for one class are an error that names both; a class and its subclass are two."""

    class Two:
        @handles(BusDataMessage)
        async def one(self, message: Any) -> None:
            """First."""

        @handles(BusMessage)
        async def other(self, message: Any) -> None:
            """A base class: no conflict."""

        @handles(BusDataMessage)
        async def two(self, message: Any) -> None:
            """Second."""

    with pytest.raises(ValueError, match=r"Two\.one and Two\.two both handle messages of class BusDataMessage: keep one"):
        collect(Two)


def test_a_worker_class_is_checked_when_it_is_made() -> None:
    """Two handlers for one name are an error when the class is made, before there is any worker."""
    with pytest.raises(ValueError, match="both handle jobs called 'a'"):

        class Wrong(BaseWorker):
            @job(name="a")
            async def one(self, message: Any) -> None:
                """First."""

            @job(name="a")
            async def two(self, message: Any) -> None:
                """Second."""


@pytest.mark.parametrize("mark", [job, job(name="other"), worker_ready(name="w"), handles(BusMessage)])
def test_a_marked_method_replaces_nothing_of_the_worker(mark: Any) -> None:
    """A marked method with the name of one of BaseWorker's own would silently replace it: an error when the class is made."""

    async def stop(self: Any, message: Any) -> None:
        """A job called stop, the user thinks."""

    with pytest.raises(ValueError, match=r"Stopper\.stop is marked, and would replace BaseWorker\.stop: rename the method"):
        type("Stopper", (BaseWorker,), {"stop": mark(stop)})


def test_a_job_may_be_called_like_a_method_of_the_worker() -> None:
    """It is the method's name that must be another, not the job's."""

    class Stopper(BaseWorker):
        @job(name="stop")
        async def stop_something(self, message: Any) -> None:
            """Fine."""

    assert {*collect(Stopper).jobs} == {"stop"}


def test_attributes_that_are_no_functions_do_not_disturb() -> None:
    """Properties, static methods and plain values are looked at, not called."""

    class Odd:
        value = 5
        looked: list[str] = []  # noqa: RUF012 - what a user may write

        @property
        def computed(self) -> int:
            """Never computed."""
            self.looked.append("computed")
            return 5

        @staticmethod
        def static() -> int:
            """Never called."""
            return 6

        @job
        async def handler(self, message: Any) -> None:
            """What is looked for."""

    assert {*collect(Odd).jobs} == {"handler"}
    assert Odd.looked == []
    assert (Odd().computed, Odd.static()) == (5, 6)
    assert Odd.looked == ["computed"]


# -- what is refused -----------------------------------------------------------------------------------------------------


def sync(self: Any, message: Any) -> None:
    """A function that is not async."""


@pytest.mark.parametrize("function", [sync, print])
def test_a_handler_is_async(function: Any) -> None:
    """Marking a method that is not async is a TypeError at the decoration."""
    for mark, name in [(job, "@job"), (worker_ready(name="w"), "@worker_ready"), (handles(BusMessage), "@handles")]:
        with pytest.raises(TypeError, match=f"{name} marks an 'async def' method, not <"):
            mark(function)


def test_only_a_job_may_be_a_stream() -> None:
    """An async generator cannot be called for a readiness or a message."""
    for mark, name in [(worker_ready(name="w"), "@worker_ready"), (handles(BusMessage), "@handles")]:
        with pytest.raises(TypeError, match=f"{name} marks an 'async def' method"):
            mark(Everything.streaming)


@pytest.mark.parametrize(("name", "error"), [(5, TypeError), ("", ValueError), (b"x", TypeError)])
def test_names_are_checked_at_the_decoration(name: Any, error: type[Exception]) -> None:
    """A name that is no str, or an empty one, is refused where it is written."""

    async def function() -> None:
        """Whatever."""

    with pytest.raises(error, match="a job's name must"):
        job(name=name)(function)
    with pytest.raises(error, match="a worker's name must"):
        worker_ready(name=name)


@pytest.mark.parametrize("cls", [int, "BusMessage", BusMessage(source="a"), None])
def test_handles_wants_a_class_of_messages(cls: Any) -> None:
    """``@handles`` takes a subclass of BusMessage and nothing else."""
    assert not is_message_class(cls)
    with pytest.raises(TypeError, match="@handles wants a class of messages, not"):
        handles(cls)
