"""The runner: what it is given, what it says of itself, when it begins, when it ends, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from life_support import Actor, Log, Napper, Slow, ask, boom, errors_of, idle, state, states, told
from support import after_steps, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusCancelMessage,
    BusEndMessage,
    BusMessage,
    DuplicateWorkerError,
    FamilyError,
    JobError,
    JobGroupError,
    LocalBus,
    UnknownWorkerError,
    WorkerErrorData,
    WorkerRunner,
    WorkerState,
    WorkerStateError,
    open_runner,
)

Script = Callable[[Actor], Awaitable[object]]


async def running(nursery: trio.Nursery, runner: WorkerRunner, *workers: BaseWorker) -> None:
    """Run a runner beside the test, until it is told to end; return when it is ready."""
    await runner.add_workers(*workers)
    await nursery.start(partial(runner.run, auto_end=False))


def says(runner: WorkerRunner) -> WorkerState:
    """Return where a runner is in its life."""
    return runner.statistics().state


def die_after(seconds: float, text: str = "boom") -> Script:
    """Make a script: die of a ``ValueError`` after some seconds."""

    async def script(worker: Actor) -> None:
        await trio.sleep(seconds)
        raise ValueError(text)

    return script


def leave_after(seconds: float) -> Script:
    """Make a script: stop, alone, after some seconds."""

    async def script(worker: Actor) -> None:
        await trio.sleep(seconds)
        await worker.stop()

    return script


async def refused(ask: Callable[[], Awaitable[object]]) -> str | None:
    """Ask for a job that will not complete; return why."""
    with pytest.raises(JobError) as caught:
        await ask()
    return caught.value.reason


# -- what it is given ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": 7}, TypeError),
        ({"name": b"house"}, TypeError),
        ({"name": ""}, ValueError),
        ({"bus": "redis://localhost"}, TypeError),
        ({"bus": LocalBus}, TypeError),
        ({"shutdown_timeout": None}, TypeError),
        ({"shutdown_timeout": "10"}, TypeError),
        ({"shutdown_timeout": True}, TypeError),
        ({"shutdown_timeout": -1}, ValueError),
        ({"shutdown_timeout": math.nan}, ValueError),
    ],
)
def test_bad_arguments_are_errors_at_the_call(arguments: dict[str, Any], error: type[Exception]) -> None:
    """A name that is no text or empty, a bus that is none, a timeout that is no number of seconds: TypeError or ValueError."""
    bus = LocalBus()
    with pytest.raises(error):
        WorkerRunner(**({"bus": bus} | arguments))
    assert bus.statistics().subscribers == 0


def test_a_runner_can_be_made_outside_trio() -> None:
    """A runner is made, and told to end, without trio running; it has a name and a bus of its own."""
    first, second = WorkerRunner(), WorkerRunner()
    assert first.name != second.name
    assert first.bus is not second.bus
    assert repr(first) == f"<WorkerRunner {first.name!r} attached>"
    first.end_nowait()
    assert says(first) is WorkerState.FINISHED


async def test_two_runners_on_one_bus_have_two_names() -> None:
    """A runner's name is taken on its bus, for runners and workers, from the beginning until it has run."""
    bus = LocalBus()
    runner = WorkerRunner(name="house", bus=bus)
    with pytest.raises(DuplicateWorkerError):
        WorkerRunner(name="house", bus=bus)
    with pytest.raises(DuplicateWorkerError):
        await runner.add_workers(BaseWorker("house"))
    assert runner.workers == []
    await runner.run()
    assert WorkerRunner(name="house", bus=bus).name == "house"


async def test_bad_arguments_of_calls_have_no_effect() -> None:
    """Each call checks what it is given before anything happens."""
    async with open_runner(BaseWorker("a")) as runner:
        for call in (
            partial(runner.end, 5),  # type: ignore[arg-type]
            partial(runner.cancel, b"why"),  # type: ignore[arg-type]
            partial(runner.end_workers, 7),  # type: ignore[arg-type]
            partial(runner.add_workers, "b"),  # type: ignore[arg-type]
            partial(runner.request_job, "a", payload=[1]),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError):
                await call()
        for bad in (partial(runner.end_workers, "a", ""), partial(runner.request_job, "a", timeout=-1)):
            with pytest.raises(ValueError, match=r"must not be empty|zero or more seconds"):
                await bad()
        with pytest.raises(TypeError):
            runner.job(7)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least one worker"):
            runner.job_group()
        assert (says(runner), runner.statistics().workers[0].answering.active, runner.registry.local_workers) == (
            WorkerState.READY,
            0,
            ["a"],
        )


def test_handlers_are_checked_when_registered() -> None:
    """An event that a runner does not have, or a handler that cannot be called, is an error at the call."""
    runner = WorkerRunner()
    with pytest.raises(ValueError, match=r"'on_activated'.*on_ready, on_error"):
        runner.event_handler("on_activated")(print)
    with pytest.raises(TypeError):
        runner.add_event_handler("on_ready", "print")  # type: ignore[arg-type]


