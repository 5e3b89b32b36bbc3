"""Who hears of whom: roots of each other, parents of their children, watchers of those they watch, and each once."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import trio
from life_support import Actor, Log, Napper, Slow, ask, boom, errors_of, idle, state
from support import Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusMessage,
    JobError,
    WorkerErrorData,
    WorkerLostData,
    WorkerParams,
    WorkerReadyData,
    WorkerRegistry,
    WorkerRegistryEntry,
    WorkerRunner,
    WorkerStateError,
    open_runner,
    worker_ready,
)
from trioworkers._transitions import WorkerState


class Marked(Recorder):
    """Waits for the planner by a mark."""

    @worker_ready(name="planner")
    async def planner_is_there(self, data: WorkerReadyData) -> None:
        """Write it down."""
        self.note("marked", data.worker_name, data.runner)


def heard(worker: Recorder) -> Log:
    """Return what a worker heard of others."""
    return [what[1:3] for what in worker.log if what[1] in {"ready", "lost", "marked"}]


def watched(registry: WorkerRegistry) -> tuple[dict[str, int], int]:
    """Return how many watches a registry holds for each name, and how many for roots."""
    return {name: len(watches) for name, watches in registry._watches.items()}, len(registry._root_watches)


# -- roots ---------------------------------------------------------------------------------------------------------------


async def test_roots_hear_of_each_other() -> None:
    """U61, R9: each root hears once of each other one, whichever was ready first, and not of itself."""
    one, two, three = (Recorder(name) for name in ("one", "two", "three"))
    async with open_runner(one, two) as runner:
        await runner.add_workers(three)
        await settle()
        assert sorted(heard(one)) == [("ready", "three"), ("ready", "two")]
        assert sorted(heard(two)) == [("ready", "one"), ("ready", "three")]
        assert heard(three) == [("ready", name) for name in runner.registry.local_workers[:2]]
        await two.stop()
        await settle()
        assert heard(one)[2:] == heard(three)[2:] == [("lost", "two")]


async def test_a_root_that_comes_back_is_heard_of_again() -> None:
    """R2: a watch fires once per registration: again when a new worker takes the name."""
    root = Recorder("root")
    async with open_runner(root) as runner:
        for _ in range(2):
            other = BaseWorker("other")
            await runner.add_workers(other)
            await other.stop()
            await settle()
        assert heard(root) == [("ready", "other"), ("lost", "other")] * 2


async def test_roots_do_not_hear_of_children() -> None:
    """U55, U61: a child is announced to its parent alone; its entry names the parent, and other roots are not told."""
    parent, child, grandchild, other = (Recorder(name) for name in ("parent", "child", "grandchild", "other"))
    await parent.add_workers(child)
    async with open_runner(other, parent) as runner:
        await child.add_workers(grandchild)
        await settle()
        assert [entry.parent for name in ("parent", "child", "grandchild") if (entry := runner.registry.get(name))] == [
            None,
            "parent",
            "child",
        ]
        assert heard(other) == [("ready", "parent")]
        assert sorted(heard(parent)) == [("ready", "child"), ("ready", "other")]
        assert (heard(child), heard(grandchild)) == ([("ready", "grandchild")], [])
        await child.stop()
        await settle()
        assert (heard(other)[1:], heard(parent)[2:]) == ([], [("lost", "child")])


async def test_only_roots_that_care_pay() -> None:
    """U61: a root that overrides neither hook, and has no handler, watches nobody."""
    async with open_runner(BaseWorker("one"), Napper("two")) as runner:
        assert watched(runner.registry) == ({}, 0)


@pytest.mark.parametrize("event", ["on_worker_ready", "on_worker_lost"])
async def test_one_hook_is_enough_to_care(event: str) -> None:
    """U61: a handler for either event is enough; the other event then fires nothing."""
    log: Log = []
    root = BaseWorker("root")
    root.add_event_handler(event, lambda worker, data: log.append(data))
    async with open_runner(root) as runner:
        other = BaseWorker("other")
        await runner.add_workers(other)
        await other.stop()
        await settle()
        data = WorkerReadyData if event == "on_worker_ready" else WorkerLostData
        assert log == [data("other", runner.name)]


async def test_a_handler_added_late_hears_of_all() -> None:
    """R9: a root whose first handler is added when it runs hears of the roots that are there, and of later ones, once."""
    log: Log = []
    root = BaseWorker("root")
    async with open_runner(BaseWorker("early"), root) as runner:
        for _ in range(2):
            root.add_event_handler("on_worker_ready", lambda worker, data: log.append(data.worker_name))
        await settle()
        await runner.add_workers(BaseWorker("late"))
        await settle()
        assert log == ["early", "early", "late", "late"]
        assert watched(runner.registry) == ({}, 1)


async def test_a_childs_late_handler_hears_of_no_root() -> None:
    """U61: only roots hear of roots: a child's handler, added when it runs, does not."""
    log: Log = []
    parent, child = BaseWorker("parent"), BaseWorker("child")
    await parent.add_workers(child)
    async with open_runner(parent) as runner:
        child.add_event_handler("on_worker_ready", lambda worker, data: log.append(data))
        await child.watch_workers("late")
        await runner.add_workers(BaseWorker("other"), BaseWorker("late"))
        await settle()
    assert [data.worker_name for data in log] == ["late"]


