"""Who is there, and who wants to know."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support import settle
from unit.strategies import steady

from trioworkers import (
    DuplicateWorkerError,
    UnknownWorkerError,
    WorkerLostData,
    WorkerReadyData,
    WorkerRegistry,
    WorkerRegistryEntry,
)

Data = WorkerReadyData | WorkerLostData


def make() -> WorkerRegistry:
    """A registry whose clock counts its readings."""
    times = iter(range(1, 1000))
    return WorkerRegistry("r", clock=lambda: float(next(times)))


def entry(name: str, parent: str | None = None) -> WorkerRegistryEntry:
    """A worker."""
    return WorkerRegistryEntry(name, parent)


def ready(name: str, runner: str = "r") -> WorkerReadyData:
    """What is told of a worker that is ready."""
    return WorkerReadyData(name, runner)


def lost(name: str, runner: str = "r") -> WorkerLostData:
    """What is told of a worker that is gone."""
    return WorkerLostData(name, runner)


# -- entries -------------------------------------------------------------------------------------------------------------


def test_who_registered_is_there() -> None:
    """R1: a registered worker is there, with its entry and the time it came, until it is unregistered."""
    registry = make()
    assert (registry.runner_name, registry.local_workers, registry.get("w")) == ("r", [], None)
    assert registry.register(entry("w", "p"))
    assert "w" in registry
    assert registry.local_workers == ["w"]
    assert registry.get("w") == WorkerRegistryEntry("w", "p", started_at=1.0)
    registry.unregister("w")
    assert "w" not in registry
    assert (registry.local_workers, registry.get("w")) == ([], None)
    assert (registry.registered, registry.unregistered) == (1, 1)


def test_what_is_no_name_is_not_there() -> None:
    """Asking for something that is no name is no error."""
    assert 5 not in make()


def test_local_workers_come_in_the_order_they_got_ready() -> None:
    """The names of the local workers are in order of readiness."""
    registry = make()
    for name in "cab":
        registry.register(entry(name))
    assert registry.local_workers == ["c", "a", "b"]


def test_registering_again_replaces_the_entry() -> None:
    """R2: a worker whose entry changes is still the same worker: nobody is told anew, and the time given stays."""
    registry, told = make(), list[Data]()
    registry.watch("w", told.append, told.append)
    registry.register(entry("w"))
    assert not registry.register(WorkerRegistryEntry("w", active=False, started_at=7.5))
    assert registry.get("w") == WorkerRegistryEntry("w", active=False, started_at=7.5)
    assert told == [ready("w")]
    assert registry.registered == 1


def test_unregistering_twice_is_harmless() -> None:
    """R1: a worker that is not there can be unregistered, here or on a runner that nobody has heard of."""
    registry, told = make(), list[Data]()
    registry.watch("w", told.append, told.append)
    registry.unregister("w")
    registry.unregister("w", runner="elsewhere")
    assert (told, registry.unregistered) == ([], 0)


def test_the_clock_is_the_wall_clock_unless_given() -> None:
    """``started_at`` is Unix time."""
    registry = WorkerRegistry("r")
    registry.register(entry("w"))
    found = registry.get("w")
    assert found is not None
    assert found.started_at is not None
    assert found.started_at > 1_600_000_000


# -- other runners -------------------------------------------------------------------------------------------------------


def test_remote_workers() -> None:
    """R1: the workers of other runners are there, too, under their runner's name."""
    registry, told = make(), list[Data]()
    registry.watch("far", told.append, told.append)
    registry.register(entry("near"))
    registry.register(entry("far"), runner="other")
    registry.register(entry("farther"), runner="third")
    assert registry.local_workers == ["near"]
    assert registry.remote_workers == ["far", "farther"]
    assert "farther" in registry
    assert registry.get("far") == WorkerRegistryEntry("far", started_at=2.0)
    registry.unregister("far", runner="third")
    assert "far" in registry
    registry.unregister("far", runner="other")
    assert told == [ready("far", "other"), lost("far", "other")]
    assert registry.remote_workers == ["farther"]


