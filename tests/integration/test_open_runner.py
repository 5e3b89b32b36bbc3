"""``open_runner``: workers around a block, and what comes out of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
from life_support import Actor, Log, Napper, Slow, ask, boom, idle, state, states, told
from support import after_steps, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    DuplicateWorkerError,
    LocalBus,
    WorkerRunner,
    WorkerState,
    WorkerStateError,
    open_runner,
)


def dying(name: str, after: float = 1) -> Actor:
    """Make a worker that dies of a ``ValueError`` after some seconds."""

    async def script(worker: Actor) -> None:
        await trio.sleep(after)
        await boom(worker)

    return Actor(name, script)


async def answer_with(error: BaseException) -> None:
    """Sleep, and answer the cancel that ends it with an error."""
    try:
        await trio.sleep_forever()
    finally:
        raise error


async def sulk(worker: BaseWorker) -> None:
    """A script: answer a cancel with an error."""
    await answer_with(ValueError("not with me"))


async def say_last(log: Log) -> None:
    """Sleep, and write down what ends it."""
    try:
        await trio.sleep_forever()
    except trio.Cancelled as cancelled:
        log.append((trio.current_time(), cancelled.reason))
        raise


async def fall_out(error: BaseException) -> None:
    """Raise an error when everybody has settled down."""
    await settle()
    raise error


def shape(error: BaseException) -> tuple[object, ...]:
    """Return what an exception says about where it comes from."""
    return error.__cause__, error.__suppress_context__, getattr(error, "__notes__", [])


def raise_while_handling(error: BaseException, first: BaseException) -> None:
    """Raise an error while another one is being handled."""
    try:
        raise first
    except OSError:
        raise error  # noqa: B904 - the context is what this is about


# -- the block is left normally ------------------------------------------------------------------------------------------


async def test_workers_are_ready_when_the_block_begins(autojump_clock: MockClock) -> None:
    """The block begins when all workers are ready; leaving it ends them gracefully, the last first; nothing is left then."""
    log: Log = []
    bus = LocalBus()
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_runner(Slow("a", up=2, down=1, log=log), Slow("b", up=1, down=1, log=log), name="house", bus=bus) as runner:
        assert (trio.current_time(), runner.name, runner.bus, runner.registry.local_workers) == (2, "house", bus, ["b", "a"])
    assert log == [("b", "gone", 3), ("a", "gone", 4)]
    assert (runner.statistics().state, bus.statistics().subscribers) == (WorkerState.FINISHED, 0)
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_it_goes_on_without_workers(autojump_clock: MockClock) -> None:
    """A block without workers, or whose workers have all finished, goes on, and may add others: only its end ends the runner."""
    async with open_runner() as runner:
        await trio.sleep(5)
        worker = BaseWorker("a")
        await runner.add_workers(worker)
        await worker.stop()
        await trio.sleep(5)
        await runner.add_workers(Napper("napper"))
        assert await ask(runner, "napper", "nap", seconds=1) == {"slept": 11}


@pytest.mark.parametrize(
    ("timeout", "last"), [(10, ("napper", "wakes", 3)), (2, ("napper", "tidied up", 3)), (math.inf, ("napper", "wakes", 3))]
)
async def test_a_job_left_open_is_waited_for(timeout: float, last: tuple[object, ...], autojump_clock: MockClock) -> None:
    """L6: a job that still runs when the block is left may finish, for ``shutdown_timeout`` seconds at most."""
    log: Log = []
    async with open_runner(Napper("napper", log), shutdown_timeout=timeout) as runner:
        await runner.request_job("napper", name="nap", payload={"seconds": 3})
        await settle()
    assert log == [("napper", "begins"), last]


async def test_the_block_may_end_the_runner_itself(autojump_clock: MockClock) -> None:
    """A runner that is told to end, or to cancel, inside its block does so; the block goes on, and is left quietly."""
    for verb in ("end", "cancel"):
        worker = BaseWorker("a")
        async with open_runner(worker) as runner:
            await {"end": runner.end, "cancel": runner.cancel}[verb]()
            await worker.wait()
            await trio.sleep(1)
            with pytest.raises(WorkerStateError):
                await runner.add_workers(BaseWorker("b"))
        assert (state(worker), runner.statistics().state) == (WorkerState.FINISHED, WorkerState.FINISHED)


async def test_blocks_nest_on_one_bus(autojump_clock: MockClock) -> None:
    """U54: blocks inside one another, on one bus, end from the inside out; an inner end is nothing to the outer ones."""
    bus, log = LocalBus(), Log()
    outer, inner = Slow("outer", down=1, log=log), Slow("inner", down=1, log=log)
    async with open_runner(outer, Napper("napper"), bus=bus) as first:
        async with open_runner(inner, bus=bus) as second:
            assert (first.workers[0], second.workers) == (outer, [inner])
            with pytest.raises(DuplicateWorkerError):
                await second.add_workers(BaseWorker("outer"))
        assert states(outer, inner) == [WorkerState.READY, WorkerState.FINISHED]
        assert await ask(first, "napper", "nap", seconds=1) == {"slept": 2}
    assert log == [("inner", "gone", 1), ("outer", "gone", 3)]


# -- the block is left with an error -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt, trio.TooSlowError])
async def test_the_bodys_own_error_comes_out_as_it_is(kind: type[BaseException], autojump_clock: MockClock) -> None:
    """A body that raises cancels the workers; its very exception comes out, in no group, with its cause and notes as they were."""
    log: Log = []
    error, cause = kind("mine"), OSError("cause")
    error.add_note("mine, too")
    with pytest.raises(kind) as caught:
        async with open_runner(Slow("a", down=2, log=log)):
            raise error from cause
    assert caught.value is error
    assert shape(error) == (cause, True, ["mine, too"])
    assert log == [("a", "gone", 2)]


async def test_the_bodys_error_keeps_its_context(autojump_clock: MockClock) -> None:
    """A body's error that was raised while another one was handled still says so when it comes out."""
    error, first = KeyError("second"), OSError("first")
    with pytest.raises(KeyError) as caught:
        async with open_runner(BaseWorker("a")):
            raise_while_handling(error, first)
    assert caught.value is error
    assert (error.__context__, *shape(error)) == (first, None, False, [])