async def test_on_bus_message_added_late() -> None:
    """A handler for on_bus_message, added when the worker runs, hears the broadcasts from then on; added before, all."""
    logs: dict[str, Log] = {"early": [], "late": [], "never": []}
    early, late = BaseWorker("early"), BaseWorker("late")

    def listen(worker: BaseWorker) -> None:
        worker.add_event_handler("on_bus_message", lambda worker, message: logs[worker.name].append(message.source))

    listen(early)
    async with open_runner(early, late) as runner:
        await settle()
        del logs["early"][:]
        listen(late)
        await runner.add_workers(BaseWorker("other"))
        await settle()
        assert logs == {"early": ["other"], "late": ["other"], "never": []}


# -- children ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [True, False])
async def test_a_parent_hears_of_its_children(running: bool) -> None:
    """U55, R2: a parent hears once of each child that is ready, given before its start or after; not with ``watch=False``."""
    parent, runner = Recorder("parent"), WorkerRunner()
    await runner.add_workers(parent)
    async with trio.open_nursery() as nursery:
        if running:
            await nursery.start(partial(runner.run, auto_end=False))
        await parent.add_workers(BaseWorker("one"), BaseWorker("two"))
        await parent.add_workers(BaseWorker("unseen"), watch=False)
        if not running:
            await nursery.start(partial(runner.run, auto_end=False))
        await settle()
        assert sorted(heard(parent)) == [("ready", "one"), ("ready", "two")]
        assert watched(runner.registry)[0] == {"one": 1, "two": 1}
        await runner.end()


async def test_the_hook_comes_with_the_child_ready(autojump_clock: MockClock) -> None:
    """U41: on_worker_ready comes when the child can be asked, not before: it asks there and gets the answer."""
    log: Log = []

    class Parent(BaseWorker):
        async def on_worker_ready(self, data: WorkerReadyData) -> None:
            log.append((data.worker_name, trio.current_time()))
            log.append(await ask(self, data.worker_name, "nap", seconds=1))

    class SlowNapper(Slow, Napper):
        pass

    parent = Parent("parent")
    await parent.add_workers(SlowNapper("child", up=2))
    async with open_runner(parent), within(10):
        await trio.sleep(3)
    assert log == [("child", 2), {"slept": 3}]


async def test_a_child_that_failed_to_start_is_not_watched(autojump_clock: MockClock) -> None:
    """R2: a child that could not be started leaves no watch: whoever has its name later is nothing to the former parent."""

    class Broken(BaseWorker):
        async def start(self) -> None:
            await boom(self)

    parent, other = Recorder("parent"), BaseWorker("other")
    async with open_runner(parent, other) as runner:
        assert await errors_of(partial(parent.add_workers, Broken("child"))) == ["ValueError: boom"]
        await other.add_workers(BaseWorker("child"))
        await settle()
        assert heard(parent) == [("ready", "other")]
        assert watched(runner.registry)[0] == {"child": 1}