def test_ones_own_runner_may_be_named() -> None:
    """Naming the registry's own runner is the same as naming none."""
    registry = make()
    registry.register(entry("w"), runner="r")
    assert (registry.local_workers, registry.remote_workers) == (["w"], [])
    registry.unregister("w", runner="r")
    assert registry.local_workers == []


@pytest.mark.parametrize(("first", "second"), [(None, "other"), ("other", None), ("other", "third")])
def test_one_name_on_two_runners(first: str | None, second: str | None) -> None:
    """U56: a name that another runner's worker has is refused; nobody is told, and nothing changes."""
    registry, told = make(), list[Data]()
    registry.register(entry("w"), runner=first)
    registry.watch("w", told.append, told.append)
    with pytest.raises(DuplicateWorkerError, match=f"the name 'w' is taken by a worker of runner {(first or 'r')!r}"):
        registry.register(entry("w"), runner=second)
    registry.unregister("w", runner=second)
    assert "w" in registry
    assert told == [ready("w", first or "r")]
    registry.unregister("w", runner=first)
    assert registry.register(entry("w"), runner=second)


def test_a_runner_without_workers_leaves_nothing() -> None:
    """U53: when the last worker of a runner is gone, or its first was refused, nothing of the runner stays."""
    registry = make()
    registry.register(entry("w"))
    for number in range(100):
        registry.register(entry("far"), runner=f"runner-{number}")
        registry.unregister("far", runner=f"runner-{number}")
        with pytest.raises(DuplicateWorkerError):
            registry.register(entry("w"), runner=f"runner-{number}")
    assert registry._remote == {}


# -- watches -------------------------------------------------------------------------------------------------------------


def test_a_watch_fires_once_for_each_registration() -> None:
    """R2: a watch is told at each registration, and each loss, once."""
    registry, told = make(), list[Data]()
    registry.watch("w", told.append, told.append)
    assert told == []
    for _ in range(2):
        registry.register(entry("other"))
        registry.register(entry("w"))
        registry.unregister("w")
        registry.unregister("other")
    assert told == [ready("w"), lost("w")] * 2


def test_a_watch_fires_at_once_if_the_worker_is_there() -> None:
    """R2: whoever watches a worker that is there already, here or elsewhere, is told at once, and once."""
    registry, told = make(), list[Data]()
    registry.register(entry("near"))
    registry.register(entry("far"), runner="other")
    registry.watch("near", told.append)
    registry.watch("far", told.append)
    assert told == [ready("near"), ready("far", "other")]
    registry.unregister("near")
    assert len(told) == 2


def test_watching_inside_a_notification() -> None:
    """U40: a watch begun inside a notification of the same worker fires once."""
    registry, told = make(), list[Data]()

    def begin(data: WorkerReadyData) -> None:
        registry.watch("w", told.append)

    registry.watch("w", begin)
    registry.register(entry("w"))
    assert told == [ready("w")]


def test_unwatching_inside_a_notification() -> None:
    """R2: a watch that is dropped while others are being told is not told any more."""
    registry, told = make(), list[Data]()

    def drop(data: Data) -> None:
        registry.unwatch(told.append, "w")
        registry.unwatch(told.append)

    registry.watch("w", drop)
    registry.watch("w", told.append)
    registry.watch_roots(told.append)
    registry.register(entry("w"))
    assert told == []


def test_unwatching_inside_a_loss() -> None:
    """R2: the same holds when a worker is lost."""
    registry, told, other = make(), list[Data](), list[Data]()

    def drop(data: Data) -> None:
        registry.unwatch(told.append, "w")

    registry.watch("w", other.append, drop)
    registry.watch("w", told.append, told.append)
    registry.register(entry("w"))
    registry.unregister("w")
    assert told == other == [ready("w")]


def test_unregistering_inside_a_notification() -> None:
    """R2: a worker that is gone before all were told of it is lost for those who heard; the order is readiness, then loss."""
    registry, told = make(), list[Data]()
    registry.watch("w", told.append, told.append)
    registry.watch("w", lambda _: registry.unregister("w"))
    registry.register(entry("w"))
    assert told == [ready("w"), lost("w")]
    assert "w" not in registry


