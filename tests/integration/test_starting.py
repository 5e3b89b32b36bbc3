"""How workers become ready: together, all or none, and only when they can be asked for things."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from life_support import Actor, Log, Napper, Slow, ask, boom, errors_of, idle, state, states, told
from support import Note, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusEndWorkerMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    DuplicateWorkerError,
    JobStatus,
    LocalBus,
    WorkerParams,
    WorkerRegistry,
    WorkerRegistryEntry,
    WorkerRunner,
    WorkerStartError,
    WorkerStateError,
    job,
    open_runner,
)
from trioworkers._transitions import WorkerState


class Broken(BaseWorker):
    """Dies before it is ready; also if it is cancelled, because another one was faster."""

    def __init__(self, name: str, *, up: float = 0) -> None:
        super().__init__(name)
        self.up = up

    async def start(self) -> None:
        """Die, after some seconds."""
        try:
            await trio.sleep(self.up)
        finally:
            raise ValueError(f"{self.name} is broken")


# -- together ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner_kind", ["runner", "worker"])
async def test_add_workers_returns_when_all_are_ready(owner_kind: str, autojump_clock: MockClock) -> None:
    """Workers given together to a running owner start in parallel; when the call returns, each is READY and registered."""
    parent, one, two = BaseWorker("parent"), Slow("one", up=2), Slow("two", up=3)
    async with open_runner(parent) as runner, within(3.5):
        await (parent if owner_kind == "worker" else runner).add_workers(one, two)
        assert trio.current_time() == 3
        assert states(one, two) == [WorkerState.READY] * 2
        assert runner.registry.local_workers == ["parent", "one", "two"]


async def test_add_workers_with_nobody_does_nothing() -> None:
    """Adding no workers is fine, and a checkpoint."""
    async with open_runner() as runner:
        with trio.testing.assert_checkpoints():
            await runner.add_workers()
    assert runner.statistics().started == 0


async def test_children_given_before_the_start_start_with_their_parent(autojump_clock: MockClock) -> None:
    """U34: children added before the parent runs are started with it, and it is READY when they all are, from the bottom up."""
    parent, middle, bottom = BaseWorker("parent"), Slow("middle", up=1), Slow("bottom", up=2)
    await parent.add_workers(middle)
    runner = WorkerRunner()
    await runner.add_workers(parent)
    await middle.add_workers(bottom)
    assert states(parent, middle, bottom) == [WorkerState.ATTACHED] * 3
    seen: Log = []

    @runner.event_handler("on_ready")
    async def look(runner: WorkerRunner) -> None:
        seen.append((trio.current_time(), runner.registry.local_workers))
        await runner.end()

    async with within(4):
        await runner.run()
    assert seen == [(3, ["bottom", "middle", "parent"])]


async def test_a_worker_added_while_its_owner_starts_is_started(autojump_clock: MockClock) -> None:
    """R12: whenever a worker is added to a runner that is starting, it is started, once."""
    for delay in range(12):
        runner = WorkerRunner()
        await runner.add_workers(BaseWorker("early"))
        late = BaseWorker("late")
        async with within(5), trio.open_nursery() as nursery:
            nursery.start_soon(partial(runner.run, auto_end=False))
            for _ in range(delay):
                await trio.lowlevel.checkpoint()
            await runner.add_workers(late)
            await settle()
            assert (delay, state(late)) == (delay, WorkerState.READY)
            await runner.end()


async def test_a_worker_added_while_the_others_start_does_not_wait_for_them(autojump_clock: MockClock) -> None:
    """R12: what is added to a runner that waits for its first workers is ready as soon as it can be."""
    runner, slow, quick = WorkerRunner(), Slow("slow", up=5), Slow("quick", up=1)
    await runner.add_workers(slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(runner.run, auto_end=False))
        await trio.sleep(1)
        await runner.add_workers(quick)
        assert (trio.current_time(), states(slow, quick)) == (2, [WorkerState.STARTING, WorkerState.READY])
        await trio.sleep(4)
        assert state(slow) is WorkerState.READY
        await runner.end()


async def test_children_can_be_added_around_the_start() -> None:
    """An overridden start() may add children before the worker is ready, and after; both run."""

    class Parent(BaseWorker):
        async def start(self) -> None:
            await self.add_workers(BaseWorker("before"))
            log.append((state(self), "before" in self.registry))
            await super().start()
            await self.add_workers(BaseWorker("after"))
            log.append((state(self), "after" in self.registry))

    log: Log = []
    async with open_runner(Parent("parent")) as runner:
        await settle()
        assert runner.registry.local_workers == ["before", "parent", "after"]
    assert log == [(WorkerState.STARTING, True), (WorkerState.READY, True)]


# -- all or none ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner_kind", ["runner", "worker"])
async def test_if_one_fails_none_stays(owner_kind: str, autojump_clock: MockClock) -> None:
    """R1: one that dies before READY is raised at the call, when all given with it are gone; no hook tells of it, the owner lives."""
    log: Log = []
    parent, ready, slow = Recorder("parent", log=log), Slow("ready", down=2), Slow("slow", up=10)
    async with open_runner(parent) as runner:
        owner = parent if owner_kind == "worker" else runner
        with pytest.raises(ExceptionGroup) as caught:
            await owner.add_workers(ready, Broken("broken", up=1), slow)
        assert [str(error) for error in told(caught.value)] == ["broken is broken"]
        assert trio.current_time() == 3
        assert states(ready, slow) == [WorkerState.FINISHED] * 2
        assert (runner.registry.local_workers, parent.children, len(runner.workers)) == (["parent"], [], 1)
        assert [name for name in ("ready", "broken", "slow") if name in runner.bus] == []
        await owner.add_workers(BaseWorker("slow"))
        await settle()
    assert [entry for entry in log if entry[1] in {"failed", "ready", "lost"} and entry[-1] == "broken"] == []
    assert ("parent", "failed") not in [entry[:2] for entry in log]
    assert state(parent) is WorkerState.FINISHED


async def test_all_who_fail_are_told_of_together(autojump_clock: MockClock) -> None:
    """Several that die before READY come out as one flat group, each with a note that says where."""
    parent = BaseWorker("parent")
    async with open_runner(parent, name="top"):
        with pytest.raises(ExceptionGroup) as caught:
            await parent.add_workers(Broken("one", up=1), Broken("two", up=1))
        assert sorted((str(error), error.__notes__) for error in told(caught.value)) == [
            ("one is broken", ["raised in worker top/parent/one"]),
            ("two is broken", ["raised in worker top/parent/two"]),
        ]


async def test_if_one_is_stopped_none_stays(autojump_clock: MockClock) -> None:
    """A worker that is stopped before it is READY is a WorkerStartError at the call that waits for it, and none stays."""
    parent, one, two = BaseWorker("parent"), Slow("one", up=5), BaseWorker("two")
    async with open_runner(parent), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def stop() -> None:
            await trio.sleep(1)
            await one.stop()

        with pytest.raises(ExceptionGroup) as caught:
            await parent.add_workers(one, two)
        (error,) = told(caught.value)
        assert isinstance(error, WorkerStartError)
        assert str(error) == "worker 'one' was stopped before it was ready: stopped"
        assert (trio.current_time(), states(one, two), parent.children) == (1, [WorkerState.FINISHED] * 2, [])


async def test_if_the_caller_is_cancelled_none_stays(autojump_clock: MockClock) -> None:
    """A cancelled add_workers had no effect: when the cancellation goes on, all given are gone and their names free."""
    parent, ready, slow = BaseWorker("parent"), Slow("ready", down=2), Slow("slow", up=10)
    async with open_runner(parent) as runner:
        with trio.move_on_after(1) as scope:
            await parent.add_workers(ready, slow)
        assert scope.cancelled_caught
        assert trio.current_time() == 3
        assert (states(ready, slow), parent.children) == ([WorkerState.FINISHED] * 2, [])
        assert (runner.registry.local_workers, runner.bus.statistics().subscribers) == (["parent"], 2)


async def test_a_cancelled_call_adds_nobody() -> None:
    """A call that is cancelled at its checkpoint has no effect at all: the worker is still new."""
    worker = BaseWorker("worker")
    async with open_runner() as runner:
        with trio.CancelScope() as scope:
            scope.cancel()
            await runner.add_workers(worker)
        assert (state(worker), runner.workers) == (WorkerState.NEW, [])
        await runner.add_workers(worker)


async def test_a_start_that_the_runner_cancels_is_told_to_the_caller(autojump_clock: MockClock) -> None:
    """Whoever waits gets an answer: if the owner is cancelled, a start waited for elsewhere raises, with the reason."""
    slow = Slow("slow", up=10)
    runner = WorkerRunner()
    async with within(5), trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))

        @nursery.start_soon
        async def cancel() -> None:
            await trio.sleep(1)
            await runner.cancel("no more time")

        with pytest.raises(ExceptionGroup) as caught:
            await runner.add_workers(slow)
        assert [str(error) for error in told(caught.value)] == ["worker 'slow' was stopped before it was ready: no more time"]


async def test_a_child_that_cannot_start_fails_its_parents_start(autojump_clock: MockClock) -> None:
    """A failure before READY of a child given before the start is the parent's, raised where the parent was added; no hook runs."""
    log: Log = []
    parent, sibling = Recorder("parent", log=log), Slow("sibling", down=1)
    await parent.add_workers(sibling, Broken("broken"))
    async with open_runner(name="top") as runner:
        with pytest.raises(ExceptionGroup) as caught:
            await runner.add_workers(parent)
        assert [(str(error), error.__notes__) for error in told(caught.value)] == [
            ("broken is broken", ["raised in worker top/parent/broken"])
        ]
        assert (states(parent, sibling), runner.workers) == ([WorkerState.FAILED, WorkerState.FINISHED], [])
    assert log == []


