"""Observers by themselves: who is told, in which order, and what becomes of one that does what it should not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from observer_support import Told, recording
from support import Note
from unit.subscribers import Subscriber

from trioworkers import LocalBus, Observer
from trioworkers.observers import HOOKS, Observers

NOTE = Note(source="a", target="w", text="note")


class Teller(Observer):
    """Does something when a request is over."""

    def __init__(self, do: Callable[[str], object]) -> None:
        self.do = do

    def job_over(self, asker: str, job_id: str) -> None:
        """Do it."""
        self.do(job_id)


def tell(observers: Observers, job_id: str) -> None:
    """Tell that a request is over, to those who listen."""
    assert observers.job_over is not None
    observers.job_over("asker", job_id)


def listening(observers: Observers) -> list[str]:
    """Return the hooks that somebody listens to."""
    return [name for name in HOOKS if getattr(observers, name)]


# -- who is told ---------------------------------------------------------------------------------------------------------


def test_nobody_listens_at_first() -> None:
    """As long as there is no observer, the attribute of every hook is false: telling costs one look."""
    assert [getattr(Observers(), name) for name in HOOKS] == [None] * len(HOOKS)


def test_there_is_an_attribute_for_every_hook() -> None:
    """What observers can override is what the library can tell."""
    assert list(HOOKS) == [name for name in Observers.__annotations__ if not name.startswith("_")]
    assert listening(LocalBus().observers) == []


def test_only_overridden_hooks_are_listened_to() -> None:
    """An observer costs nothing at the hooks that it does not override."""
    observers, log = Observers(), Told()
    observers.add(Observer())
    assert listening(observers) == []
    observers.add(recording(log, "job_over", "worker_state"))
    assert listening(observers) == ["worker_state", "job_over"]
    observers.add(recording(log))
    assert listening(observers) == list(HOOKS)


def test_a_hook_inherited_from_ones_own_class_is_overridden() -> None:
    """An observer's hooks may come from any class between it and ``Observer``."""

    class Narrow(Teller):
        pass

    observers, log = Observers(), list[str]()
    observers.add(Narrow(log.append))
    tell(observers, "j1")
    assert log == ["j1"]


def test_observers_are_told_in_the_order_added() -> None:
    """Who was added first is told first, at each event; one that is added later hears from then on."""
    observers, log = Observers(), list[str]()
    observers.add(Teller(lambda job_id: log.append(f"one {job_id}")))
    observers.add(Teller(lambda job_id: log.append(f"two {job_id}")))
    tell(observers, "j1")
    observers.add(Teller(lambda job_id: log.append(f"three {job_id}")))
    tell(observers, "j2")
    assert log == ["one j1", "two j1", "one j2", "two j2", "three j2"]


def test_adding_twice_is_adding_once() -> None:
    """An observer that is there already stays where it is, and is told once."""
    observers, log = Observers(), list[str]()
    observer = Teller(log.append)
    assert observers.add(observer)
    assert not observers.add(observer)
    tell(observers, "j1")
    assert log == ["j1"]


def test_observers_that_are_equal_are_two() -> None:
    """Observers are told apart by identity, whatever they think of each other."""

    class Same(Teller):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same)

        __hash__ = None  # type: ignore[assignment]

    observers, log = Observers(), list[str]()
    one, two = Same(lambda job_id: log.append("one")), Same(lambda job_id: log.append("two"))
    observers.add(one)
    observers.add(two)
    tell(observers, "j1")
    observers.remove(one)
    tell(observers, "j2")
    assert (one == two, log) == (True, ["one", "two", "two"])


def test_a_removed_observer_hears_nothing_more() -> None:
    """After ``remove`` nothing is told; when the last is gone, telling costs one look again."""
    observers, log = Observers(), list[str]()
    one, two = Teller(lambda job_id: log.append("one")), Teller(lambda job_id: log.append("two"))
    observers.add(one)
    observers.add(two)
    observers.remove(one)
    tell(observers, "j1")
    observers.remove(two)
    assert (log, listening(observers)) == (["two"], [])


@pytest.mark.parametrize("there", [False, True])
def test_removing_who_is_not_there(there: bool) -> None:
    """Removing an observer that was never added, or was removed, is a ``LookupError``."""
    observers, observer = Observers(), Observer()
    if there:
        observers.add(observer)
        observers.remove(observer)
    with pytest.raises(LookupError, match="does not observe this bus"):
        observers.remove(observer)


def test_what_is_no_observer_is_refused() -> None:
    """Only an ``Observer`` can be added, an instance and not the class."""
    for bad in (object(), Observer, lambda: None):
        with pytest.raises(TypeError, match="must be an Observer"):
            Observers().add(bad)  # type: ignore[arg-type]


def test_an_async_hook_is_refused() -> None:
    """A hook that would have to be awaited is an error when the observer is added: nobody would await it."""

    class Waiting(Observer):
        async def job_over(self, asker: str, job_id: str) -> None:  # type: ignore[override]
            """Never called."""

    observers = Observers()
    with pytest.raises(TypeError, match=r"Waiting\.job_over must be a plain function"):
        observers.add(Waiting())
    assert listening(observers) == []


# -- what they do while they are told ------------------------------------------------------------------------------------