async def test_the_watch_of_a_child_ends_with_the_child() -> None:
    """R2, U53: a parent of many short-lived children keeps no watch for those that are gone, and hears of no stranger of that name."""
    parent, other = Recorder("parent"), BaseWorker("other")
    async with open_runner(parent, other) as runner:
        for number in range(100):
            child = BaseWorker(f"child-{number}")
            await parent.add_workers(child)
            await child.stop()
        await settle()
        assert heard(parent)[1:] == [(what, f"child-{number}") for number in range(100) for what in ("ready", "lost")]
        assert watched(runner.registry)[0] == {}
        await other.add_workers(BaseWorker("child-1"))
        await settle()
        assert len(heard(parent)) == 201


# -- watching ------------------------------------------------------------------------------------------------------------


async def test_a_watch_fires_at_once_or_later() -> None:
    """R2: watch_workers tells of those who are there and of those who come; asking again tells nothing twice."""
    parent, watcher = BaseWorker("parent"), Recorder("watcher")
    await parent.add_workers(BaseWorker("here"), watcher)
    async with open_runner(parent):
        for _ in range(2):
            await watcher.watch_workers("here", "there", "nowhere")
            await settle()
        late = BaseWorker("there")
        await parent.add_workers(late)
        await settle()
        assert heard(watcher) == [("ready", "here"), ("ready", "there")]
        await late.stop()
        await settle()
        assert heard(watcher)[2:] == [("lost", "there")]


async def test_a_watch_before_the_run() -> None:
    """A watch asked for before the worker runs is kept; before it is attached it is an error, like anything that needs the bus."""
    watcher, runner = Recorder("watcher"), WorkerRunner()
    with pytest.raises(WorkerStateError, match="not attached"):
        await watcher.watch_workers("other")
    await runner.add_workers(watcher)
    await watcher.watch_workers("other", "other")
    assert watched(runner.registry) == ({}, 0)
    await runner.add_workers(BaseWorker("other"))
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))
        await settle()
        assert watched(runner.registry) == ({"other": 1}, 1)
        assert heard(watcher) == [("ready", "other")]
        await runner.end()


async def test_bad_names_are_refused() -> None:
    """A name that is no str, or empty, is an error at the call, and nothing is watched."""
    worker = BaseWorker("worker")
    async with open_runner(worker) as runner:
        for name, error in ((3, TypeError), ("", ValueError)):
            with pytest.raises(error):
                await worker.watch_workers("fine", name)  # type: ignore[arg-type]
        assert watched(runner.registry) == ({}, 0)


async def test_a_cancelled_watch_watches_nobody() -> None:
    """A call that is cancelled had no effect."""
    worker = BaseWorker("worker")
    async with open_runner(worker) as runner:
        with trio.CancelScope() as scope:
            scope.cancel()
            await worker.watch_workers("other")
        assert scope.cancelled_caught
        assert watched(runner.registry) == ({}, 0)


@pytest.mark.parametrize("planner_first", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_once_however_often_asked_for(when: str, planner_first: bool) -> None:
    """R10, R2: a worker that is heard of as a root, watched and marked, tells of a registration once: mark first, then the hook."""
    marked, planner, runner = Marked("marked"), BaseWorker("planner"), WorkerRunner(name="runner")
    await runner.add_workers(marked)
    if planner_first:
        await runner.add_workers(planner)
    if when == "before":
        await marked.watch_workers("planner", "planner")
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))
        if not planner_first:
            await runner.add_workers(planner)
        if when == "after":
            await marked.watch_workers("planner")
        await settle()
        assert heard(marked) == [("marked", "planner"), ("ready", "planner")]
        await planner.stop()
        await settle()
        assert heard(marked)[2:] == [("lost", "planner")]
        await runner.end()


async def test_a_root_heard_of_already_is_not_told_again() -> None:
    """R10, R2: watching a root by name when it was told of already, as a root, does not tell of that registration a second time."""
    one = Recorder("one")
    async with open_runner(one, BaseWorker("two")) as runner:
        await settle()
        await one.watch_workers("two")
        await settle()
        assert heard(one) == [("ready", "two")]
        await runner.end_workers("two")
        await runner.add_workers(BaseWorker("two"))
        await settle()
        assert heard(one)[1:] == [("lost", "two"), ("ready", "two")]


async def test_a_marked_child() -> None:
    """R10: a method marked for a child runs once for it, with ``watch=False`` too."""
    for watch in (True, False):
        marked = Marked("marked")
        await marked.add_workers(BaseWorker("planner"), watch=watch)
        async with open_runner(marked):
            await settle()
            assert heard(marked) == [("marked", "planner"), ("ready", "planner")]