def test_several_watch_one() -> None:
    """I16: each watch is told, in the order they came; dropping one leaves the others."""
    registry, told = make(), list[Any]()

    def first(data: WorkerReadyData) -> None:
        told.append(("first", data.worker_name))

    def second(data: WorkerReadyData) -> None:
        told.append(("second", data.worker_name))

    for watcher in (first, second):
        registry.watch("w", watcher)
    registry.register(entry("w"))
    registry.unwatch(first, "w", "never watched")
    registry.unregister("w")
    registry.register(entry("w"))
    assert told == [("first", "w"), ("second", "w"), ("second", "w")]


def test_a_dropped_watch_leaves_nothing() -> None:
    """R2 of the reference: a watch that ended leaves no entry behind."""
    registry = make()
    for number in range(100):
        registry.watch(f"w{number}", print)
        registry.unwatch(print, f"w{number}")
    registry.watch_roots(print)
    registry.unwatch(print)
    assert (registry._watches, registry._root_watches) == ({}, [])


@pytest.mark.parametrize(("name", "error"), [(5, TypeError), ("", ValueError), (None, TypeError)])
async def test_names_are_checked(name: Any, error: type[Exception], autojump_clock: trio.testing.MockClock) -> None:
    """U2: what is no name, or empty, can be neither watched nor waited for: it would be for ever."""
    registry = make()
    with pytest.raises(error, match="a worker's name must"):
        registry.watch(name, print)
    assert registry._watches == {}
    with pytest.raises(error, match="a worker's name must"), trio.fail_after(1):
        await registry.wait_ready("w", name)


# -- roots ---------------------------------------------------------------------------------------------------------------


def test_watching_the_roots() -> None:
    """U61: whoever watches the roots is told of those that are there and those that come; not of children, not of other runners."""
    registry, told = make(), list[Data]()
    registry.register(entry("early"))
    registry.register(entry("early child", "early"))
    registry.watch_roots(told.append, told.append)
    registry.register(entry("late"))
    registry.register(entry("late child", "late"))
    registry.register(entry("far"), runner="other")
    for name in ("early child", "late child", "late"):
        registry.unregister(name)
    registry.unregister("far", runner="other")
    assert told == [ready("early"), ready("late"), lost("late")]


def test_watching_the_roots_without_their_loss() -> None:
    """A watch may be for readiness alone."""
    registry, told = make(), list[Data]()
    registry.watch_roots(told.append)
    registry.register(entry("w"))
    registry.unregister("w")
    registry.unwatch(told.append)
    registry.register(entry("w"))
    assert told == [ready("w")]


def test_unwatching_roots_leaves_names_and_the_other_way_round() -> None:
    """The watch on roots and those on names are dropped apart."""
    registry, told = make(), list[Data]()
    registry.watch("w", told.append)
    registry.watch_roots(told.append)
    registry.unwatch(told.append, "w")
    registry.register(entry("w"))
    assert told == [ready("w")]
    registry.unregister("w")
    registry.watch("w", told.append)
    registry.unwatch(told.append)
    registry.register(entry("w"))
    assert told == [ready("w")] * 2


# -- waiting -------------------------------------------------------------------------------------------------------------


async def test_waiting_until_all_are_ready() -> None:
    """J7: ``wait_ready`` returns when all are there; ``waiting`` shows whom it waits for until then."""
    registry = make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.wait_ready, "a", "b")
        nursery.start_soon(registry.wait_ready, "a")
        await settle()
        assert registry.waiting() == {"a": 2}
        registry.register(entry("a"))
        await settle()
        assert registry.waiting() == {"b": 1}
        assert len(nursery.child_tasks) == 1
        registry.register(entry("b"), runner="other")
        await settle()
        assert not nursery.child_tasks
    assert registry.waiting() == {}


async def test_ready_at_one_moment() -> None:
    """A worker that went away while another was waited for is waited for again."""
    registry = make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.wait_ready, "a", "b")
        registry.register(entry("a"))
        await settle()
        registry.unregister("a")
        registry.register(entry("b"))
        await settle()
        assert registry.waiting() == {"a": 1}
        registry.register(entry("a"))


