"""Who owns whom: the tree of workers, its names, and that it is the tree of nurseries."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import attrs
import pytest
import trio
from life_support import Actor, Napper, Slow, StateLog, boom, errors_of, idle, own_tasks, state, states
from support import settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobResponseMessage,
    BusLocalMessage,
    BusMessage,
    DuplicateWorkerError,
    FamilyError,
    LocalBus,
    WorkerRegistry,
    WorkerRunner,
    WorkerStateError,
    open_runner,
)
from trioworkers._transitions import WORKER, WorkerState
from trioworkers.wire import Codec

# -- the tree ------------------------------------------------------------------------------------------------------------


async def test_the_tree_of_nurseries_is_the_tree_of_workers(autojump_clock: MockClock) -> None:
    """L4: a worker's task lives in its parent's nursery, its jobs and its activation in its own, and all have stable names."""
    parent, child, grandchild = Actor("parent", idle), Napper("child"), BaseWorker("grandchild")
    await child.add_workers(grandchild)
    await parent.add_workers(child)
    async with open_runner(parent, BaseWorker("other")) as runner:
        await settle()
        job_id = await runner.request_job("child", name="nap", payload={"seconds": 1})
        await settle()
        below = own_tasks()
    top = below["worker:parent"]
    assert {task: owner for task, owner in below.items() if task.startswith(("worker:", "job:", "activation:"))} == {
        "worker:parent": top,
        "worker:other": top,
        "worker:child": "worker:parent",
        "worker:grandchild": "worker:child",
        "activation:parent": "worker:parent",
        f"job:nap#{job_id}@child": "worker:child",
    }


async def test_children_and_parents_know_each_other() -> None:
    """Children are listed in the order added; a child's parent is a name, a root has none."""
    parent, first, second = BaseWorker("parent"), BaseWorker("first"), BaseWorker("second")
    await parent.add_workers(first)
    await parent.add_workers(second)
    async with open_runner(parent) as runner:
        assert runner.workers == [parent]
        assert parent.children == [first, second]
        assert (parent.parent, first.parent, second.parent) == (None, "parent", "parent")
        children = parent.children
        children.clear()
        assert parent.children == [first, second]


async def test_children_stay_local() -> None:
    """U55: an entry and an announcement say whose child a worker is, so that a bus that leaves the process can leave it out."""
    parent, child = BaseWorker("parent"), BaseWorker("child")
    await parent.add_workers(child)
    bus = LocalBus()
    with bus.tap() as messages:
        async with open_runner(parent, bus=bus) as runner:
            parents = {name: entry.parent for name in ("parent", "child") if (entry := runner.registry.get(name)) is not None}
            announced = {message.source: getattr(message, "parent", None) for message in drain(messages)}
    assert parents == announced == {"parent": None, "child": "parent"}


def drain(messages: trio.MemoryReceiveChannel[BusMessage]) -> list[BusMessage]:
    """Return what a tap has heard so far."""
    return [messages.receive_nowait() for _ in range(messages.statistics().current_buffer_used)]


async def test_no_message_carries_a_live_object(autojump_clock: MockClock) -> None:
    """A whole life in messages, from start to end, can be written down as bytes: a parent starts a child, it does not send it."""
    bus, codec = LocalBus(), Codec()
    with bus.tap() as messages:
        async with open_runner(Actor("parent", idle), bus=bus) as runner:
            worker = runner.get_worker("parent")
            assert worker is not None
            await worker.add_workers(BaseWorker("child"), Napper("napper"))
            async with worker.job("napper", name="nap", payload={"seconds": 1}):
                pass
            await worker.send_bus_error_message("nothing serious")
            await worker.activate_worker("child", deactivate_self=True)
            await worker.end_workers("child")
            await worker.end(reason="enough")
        heard = drain(messages)
    assert len(heard) > 10
    assert [codec.loads(codec.dumps(message)) for message in heard if not isinstance(message, BusLocalMessage)] == [
        message for message in heard if not isinstance(message, BusLocalMessage)
    ]