async def test_a_mark_alone() -> None:
    """A marked method needs no hook; readiness that neither a mark nor a hook wants queues nothing."""
    log: Log = []

    class Quiet(BaseWorker):
        @worker_ready(name="planner")
        async def planner_is_there(self, data: WorkerReadyData) -> None:
            log.append(data)

    quiet = Quiet("quiet")
    async with open_runner(quiet, name="runner") as runner:
        await quiet.watch_workers("other")
        await runner.add_workers(BaseWorker("planner"), BaseWorker("other"))
        await settle()
        assert quiet.statistics().mailbox.handled == 1
        await runner.end_workers("planner")
    assert log == [WorkerReadyData("planner", "runner")]


async def test_a_watch_from_inside_a_notification_fires_once() -> None:
    """U40: watching in on_worker_ready, the same worker or another, tells of each once."""

    class Curious(Recorder):
        async def on_worker_ready(self, data: WorkerReadyData) -> None:
            await super().on_worker_ready(data)
            await self.watch_workers(data.worker_name, "second", "third")

    parent, curious = BaseWorker("parent"), Curious("curious")
    async with open_runner(parent) as runner:
        await parent.add_workers(curious, BaseWorker("second"))
        await curious.watch_workers("first")
        await runner.add_workers(BaseWorker("first"))
        await runner.add_workers(BaseWorker("third"))
        await settle()
        assert heard(curious) == [("ready", "first"), ("ready", "second"), ("ready", "third")]


async def test_a_registry_watch_from_inside_a_notification() -> None:
    """U40: a handler that adds a watch while handlers are called does not make that one fire twice."""
    registry, log = WorkerRegistry("runner"), []

    def outer(data: WorkerReadyData) -> None:
        log.append("outer")
        registry.watch("worker", inner)

    def inner(data: WorkerReadyData) -> None:
        log.append("inner")

    registry.watch("worker", outer)
    assert registry.register(WorkerRegistryEntry("worker"))
    assert not registry.register(WorkerRegistryEntry("worker", active=False))
    assert log == ["outer", "inner"]


# -- where the hooks run -------------------------------------------------------------------------------------------------


async def test_a_failing_watcher_harms_only_itself() -> None:
    """U39: a marked method that raises fails its own worker: the one it is about starts, is active and lives on."""

    class Touchy(BaseWorker):
        @worker_ready(name="planner")
        async def planner_is_there(self, data: WorkerReadyData) -> None:
            await boom(self)

    planner, touchy = Recorder("planner"), Touchy("touchy")
    async with open_runner() as runner, trio.open_nursery() as nursery:
        await touchy.attach(registry=runner.registry, bus=runner.bus)
        outcome: Log = []

        async def by_hand() -> None:
            outcome.extend(await errors_of(partial(touchy.run, WorkerParams())))

        nursery.start_soon(by_hand)
        await settle()
        await runner.add_workers(planner)
        await settle()
        assert (outcome, state(touchy), state(planner)) == (["ValueError: boom"], WorkerState.FAILED, WorkerState.READY)
        assert ("planner", "activated", None) in planner.log
        assert runner.registry.local_workers == ["planner"]


async def test_a_slow_watcher_delays_nobody(autojump_clock: MockClock) -> None:
    """U39: a slow marked method delays neither the worker it is about, nor other watchers, nor its own system lane and jobs."""
    log: Log = []

    class Sluggish(Napper):
        @worker_ready(name="planner")
        async def planner_is_there(self, data: WorkerReadyData) -> None:
            await trio.sleep(5)
            log.append("slow")

    sluggish, quick, planner = Sluggish("sluggish"), Marked("quick"), Recorder("planner")
    async with open_runner(sluggish, quick) as runner, within(20):
        await runner.add_workers(planner)
        await settle()
        assert ("planner", "activated", None) in planner.log
        assert heard(quick)[-2:] == [("marked", "planner"), ("ready", "planner")]
        assert await ask(planner, "sluggish", "nap", seconds=1) == {"slept": 1}
        assert log == []
        await trio.sleep(5)
    assert log == ["slow"]