# -- what it says of itself ----------------------------------------------------------------------------------------------


async def test_it_knows_its_workers() -> None:
    """``workers`` are the roots in the order added, a copy; ``get_worker`` finds any below, and nobody who has finished."""
    parent, child, other = BaseWorker("parent"), BaseWorker("child"), BaseWorker("other")
    await parent.add_workers(child)
    bus = LocalBus()
    async with open_runner(parent, other, name="house", bus=bus) as runner:
        runner.workers.clear()
        assert (runner.name, runner.bus, runner.workers) == ("house", bus, [parent, other])
        assert [runner.get_worker(name) for name in ("parent", "child", "other", "house", "nobody")] == [
            parent,
            child,
            other,
            None,
            None,
        ]
        await parent.stop()
        assert (runner.workers, runner.get_worker("child")) == ([other], None)
    assert (runner.workers, runner.get_worker("other"), runner.registry.local_workers) == ([], None, [])


async def test_its_statistics_can_be_asked_for_at_any_time() -> None:
    """``statistics()`` says before, during and after the run who came, who went, who is there and who is waited for."""
    parent, child = BaseWorker("parent"), BaseWorker("child")
    await parent.add_workers(child)
    runner = WorkerRunner(name="house")

    def seen() -> tuple[object, ...]:
        now = runner.statistics()
        there = tuple((worker.name, worker.parent) for worker in now.workers)
        return now.name, now.state, now.started, now.finished, now.waits, now.bus.subscribers, there

    assert seen() == ("house", WorkerState.ATTACHED, 0, 0, {}, 1, ())
    async with trio.open_nursery() as nursery:
        await running(nursery, runner, parent)
        nursery.start_soon(refused, partial(ask, runner, "ghost"))
        await settle()
        assert seen() == ("house", WorkerState.READY, 2, 0, {"ghost": 1}, 3, (("parent", None), ("child", "parent")))
        await child.stop()
        assert seen() == ("house", WorkerState.READY, 2, 1, {"ghost": 1}, 2, (("parent", None),))
        await runner.cancel()
    assert seen() == ("house", WorkerState.FINISHED, 2, 2, {}, 0, ())


async def test_started_at_comes_from_the_clock_given(autojump_clock: MockClock) -> None:
    """Wall-clock time is asked from ``clock`` only, once for each worker that gets ready, whatever trio's clock says."""
    times = iter([1000.5, 2000.5])
    first, second = BaseWorker("first"), BaseWorker("second")
    runner = WorkerRunner(clock=lambda: next(times))
    async with trio.open_nursery() as nursery:
        await running(nursery, runner, first)
        await trio.sleep(5)
        await runner.add_workers(second)
        assert (first.started_at, second.started_at) == (1000.5, 2000.5)
        await runner.end()


# -- beginning -----------------------------------------------------------------------------------------------------------


async def test_run_says_when_all_are_ready(autojump_clock: MockClock) -> None:
    """``nursery.start(runner.run)`` and ``on_ready`` mean: all workers given before are ready; handlers run in order, before."""
    log: Log = []
    runner, slow, quick = WorkerRunner(), Slow("slow", up=3), Slow("quick", up=1)

    @runner.event_handler("on_ready")
    async def first(runner: WorkerRunner) -> None:
        log.append((trio.current_time(), *states(slow, quick), says(runner)))
        await trio.sleep(2)
        log.append("first over")

    @runner.event_handler("on_ready")
    def second(runner: WorkerRunner) -> None:
        log.append("second")

    async with trio.open_nursery() as nursery:
        await running(nursery, runner, slow, quick)
        log.append(trio.current_time())
        await runner.end()
    assert log == [(3, *[WorkerState.READY] * 3), "first over", "second", 5]


async def test_a_runner_runs_once() -> None:
    """A second run is an error without effect: during the first, after it, and after an end before it."""
    runner = WorkerRunner(name="house")
    async with trio.open_nursery() as nursery:
        await running(nursery, runner, BaseWorker("a"))
        with pytest.raises(WorkerStateError, match="'house' has run"):
            await runner.run()
        assert says(runner) is WorkerState.READY
        await runner.end()
    with pytest.raises(WorkerStateError):
        await runner.run()
    with pytest.raises(WorkerStateError, match="takes no children"):
        await runner.add_workers(BaseWorker("b"))


async def test_a_run_cancelled_before_it_began_had_no_effect() -> None:
    """A run, an end, a cancel, an addition that is cancelled at its first checkpoint changes nothing: all can be called again."""
    runner, worker = WorkerRunner(), BaseWorker("a")
    with trio.CancelScope() as scope:
        scope.cancel()
        for call in (runner.run, runner.end, runner.cancel, partial(runner.add_workers, worker), partial(runner.end_workers, "a")):
            with pytest.raises(trio.Cancelled):
                await call()
    assert (says(runner), state(worker)) == (WorkerState.ATTACHED, WorkerState.NEW)
    with trio.fail_after(5):
        await runner.run()