async def test_a_worker_that_cannot_start_fails_the_runner(autojump_clock: MockClock) -> None:
    """R1, U31: a root given before the run that dies before READY comes out of run(), and never was in the registry."""
    runner, other = WorkerRunner(), Slow("other", up=5)
    await runner.add_workers(other, Broken("broken", up=1))
    async with within(2):
        assert await errors_of(runner.run) == ["ValueError: broken is broken"]
    assert (runner.registry.registered, states(other), runner.workers) == (0, [WorkerState.FINISHED], [])


# -- ready means ready ---------------------------------------------------------------------------------------------------


class Library(BaseWorker):
    """Holds its books around its run."""

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(name)
        self.log = log
        self.books: list[str] = []

    @asynccontextmanager
    async def _open_books(self) -> Any:
        self.log.append("opening")
        await trio.sleep(1)
        self.books = ["one"]
        try:
            yield self.books
        finally:
            self.log.append("closed")

    async def run(self, params: WorkerParams, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have books as long as there is somebody to ask for them."""
        async with self._open_books():
            await super().run(params, task_status=task_status)

    @job(name="count")
    async def count(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Count the books."""
        self.log.append("counting")
        return {"books": len(self.books)}

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """See that it is ready."""
        self.log.append((state(self), self.name in self.registry, self.started_at is not None, len(self.books)))


async def test_a_worker_is_registered_when_its_resources_are_there(autojump_clock: MockClock) -> None:
    """R1, U41: what is held around run() is there before the worker is registered, asked, or activated, and until it is gone."""
    log: Log = []
    library = Library("library", log)
    async with open_runner() as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, library)
        await trio.sleep(0.5)
        assert ("library" in runner.registry, "library" in runner.bus, library.started_at) == (False, True, None)
        async with runner.job("library", name="count") as asked:
            assert trio.current_time() == 1
        assert asked.response == {"books": 1}
        await settle()
        await library.stop()
        assert (log[0], log[-1]) == ("opening", "closed")
        assert log.count((WorkerState.READY, True, True, 1)) == log.count("counting") == 1
        assert library.books == ["one"]