# -- nothing outlives its owner ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["end", "cancel", "stop", "crash"])
async def test_no_worker_outlives_its_parent(way: str, autojump_clock: MockClock) -> None:
    """L1, L2, R14, U33: whatever way a parent leaves, its children are over before it is, the states of each only go forward."""
    log: list[object] = []
    parent = Slow("parent", log=log)
    child, grandchild = Slow("child", down=1, log=log), Slow("grandchild", down=2, log=log)
    await child.add_workers(grandchild)
    await parent.add_workers(child)
    watch = StateLog(parent, child, grandchild)
    trio.lowlevel.add_instrument(watch)
    runner = WorkerRunner()
    await runner.add_workers(parent)

    @runner.event_handler("on_ready")
    async def leave(runner: WorkerRunner) -> None:
        if way == "end":
            await parent.end(reason="enough")
        elif way == "cancel":
            await parent.cancel(reason="enough")
        elif way == "stop":
            await parent.stop()
        else:
            await parent.add_workers(Actor("late", boom))

    async with within(10):
        assert await errors_of(runner.run) == (["ValueError: boom"] if way == "crash" else [])
    trio.lowlevel.remove_instrument(watch)

    assert log == [("grandchild", "gone", 2), ("child", "gone", 3), ("parent", "gone", 3)]
    for seen in watch.seen.values():
        assert set(pairwise(seen)) <= {(source, target) for (source, _), target in WORKER.items()}
        assert seen[-1] in {WorkerState.FINISHED, WorkerState.FAILED}


@pytest.mark.parametrize("way", ["end", "cancel", "crash", "cancelled"])
async def test_nothing_runs_when_the_runner_has_returned(way: str, autojump_clock: MockClock) -> None:
    """L4, R26, U38: no task of any worker, hook, handler or job is left, and everything that was started was over before."""
    log: list[object] = []
    parent, napper = Actor("parent", idle), Napper("napper", log)
    await parent.add_workers(napper)

    @napper.event_handler("on_activated")
    async def slow_handler(worker: BaseWorker, args: object) -> None:
        try:
            await trio.sleep(1)
        finally:
            log.append("handler over")

    runner = WorkerRunner(shutdown_timeout=3)
    await runner.add_workers(parent)
    before = trio.lowlevel.current_statistics().tasks_living

    @runner.event_handler("on_ready")
    async def go(runner: WorkerRunner) -> None:
        await runner.request_job("napper", name="nap")
        await trio.sleep(0.5)
        if way == "end":
            await runner.end()
        elif way == "cancel":
            await runner.cancel()
        else:
            raise ValueError("boom")

    with trio.move_on_after(0.5 if way == "cancelled" else 10) as scope:
        assert await errors_of(runner.run) == (["ValueError: boom"] if way == "crash" else [])
    log.append("run over")
    await settle()
    assert scope.cancelled_caught == (way == "cancelled")
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert own_tasks() == {}
    tidied = 4.5 if way == "end" else 1.5
    assert [entry for entry in log if entry != "handler over"] == [("napper", "begins"), ("napper", "tidied up", tidied), "run over"]
    assert log.index("handler over") < log.index("run over")