async def test_without_workers_a_run_is_short() -> None:
    """No roots at all: ``run`` gets ready, fires ``on_ready``, and returns; without ``auto_end`` it waits to be told."""
    log: Log = []
    runner = WorkerRunner()
    runner.add_event_handler("on_ready", lambda runner: log.append(says(runner)))
    await runner.run()
    assert (log, says(runner)) == ([WorkerState.READY], WorkerState.FINISHED)
    waiting = WorkerRunner()
    async with trio.open_nursery() as nursery:
        await running(nursery, waiting)
        await settle()
        assert says(waiting) is WorkerState.READY
        await waiting.end()


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_stray_cancelled_of_on_ready_is_an_error(workers: int, autojump_clock: MockClock) -> None:
    """A Cancelled that a handler of ``on_ready`` raises although nothing was cancelled comes out of ``run`` as an error."""
    runner, children = WorkerRunner(name="house"), [Napper(f"napper-{number}") for number in range(workers)]
    await runner.add_workers(*children)

    @runner.event_handler("on_ready")
    async def stray(runner: WorkerRunner) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                kept.append(cancelled)
        raise kept[0]

    kept: list[trio.Cancelled] = []
    assert await errors_of(runner.run) == ["RuntimeError: runner 'house' raised Cancelled, but nothing was cancelled"]
    assert [says(runner), *states(*children)] == [WorkerState.FAILED, *[WorkerState.FINISHED] * workers]


async def test_a_worker_may_come_from_on_ready(autojump_clock: MockClock) -> None:
    """A runner without roots whose ``on_ready`` adds one lives as long as that one."""
    runner = WorkerRunner()
    runner.add_event_handler("on_ready", lambda runner: runner.add_workers(Actor("late", leave_after(3))))
    await runner.run()
    assert trio.current_time() == 3


async def test_a_worker_added_at_any_moment_of_the_start_is_started(autojump_clock: MockClock) -> None:
    """R12: a worker added to a runner that starts is started, and taken in or refused as one: never forgotten."""
    for delay in range(12):
        runner, late = WorkerRunner(), Actor("late", leave_after(1))
        await runner.add_workers(Actor("early", leave_after(1)))
        async with within(5), trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            for _ in range(delay):
                await trio.lowlevel.checkpoint()
            await runner.add_workers(late)
            assert (delay, runner.get_worker("late")) == (delay, late)
        assert (delay, late.started_at is not None, state(late)) == (delay, True, WorkerState.FINISHED)


async def test_workers_come_at_any_time(autojump_clock: MockClock) -> None:
    """R12: workers are added before the run, while it starts, while it runs, not while it ends: all or none, at the call."""
    runner, log = WorkerRunner(), Log()
    before, during, after = Slow("before", up=2), BaseWorker("during"), BaseWorker("after")
    await runner.add_workers(before)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(runner.run, auto_end=False))
        await trio.sleep(1)
        await runner.add_workers(during)
        log.append((trio.current_time(), *states(before, during)))
        await trio.sleep(2)
        with pytest.raises(DuplicateWorkerError):
            await runner.add_workers(after, BaseWorker("during"))
        with pytest.raises(FamilyError):
            await runner.add_workers(after, before)
        log.append((runner.workers, state(after)))
        await runner.add_workers(after)
        log.append(states(after))
        await runner.end()
        with pytest.raises(WorkerStateError):
            await runner.add_workers(BaseWorker("too late"))
    ready = WorkerState.READY
    assert log == [(1, WorkerState.STARTING, ready), ([before, during], WorkerState.NEW), [ready]]


# -- ending --------------------------------------------------------------------------------------------------------------


async def test_it_ends_with_its_last_root(autojump_clock: MockClock) -> None:
    """``auto_end``: the run ends when the last root has finished, however that came; children do not count by themselves."""
    parent = Actor("parent", leave_after(2))
    await parent.add_workers(BaseWorker("child"))
    runner = WorkerRunner()
    await runner.add_workers(parent, Actor("other", leave_after(4)))
    await runner.run()
    assert (trio.current_time(), says(runner)) == (4, WorkerState.FINISHED)


async def test_without_auto_end_it_waits_to_be_told(autojump_clock: MockClock) -> None:
    """``auto_end=False``: a runner whose roots have all finished goes on, takes others in, and ends when told."""
    runner = WorkerRunner()
    async with trio.open_nursery() as nursery:
        await running(nursery, runner, Actor("first", leave_after(1)))
        await trio.sleep(5)
        assert (runner.workers, says(runner)) == ([], WorkerState.READY)
        await runner.add_workers(Actor("second", leave_after(1)))
        await trio.sleep(5)
        await runner.end()
    assert (trio.current_time(), says(runner)) == (10, WorkerState.FINISHED)