def test_a_raising_observer_is_detached_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    """An observer that raises is told nothing more, at any hook; it is logged; the others, and the program, go on."""
    log: Told = []

    class Clumsy(Observer):
        def worker_active(self, name: str, active: bool) -> None:
            log.append(("clumsy", name, active))

        def job_over(self, asker: str, job_id: str) -> None:
            raise ValueError("boom")

    observers, clumsy = Observers(), Clumsy()
    observers.add(clumsy)
    observers.add(recording(log, "job_over", "worker_active"))
    assert observers.worker_active is not None
    observers.worker_active("v", False)  # noqa: FBT003 - as the library calls it
    for number in (1, 2):
        tell(observers, f"j{number}")
        observers.worker_active("w", True)  # noqa: FBT003 - the same
    told = [("job_over", "asker", "j1"), ("worker_active", "w", True), ("job_over", "asker", "j2"), ("worker_active", "w", True)]
    assert log == [("clumsy", "v", False), ("worker_active", "v", False), *told]
    (record,) = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == (
        "trioworkers.observers",
        logging.ERROR,
        "Clumsy raised in its hook 'job_over': it is detached",
    )
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "ValueError('boom')"
    with pytest.raises(LookupError):
        observers.remove(clumsy)


def test_an_interrupt_is_not_the_observers(caplog: pytest.LogCaptureFixture) -> None:
    """What is no ``Exception`` (an interrupt) goes on its way, and the observer stays."""

    def interrupt(job_id: str) -> None:
        if job_id == "j1":
            raise KeyboardInterrupt
        log.append(job_id)

    observers, log = Observers(), list[str]()
    observers.add(Teller(interrupt))
    with pytest.raises(KeyboardInterrupt):
        tell(observers, "j1")
    tell(observers, "j2")
    assert (log, observers.telling, caplog.records) == (["j2"], False, [])


def test_observers_may_come_and_go_while_they_are_told() -> None:
    """A hook may remove any observer, itself too, which then hears nothing more; one that it adds hears of the next event."""
    observers, log = Observers(), list[str]()

    def meddle(job_id: str) -> None:
        log.append(f"meddler {job_id}")
        observers.remove(meddler)
        observers.remove(victim)
        observers.add(Teller(lambda job_id: log.append(f"late {job_id}")))

    meddler, victim = Teller(meddle), Teller(lambda job_id: log.append(f"victim {job_id}"))
    for observer in (meddler, victim, Teller(lambda job_id: log.append(f"last {job_id}"))):
        observers.add(observer)
    tell(observers, "j1")
    tell(observers, "j2")
    assert log == ["meddler j1", "last j1", "last j2", "late j2"]


def test_an_observer_may_leave_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """One that removes itself and then raises is reported, too, and the others go on."""
    observers, log = Observers(), list[str]()

    def leave(job_id: str) -> None:
        observers.remove(leaving)
        raise ValueError("good-bye")

    leaving = Teller(leave)
    observers.add(leaving)
    observers.add(Teller(log.append))
    tell(observers, "j1")
    assert (log, len(caplog.records)) == (["j1"], 1)


def test_what_happens_inside_a_hook_is_told_too() -> None:
    """An event within a hook is told there and then; when it has been, the outer hook is still a hook."""
    observers, log = Observers(), list[Any]()

    def nest(job_id: str) -> None:
        if job_id == "outer":
            tell(observers, "inner")
        log.append((job_id, observers.telling))

    observers.add(Teller(nest))
    tell(observers, "outer")
    assert (log, observers.telling) == ([("inner", True), ("outer", True)], False)


# -- on a bus ------------------------------------------------------------------------------------------------------------


def test_a_bus_has_observers() -> None:
    """``add_observer`` and ``remove_observer`` are what a bus offers; a message is told as posted, and as delivered."""
    bus, log = LocalBus(), Told()
    observer = recording(log, "message_posted", "message_delivered")
    bus.add_observer(observer)
    bus.subscribe(Subscriber("w").inbox)
    bus.post(NOTE)
    bus.remove_observer(observer)
    bus.post(NOTE)
    assert log == [("message_posted", NOTE), ("message_delivered", NOTE, "w")]
    with pytest.raises(LookupError):
        bus.remove_observer(observer)
    with pytest.raises(TypeError):
        bus.add_observer("diary")  # type: ignore[arg-type]


def test_observers_do_not_post(caplog: pytest.LogCaptureFixture) -> None:
    """A ``post`` from inside a hook raises: the observer is detached, nothing was posted, and the bus goes on."""
    bus, log, subscriber = LocalBus(), Told(), Subscriber("w", Note)

    class Chatty(Observer):
        def message_posted(self, message: object) -> None:
            bus.post(NOTE)

    bus.subscribe(subscriber.inbox)
    bus.add_observer(Chatty())
    bus.add_observer(recording(log, "message_posted"))
    bus.post(NOTE)
    bus.post(NOTE)
    assert log == [("message_posted", NOTE)] * 2
    assert (bus.statistics().posted, subscriber.inbox.data.waiting) == (2, 2)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "observers read and do not act: nothing can be posted from inside an observer's hook"
    ]


async def test_observers_do_not_send(caplog: pytest.LogCaptureFixture) -> None:
    """The same goes for whatever becomes a ``post``, by whatever trick: a ``send`` that is driven by hand."""
    bus = LocalBus()

    class Sly(Observer):
        def message_posted(self, message: object) -> None:
            bus.send(NOTE).send(None)

    bus.add_observer(Sly())
    bus.post(NOTE)
    assert (bus.statistics().posted, len(caplog.records)) == (1, 1)