async def test_hooks_of_one_watcher_run_one_after_another(autojump_clock: MockClock) -> None:
    """Readiness, loss and messages share the watcher's data lane: one hook at a time, in the order things happened."""
    log: Log = []

    class Steady(BaseWorker):
        async def on_worker_ready(self, data: WorkerReadyData) -> None:
            log.append(("ready", data.worker_name, trio.current_time()))
            await trio.sleep(1)

        async def on_worker_lost(self, data: WorkerLostData) -> None:
            log.append(("lost", data.worker_name, trio.current_time()))
            await trio.sleep(1)

    async with open_runner(Steady("steady")) as runner, within(20):
        for name in ("one", "two"):
            worker = BaseWorker(name)
            await runner.add_workers(worker)
            await worker.stop()
        await trio.sleep(10)
    assert log == [("ready", "one", 0), ("lost", "one", 1), ("ready", "two", 2), ("lost", "two", 3)]


async def test_handlers_run_after_the_marks_and_the_hook() -> None:
    """For one registration the mark runs first, then the hook, then the handlers, all in the data lane's one task."""
    marked = Marked("marked")
    tasks: Log = []

    @marked.event_handler("on_worker_ready")
    async def after(worker: Marked, data: WorkerReadyData) -> None:
        worker.note("ready", "handler")
        tasks.append(trio.lowlevel.current_task().name)

    async with open_runner(marked) as runner:
        await runner.add_workers(BaseWorker("planner"))
        await settle()
        assert heard(marked) == [("marked", "planner"), ("ready", "planner"), ("ready", "handler")]
    assert tasks == ["worker:marked"]


# -- errors of children --------------------------------------------------------------------------------------------------


async def test_a_reported_error_reaches_the_parent_alone() -> None:
    """I7: a child's report fires its parent's on_worker_failed, which sees it on on_bus_message too; nobody else hears of it."""
    seen: Log = []
    parent, child, other = Recorder("parent"), Recorder("child"), Recorder("other")
    parent.add_event_handler("on_bus_message", lambda worker, message: seen.append(message) if message.target == "parent" else None)
    await parent.add_workers(child)
    async with open_runner(parent, other):
        await child.send_bus_error_message("the disk is full")
        await settle()
        assert [(type(message).__name__, message.error) for message in seen] == [("BusWorkerLocalErrorMessage", "the disk is full")]
        failed = [what for worker in (parent, child, other) for what in worker.log if what[1] == "failed"]
        assert failed == [("parent", "failed", "child", "the disk is full")]
        assert state(child) is WorkerState.READY


async def test_a_dead_child_is_told_of() -> None:
    """I7: a child that died fires on_worker_failed with its exception, and is lost."""
    data: list[WorkerErrorData] = []
    parent = Recorder("parent")
    parent.add_event_handler("on_worker_failed", lambda worker, failed: data.append(failed))
    await parent.add_workers(Actor("child", boom))

    async def run() -> None:
        async with open_runner(parent):
            await trio.sleep_forever()

    assert await errors_of(run) == ["ValueError: boom"]
    assert [(failed.worker_name, failed.error, type(failed.exception)) for failed in data] == [
        ("child", "ValueError: boom", ValueError)
    ]


# -- the registry --------------------------------------------------------------------------------------------------------


async def test_the_registry_holds_who_lives(autojump_clock: MockClock) -> None:
    """R1, U41: a worker is registered from READY until it is finished, and at no other time; no job is accepted before."""
    log: Log = []

    class Careful(Napper):
        async def start(self) -> None:
            await trio.sleep(1)
            log.append(("init", self.name in self.registry, dict(self.registry.waiting())))
            await trio.sleep(1)
            log.append(("init done", trio.current_time()))
            await super().start()
            log.append(("started", self.name in self.registry))

    careful = Careful("careful", log)
    async with open_runner() as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, careful)
        async with runner.job("careful", name="nap", payload={"seconds": 3}):
            assert trio.current_time() == 2
        assert runner.registry.local_workers == ["careful"]
        await careful.stop()
        assert (runner.registry.local_workers, runner.registry.waiting()) == ([], {})
    assert log == [
        ("init", False, {"careful": 1}),
        ("init done", 2),
        ("started", True),
        ("careful", "begins"),
        ("careful", "wakes", 5),
    ]


