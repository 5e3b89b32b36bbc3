"""Signals: the first ends, the second cancels, and afterwards all is as it was."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import permutations
from types import FrameType
from typing import Any

import pytest
import trio
from life_support import Actor, Log, Napper, Slow, idle, state, told
from support import Striker, ctrl_c, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    Observer,
    WorkerParams,
    WorkerRunner,
    WorkerState,
    WorkerStateError,
    job,
    open_runner,
)
from trioworkers.runner.signals import watch_signals

BOTH = (signal.SIGINT, signal.SIGTERM)


def strike(number: signal.Signals) -> None:
    """Send a signal to this very process."""
    os.kill(os.getpid(), number)


def handlers() -> list[object]:
    """Return who handles the two signals now."""
    return [signal.getsignal(number) for number in BOTH]


@contextmanager
def caught(number: signal.Signals) -> Iterator[list[int]]:
    """Write a signal down instead of dying of it, as the surroundings' own handler."""
    seen: list[int] = []
    before = signal.signal(number, lambda got, _: seen.append(got))
    try:
        yield seen
    finally:
        signal.signal(number, before)


async def started(nursery: trio.Nursery, runner: WorkerRunner, *workers: BaseWorker) -> None:
    """Run a runner beside the test; return when it is ready."""
    await runner.add_workers(*workers)
    await nursery.start(partial(runner.run, auto_end=False))


@pytest.mark.parametrize("number", BOTH)
async def test_the_first_signal_ends(number: signal.Signals, autojump_clock: MockClock) -> None:
    """The first SIGINT or SIGTERM ends gracefully: what runs goes on, then all leave; its name is the reason."""
    log: Log = []
    runner, napper = WorkerRunner(), Napper("napper", log)
    before = handlers()
    async with within(60), trio.open_nursery() as nursery:
        await started(nursery, runner, Slow("slow", down=1, log=log), napper)
        assert all(now is not then for now, then in zip(handlers(), before, strict=True))
        await runner.request_job("napper", name="nap", payload={"seconds": 3})
        await settle()
        strike(number)
        await settle()
        assert (runner.statistics().state, state(napper), len(napper.active_jobs)) == (WorkerState.ENDING, WorkerState.ENDING, 1)
    assert log == [("napper", "begins"), ("napper", "wakes", 3), ("slow", "gone", 4)]
    assert handlers() == before
    with pytest.raises(WorkerStateError, match=number.name):
        runner.job("napper")


@pytest.mark.parametrize(("first", "second"), [(*BOTH,), (*BOTH[::-1],), (signal.SIGINT, signal.SIGINT)])
async def test_the_second_signal_cancels(first: signal.Signals, second: signal.Signals, autojump_clock: MockClock) -> None:
    """R18: a second signal, whichever of the two, cancels what the first one is waiting for, with a reason; a third does no harm."""
    log, reasons = Log(), Log()

    async def wait(worker: Actor) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            reasons.append(cancelled.reason)
            raise

    runner = WorkerRunner(shutdown_timeout=float("inf"))
    before = handlers()
    async with within(60), trio.open_nursery() as nursery:
        await started(nursery, runner, Actor("stuck", wait), Napper("napper", log))
        await runner.request_job("napper", name="nap")
        await settle()
        strike(first)
        await trio.sleep(5)
        strike(second)
        strike(second)
        await settle()
        assert runner.statistics().state is WorkerState.CANCELLING
    assert (log[-1], reasons) == (("napper", "tidied up", 6), [f"second signal: {second.name}"])
    assert handlers() == before


async def test_a_signal_after_an_end_cancels(autojump_clock: MockClock) -> None:
    """A runner that ends already is cancelled by the first signal: whoever sends it has seen enough."""
    runner = WorkerRunner(shutdown_timeout=float("inf"))
    async with within(60), trio.open_nursery() as nursery:
        await started(nursery, runner, Actor("stuck", idle))
        await settle()
        await runner.end()
        strike(signal.SIGINT)
    assert (trio.current_time(), runner.statistics().state) == (0, WorkerState.FINISHED)


async def test_a_signal_while_it_starts_is_heard(autojump_clock: MockClock) -> None:
    """Signals are watched before the first worker starts: an end is remembered until all are ready, a second cancels the start."""
    for strikes, over in ((1, 3), (2, 1)):
        began = trio.current_time()
        runner, outcome = WorkerRunner(), Log()
        await runner.add_workers(Slow("slow", up=3))

        async def run(runner: WorkerRunner, outcome: Log) -> None:
            await runner.run()
            outcome.append(runner.statistics().state)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, runner, outcome)
            await trio.sleep(1)
            for _ in range(strikes):
                strike(signal.SIGTERM)
                await settle()
        assert (strikes, outcome, trio.current_time() - began) == (strikes, [WorkerState.FINISHED], over)