async def test_what_comes_before_ready_waits_for_it(autojump_clock: MockClock) -> None:
    """U41: requests and messages for a worker that is not ready yet are kept, and applied in order when it is."""

    class Listener(Slow):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                self.log.append((message.text, trio.current_time(), state(self)))

        @job(name="look")
        async def look(self, message: BusJobRequestMessage) -> None:
            self.log.append(("job", trio.current_time(), state(self)))

    listener = Listener("listener", up=2)
    async with open_runner(BaseWorker("other")) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, listener)
        await trio.sleep(1)
        runner.bus.post(Note(source="other", target="listener", text="one"))
        runner.bus.post(BusJobRequestMessage(source="other", target="listener", job_id="1", job_name="look"))
        runner.bus.post(Note(source="other", target="listener", text="two"))
        assert (listener.statistics().answering.held, listener.statistics().mailbox.data) == (1, 3)
        await trio.sleep(2)
    assert sorted(listener.log) == [("job", 2, WorkerState.READY), ("listener", "gone", 3), ("one", 2, "ready"), ("two", 2, "ready")]
    assert listener.log.index(("one", 2, WorkerState.READY)) < listener.log.index(("two", 2, WorkerState.READY))


async def test_what_comes_before_ready_is_answered_if_ready_never_comes(autojump_clock: MockClock) -> None:
    """Whoever waits gets an answer: a request held for a worker that never becomes ready is CANCELLED, messages are counted."""
    log: Log = []
    asker, slow = Recorder("asker", log=log), Slow("slow", up=5)
    async with open_runner(asker) as runner:
        with runner.bus.tap() as messages:
            with trio.move_on_after(2):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(runner.add_workers, slow)
                    await trio.sleep(1)
                    runner.bus.post(BusJobRequestMessage(source="asker", target="slow", job_id="1"))
            heard = [messages.receive_nowait() for _ in range(messages.statistics().current_buffer_used)]
    answers = [message for message in heard if message.target == "asker"]
    assert [(message.source, getattr(message, "status", None)) for message in answers] == [("slow", JobStatus.CANCELLED)]
    assert slow.statistics().answering.ended == {"cancelled": 1}