async def test_waiting_is_a_cancel_point() -> None:
    """``wait_ready`` can be cancelled even if all are there, and leaves nothing behind if they are not."""
    registry = make()
    registry.register(entry("there"))
    await registry.wait_ready("there")
    await registry.wait_ready()
    for name in ("there", "missing"):
        with trio.CancelScope() as scope:
            scope.cancel()
            await registry.wait_ready(name)
        assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.wait_ready, "missing")
        nursery.start_soon(registry.wait_ready, "missing")
        await settle()
        nursery.cancel_scope.cancel()
    assert registry.waiting() == {}


async def test_closing_wakes_who_waits() -> None:
    """J7: when the runner ends, every wait for somebody who is not there ends with an error that names them and the reason."""
    registry = make()
    registry.register(entry("there"))
    errors: list[str] = []

    async def wait(*names: str) -> None:
        with pytest.raises(UnknownWorkerError) as caught:
            await registry.wait_ready(*names)
        errors.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        for names in (["a"], ["there", "b", "c"], ["a"]):
            nursery.start_soon(wait, *names)
        await settle()
        registry.close("the runner has finished")
    await wait("late")
    await registry.wait_ready("there")
    assert sorted(errors) == [
        "'a' will not be ready any more: the runner has finished",
        "'a' will not be ready any more: the runner has finished",
        "'b', 'c' will not be ready any more: the runner has finished",
        "'late' will not be ready any more: the runner has finished",
    ]
    assert registry.waiting() == {}


# -- anything ------------------------------------------------------------------------------------------------------------

NAMES = ["a", "b"]
RUNNERS = ["r", "other", "third"]


class RegistryMachine(RuleBasedStateMachine):
    """A registry, beside a dictionary that says who is where; each watcher writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = make()
        self.where: dict[str, str] = {}
        self.watchers: list[tuple[str, list[Data], list[Data], Any]] = []

    def tell(self, data: Data) -> None:
        """What every present watcher of that name should be told."""
        for name, _, expected, _ in self.watchers:
            if name == data.worker_name:
                expected.append(data)

    @rule(name=st.sampled_from(NAMES), runner=st.sampled_from(RUNNERS))
    def register(self, name: str, runner: str) -> None:
        """Somebody gets ready somewhere."""
        if self.where.get(name, runner) != runner:
            with pytest.raises(DuplicateWorkerError):
                self.registry.register(entry(name), runner=runner)
            return
        new = self.registry.register(entry(name), runner=runner)
        assert new is (name not in self.where)
        self.where[name] = runner
        if new:
            self.tell(ready(name, runner))

    @rule(name=st.sampled_from(NAMES), runner=st.sampled_from(RUNNERS))
    def unregister(self, name: str, runner: str) -> None:
        """Somebody goes, or was not there."""
        self.registry.unregister(name, runner=runner)
        if self.where.get(name) == runner:
            del self.where[name]
            self.tell(lost(name, runner))

    @rule(name=st.sampled_from(NAMES))
    def watch(self, name: str) -> None:
        """Somebody begins to watch."""
        told: list[Data] = []
        handler = told.append
        self.registry.watch(name, handler, handler)
        self.watchers.append((name, told, [ready(name, self.where[name])] if name in self.where else [], handler))

    @rule(data=st.data())
    def unwatch(self, data: st.DataObject) -> None:
        """Somebody stops watching: what it was told until then is checked once more at the end."""
        if self.watchers:
            name, told, expected, handler = self.watchers.pop(data.draw(st.integers(0, len(self.watchers) - 1)))
            self.registry.unwatch(handler, name)
            assert told == expected

    @invariant()
    def everybody_is_where_they_are(self) -> None:
        """R1: the registry is exactly the workers that are there."""
        assert sorted(self.registry.local_workers) == sorted(name for name, runner in self.where.items() if runner == "r")
        assert sorted(self.registry.remote_workers) == sorted(name for name, runner in self.where.items() if runner != "r")
        assert [name in self.registry for name in NAMES] == [name in self.where for name in NAMES]

    @invariant()
    def everybody_was_told(self) -> None:
        """R2: every watcher was told of each registration and each loss, once, in order."""
        for _, told, expected, _ in self.watchers:
            assert told == expected


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(steady, stateful_step_count=30)
TestRegistry.__doc__ = "R1, R2: whoever comes and goes, the registry is the workers that are there, and every watch is told once."