async def test_a_successor_is_refused_or_lives(autojump_clock: MockClock) -> None:
    """U42: whoever adds a root in the moment the last one finishes either gets an error at the call or a worker that lives on."""
    outcomes: Log = []
    while "refused" not in outcomes:
        runner, last, successor = WorkerRunner(), BaseWorker("last"), Actor("successor", leave_after(1))
        await runner.add_workers(last)
        async with within(5), trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            now = trio.Event()
            with after_steps(len(outcomes) + 1, now.set):
                nursery.start_soon(last.stop)
                await now.wait()
            began = trio.current_time()
            try:
                await runner.add_workers(successor)
            except WorkerStateError:
                outcomes.append("refused")
            else:
                await successor.wait()
                outcomes.append(trio.current_time() - began)
    assert set(outcomes[:-1]) <= {1}


async def test_a_root_may_add_its_successor_as_it_leaves(autojump_clock: MockClock) -> None:
    """U42: the run goes on if the last root adds another one before it is gone itself."""
    runner = WorkerRunner()

    class Relay(BaseWorker):
        """Is followed by another."""

        async def run(self, params: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            """Add the other when it is nearly over."""
            await super().run(params, task_status=task_status)
            await runner.add_workers(Actor("second", leave_after(3)))

    first = Relay("first")
    await runner.add_workers(first)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.end_workers("first")
        assert [worker.name for worker in runner.workers] == ["second"]
    assert (trio.current_time(), state(first)) == (3, WorkerState.FINISHED)


@pytest.mark.parametrize("verb", ["end", "cancel"])
async def test_an_end_before_the_run_is_remembered(verb: str) -> None:
    """U37: ``end`` or ``cancel`` before ``run``: nothing is started, the names are free at once, ``run`` returns, once."""
    worker, child, bus = BaseWorker("a"), BaseWorker("b"), LocalBus()
    await worker.add_workers(child)
    runner = WorkerRunner(bus=bus)
    runner.add_event_handler("on_ready", boom)
    await runner.add_workers(worker)
    await {"end": runner.end, "cancel": runner.cancel}[verb]("not today")
    assert (says(runner), states(worker, child), bus.statistics().subscribers) == (WorkerState.FINISHED, [WorkerState.FINISHED] * 2, 0)
    async with within(5), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
    assert (worker.started_at, runner.statistics().started) == (None, 0)
    with pytest.raises(WorkerStateError):
        await runner.run()


async def test_an_end_while_it_starts_is_remembered(autojump_clock: MockClock) -> None:
    """U37: an end that comes before all workers are ready takes effect when they are: nobody is activated, all leave in order."""
    log: Log = []
    runner = WorkerRunner()
    await runner.add_workers(Slow("slow", up=3, log=log), Slow("quick", down=1, log=log))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(1)
        await runner.end("enough")
        assert says(runner) is WorkerState.STARTING
    assert log == [("quick", "gone", 4), ("slow", "gone", 4)]


async def test_a_cancel_while_it_starts_is_at_once(autojump_clock: MockClock) -> None:
    """C1: a cancel that comes before all workers are ready is not held up by those that are not."""
    log: Log = []
    runner = WorkerRunner()
    await runner.add_workers(Slow("slow", up=3, log=log), Slow("quick", log=log))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(errors_of, runner.run))
        await trio.sleep(1)
        await runner.cancel()
    assert sorted(log) == [("quick", "gone", 1), ("slow", "gone", 1)]


async def test_end_drains_and_leaves_in_reverse_order(autojump_clock: MockClock) -> None:
    """L6: ``end`` returns at once; what runs goes on, new jobs are refused, then the last started leaves first."""
    log: Log = []
    runner, napper = WorkerRunner(), Napper("napper", log)
    async with trio.open_nursery() as nursery:
        await running(nursery, runner, Slow("first", down=1, log=log), napper, Slow("last", down=1, log=log))
        job_id = await runner.request_job("napper", name="nap", payload={"seconds": 3})
        await settle()
        await runner.end()
        assert (says(runner), list(napper.active_jobs)) == (WorkerState.ENDING, [job_id])
        with pytest.raises(JobError, match="'napper' is ending"):
            await ask(runner, "napper", "nap")
    assert log == [("napper", "begins"), ("napper", "wakes", 3), ("last", "gone", 4), ("first", "gone", 5)]


@pytest.mark.parametrize(("timeout", "over"), [(0, 1), (2, 3), (math.inf, 60)])
async def test_the_shutdown_timeout_bounds_the_end(timeout: float, over: float, autojump_clock: MockClock) -> None:
    """L6: what still runs ``shutdown_timeout`` after the first ``end`` is cancelled; 0 is at once, ``inf`` is never."""
    log: Log = []
    runner = WorkerRunner(shutdown_timeout=timeout)
    async with trio.open_nursery() as nursery:
        await running(nursery, runner, Napper("napper", log))
        await runner.request_job("napper", name="nap", payload={"seconds": 60})
        await settle()
        await runner.end()
        await runner.end("again")
    assert log[-1] == ("napper", "wakes" if timeout == math.inf else "tidied up", over)