async def test_a_group_of_the_bodys_own_stays_whole(autojump_clock: MockClock) -> None:
    """A group that the body raises is the body's own affair: it comes out as it is, not flattened."""
    error = ExceptionGroup("outer", [ExceptionGroup("inner", [KeyError("a")]), OSError("b")])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_runner(BaseWorker("a")):
            raise error
    assert caught.value is error
    assert [type(inner) for inner in error.exceptions] == [ExceptionGroup, OSError]


async def test_the_workers_hear_why(autojump_clock: MockClock) -> None:
    """R16: the reason that a worker sees when its block was left with an error names the error's type."""
    log: Log = []
    with pytest.raises(KeyError):
        async with open_runner(Actor("a", lambda _: say_last(log))):
            await fall_out(KeyError("mine"))
    assert log == [(0, "its block was left with KeyError")]


# -- workers die ---------------------------------------------------------------------------------------------------------


async def test_a_worker_that_dies_cancels_the_block(autojump_clock: MockClock) -> None:
    """U31: when a worker dies the body is cancelled, and one flat group with the worker's error and path comes out."""
    seen: Log = []
    parent = Actor("parent", idle)
    await parent.add_workers(dying("child"))
    with pytest.raises(ExceptionGroup) as caught:
        async with open_runner(parent, name="house"):
            await say_last(seen)
    (error,) = told(caught.value)
    assert ([at for at, _ in seen], str(error), error.__notes__) == ([1], "boom", ["raised in worker house/parent/child"])
    assert state(parent) is WorkerState.FAILED


async def test_a_worker_that_dies_while_the_block_is_being_left_is_told_of(autojump_clock: MockClock) -> None:
    """U31: the end of the block waits for the workers; one that dies then is told of as one flat group."""
    with pytest.raises(ExceptionGroup) as caught:
        async with open_runner(dying("a", after=5)):
            await trio.sleep(1)
    assert [str(error) for error in told(caught.value)] == ["boom"]
    assert trio.current_time() == 5


async def test_errors_of_body_and_worker_come_out_together(autojump_clock: MockClock) -> None:
    """A body that raises when it is cancelled by a worker's death loses nobody's error: one flat group has both."""
    with pytest.raises(ExceptionGroup) as caught:
        async with open_runner(dying("a")):
            await answer_with(KeyError("mine"))
    assert sorted(map(repr, told(caught.value))) == ["KeyError('mine')", "ValueError('boom')"]


async def test_a_worker_that_answers_the_bodys_error_with_its_own_is_told_of(autojump_clock: MockClock) -> None:
    """A worker that raises while it is cancelled because of the body's error: one flat group has both."""
    with pytest.raises(ExceptionGroup) as caught:
        async with open_runner(Actor("a", sulk)):
            await fall_out(KeyError("mine"))
    assert sorted(map(repr, told(caught.value))) == ["KeyError('mine')", "ValueError('not with me')"]


async def test_a_handler_of_the_runner_that_fails_cancels_the_block(autojump_clock: MockClock) -> None:
    """A handler that raises inside the runner ends the block as a worker's death does."""

    async def provoke(runner: WorkerRunner) -> None:
        runner.add_event_handler("on_error", fail)
        await runner.workers[0].send_bus_error_message("paper jam")
        await trio.sleep_forever()

    def fail(*args: object) -> None:
        raise OSError("handler")

    with pytest.raises(ExceptionGroup) as caught:
        async with open_runner(BaseWorker("a")) as runner:
            await provoke(runner)
    assert [str(error) for error in told(caught.value)] == ["handler"]


# -- it is cancelled from outside ----------------------------------------------------------------------------------------