@pytest.mark.parametrize("way", ["end", "cancel", "crash", "timeout"])
async def test_handlers_are_put_back(way: str, autojump_clock: MockClock) -> None:
    """However a run is over, the signals are handled afterwards as before; while it runs they are the runner's."""
    before = handlers()
    seen: Log = []

    async def die(worker: Actor) -> None:
        raise ValueError("boom")

    async def meddle(runner: WorkerRunner) -> None:
        seen.append(handlers())
        calls: dict[str, Callable[[], Any]] = {
            "end": runner.end,
            "cancel": runner.cancel,
            "crash": partial(runner.add_workers, Actor("dying", die)),
            "timeout": trio.sleep_forever,
        }
        await calls[way]()

    runner = WorkerRunner()
    runner.add_event_handler("on_ready", meddle)
    await runner.add_workers(BaseWorker("a"))
    errors: list[BaseException] = []
    try:
        with trio.move_on_after(1):
            await runner.run()
    except ExceptionGroup as group:
        errors.extend(told(group))
    assert [str(error) for error in errors] == ["boom"] * (way == "crash")
    assert handlers() == before
    assert len(seen) == 1
    assert all(now is not then for now, then in zip(seen[0], before, strict=True))


@pytest.mark.parametrize("number", BOTH)
async def test_only_what_is_asked_for_is_handled(number: signal.Signals, autojump_clock: MockClock) -> None:
    """``handle_sigint=False`` or ``handle_sigterm=False`` leaves that signal to whoever had it, and the other to the runner."""
    (other,) = set(BOTH) - {number}
    runner = WorkerRunner(handle_sigint=number is not signal.SIGINT, handle_sigterm=number is not signal.SIGTERM)
    with caught(number) as seen:
        async with within(60), trio.open_nursery() as nursery:
            await started(nursery, runner, BaseWorker("a"))
            strike(number)
            await settle()
            assert (seen, runner.statistics().state) == ([number], WorkerState.READY)
            strike(other)
    assert (seen, runner.statistics().state) == ([number], WorkerState.FINISHED)


async def test_a_block_handles_no_signals_unless_asked(autojump_clock: MockClock) -> None:
    """``open_runner`` leaves both signals alone; asked to, it ends the runner on the first, and the block goes on."""
    before = handlers()
    async with open_runner(BaseWorker("a")):
        assert handlers() == before
    worker, log = BaseWorker("a"), Log()
    async with open_runner(worker, handle_sigint=True, handle_sigterm=True) as runner:
        assert all(now is not then for now, then in zip(handlers(), before, strict=True))
        strike(signal.SIGINT)
        await worker.wait()
        log.append(runner.workers)
        await trio.sleep(1)
    assert (log, handlers()) == ([[]], before)


def test_ctrl_c_is_trios_when_it_is_not_ours() -> None:
    """``handle_sigint=False``: Ctrl-C is trio's KeyboardInterrupt; it cancels all workers and comes out of the run."""
    log: Log = []
    worker = Slow("a", down=1, log=log)

    async def main() -> None:
        async with open_runner(worker):
            strike(signal.SIGINT)

    with ctrl_c(), pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert (log, state(worker)) == ([("a", "gone", 1)], WorkerState.FINISHED)


def test_ctrl_c_in_a_worker_comes_out_in_the_group() -> None:
    """``handle_sigint=False``: a KeyboardInterrupt that hits a worker's code is that worker's error, with its path."""

    async def press(worker: Actor) -> None:
        strike(signal.SIGINT)

    async def main() -> None:
        runner = WorkerRunner(name="house", handle_sigint=False)
        await runner.add_workers(Actor("a", press), BaseWorker("b"))
        async with within(5):
            await runner.run()

    with ctrl_c(), pytest.raises(BaseExceptionGroup) as raised:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    (error,) = told(raised.value)
    assert (type(error), error.__notes__) == (KeyboardInterrupt, ["raised in worker house/a"])