async def test_what_a_child_says_before_its_parent_is_ready_is_heard(autojump_clock: MockClock) -> None:
    """R19: a child that is ready before its parent can talk to it at once: messages wait for the parent, jobs are answered then."""

    class Parent(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                log.append((message.text, trio.current_time()))

        @job(name="ask")
        async def ask(self, message: BusJobRequestMessage) -> dict[str, Any]:
            return {"at": trio.current_time()}

    async def talk(child: BaseWorker) -> None:
        await child.send_bus_message(Note(source=child.name, target="parent", text="hello"))
        async with child.job("parent", name="ask") as asked:
            pass
        log.append((asked.response, trio.current_time()))

    log: Log = []
    parent = Parent("parent")
    await parent.add_workers(Actor("child", talk), Slow("slow", up=2))
    async with open_runner(parent):
        await settle()
    assert sorted(log, key=str) == [("hello", 2), ({"at": 2}, 2)]


@pytest.mark.parametrize("whom", ["top", "parent", "child"])
async def test_waiting_for_an_ancestor_that_waits_for_oneself_is_refused(whom: str, autojump_clock: MockClock) -> None:
    """J7: a worker that is not ready cannot ask an ancestor that is not, nor itself: an error at once, not a wait for ever."""

    class Child(BaseWorker):
        async def run(self, params: Any, **kwargs: Any) -> None:
            await ask(self, whom)

    top, parent = BaseWorker("top"), BaseWorker("parent")
    await parent.add_workers(Child("child"))
    await top.add_workers(parent)
    runner = WorkerRunner()
    await runner.add_workers(top)
    async with within(1):
        (error,) = await errors_of(runner.run)
    assert error == (
        f"WorkerStateError: worker 'child' is not ready and waits for {whom!r}, which can only be ready later: ask from a hook"
    )
    assert issubclass(WorkerStateError, RuntimeError)


async def test_a_worker_that_is_not_ready_may_ask_who_is(autojump_clock: MockClock) -> None:
    """A worker can ask ready workers, its parent too, while it prepares."""

    class Child(BaseWorker):
        async def run(self, params: Any, **kwargs: Any) -> None:
            for name in ("parent", "sibling"):
                async with self.job(name, name="nap", payload={"seconds": 1}) as asked:
                    pass
                log.append(asked.response)
            with pytest.raises(WorkerStateError, match="'child' does not run yet"):
                await self.request_job("sibling", name="nap")
            await super().run(params, **kwargs)

    log: Log = []
    parent = Napper("parent")
    async with open_runner(parent):
        await parent.add_workers(Child("child"), Napper("sibling"))
    assert log == [{"slept": 1}, {"slept": 2}]


async def test_ready_comes_before_activated() -> None:
    """L3: on_activated runs when the worker is READY, registered, and its children are."""
    log: Log = []

    class Parent(BaseWorker):
        async def on_activated(self, args: object) -> None:
            log.append((self.registry.local_workers, states(self, *self.children)))

    parent = Parent("parent")
    await parent.add_workers(BaseWorker("child"))
    async with open_runner(parent):
        await settle()
    assert log == [(["child", "parent"], [WorkerState.READY] * 2)]


async def test_started_at_is_wall_clock_time() -> None:
    """``started_at`` is the runner's clock at READY, ``None`` before; the registry says the same."""
    worker = BaseWorker("worker")
    seen = [worker.started_at]
    runner = WorkerRunner(clock=lambda: 1_700_000_000.0)
    await runner.add_workers(worker)
    seen.append(worker.started_at)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        entry = runner.registry.get("worker")
        seen.append(worker.started_at)
        await runner.end()
    seen.append(worker.started_at)
    assert entry == WorkerRegistryEntry("worker", None, active=True, bridged=False, started_at=1_700_000_000.0)
    assert seen == [None, None, 1_700_000_000.0, 1_700_000_000.0]


async def test_a_bridged_worker_says_so() -> None:
    """The registry tells of a worker that bridges to something outside; a plain one does not."""

    class Bridge(BaseWorker):
        @property
        def bridged(self) -> bool:
            return True

    async with open_runner(Bridge("bridge"), BaseWorker("plain")) as runner:
        entries = [runner.registry.get(name) for name in ("bridge", "plain")]
    assert [entry.bridged for entry in entries if entry is not None] == [True, False]


# -- overriding ----------------------------------------------------------------------------------------------------------


async def test_run_may_be_overridden_without_task_status(autojump_clock: MockClock) -> None:
    """An override ``run(self, params)`` works: READY is taken from the worker's state; it runs its own things beside it."""

    class Ported(BaseWorker):
        async def run(self, params: WorkerParams) -> None:  # type: ignore[override]  # as ported code has it
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.tick)
                await super().run(params)
                nursery.cancel_scope.cancel()

        async def tick(self) -> None:
            while True:
                log.append(trio.current_time())
                await trio.sleep(1)

    log: Log = []
    parent = BaseWorker("parent")
    async with open_runner(parent) as runner:
        await parent.add_workers(Ported("ported"))
        assert "ported" in runner.registry
        await trio.sleep(2.5)
    assert log == [0, 1, 2]