async def test_the_clock_says_when_it_was_ready(autojump_clock: MockClock) -> None:
    """``started_at`` comes from the runner's clock, asked once per worker, at READY; watchers find it in the registry."""
    numbers, found = itertools.count(1000), Log()
    runner = WorkerRunner(clock=lambda: float(next(numbers)))
    parent, child = BaseWorker("parent"), Slow("child", up=1)

    def look(worker: BaseWorker, data: WorkerReadyData) -> None:
        entry = worker.registry.get(data.worker_name)
        found.append(None if entry is None else entry.started_at)

    parent.add_event_handler("on_worker_ready", look)
    await parent.add_workers(child)
    await runner.add_workers(parent)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))
        await settle()
        assert (child.started_at, parent.started_at, found) == (1000.0, 1001.0, [1000.0])
        await runner.end()
    assert next(numbers) == 1002


@pytest.mark.parametrize("way", ["end", "stop", "fail"])
async def test_a_finished_worker_watches_nobody(way: str) -> None:
    """FAULTS R2: every watch, by name, by mark, on children or roots, is gone when its owner has finished, however it did."""
    marked = Marked("marked")
    await marked.add_workers(BaseWorker("child"))

    async def run() -> None:
        async with open_runner(marked) as runner:
            registry = runner.registry
            await marked.watch_workers("other")
            await settle()
            assert watched(registry) == ({"child": 1, "planner": 1, "other": 1}, 1)
            if way == "fail":
                marked.add_event_handler("on_deactivated", boom)
                await marked.deactivate_worker("marked")
                await trio.sleep_forever()
            else:
                await (runner.end_workers("marked") if way == "end" else marked.stop())
                assert watched(registry) == ({}, 0)
                await marked.watch_workers("other")
                marked.add_event_handler("on_worker_ready", idle)

    assert await errors_of(run) == (["ValueError: boom"] if way == "fail" else [])
    assert (watched(marked.registry), marked.registry.waiting()) == (({}, 0), {})


async def test_a_worker_that_tidies_up_watches_nobody() -> None:
    """FAULTS R2: a handler added when the worker has left its serving, but not yet finished, starts no watch that would stay."""

    class Tidy(BaseWorker):
        async def run(self, params: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            await super().run(params, task_status=task_status)
            self.add_event_handler("on_worker_ready", idle)

    tidy = Tidy("tidy")
    async with open_runner(tidy) as runner:
        await runner.end_workers("tidy")
        assert watched(runner.registry) == ({}, 0)


async def test_jobs_leave_no_watch(autojump_clock: MockClock) -> None:
    """FAULTS R2: after 1000 jobs, done, given up before readiness or never possible, the registry holds no watch and no wait."""
    async with open_runner(Napper("napper"), Napper("other")) as runner:
        before = watched(runner.registry)
        for number in range(1000):
            whom = "ghost" if number % 10 == 0 else "napper"
            try:
                async with runner.job(whom, name="nap", payload={"seconds": 0}, timeout=1):
                    pass
            except JobError as error:
                assert (whom, error.worker_name) == ("ghost", "ghost")  # noqa: PT017 - nine in ten do not raise
        assert (watched(runner.registry), runner.registry.waiting()) == (before, {})
        assert before == ({}, 0)


async def test_an_unwatched_name_keeps_other_watchers() -> None:
    """R2: when one of two watchers of a name is gone, the other still hears of it."""
    parent, one, two = BaseWorker("parent"), Recorder("one"), Recorder("two")
    async with open_runner(parent) as runner:
        await parent.add_workers(one, two)
        for watcher in (one, two):
            await watcher.watch_workers("other")
        await one.stop()
        await runner.add_workers(BaseWorker("other"))
        await settle()
        assert (heard(one), heard(two)) == ([], [("ready", "other")])


async def test_a_message_that_says_ready_is_only_a_message() -> None:
    """No live object and no trust: a forged announcement is seen as a message, and changes neither registry nor watches."""
    seen: list[BusMessage] = []
    root = Recorder("root")
    root.add_event_handler("on_bus_message", lambda worker, message: seen.append(message))
    async with open_runner(root) as runner:
        await settle()
        announced = seen[0]
        runner.bus.post(type(announced)(source="ghost", runner=runner.name))  # type: ignore[call-arg]
        await settle()
        assert (seen[0].source, seen[1].source) == ("root", "ghost")
        assert ("ghost" in runner.registry, heard(root)) == (False, [])