async def test_a_cancel_overtakes_an_end(autojump_clock: MockClock) -> None:
    """R18: an end that waits for something is no obstacle to a cancel, whichever way that comes, even with no timeout at all."""
    for how in range(3):
        log: Log = []
        runner, napper = WorkerRunner(shutdown_timeout=math.inf), Napper("napper", log)
        stuck = Actor("stuck", idle)
        async with within(20), trio.open_nursery() as nursery:
            await running(nursery, runner, napper, stuck)
            await runner.request_job("napper", name="nap")
            await settle()
            await runner.end("first")
            began = trio.current_time()
            await trio.sleep(5)
            ways: list[Callable[[], Awaitable[object]]] = [
                runner.cancel,
                stuck.cancel,
                partial(runner.bus.send, BusCancelMessage(source="test", target=runner.name)),
            ]
            await ways[how]()
            await runner.end("too late")
        assert (how, log[-1], trio.current_time()) == (how, ("napper", "tidied up", began + 6), began + 6)


async def test_the_reason_reaches_every_worker(autojump_clock: MockClock) -> None:
    """R16: the reason given to ``cancel`` is what each worker sees in its ``Cancelled``, and each asker in its answer."""
    reasons: dict[str, str | None] = {}

    async def wait(worker: Actor) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            reasons[worker.name] = cancelled.reason
            raise

    top, below, other = Actor("top", wait), Actor("below", wait), Actor("other", wait)
    await top.add_workers(below)
    runner, answers = WorkerRunner(), Log()

    async def asking() -> None:
        answers.append(await refused(partial(ask, runner, "napper", "nap")))

    async with trio.open_nursery() as nursery:
        await running(nursery, runner, top, other, Napper("napper"))
        nursery.start_soon(asking)
        await settle()
        await other.cancel(reason="the budget is used up")
    assert reasons == dict.fromkeys(["top", "below", "other"], "the budget is used up")
    assert len(answers) == 1
    assert "the budget is used up" in answers[0]


async def test_single_roots_end_gracefully(autojump_clock: MockClock) -> None:
    """``end_workers`` ends some roots, and returns when they are gone; the others go on; a name that is no root is an error."""
    log: Log = []
    parent, other = Slow("parent", down=2, log=log), BaseWorker("other")
    await parent.add_workers(BaseWorker("child"))
    async with open_runner(parent, other) as runner:
        for name in ("child", "nobody"):
            with pytest.raises(UnknownWorkerError, match=name):
                await runner.end_workers("parent", name)
        assert states(parent, other) == [WorkerState.READY] * 2
        await runner.end_workers()
        await runner.end_workers("parent")
        assert (log, state(other), runner.workers) == ([("parent", "gone", 2)], WorkerState.READY, [other])


async def test_a_worker_ends_its_own_runner_only(autojump_clock: MockClock) -> None:
    """U54: ``worker.end()`` and ``worker.cancel()`` are for the runner of that worker; others on the same bus go on."""
    bus = LocalBus()
    async with open_runner(Napper("bystander"), bus=bus) as other:
        for name in ("end", "cancel"):
            worker = BaseWorker("a")
            async with open_runner(worker, bus=bus) as runner:
                await {"end": worker.end, "cancel": worker.cancel}[name](reason="my own affair")
                await worker.wait()
            assert says(runner) is WorkerState.FINISHED
            assert await ask(other, "bystander", "nap", seconds=1)
        assert says(other) is WorkerState.READY


async def test_a_runner_is_ended_by_message() -> None:
    """``BusEndMessage`` and ``BusCancelMessage`` for a runner do what ``end`` and ``cancel`` do; those for another do nothing."""
    messages: list[Callable[..., BusMessage]] = [BusEndMessage, BusCancelMessage]
    for message in messages:
        runner = WorkerRunner(name="house")
        async with within(5), trio.open_nursery() as nursery:
            await running(nursery, runner, BaseWorker("a"))
            runner.bus.post(message(source="test", target="a", reason="over"))
            await settle()
            assert says(runner) is WorkerState.READY
            runner.bus.post(message(source="test", target="house", reason="over"))
        assert says(runner) is WorkerState.FINISHED


@pytest.mark.parametrize("verb", ["end", "cancel"])
async def test_the_whole_bus_is_asked_for_by_name(verb: str) -> None:
    """U54: an end, or a cancel, reaches the other runners of the bus only if ``scope="bus"`` says so."""
    bus = LocalBus()
    worker, runner, other = BaseWorker("a"), WorkerRunner(name="house", bus=bus), WorkerRunner(name="shed", bus=bus)
    async with within(5), trio.open_nursery() as nursery:
        await running(nursery, runner, worker)
        await running(nursery, other, BaseWorker("b"))
        await getattr(worker, verb)(reason="all over", scope="bus")
    assert [says(runner), says(other)] == [WorkerState.FINISHED] * 2