async def test_run_may_be_started_in_a_task_of_its_own(autojump_clock: MockClock) -> None:
    """An override may start ``super().run`` beside its own runtime, waiting for ``started()``, and stop from there."""

    class Beside(BaseWorker):
        async def run(self, params: WorkerParams, **kwargs: Any) -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(super().run, params))
                log.append((state(self), "beside" in self.registry))
                await trio.sleep(1)
                await self.stop()
                log.append(state(self))

    log: Log = []
    worker = Beside("beside")
    async with open_runner(worker), within(2):
        await worker.wait()
    assert log == [(WorkerState.READY, True), WorkerState.CANCELLING]
    assert state(worker) is WorkerState.FINISHED


async def test_run_that_never_runs_is_an_error() -> None:
    """An overridden run() that returns without super().run() is a failure with a clear message; its children never start."""

    class Empty(BaseWorker):
        async def run(self, params: WorkerParams, **kwargs: Any) -> None:
            log.append(params.shutdown_timeout)

    log: Log = []
    empty, child = Empty("empty"), BaseWorker("child")
    await empty.add_workers(child)
    async with open_runner(shutdown_timeout=7) as runner:
        with pytest.raises(ExceptionGroup) as caught:
            await runner.add_workers(empty)
        assert (states(empty, child), "child" in runner.bus) == ([WorkerState.FAILED, WorkerState.FINISHED], False)
    assert [str(error) for error in told(caught.value)] == ["run() of worker 'empty' returned without having called super().run()"]
    assert log == [7]