async def test_an_outer_cancel_comes_out_bare(autojump_clock: MockClock) -> None:
    """U20: a cancelled block cancels its workers; one bare ``Cancelled`` comes out, for the scope that caused it."""
    caught: Log = []
    log: Log = []
    with trio.move_on_after(3) as scope:
        try:
            async with open_runner(Slow("a", down=1, log=log), Slow("b", down=1, log=log)):
                await trio.sleep_forever()
        except BaseException as error:
            caught.append(type(error))
            raise
    assert (caught, scope.cancelled_caught) == ([trio.Cancelled], True)
    assert sorted(log) == [("a", "gone", 4), ("b", "gone", 4)]


async def test_a_timeout_around_the_block_is_a_timeout(autojump_clock: MockClock) -> None:
    """U20: ``fail_after`` around a block raises a plain TooSlowError, also while the block is being left."""

    async def body(runner: WorkerRunner) -> None:
        await runner.request_job("napper", name="nap")
        await trio.sleep(3)

    for patience in (1, 5):
        with pytest.raises(trio.TooSlowError), trio.fail_after(patience):
            async with open_runner(Napper("napper")) as runner:
                await body(runner)


async def test_an_outer_cancel_and_a_workers_error(autojump_clock: MockClock) -> None:
    """U20, U31: a worker that raises while an outer cancel takes it down is told of; the scope takes its ``Cancelled`` out."""
    with pytest.raises(ExceptionGroup) as caught, trio.move_on_after(1):
        async with open_runner(Actor("a", sulk), Actor("b", sulk)):
            await trio.sleep_forever()
    assert [str(error) for error in told(caught.value)] == ["not with me"] * 2
    assert trio.current_time() == 1


async def test_an_outer_cancel_and_the_bodys_error(autojump_clock: MockClock) -> None:
    """A body that answers an outer cancel with an error of its own: that comes out, bare: no worker died."""
    with pytest.raises(KeyError), trio.move_on_after(1) as scope:
        async with open_runner(BaseWorker("a")):
            await answer_with(KeyError("mine"))
    assert scope.cancel_called


# -- the block never begins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("errors", [1, 2])
async def test_workers_that_cannot_start_are_told_of(errors: int, autojump_clock: MockClock) -> None:
    """If workers die before they are ready, the block never begins: one flat group comes out, all others are gone, names free."""

    class Stillborn(BaseWorker):
        """Dies before it is ready; also if it is cancelled, because the other one was faster."""

        async def run(self, params: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            """Die."""
            try:
                await trio.sleep(1)
            finally:
                raise OSError(self.name)

    bus = LocalBus()
    workers = [Stillborn(f"w{number}") for number in range(errors)]
    with pytest.raises(ExceptionGroup) as caught:
        await open_runner(BaseWorker("fine"), *workers, bus=bus).__aenter__()
    assert sorted(str(error) for error in told(caught.value)) == [worker.name for worker in workers]
    assert bus.statistics().subscribers == 0


async def test_a_refused_worker_leaves_nothing_behind() -> None:
    """Workers that cannot be taken in are an error at the call, bare; the runner's own name is free again, too."""
    bus = LocalBus()
    async with open_runner(BaseWorker("a"), bus=bus):
        before = bus.statistics().subscribers
        with pytest.raises(DuplicateWorkerError):
            await open_runner(BaseWorker("b"), BaseWorker("a"), name="house", bus=bus).__aenter__()
        with pytest.raises(TypeError):
            await open_runner("c", name="house", bus=bus).__aenter__()  # type: ignore[arg-type]
        assert (bus.statistics().subscribers, "house" in bus) == (before, False)


async def test_a_block_cancelled_before_it_begins_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    """U20: whenever a cancel comes while the block is being entered, one bare ``Cancelled`` comes out, and all names are free."""
    bus, seen, outcomes = LocalBus(), Log(), Log()

    async def enter() -> None:
        try:
            async with open_runner(BaseWorker("a"), name="house", bus=bus):
                seen.append("began")
                await trio.sleep_forever()
        except BaseException as error:
            outcomes.append(type(error))
            raise

    patience = 0
    while not seen:
        patience += 1
        async with within(5), trio.open_nursery() as nursery:
            with after_steps(patience, nursery.cancel_scope.cancel):
                nursery.start_soon(enter)
                await trio.sleep(math.inf)
        assert (patience, bus.statistics().subscribers) == (patience, 0)
    assert set(outcomes) == {trio.Cancelled}
    assert patience > 5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": ""}, ValueError),
        ({"bus": "local"}, TypeError),
        ({"shutdown_timeout": -1}, ValueError),
    ],
)
async def test_bad_arguments_are_errors_when_it_is_entered(arguments: dict[str, Any], error: type[Exception]) -> None:
    """What a runner refuses is refused here too, bare, before the block begins."""
    with pytest.raises(error):
        await open_runner(**arguments).__aenter__()