def test_ctrl_c_at_a_workers_very_first_step_is_that_workers_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """``handle_sigint=False``: however early it comes, whoever starts the worker hears of it, and waits for nobody."""
    steps: list[object] = []

    class Chain:
        def set(self, value: object) -> None:
            """Press Ctrl-C at the first step of the first worker: before it there is the runner's own."""
            steps.append(value)
            if len(steps) == 2:
                strike(signal.SIGINT)

    async def main() -> None:
        async with open_runner(BaseWorker("a"), handle_sigint=False):
            pass

    monkeypatch.setattr("trioworkers.worker.family.CHAIN", Chain())
    with ctrl_c(), pytest.raises(BaseExceptionGroup) as raised:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert [type(error) for error in told(raised.value)] == [KeyboardInterrupt]


async def test_user_code_can_be_interrupted_wherever_it_runs(autojump_clock: MockClock) -> None:
    """KeyboardInterrupt is kept from the library's own steps, and from nobody else's: not a life, a hook, a job or a body."""
    protected: dict[str, bool] = {}

    def note(where: str) -> None:
        protected[where] = trio.lowlevel.currently_ki_protected()

    class Noter(BaseWorker):
        async def run(self, params: WorkerParams, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            """A life."""
            note("run")
            await super().run(params, task_status=task_status)

        async def start(self) -> None:
            """Its beginning."""
            note("start")
            await super().start()

        async def on_activated(self, args: dict[str, Any] | None) -> None:
            """A hook."""
            note("hook")

        @job
        async def work(self, message: BusJobRequestMessage) -> None:
            """A job."""
            note("job")

        @job
        async def stream(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
            """A stream."""
            note("stream")
            yield {}

    class Looker(Observer):
        def worker_state(self, name: str, old: WorkerState, new: WorkerState, why: str | None) -> None:
            """The library's own steps."""
            note(f"{new}")

    async with open_runner(Noter("a"), observers=[Looker()]) as runner, within(1):
        note("open_runner")
        for name in ("work", "stream"):
            async with runner.job("a", name=name):
                note("block")
    assert {where for where, kept in protected.items() if not kept} >= {
        "run",
        "start",
        "hook",
        "job",
        "stream",
        "open_runner",
        "block",
    }
    assert protected["finished"]


def test_in_a_thread_signals_are_left_alone() -> None:
    """Signals are the main thread's: a runner in another thread runs without watching any, and ends as told."""
    before = handlers()
    log: Log = []
    runner = WorkerRunner(handle_sigint=True, handle_sigterm=True)

    async def look(worker: Actor) -> None:
        log.append((threading.current_thread() is threading.main_thread(), handlers()))
        await worker.end()

    async def main() -> None:
        await runner.add_workers(Actor("a", look))
        await runner.run(auto_end=False)

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    thread.join(30)  # real seconds: only if it hangs
    assert log == [(False, before)]
    assert (runner.statistics().state, handlers()) == (WorkerState.FINISHED, before)


# -- several at once -----------------------------------------------------------------------------------------------------


async def test_runners_side_by_side_all_hear_a_signal(autojump_clock: MockClock) -> None:
    """Ctrl-C is for the whole program: of several runners in a process, each one ends; a second one cancels them all."""
    runners = [WorkerRunner(shutdown_timeout=float("inf")) for _ in range(3)]
    before = handlers()
    async with within(60), trio.open_nursery() as nursery:
        for runner in runners:
            await started(nursery, runner, Actor("stuck", idle))
        strike(signal.SIGINT)
        await settle()
        assert [runner.statistics().state for runner in runners] == [WorkerState.ENDING] * 3
        strike(signal.SIGTERM)
    assert [runner.statistics().state for runner in runners] == [WorkerState.FINISHED] * 3
    assert handlers() == before


@pytest.mark.parametrize("leaving", list(permutations(range(3))), ids=str)
async def test_runners_leave_in_any_order(leaving: tuple[int, ...], autojump_clock: MockClock) -> None:
    """Whoever leaves first, who is left hears signals; after the last one they are handled as before the first."""
    runners = [WorkerRunner() for _ in range(3)]
    before = handlers()
    async with within(60), trio.open_nursery() as nursery:
        for runner in runners:
            await started(nursery, runner, BaseWorker("a"))
        first, *others = (runners[index] for index in leaving)
        await first.end()
        await settle()
        assert first.statistics().state is WorkerState.FINISHED
        assert [runner.statistics().state for runner in others] == [WorkerState.READY] * 2
        await others[0].end()
        await settle()
        assert all(now is not then for now, then in zip(handlers(), before, strict=True))
        strike(signal.SIGINT)
    assert (others[1].statistics().state, handlers()) == (WorkerState.FINISHED, before)


def test_no_signal_is_lost_at_any_step() -> None:
    """At whatever step a signal comes, either all who watch it then hear it, or it is handled as if nobody had watched it."""

    async def watch(heard: Log) -> None:
        async with trio.open_nursery() as nursery:
            scopes = [await nursery.start(watch_signals, BOTH, partial(told_to, name)) for name in ("a", "b")]
            for scope in scopes:
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()

    def told_to(name: str, number: signal.Signals) -> None:
        heard.append((name, number))

    outcomes = set()
    step, striker = 1, Striker(0, signal.SIGTERM)
    while striker.left <= 0:  # until it would come after the last step
        heard, striker = Log(), Striker(step, signal.SIGTERM)
        with caught(signal.SIGTERM) as seen:
            trio.run(watch, heard, instruments=[striker])
        if striker.left <= 0:
            outcomes.add((tuple(sorted(name for name, _ in heard)), tuple(seen)))
        step += 1
    nobody, all_of_them = ((), (signal.SIGTERM,)), (("a", "b"), ())
    assert {nobody, all_of_them} <= outcomes <= {nobody, all_of_them, (("a",), ()), (("b",), ())}


@pytest.mark.parametrize("when", ["in the run", "after the run"])
def test_a_handler_put_back_after_its_time_hands_on(when: str) -> None:
    """Who sets a handler while a runner has its own, and puts that back too late, has put back nothing: the signal is handled."""
    log = Log()

    async def main() -> None:
        async with open_runner(handle_sigterm=True):
            late = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log.append(signal.getsignal(signal.SIGTERM))
        if when == "in the run":
            signal.signal(signal.SIGTERM, late)
            strike(signal.SIGTERM)
            await settle()
        log.append(late)

    with caught(signal.SIGTERM) as seen:
        before = signal.getsignal(signal.SIGTERM)
        trio.run(main)
        ignored, late = log
        assert ignored is signal.SIG_IGN
        if when == "after the run":
            signal.signal(signal.SIGTERM, late)
            strike(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is before


async def test_what_a_listener_did_not_look_at_is_handled_as_if_nobody_had_listened(autojump_clock: MockClock) -> None:
    """A signal that has come to the last listener in the very step in which it is told to stop goes to whoever had it before."""
    heard = Log()
    with caught(signal.SIGTERM) as seen:

        def arrived(number: signal.Signals) -> None:
            heard.append(number)
            deliver: Any = signal.getsignal(signal.SIGTERM)
            deliver.__self__._deliver()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            scope = await nursery.start(watch_signals, BOTH, arrived)
            strike(signal.SIGTERM)
    assert (heard, seen) == ([signal.SIGTERM], [signal.SIGTERM])


@pytest.mark.parametrize("when", ["in the run", "after the run"])
def test_a_handler_that_hands_on_to_ours_is_called_once(when: str) -> None:
    """Who wraps the runner's handler, and outlives the runner, gets a signal once; it goes on to whoever had it before the runner."""
    called = Log()

    async def main() -> None:
        async with open_runner(handle_sigterm=True):
            ours: Any = signal.getsignal(signal.SIGTERM)

            def chained(number: int, frame: FrameType | None) -> None:
                called.append(number)
                ours(number, frame)

            signal.signal(signal.SIGTERM, chained)
        if when == "in the run":
            strike(signal.SIGTERM)
            await settle()
            assert signal.getsignal(signal.SIGTERM) is chained

    with caught(signal.SIGTERM) as seen:
        trio.run(main)
        if when == "after the run":
            strike(signal.SIGTERM)
    assert (called, seen) == ([signal.SIGTERM], [signal.SIGTERM])


@pytest.mark.parametrize("when", ["in the run", "after the run"])
def test_a_handler_put_back_after_its_time_and_another_runner(when: str) -> None:
    """A runner's handler that was put back too late, and then another runner on top of it: a signal still finds who had it first."""

    async def main() -> None:
        async with open_runner(handle_sigterm=True):
            late = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, late)
        worker = BaseWorker("a")
        async with open_runner(worker, handle_sigterm=True), within(5):
            strike(signal.SIGTERM)
            await worker.wait()
        if when == "in the run":
            strike(signal.SIGTERM)
            await settle()

    with caught(signal.SIGTERM) as seen:
        trio.run(main, clock=MockClock(autojump_threshold=0))
        if when == "after the run":
            strike(signal.SIGTERM)
    assert seen == [signal.SIGTERM]