async def test_start_that_never_starts_is_an_error() -> None:
    """An overridden start() that returns without super().start() is a failure with a clear message."""

    class Lazy(BaseWorker):
        async def start(self) -> None:
            log.append("start")

    log: Log = []
    runner = WorkerRunner()
    await runner.add_workers(Lazy("lazy"))
    assert await errors_of(runner.run) == ["WorkerStateError: start() of worker 'lazy' returned without having called super().start()"]
    assert log == ["start"]


async def test_an_error_after_the_start_is_a_failure() -> None:
    """An overridden start() that raises after super().start() kills a worker that was READY: the owner fails with it."""

    class Late(BaseWorker):
        async def start(self) -> None:
            await super().start()
            raise ValueError("too late")

    async def world() -> None:
        async with open_runner() as runner:
            runner.add_event_handler("on_error", lambda runner, data: log.append((data.worker_name, data.error)))
            await runner.add_workers(Late("late"))
            await trio.sleep_forever()

    log: Log = []
    assert await errors_of(world) == ["ValueError: too late"]
    assert log == [("late", "ValueError: too late")]


async def test_super_run_runs_once() -> None:
    """An override that runs super().run() twice is an error, told once."""

    class Twice(BaseWorker):
        async def run(self, params: WorkerParams, **kwargs: Any) -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(super().run, params))
                await super().run(params)

    runner = WorkerRunner()
    await runner.add_workers(Twice("twice"))
    assert await errors_of(runner.run) == ["WorkerStateError: worker 'twice' runs already: an instance runs once"]


async def test_start_and_run_are_called_by_owners_only() -> None:
    """start() from elsewhere, and run() of a worker that runs, is over, or is not attached, are errors without effect."""
    worker = BaseWorker("worker")
    for call in (worker.start, partial(worker.run, WorkerParams())):
        with pytest.raises(WorkerStateError, match="'worker' is new"):
            await call()
    async with open_runner(worker):
        with pytest.raises(WorkerStateError, match=r"'worker' is ready: start\(\) is called by run\(\), once"):
            await worker.start()
        with pytest.raises(WorkerStateError, match="'worker' runs already"):
            await worker.run(WorkerParams())
    for call in (worker.start, partial(worker.run, WorkerParams())):
        with pytest.raises(WorkerStateError, match="'worker' is finished"):
            await call()


async def test_params_are_handed_down() -> None:
    """Each worker's run gets the runner's shutdown_timeout and the token of the present trio run."""

    class Curious(BaseWorker):
        async def run(self, params: WorkerParams, **kwargs: Any) -> None:
            log.append((self.name, params.shutdown_timeout, params.trio_token))
            await super().run(params, **kwargs)

    log: Log = []
    parent = Curious("parent")
    await parent.add_workers(Curious("child"))
    async with open_runner(parent, shutdown_timeout=3):
        pass
    token = trio.lowlevel.current_trio_token()
    assert log == [("parent", 3, token), ("child", 3, token)]


# -- by hand -------------------------------------------------------------------------------------------------------------