async def test_the_subscription_lasts_as_long_as_the_nursery(autojump_clock: MockClock) -> None:
    """L5: while a cancelled worker's child winds down, messages to the worker still take effect, and its name is taken."""
    heard: list[object] = []

    class Parent(BaseWorker):
        async def on_activated(self, args: object) -> None:
            async with self.job("child", name="nap"):
                pass

    parent, child = Parent("parent"), Napper("child", heard)
    await parent.add_workers(child)
    async with open_runner(parent) as runner:
        await settle()
        runner.bus.post(BusJobResponseMessage(source="child", target="parent", job_id="never asked"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(parent.stop)
            await trio.sleep(0.5)
            assert state(parent) is WorkerState.CANCELLING
            assert "parent" in runner.bus
            with pytest.raises(DuplicateWorkerError):
                await runner.add_workers(BaseWorker("parent"))
        assert parent.statistics().asking.open == 0
        assert parent.statistics().asking.strangers == 1
        assert heard == [("child", "begins"), ("child", "tidied up", 1)]
        assert "parent" not in runner.bus
        await runner.add_workers(BaseWorker("parent"))


async def test_a_finished_worker_is_deaf(autojump_clock: MockClock) -> None:
    """B4: after its end a message has no effect and runs no hook; it is a dead letter, and counted."""
    log: list[object] = []

    class Listener(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            log.append(type(message).__name__)

    listener, other = Listener("listener"), BaseWorker("other")
    async with open_runner(listener, other) as runner:
        await settle()
        await listener.stop()
        before, dead = list(log), runner.bus.statistics().dead_letters
        runner.bus.post(BusJobResponseMessage(source="other", target="listener", job_id="x"))
        await other.send_bus_error_message("to all")
        await settle()
        assert log == before
        assert runner.bus.statistics().dead_letters == dead + 1
        assert listener.statistics().state is WorkerState.FINISHED


async def test_a_stopped_worker_is_gone_for_good() -> None:
    """U32: it is neither registered nor subscribed, does no job any more, and its name can be used again."""
    first, second = Napper("worker"), Napper("worker")
    async with open_runner(first) as runner:
        await first.stop()
        assert "worker" not in runner.registry
        assert "worker" not in runner.bus
        await runner.add_workers(second)
        async with runner.job("worker", name="nap", payload={"seconds": 0}):
            pass
    assert first.log == []
    assert second.log[0] == ("worker", "begins")


async def test_short_lived_workers_leave_nothing_behind() -> None:
    """U53: a long-lived host keeps nothing of the workers that came and went: no entry, subscription, watch, task or object."""
    host = BaseWorker("host")
    remains: list[weakref.ref[BaseWorker]] = []
    async with open_runner(host) as runner:
        await settle()
        bus, registry = runner.bus, runner.registry
        before = (bus.statistics().subscribers, trio.lowlevel.current_statistics().tasks_living)
        for number in range(200):
            worker = Napper(f"short-{number}")
            remains.append(weakref.ref(worker))
            await host.add_workers(worker, watch=number % 2 == 0)
            async with host.job(worker.name, name="nap", payload={"seconds": 0}):
                pass
            await (worker.stop() if number % 3 else host.end_workers(worker.name))
            del worker
        await settle()
        gc.collect()
        assert (bus.statistics().subscribers, trio.lowlevel.current_statistics().tasks_living) == before
        assert registry.local_workers == ["host"]
        assert host.children == []
        assert registry.waiting() == {}
        assert [reference() for reference in remains if reference() is not None] == []
        assert (runner.statistics().started, runner.statistics().finished) == (201, 200)


async def test_many_leave_at_once() -> None:
    """R28: unsubscribing while others do, and while a broadcast goes round, disturbs nobody."""
    log: list[str] = []

    class Listener(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            log.append(self.name)

    workers = [Listener(f"listener-{number}") for number in range(20)]
    async with open_runner(*workers) as runner, trio.open_nursery() as nursery:
        for worker in workers[::2]:
            nursery.start_soon(worker.stop)
        for worker in workers[1::2]:
            nursery.start_soon(worker.send_bus_error_message, "leaving")
            nursery.start_soon(worker.stop)
    assert set(states(*workers)) == {WorkerState.FINISHED}
    assert runner.bus.statistics().subscribers == 0
    assert runner.registry.local_workers == []


# -- names and places: refused at the call -------------------------------------------------------------------------------


async def test_a_name_in_use_is_refused() -> None:
    """U35: a second worker of a name is an error at the call; it is nobody's child then, and the first is undisturbed."""
    parent, double = BaseWorker("parent"), BaseWorker("worker")
    first = Napper("worker")
    async with open_runner(parent, first, name="runner") as runner:
        with pytest.raises(DuplicateWorkerError, match="'runner' has a child called 'worker' already"):
            await runner.add_workers(double)
        with pytest.raises(DuplicateWorkerError, match="the name 'worker' is taken"):
            await parent.add_workers(double)
        with pytest.raises(DuplicateWorkerError, match="the name 'runner' is taken"):
            await runner.add_workers(BaseWorker("runner"))
        with pytest.raises(ValueError, match="the name 'parent' is taken"):
            await parent.add_workers(BaseWorker("parent"))
        assert (double.parent, parent.children, state(double)) == (None, [], WorkerState.NEW)
        async with runner.job("worker", name="nap", payload={"seconds": 0}):
            pass
        await first.stop()
        await parent.add_workers(double)
        assert parent.children == [double]


async def test_names_are_taken_before_the_start() -> None:
    """A name is taken as soon as its worker is added, and two children of one name are refused even where there is no bus yet."""
    runner, parent = WorkerRunner(), BaseWorker("parent")
    await runner.add_workers(BaseWorker("root"))
    with pytest.raises(DuplicateWorkerError, match="'root'"):
        await runner.add_workers(BaseWorker("root"))
    await parent.add_workers(BaseWorker("child"))
    with pytest.raises(DuplicateWorkerError, match="'parent' has a child called 'child'"):
        await parent.add_workers(BaseWorker("child"))


async def test_adding_is_all_or_none() -> None:
    """If one of several cannot be added, none is, with all below it; each can be added again."""
    good, family, below = BaseWorker("good"), BaseWorker("family"), BaseWorker("taken")
    await family.add_workers(below)
    async with open_runner(BaseWorker("taken")) as runner:
        with pytest.raises(DuplicateWorkerError, match="'taken'"):
            await runner.add_workers(good, family)
        assert [worker.name for worker in runner.workers] == ["taken"]
        assert ("good" in runner.bus, "family" in runner.bus) == (False, False)
        assert states(good, family, below) == [WorkerState.NEW] * 3
        await runner.add_workers(good)
        await runner.end_workers("taken")
        await runner.add_workers(family)
        assert runner.registry.local_workers == ["good", "taken", "family"]


async def test_a_second_parent_is_refused() -> None:
    """A worker has one parent: a worker that is a child, or a root, is refused by any other owner, and by the same one."""
    parent, other, child = BaseWorker("parent"), BaseWorker("other"), BaseWorker("child")
    await parent.add_workers(child)
    for owner in (other, parent, WorkerRunner()):
        with pytest.raises(FamilyError, match="a child of 'parent' already"):
            await owner.add_workers(child)
    twice = BaseWorker("twice")
    with pytest.raises(FamilyError, match="a child of 'other' already"):
        await other.add_workers(twice, twice)
    assert (other.children, twice.parent) == ([], None)


async def test_nobody_is_below_itself() -> None:
    """U36: a worker that adopts itself, or an ancestor, is refused at the call; nothing hangs later."""
    top, middle, bottom = BaseWorker("top"), BaseWorker("middle"), BaseWorker("bottom")
    with pytest.raises(FamilyError, match="'top' cannot be below itself"):
        await top.add_workers(top)
    await top.add_workers(middle)
    await middle.add_workers(bottom)
    with pytest.raises(FamilyError, match="'top' cannot be below itself"):
        await bottom.add_workers(top)
    async with open_runner(top):
        assert states(top, middle, bottom) == [WorkerState.READY] * 3


@pytest.mark.parametrize("way", ["ending", "cancelling", "finished", "never started"])
async def test_who_leaves_takes_nobody_in(way: str, autojump_clock: MockClock) -> None:
    """U28: a child for an owner that ends, or is over, is refused at the call."""
    owner, late = Napper("owner"), BaseWorker("late")
    if way == "never started":
        await owner.stop()
        with pytest.raises(WorkerStateError, match="'owner' is finished"):
            await owner.add_workers(late)
    else:
        async with open_runner(owner) as runner:
            await runner.request_job("owner", name="nap", payload={"seconds": 5})
            await settle()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(owner.stop if way == "cancelling" else lambda: runner.end_workers("owner"))
                await trio.sleep(6 if way == "finished" else 0.5)
                with pytest.raises(WorkerStateError, match=f"'owner' is {way}"):
                    await owner.add_workers(late)
    assert (late.parent, state(late), owner.children) == (None, WorkerState.NEW, [])


async def test_an_instance_runs_once() -> None:
    """A worker that is over cannot be added, attached or run again; one that is attached cannot be added elsewhere."""
    worker, attached = BaseWorker("worker"), BaseWorker("attached")
    async with open_runner(worker) as runner:
        await worker.stop()
        with pytest.raises(WorkerStateError, match="'worker' is finished: only a new worker can be added"):
            await runner.add_workers(worker)
        with pytest.raises(WorkerStateError, match="'worker' is finished: only a new worker can be attached"):
            await worker.attach(registry=runner.registry, bus=runner.bus)
        await attached.attach(registry=runner.registry, bus=runner.bus)
        with pytest.raises(WorkerStateError, match="'attached' is attached: only a new worker can be attached"):
            await attached.attach(registry=runner.registry, bus=runner.bus)
        with pytest.raises(WorkerStateError, match="'attached' is attached: only a new worker can be added"):
            await runner.add_workers(attached)
        await attached.cleanup()


async def test_attach_takes_the_names_of_all_below_or_none() -> None:
    """A tree is attached as a whole; if one name is taken, none is, and the tree can be attached elsewhere."""
    parent, child = BaseWorker("parent"), BaseWorker("child")
    await parent.add_workers(child)
    bus, registry = LocalBus(), WorkerRegistry("runner")
    in_the_way = BaseWorker("child")
    await in_the_way.attach(registry=registry, bus=bus)
    with pytest.raises(DuplicateWorkerError, match="'child'"):
        await parent.attach(registry=registry, bus=bus)
    assert ("parent" in bus, state(parent)) == (False, WorkerState.NEW)
    with pytest.raises(WorkerStateError, match="'parent' is not attached"):
        _ = parent.bus
    await in_the_way.stop()
    await parent.attach(registry=registry, bus=bus)
    assert (parent.bus, child.registry, states(parent, child)) == (bus, registry, [WorkerState.ATTACHED] * 2)
    await parent.stop()
    assert (bus.statistics().subscribers, states(parent, child)) == (0, [WorkerState.FINISHED] * 2)


async def test_statistics_tell_of_the_family() -> None:
    """A snapshot says where a worker is in its life, and who its parent and children are; it is frozen."""
    parent, child = BaseWorker("parent", active=False), BaseWorker("child")
    await parent.add_workers(child)
    async with open_runner(parent):
        snapshot = parent.statistics()
        assert (snapshot.name, snapshot.state, snapshot.active, snapshot.parent) == ("parent", WorkerState.READY, False, None)
        assert (snapshot.children, child.statistics().parent) == (("child",), "parent")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            snapshot.name = "other"  # type: ignore[misc]  # that is the point
        assert repr(parent) == "<BaseWorker 'parent' ready>"
    assert parent.statistics().state is WorkerState.FINISHED