async def test_a_scope_is_one_of_two() -> None:
    """A scope that is neither is refused at the call."""
    worker = BaseWorker("a")
    async with open_runner(worker):
        with pytest.raises(ValueError, match='is "runner" or "bus", not \'world\''):
            await worker.end(scope="world")  # type: ignore[arg-type]


# -- cancellation around it ----------------------------------------------------------------------------------------------


async def test_a_timeout_around_run_is_a_timeout(autojump_clock: MockClock) -> None:
    """U20: ``fail_after`` around ``run`` raises TooSlowError when its time is over, and everything is gone then."""
    log: Log = []
    worker, runner = Slow("a", down=1, log=log), WorkerRunner()
    await runner.add_workers(worker)
    with pytest.raises(trio.TooSlowError), trio.fail_after(3):
        await runner.run(auto_end=False)
    assert (log, trio.current_time(), says(runner)) == ([("a", "gone", 4)], 4, WorkerState.FINISHED)


async def test_an_outer_cancel_goes_on() -> None:
    """U20: a cancel around ``run`` cancels all workers and leaves ``run`` as one bare ``Cancelled``, for the scope that caused it."""
    worker, runner, caught = BaseWorker("a"), WorkerRunner(), Log()
    await runner.add_workers(worker)

    async def run() -> None:
        try:
            await runner.run()
        except BaseException as error:
            caught.append(type(error))
            raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await settle()
        nursery.cancel_scope.cancel()
    assert (caught, nursery.cancel_scope.cancelled_caught, state(worker)) == ([trio.Cancelled], True, WorkerState.FINISHED)


async def test_errors_are_told_even_when_it_is_cancelled(autojump_clock: MockClock) -> None:
    """U20, U31: a worker that raises while an outer cancel takes it down is told of beside the cancel."""

    async def sulk(worker: Actor) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("not with me")

    runner = WorkerRunner()
    await runner.add_workers(Actor("a", sulk))
    with pytest.raises(ExceptionGroup) as caught, trio.move_on_after(1):
        await runner.run()
    assert [str(error) for error in told(caught.value)] == ["not with me"]
    assert (trio.current_time(), says(runner)) == (1, WorkerState.FAILED)


# -- errors --------------------------------------------------------------------------------------------------------------