async def test_a_worker_runs_by_hand(autojump_clock: MockClock) -> None:
    """An attached worker is run with ``nursery.start``, READY when that returns; stop() ends it, its children too."""
    bus, registry = LocalBus(), WorkerRegistry("hand")
    parent, child = Napper("parent"), Slow("child", up=1)
    await parent.add_workers(child)
    await parent.attach(registry=registry, bus=bus)
    async with trio.open_nursery() as nursery:
        await nursery.start(parent.run, WorkerParams(shutdown_timeout=3))
        assert (states(parent, child), trio.current_time()) == ([WorkerState.READY] * 2, 1)
        async with parent.job("parent", name="nap", payload={"seconds": 1}):
            pass
        await parent.stop()
    assert (states(parent, child), bus.statistics().subscribers) == ([WorkerState.FINISHED] * 2, 0)


async def test_a_worker_run_by_hand_ends_gracefully(autojump_clock: MockClock) -> None:
    """L6: without an owner, an end by message has the deadline of the params it was run with."""
    napper = Napper("napper")
    await napper.attach(registry=WorkerRegistry("hand"), bus=LocalBus())
    async with trio.open_nursery() as nursery:
        await nursery.start(napper.run, WorkerParams(shutdown_timeout=3))
        await napper.request_job("napper", name="nap")
        napper.bus.post(BusEndWorkerMessage(source="hand", target="napper", reason="enough"))
        await napper.wait()
    assert napper.log == [("napper", "begins"), ("napper", "tidied up", 4)]


async def test_a_worker_run_by_hand_raises_its_errors() -> None:
    """Run by hand, what makes a worker or its children fail is raised: one flat group, each with its path."""
    parent = BaseWorker("parent")
    await parent.add_workers(Actor("child", boom))
    await parent.attach(registry=WorkerRegistry("hand"), bus=LocalBus())
    with pytest.raises(ExceptionGroup) as caught:
        await parent.run(WorkerParams())
    assert [(str(error), error.__notes__) for error in told(caught.value)] == [("boom", ["raised in worker parent/child"])]
    assert (state(parent), caught.value.message) == (WorkerState.FAILED, "worker 'parent' failed")


async def test_a_worker_run_by_hand_hands_cancellation_on(autojump_clock: MockClock) -> None:
    """U20: cancelling around a worker run by hand cancels it, and the cancellation goes on."""
    parent, child = Actor("parent", idle), Slow("child", down=1)
    await parent.add_workers(child)
    await parent.attach(registry=WorkerRegistry("hand"), bus=LocalBus())
    with trio.move_on_after(1) as scope:
        await parent.run(WorkerParams())
    assert (scope.cancelled_caught, trio.current_time(), states(parent, child)) == (True, 2, [WorkerState.FINISHED] * 2)


async def test_a_name_of_another_runners_worker_is_refused() -> None:
    """A worker whose name another runner's worker has cannot become ready: the start fails, at the call."""
    async with open_runner() as runner:
        runner.registry.register(WorkerRegistryEntry("worker"), runner="elsewhere")
        with pytest.raises(ExceptionGroup) as caught:
            await runner.add_workers(BaseWorker("worker"))
        assert [type(error) for error in told(caught.value)] == [DuplicateWorkerError]
        assert (runner.registry.local_workers, runner.registry.remote_workers) == ([], ["worker"])


# -- unfinished starts ---------------------------------------------------------------------------------------------------


class Mute(Recorder):
    """Needs some seconds to start, and writes down what happens to it."""

    up = 2.0

    async def start(self) -> None:
        """Take its time."""
        await trio.sleep(self.up)
        await super().start()


@pytest.mark.parametrize("at_start", [True, False])
async def test_an_end_before_ready_happens_at_ready(at_start: bool, autojump_clock: MockClock) -> None:
    """L3, R17: a worker that is told to end while it starts gets ready, is never activated, and ends at once."""
    mute = Mute("mute")
    runner = WorkerRunner()
    async with within(3), trio.open_nursery() as nursery:
        if at_start:
            await runner.add_workers(mute)
            nursery.start_soon(runner.run)
        else:
            await nursery.start(partial(runner.run, auto_end=False))
            nursery.start_soon(runner.add_workers, mute)
        await trio.sleep(1)
        await runner.end("enough")
        assert state(mute) is WorkerState.STARTING
        await mute.wait()
        assert trio.current_time() == 2
    assert (mute.log, state(mute), runner.statistics().started) == ([], WorkerState.FINISHED, 1)


async def test_an_end_before_ready_has_the_same_deadline(autojump_clock: MockClock) -> None:
    """L6: a start that takes longer than the shutdown timeout is cancelled then, and told to whoever waits for it."""
    slow = Slow("slow", up=100, down=1)
    runner, problems = WorkerRunner(shutdown_timeout=3), []
    async with within(6), trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))

        @nursery.start_soon
        async def add() -> None:
            problems.extend(await errors_of(partial(runner.add_workers, slow)))

        await trio.sleep(1)
        await runner.end("enough")
    assert (trio.current_time(), states(slow)) == (5, [WorkerState.FINISHED])
    assert [problem.partition(":")[0] for problem in problems] == ["WorkerStartError"]


async def test_a_cancel_before_ready_is_at_once(autojump_clock: MockClock) -> None:
    """C1: a worker that is cancelled while it starts is gone as soon as its own code lets it go."""
    runner, slow = WorkerRunner(), Slow("slow", up=100, down=1)
    await runner.add_workers(slow)
    async with within(5), trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(1)
        await runner.cancel("enough")
    assert (trio.current_time(), states(slow), slow.statistics().answering.ended) == (2, [WorkerState.FINISHED], {})


async def test_a_request_for_a_worker_that_ends_before_ready_is_answered(autojump_clock: MockClock) -> None:
    """J7: a request held for a worker that ends as soon as it is ready is answered CANCELLED then."""
    mute = Mute("mute")
    async with open_runner(Recorder("other")) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, mute)
        await trio.sleep(1)
        runner.bus.post(BusJobRequestMessage(source="other", target="mute", job_id="1"))
        with runner.bus.tap() as messages:
            await runner.end_workers("mute")
            heard = [messages.receive_nowait() for _ in range(messages.statistics().current_buffer_used)]
    assert [(message.status, message.reason) for message in heard if isinstance(message, BusJobResponseMessage)] == [
        (JobStatus.CANCELLED, "worker 'mute' is ending")
    ]
    assert mute.log == []


@pytest.mark.parametrize("owner_kind", ["runner", "worker"])
async def test_a_worker_stopped_before_it_was_started_is_over(owner_kind: str) -> None:
    """stop() of a worker that has not been started frees its name, with all below it; the rest starts without it."""
    parent, child, below = BaseWorker("parent"), BaseWorker("child"), BaseWorker("below")
    runner = WorkerRunner()
    await child.add_workers(below)
    await parent.add_workers(child)
    await runner.add_workers(parent)
    first = parent if owner_kind == "runner" else child
    await first.stop()
    await first.stop()
    assert states(child, below) == [WorkerState.FINISHED] * 2
    assert (runner.workers, parent.children) == (([], []) if owner_kind == "runner" else ([parent], []))
    assert ("child" in runner.bus, "below" in runner.bus, "parent" in runner.bus) == (False, False, owner_kind == "worker")
    await child.wait()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))
        assert runner.registry.local_workers == ["parent"] * (owner_kind == "worker")
        await runner.end()


async def test_a_new_worker_can_be_stopped() -> None:
    """stop() and cleanup() of a worker that nobody owns yet end it: it cannot be used any more."""
    for verb in ("stop", "cleanup"):
        worker = BaseWorker()
        stop: Callable[[], Awaitable[None]] = getattr(worker, verb)
        await stop()
        assert state(worker) is WorkerState.FINISHED
        with pytest.raises(WorkerStateError, match="is finished: only a new worker can be added"):
            await WorkerRunner().add_workers(worker)