async def test_a_worker_whose_run_raises_is_told_of(autojump_clock: MockClock) -> None:
    """U31: a run() that raises: ``on_error`` has the exception, then ``run`` raises it in one flat group with the worker's path."""
    log: Log = []

    class Broken(BaseWorker):
        """Dies of its own run()."""

        async def run(self, params: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            """Live, and die."""
            with trio.move_on_after(2):
                await super().run(params, task_status=task_status)
            raise LookupError("lost it")

    runner, other = WorkerRunner(name="house"), BaseWorker("other")
    await runner.add_workers(Broken("broken"), other)

    @runner.event_handler("on_error")
    async def write_down(runner: WorkerRunner, data: WorkerErrorData) -> None:
        await trio.sleep(1)
        log.append((data.worker_name, data.error, data.exception, state(other), runner.get_worker("broken")))

    with pytest.raises(ExceptionGroup, match="'house'") as caught:
        async with within(20):
            await runner.run()
    (error,) = told(caught.value)
    assert (type(error), error.__notes__) == (LookupError, ["raised in worker house/broken"])
    assert log == [("broken", "LookupError: lost it", error, WorkerState.READY, None)]
    assert (trio.current_time(), says(runner), state(other)) == (3, WorkerState.FAILED, WorkerState.FINISHED)


async def test_the_errors_of_several_roots_are_one_flat_group(autojump_clock: MockClock) -> None:
    """U31: roots that die together, one of them with a group of its own, come out of ``run`` as one flat group."""
    log: Log = []

    def die(error: Exception) -> Script:
        async def script(worker: Actor) -> None:
            try:
                await trio.sleep(1)
            finally:  # also if it is cancelled, because another one was faster
                raise error

        return script

    parent = Actor("parent", idle)
    await parent.add_workers(Actor("child", die(ValueError("boom"))))
    runner = WorkerRunner()
    runner.add_event_handler("on_error", lambda _, data: log.append(data.worker_name))
    several = ExceptionGroup("several", [KeyError("a"), ExceptionGroup("inner", [OSError("b")])])
    await runner.add_workers(Actor("one", die(ValueError("one"))), Actor("several", die(several)), parent)
    assert sorted(await errors_of(runner.run)) == ["KeyError: 'a'", "OSError: b", "ValueError: boom", "ValueError: one"]
    assert len(log) == len(set(log)) >= 1


async def test_a_base_exception_comes_out_in_a_group_of_its_kind() -> None:
    """U31: an exception that is no ``Exception`` ends everything too, and comes out as a flat ``BaseExceptionGroup``."""

    async def interrupt(worker: Actor) -> None:
        raise KeyboardInterrupt

    runner = WorkerRunner()
    await runner.add_workers(Actor("a", interrupt), BaseWorker("b"))
    with pytest.raises(BaseExceptionGroup) as caught:
        await runner.run()
    assert [type(error) for error in told(caught.value)] == [KeyboardInterrupt]


@pytest.mark.parametrize("timeout", [0, 10, math.inf])
async def test_the_death_of_the_last_root_is_told_of(timeout: float, autojump_clock: MockClock) -> None:
    """U31, U38: ``on_error`` runs for the last root as for any other: to its end, although the run is over after it."""
    log: Log = []
    runner = WorkerRunner(shutdown_timeout=timeout)

    @runner.event_handler("on_error")
    async def write_down(runner: WorkerRunner, data: WorkerErrorData) -> None:
        await trio.sleep(60)
        log.append((data.worker_name, trio.current_time()))

    await runner.add_workers(Actor("only", die_after(1)))
    assert await errors_of(runner.run) == ["ValueError: boom"]
    assert log == [("only", 61)]


async def test_an_error_told_to_the_runner_reaches_on_error(autojump_clock: MockClock) -> None:
    """U43: ``send_bus_error_message`` of a root reaches ``on_error``, a child's does not; nobody dies of it."""
    log: Log = []
    parent, child = BaseWorker("parent"), BaseWorker("child")
    await parent.add_workers(child)
    runner = WorkerRunner()
    runner.add_event_handler("on_error", lambda _, data: log.append(data))
    async with trio.open_nursery() as nursery:
        await running(nursery, runner, parent)
        await child.send_bus_error_message("a child's affair")
        await parent.send_bus_error_message("paper jam")
        await settle()
        assert states(parent, child) == [WorkerState.READY] * 2
        await runner.end()
    assert log == [WorkerErrorData("parent", "paper jam")]
    assert log[0].exception is None


async def test_handlers_are_over_before_run_returns(autojump_clock: MockClock) -> None:
    """U38: a handler that still runs when the end comes runs to its end before ``run`` returns."""
    log: Log = []
    worker, runner = BaseWorker("a"), WorkerRunner()

    @runner.event_handler("on_error")
    async def slowly(runner: WorkerRunner, data: WorkerErrorData) -> None:
        log.append("begins")
        await trio.sleep(5)
        log.append("over")

    async with trio.open_nursery() as nursery:
        await running(nursery, runner, worker)
        await worker.send_bus_error_message("paper jam")
        await settle()
        await runner.end()
        await worker.wait()
        log.append("worker gone")
    log.append("run returned")
    assert (log, trio.current_time()) == (["begins", "over", "worker gone", "run returned"], 5)


@pytest.mark.parametrize("event", ["on_ready", "on_error"])
async def test_a_failing_handler_fails_the_runner(event: str, autojump_clock: MockClock) -> None:
    """A handler that raises ends the run: all workers are cancelled, the error comes out in the flat group, nothing else."""
    worker, runner = BaseWorker("a"), WorkerRunner(name="house")

    def fail(*args: object) -> None:
        raise OSError("handler")

    runner.add_event_handler(event, fail)
    await runner.add_workers(worker, Actor("b", lambda b: b.send_bus_error_message("paper jam")))
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    (error,) = told(caught.value)
    assert (str(error), error.__notes__) == ("handler", ["raised in worker house"])
    assert (says(runner), state(worker)) == (WorkerState.FAILED, WorkerState.FINISHED)


async def test_a_failing_on_error_adds_its_own_error(autojump_clock: MockClock) -> None:
    """A handler of ``on_error`` that raises hides nothing: the worker's error and its own come out, flat."""
    runner = WorkerRunner()

    async def fail(runner: WorkerRunner, data: WorkerErrorData) -> None:
        await trio.sleep(1)
        raise OSError("handler")

    runner.add_event_handler("on_error", fail)
    await runner.add_workers(Actor("a", die_after(1)), BaseWorker("b"))
    assert sorted(await errors_of(runner.run)) == ["OSError: handler", "ValueError: boom"]


# -- jobs ----------------------------------------------------------------------------------------------------------------


async def test_plain_code_asks_through_the_runner(autojump_clock: MockClock) -> None:
    """``runner.job``, ``job_group`` and ``request_job`` ask from plain trio code; workers see the runner's name."""
    first, second = Napper("first"), Napper("second")
    async with open_runner(first, second, name="house") as runner:
        assert await ask(runner, "first", "nap", seconds=1) == {"slept": 1}
        async with runner.job_group("first", "second", name="nap", payload={"seconds": 1}) as group:
            pass
        assert group.responses == {"first": {"slept": 2}, "second": {"slept": 2}}
        with pytest.raises(JobGroupError):
            async with runner.job_group("first", "second", name="nap", timeout=1, cancel_on_error=False):
                pass
        job_id = await runner.request_job("first", name="nap", payload={"seconds": 1}, timeout=5)
        await settle()
        assert [(request.job_id, request.source) for request in first.active_jobs.values()] == [(job_id, "house")]


async def test_a_request_for_nobody_ends_with_the_runner(autojump_clock: MockClock) -> None:
    """J7: plain code that waits for a worker that is not there gets its JobError at its timeout, or when the runner ends."""
    reasons: Log = []
    runner = WorkerRunner(name="house")

    async def wait(timeout: float | None) -> None:
        reason = await refused(partial(runner.request_job, "ghost", timeout=timeout))
        reasons.append((trio.current_time(), reason))

    async with trio.open_nursery() as nursery:
        await running(nursery, runner)
        nursery.start_soon(wait, 1)
        nursery.start_soon(wait, None)
        await trio.sleep(3)
        await runner.cancel("closing time")
    assert reasons[0] == (1, "not ready within timeout")
    assert reasons[1][0] == 3
    assert "closing time" in reasons[1][1]


async def test_nothing_can_be_asked_without_a_run() -> None:
    """Before the run nothing can be asked without a block; after it, every way to ask is a WorkerStateError at the call."""
    runner = WorkerRunner()
    with pytest.raises(WorkerStateError):
        await runner.request_job("a")
    await runner.run()
    for call in (runner.job, runner.job_group):
        with pytest.raises(WorkerStateError, match="has ended"):
            call("a")
    with pytest.raises(WorkerStateError, match="has ended"):
        await runner.request_job("a")


async def test_a_job_may_be_asked_for_before_the_run(autojump_clock: MockClock) -> None:
    """A block entered before ``run`` waits for the worker to be ready."""
    runner, answers = WorkerRunner(), Log()
    await runner.add_workers(Napper("napper"))

    async def asking() -> None:
        answers.append(await ask(runner, "napper", "nap", seconds=1))
        await runner.end()

    async with within(5), trio.open_nursery() as nursery:
        nursery.start_soon(asking)
        await trio.sleep(1)
        nursery.start_soon(runner.run)
    assert answers == [{"slept": 2}]


async def test_what_plain_code_asked_for_is_over_before_run_returns(autojump_clock: MockClock) -> None:
    """J2, L4: jobs asked for without a block are cancelled with the runner, and their handlers gone before ``run`` returns."""
    log: Log = []
    runner = WorkerRunner()
    async with trio.open_nursery() as nursery:
        await running(nursery, runner, Napper("napper", log))
        await runner.request_job("napper", name="nap")
        await settle()
        await runner.cancel()
    assert (log, runner.statistics().waits) == ([("napper", "begins"), ("napper", "tidied up", 1)], {})


# -- what is left, what it costs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["end", "cancel", "crash", "timeout"])
async def test_no_task_is_left(way: str, autojump_clock: MockClock) -> None:
    """L4, R26: however a run is over, no task, name or wait of it is left when it returns or raises."""
    bus = LocalBus()
    runner = WorkerRunner(bus=bus)
    parent = Actor("parent", idle)
    await parent.add_workers(Napper("napper"), Slow("slow", down=2))
    await runner.add_workers(parent)

    async def meddle(runner: WorkerRunner) -> None:
        await runner.request_job("napper", name="nap", timeout=50)
        await {
            "end": runner.end,
            "cancel": runner.cancel,
            "crash": lambda: runner.add_workers(Actor("dying", die_after(0))),
            "timeout": trio.lowlevel.checkpoint,
        }[way]()

    runner.add_event_handler("on_ready", meddle)
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.move_on_after(20):
        await errors_of(runner.run)
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert (bus.statistics().subscribers, runner.registry.local_workers, runner.workers) == (0, [], [])


async def test_roots_that_start_do_not_tell_each_other_n_times_n() -> None:
    """U52: a session of N plain roots costs a number of deliveries that grows as N, not as N times N."""
    delivered: dict[int, int] = {}
    for count in (50, 100):
        bus = LocalBus()
        async with open_runner(*(BaseWorker(f"w{number}") for number in range(count)), bus=bus):
            await settle()
            delivered[count] = bus.statistics().delivered
        assert bus.statistics().delivered <= 2 * count
    assert delivered[100] <= 2 * delivered[50] <= 2 * 50


async def test_only_roots_that_want_to_hear_of_others_pay(autojump_clock: MockClock) -> None:
    """U52: one root that listens to all others adds one delivery for each, and nothing for those that do not listen."""
    heard: Log = []
    listener = BaseWorker("listener")
    listener.add_event_handler("on_bus_message", lambda _, message: heard.append(message.source))
    bus = LocalBus()
    async with open_runner(listener, bus=bus) as runner:
        await settle()
        before = bus.statistics().delivered
        await runner.add_workers(*(BaseWorker(f"w{number}") for number in range(50)))
        await settle()
        assert bus.statistics().delivered - before == 50
    assert sorted(heard[:51]) == sorted(["listener", *(f"w{number}" for number in range(50))])
