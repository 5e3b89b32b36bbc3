"""A trio program that is stepped from plain code: what everything else in ``trioworkers.testing`` stands on."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import pytest
import trio
import trio.testing
from support import ctrl_c

from trioworkers.testing import (
    DeadlockError,
    Handle,
    Hold,
    LivelockError,
    NondeterminismError,
    Plain,
    Schedule,
    Strand,
    Strategy,
    World,
)
from trioworkers.testing._choice import use_hook
from trioworkers.testing._gate import GateHook
from trioworkers.testing._hook import Hook, SwitchHook

step = trio.lowlevel.checkpoint


@pytest.fixture(autouse=True, params=[SwitchHook, GateHook])
def each_hook(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each promise is kept by both hooks."""
    kind: type[Hook] = request.param
    use_hook(kind)
    yield
    use_hook(None)


async def count(name: str, log: list[Any]) -> str:
    """Three steps."""
    for number in range(3):
        log.append((name, number))
        await step()
    return name


async def wait_for_godot() -> None:
    """He does not come."""
    await trio.Event().wait()


async def shielded() -> None:
    """Nothing reaches it."""
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def refuse(dropped: list[str]) -> None:
    """Nothing reaches it, not even what reaches behind a shield."""
    try:
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
    finally:
        dropped.append("here")


async def raise_it(error: BaseException) -> None:
    """Not at once."""
    await step()
    raise error


def assert_thread_is_free() -> None:
    """A world, and a plain run, can begin and end on this thread."""
    with World() as world:
        assert world.run(count, "a", []) == "a"
    assert trio.run(count, "b", []) == "b"


def trace(seed: int, **how: Any) -> list[Any]:
    """What three tasks log under a seed's schedule."""
    log: list[Any] = []
    with World(seed, **how) as world:
        for name in "abc":
            world.spawn(count, name, log)
        world.settle()
    return log


# -- schedules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_seed_is_a_schedule(seed: int) -> None:
    """The same seed gives the same order, each time."""
    assert trace(seed) == trace(seed)


def test_seeds_differ() -> None:
    """Other seeds give other orders, single steps orders that rounds never give."""
    steps, rounds = ([trace(seed, granularity=granularity) for seed in range(40)] for granularity in ("step", "batch"))
    assert len({str(each) for each in steps}) > 30
    assert max(map(lead, rounds)) == 1
    assert max(map(lead, steps)) == 3


def lead(log: list[Any]) -> int:
    """How far ahead of another one a task ever was."""
    return max(_spread(log[: place + 1]) for place in range(9))


def _spread(log: list[Any]) -> int:
    counts: list[int] = [sum(name == who for who, _ in log) for name in "abc"]
    return max(counts) - min(counts)


def test_a_schedule_can_be_run_again() -> None:
    """What a world did is a value, which makes another one do the same; it goes before the arguments it speaks of."""

    def live(world: World) -> list[Any]:
        log: list[Any] = []
        with world:
            for name in "abc":
                world.spawn(count, name, log)
            world.settle()
            return [log, world.now, world.turns, world.choices, world.schedule]

    *course, schedule = live(World(7, step_cost=0.5))
    assert live(World(1, step_cost=9.0, granularity="batch", schedule=schedule)) == [*course, schedule]
    assert schedule.holds
    assert (schedule.seed, schedule.step_cost, schedule.granularity) == (7, 0.5, "step")


def test_a_strategy_goes_before_a_schedule() -> None:
    """Who brings a strategy of their own has it asked, whatever the schedule says."""
    log: list[Any] = []
    schedule = Schedule((Hold("count", 0, "count#2"),))
    with World(strategy=Plain(), schedule=schedule) as world:
        world.spawn(count, "a", log)
        world.spawn(count, "b", log)
        world.settle()
        assert world.schedule.holds == ()
    assert [name for name, _ in log] == list("aaabbb")


def test_switches_are_kept_on_demand() -> None:
    """With ``detail`` a world knows where it held whom, and where each step ended; without, only the schedule and who went."""
    for detail in (True, False):
        with World(3, detail=detail) as world:
            for name in "abc":
                world.spawn(count, name, [])
            world.settle()
            assert len(world.switches) == (len(world.schedule.holds) if detail else 0)
            assert any(each.place is not None for each in world.trace) == detail
            assert len(world.trace) == world.turns


# -- turning the crank -----------------------------------------------------------------------------------------------------


def test_steps_are_counted_and_end_at_rest() -> None:
    """``steps`` takes as many turns as asked for, fewer if there are no more."""
    log: list[Any] = []
    with World(1) as world:
        world.spawn(count, "a", log)
        assert world.steps(2) == 2
        assert log == [("a", 0), ("a", 1)]
        assert 0 < world.steps(100) < 100
        assert world.steps(100) == 0
        assert not world.is_busy
        assert world.wait == float("inf")


def test_a_turn_is_one_step_or_one_round() -> None:
    """A turn is one step of one task; with granularity ``batch`` it is one of each that is runnable."""
    for granularity, after_one in (("step", 1), ("batch", 3)):
        log: list[Any] = []
        with World(granularity=granularity) as world:  # type: ignore[arg-type]  # both are
            for name in "abc":
                world.spawn(count, name, log)
            world.steps(1)
            assert len(log) == after_one


def test_the_host_looks_around_after_each_turn() -> None:
    """``after_turn`` is called after every turn, and what it raises comes out there."""
    with World(0) as world:
        seen: list[int] = []
        log: list[Any] = []
        world.after_turn = lambda: seen.append(len(log))
        world.run(count, "a", log)
        assert seen == [1, 2, 3, 3]
        world.after_turn = partial(_raise, ValueError("seen"))
        world.spawn(count, "b", log)
        with pytest.raises(ValueError, match="seen"):
            world.steps(1)
        world.after_turn = lambda: None


def _raise(error: BaseException) -> NoReturn:
    raise error


def test_time_is_the_hosts() -> None:
    """Time stands still until it is let pass, and stops at every deadline on its way."""
    log: list[float] = []

    async def wake(*times: float) -> None:
        for moment in times:
            await trio.sleep_until(moment)
            log.append(trio.current_time())

    with World() as world:
        world.spawn(wake, 1.0, 1.1, 1000.0)
        world.spawn(wake, 0.3)
        world.settle()
        assert world.now == 0
        assert world.wait == pytest.approx(0.3)
        world.advance(1.0)
        assert log == [0.3, 1.0]
        assert world.now == 1.0
        world.advance(2000)
        assert log == pytest.approx([0.3, 1.0, 1.1, 1000.0])
        assert world.now == 2001


def test_a_deadline_is_met_to_the_last_bit() -> None:
    """However the numbers are rounded, a sleep ends, and at its deadline, not before."""

    async def nap(seconds: float) -> float:
        await trio.sleep(seconds)
        return trio.current_time()

    with World() as world:
        for number in range(1, 60):
            begun, seconds = world.now, number / 7
            assert begun + seconds <= world.run(nap, seconds) <= (begun + seconds) * (1 + 1e-15)


@pytest.mark.parametrize("granularity", ["step", "batch"])
def test_a_timeout_races_with_work_only_if_steps_take_time(granularity: Any) -> None:
    """At 0.999 s of sleep a timeout of one second never comes first if steps cost nothing, and sometimes if they cost a little."""

    async def answer() -> bool:
        with trio.move_on_after(1.0) as scope:
            await trio.sleep(0.999)
            for _ in range(3):
                await step()
        return scope.cancelled_caught

    def outcomes(step_cost: float) -> set[bool]:
        late = set()
        for seed in range(40):
            with World(seed, step_cost=step_cost, granularity=granularity) as world:
                world.spawn(count, "other", [])
                late.add(world.run(answer))
        return late

    assert outcomes(0.0) == {False}
    assert outcomes(6e-4) == {False, True}


def test_run_returns_and_raises() -> None:
    """``run`` drives to the end through any time there is, and hands on what comes out."""

    async def nap() -> float:
        await trio.sleep(5)
        return trio.current_time()

    with World() as world:
        assert world.run(nap) == 5
        with pytest.raises(ValueError, match="no"):
            world.run(raise_it, ValueError("no"))


def test_a_handle_can_be_cancelled() -> None:
    """A cancelled task is done and has no result."""
    with World() as world:
        handle = world.spawn(trio.sleep_forever, name="sleeper")
        world.settle()
        before = handle.done
        handle.scope.cancel()
        world.settle()
        assert (before, handle.done) == (False, True)
        with pytest.raises(LookupError, match="'sleeper' has no result"):
            handle.result()


def test_a_failed_test_is_kept_like_an_error() -> None:
    """What ``pytest.fail`` raises is no wish to stop everything: it is what the task raised, alone or in a group."""

    async def fail() -> None:
        pytest.fail("no")

    async def fail_inside() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()

    with World() as world:
        handles: list[Handle[None]] = [world.spawn(fail), world.spawn(fail_inside)]
        world.settle()
        with pytest.raises(pytest.fail.Exception):
            handles[0].result()
        with pytest.raises(BaseExceptionGroup) as caught:
            handles[1].result()
        assert caught.group_contains(pytest.fail.Exception)


# -- what cannot go on -----------------------------------------------------------------------------------------------------


def test_a_deadlock_is_seen_and_shown() -> None:
    """What can never end is an error that shows who waits where; nothing spins."""
    pattern = r"(?s)'stage' can never end.*t=0, after \d+ steps.*stage @ wait_for_godot \(test_world.py:\d+\)"
    with World() as world, pytest.raises(DeadlockError, match=pattern):
        world.run(wait_for_godot, name="stage")


def test_a_livelock_is_seen() -> None:
    """What never rests while time stands still is an error, not a test that hangs."""
    done = False

    async def spin() -> None:
        while not done:
            await step()

    with World(max_steps=100) as world:
        world.spawn(spin, name="spinner")
        with pytest.raises(LivelockError, match=r"(?s)still busy after 100 steps.*spinner @ spin"):
            world.settle()
        done = True
        world.settle()


def test_a_heart_that_beats_for_ever_hides_no_deadlock() -> None:
    """What waits in vain beside something that goes on for ever, with rests, is an error, too."""

    async def beat() -> None:
        while True:  # noqa: ASYNC110 - a heartbeat
            await trio.sleep(1)

    with World(max_steps=100) as world:
        world.spawn(beat)
        with pytest.raises(LivelockError, match=r"(?s)not done after 100 steps.*stage @ wait_for_godot"):
            world.run(wait_for_godot, name="stage")


# -- the end ---------------------------------------------------------------------------------------------------------------


def test_close_waits_for_clean_up() -> None:
    """Closing cancels everything and gives shielded clean-up the time it takes."""
    log: list[float] = []

    async def tidy() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)  # noqa: ASYNC102 - that is what is tested
                log.append(trio.current_time())

    world = World()
    world.spawn(tidy)
    world.settle()
    world.close()
    assert log == [3]
    assert not world.is_busy
    assert world.wait == float("inf")
    assert world.tree().startswith("t=3,")
    assert list(world.tasks()) == []
    world.close()
    assert world.steps(5) == 0
    world.settle()


def test_nothing_is_spawned_in_a_closed_world() -> None:
    """After the end, ``spawn`` is a clear error."""
    with World() as world:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        world.spawn(trio.sleep, 1)


def test_what_cannot_be_cancelled_is_broken_off() -> None:
    """A world with a shielded task that nothing will wake can be closed: that is an error, and the next world can begin."""
    cleaned = []

    async def behind_two() -> None:
        with trio.CancelScope(shield=True):
            try:
                await shielded()
            finally:
                cleaned.append("up")

    world = World()
    world.spawn(behind_two, name="bunker")
    world.settle()
    with pytest.raises(DeadlockError, match=r"(?s)nothing will ever wake it.*bunker @ shielded .* < behind_two"):
        world.close()
    assert cleaned == ["up"]
    assert_thread_is_free()


def test_other_worlds_shields_stay() -> None:
    """Breaking off touches the scopes of this world only."""
    other = trio.CancelScope(shield=True)
    world = World()
    world.spawn(shielded)
    world.settle()
    with pytest.raises(DeadlockError):
        world.close()
    assert other.shield


def test_a_shield_behind_a_shield_is_taken_away_too() -> None:
    """What waits shielded while it cleans up, once the first shield is gone, is broken off as well."""

    async def twice() -> None:
        try:
            await shielded()
        finally:
            await shielded()  # noqa: ASYNC102 - that is what is tested

    world = World()
    world.spawn(twice)
    world.settle()
    with pytest.raises(DeadlockError, match="nothing will ever wake it"):
        world.close()
    assert_thread_is_free()


def test_what_refuses_every_cancellation_is_dropped() -> None:
    """Tasks that trio itself could not cancel do not keep the thread: they are dropped where they stand."""
    dropped: list[str] = []

    async def family() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse, dropped, name="stone")

    world = World()
    world.spawn(refuse, dropped, name="rock")
    world.spawn(family)
    world.settle()
    with pytest.raises(DeadlockError, match=r"(?s)nothing will ever wake it.*stone @ refuse"):
        world.close()
    assert dropped == ["here", "here"]
    assert_thread_is_free()


@pytest.mark.parametrize("name", [None, "<init>"])
def test_what_runs_outside_of_everything_is_broken_off_too(name: str | None) -> None:
    """A system task of the program's, whatever it is called, does not keep the thread."""

    async def start() -> None:
        trio.lowlevel.spawn_system_task(refuse, [], name=name)

    world = World()
    world.spawn(start)
    world.settle()
    with pytest.raises(DeadlockError, match="nothing will ever wake it"):
        world.close()
    assert_thread_is_free()


def test_a_generator_that_refuses_to_be_closed_is_dropped() -> None:
    """An async generator that is closed at the very end, by trio itself, and does not end, does not keep the thread."""

    async def numbers() -> Any:
        try:
            yield 0
        finally:
            await refuse([])  # noqa: ASYNC102 - that is what is tested

    kept = numbers()
    world = World()
    world.run(anext, kept)
    with pytest.raises(DeadlockError, match="nothing will ever wake it"):
        world.close()
    assert_thread_is_free()


def test_what_spins_although_it_is_cancelled_is_dropped() -> None:
    """A task that swallows each cancellation and goes on is an error at the close, and does not keep the thread."""

    async def ignore() -> None:
        while True:
            with suppress(trio.Cancelled):
                await step()

    world = World(max_steps=100)
    world.spawn(ignore, name="zombie")
    world.steps(10)
    with pytest.raises(LivelockError, match=r"(?s)still busy after 100 steps.*zombie @ ignore"):
        world.close()
    assert_thread_is_free()


def test_what_the_host_raises_at_the_end_comes_out_when_it_is_over() -> None:
    """``after_turn`` may raise while a world is closed: all is closed nevertheless, then the first error comes out."""
    world = World()
    world.spawn(count, "a", [])
    world.spawn(trio.sleep_forever)
    errors = [ValueError(str(number)) for number in range(100)]
    world.after_turn = lambda: _raise(errors.pop(0))
    with pytest.raises(ValueError, match=r"^0$"):
        world.close()
    assert_thread_is_free()


def test_the_first_error_says_more() -> None:
    """An error in the block comes out as it is, with what could not be cancelled as a note."""

    def live(error: Exception | None) -> None:
        with World() as world:
            world.spawn(shielded, name="bunker")
            world.settle()
            if error is not None:
                raise error

    with pytest.raises(KeyError) as caught:
        live(KeyError("first"))
    assert "bunker @ shielded" in caught.value.__notes__[0]
    with pytest.raises(DeadlockError, match=r"bunker @ shielded"):
        live(None)


def test_nothing_is_left_behind() -> None:
    """Trio's scheduler, the garbage collector and the threads are as they were; an ordinary run works afterwards."""
    run: Any = trio._core._run
    before = run._r, run._ALLOW_DETERMINISTIC_SCHEDULING, gc.isenabled(), threading.active_count()
    with World(5) as world:
        assert not gc.isenabled()
        assert world.run(count, "a", []) == "a"
    assert (run._r, run._ALLOW_DETERMINISTIC_SCHEDULING, gc.isenabled(), threading.active_count()) == before
    assert trio.run(count, "b", [], clock=trio.testing.MockClock()) == "b"


def test_the_hosts_switch_of_the_collector_is_respected() -> None:
    """A world under a host that has switched collection off leaves it off."""
    gc.disable()
    try:
        with World():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


# -- what wants to stop everything -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("depth", [0, 2])
def test_a_wish_to_stop_comes_out(error: BaseException, depth: int) -> None:
    """An interrupt raised inside a task, however deep, comes out of ``settle`` as itself, and leaves the thread usable."""

    async def deep(depth: int) -> None:
        if not depth:
            await raise_it(error)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deep, depth - 1)
            nursery.start_soon(trio.sleep_forever)

    def live() -> None:
        with World() as world:
            world.spawn(deep, depth)
            world.settle()

    with pytest.raises(type(error)) as caught:
        live()
    assert caught.value is error
    assert_thread_is_free()


def test_an_interrupt_hurries_the_end() -> None:
    """Who interrupts while a world is closed is not made to wait for clean-up: everything is broken off, then it comes out."""
    log: list[str] = []

    async def tidy() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)  # noqa: ASYNC102 - that is what is tested
                log.append("tidied up")

    for error in (ValueError(), KeyboardInterrupt()):
        world = World()
        world.spawn(tidy)
        world.settle()
        world.after_turn = partial(_raise, error)
        with pytest.raises(type(error)):
            world.close()
        assert log == ["tidied up"]
        assert_thread_is_free()


class Interrupter(Strategy):
    """Is interrupted from outside, in the middle of trio's loop."""

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """The default."""
        signal.raise_signal(signal.SIGINT)
        return default


def test_a_signal_comes_out() -> None:
    """An interrupt that reaches trio itself ends the world, and comes out of it as itself, once."""

    def live() -> None:
        with World(strategy=Interrupter()) as world:
            world.spawn(count, "a", [])
            world.spawn(wait_for_godot)
            world.settle()

    with ctrl_c(), pytest.raises(KeyboardInterrupt):
        live()
    assert_thread_is_free()


class Faulty(Strategy):
    """Goes wrong."""

    def __init__(self, choose: Callable[[], int]) -> None:
        self._choose = choose

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """Go wrong."""
        return self._choose()


@pytest.mark.parametrize(
    ("choose", "kind"),
    [
        (partial(_raise, ZeroDivisionError()), ZeroDivisionError),
        (partial(_raise, KeyboardInterrupt()), KeyboardInterrupt),
        (lambda: 99, IndexError),
        (lambda: None, TypeError),
    ],
)
def test_what_a_strategy_raises_comes_out(choose: Callable[[], int], kind: type[BaseException]) -> None:
    """An error of a strategy comes out of ``steps`` as itself, not out of the making of a world, and the world can still be closed."""
    log: list[Any] = []
    with World(strategy=Faulty(choose)) as world:
        world.spawn(count, "a", log)
        world.spawn(count, "b", log)
        with pytest.raises(kind):
            world.steps(1)
        world.settle()
        assert len(log) == 6
    assert_thread_is_free()


# -- where it may live -----------------------------------------------------------------------------------------------------


def test_one_world_lives_on_a_thread() -> None:
    """A second world on a thread is a clear error, and does not disturb the first."""
    with World() as world:
        with pytest.raises(RuntimeError, match="a World needs a thread without a trio program"):
            World()
        assert world.run(count, "a", []) == "a"


async def test_no_world_lives_inside_a_trio_program() -> None:
    """A world inside a trio program is a clear error."""
    with pytest.raises(RuntimeError, match="a World needs a thread without a trio program"):
        World()


@pytest.mark.parametrize("wrong", [{"entropy": "some"}, {"threads": "many"}, {"granularity": "fine"}, {"step_cost": -1.0}])
def test_a_wrong_argument_is_told(wrong: Any) -> None:
    """What an argument cannot be is told at once, and nothing is left open."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        World(**wrong)
    assert_thread_is_free()


def test_worlds_live_side_by_side_on_threads() -> None:
    """Three threads simulate, one runs plain trio: each world goes as it goes alone, and in the end everything is as it was."""
    run: Any = trio._core._run
    before = run._r, run._ALLOW_DETERMINISTIC_SCHEDULING, gc.isenabled()
    alone = {seed: trace(seed) for seed in range(3)}
    together: dict[int, list[list[Any]]] = {seed: [] for seed in range(3)}
    meeting = threading.Barrier(4)

    def simulate(seed: int) -> None:
        meeting.wait()
        together[seed].extend(trace(seed) for _ in range(30))

    def plain() -> None:
        meeting.wait()
        for _ in range(30):
            log: list[Any] = []
            plain_logs.append(log)
            trio.run(count, "plain", log)

    plain_logs: list[list[Any]] = []
    threads = [*(threading.Thread(target=simulate, args=(seed,)) for seed in range(3)), threading.Thread(target=plain)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == {seed: [alone[seed]] * 30 for seed in range(3)}
    assert plain_logs == [[("plain", number) for number in range(3)]] * 30
    assert (run._r, run._ALLOW_DETERMINISTIC_SCHEDULING, gc.isenabled()) == before


def test_the_last_of_two_worlds_switches_off() -> None:
    """What worlds share stays on until the last is closed, in whatever order they close."""
    opened, may_close, over = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        with World():
            opened.set()
            may_close.wait()
        over.set()

    thread = threading.Thread(target=other)
    with World(0) as world:
        thread.start()
        opened.wait()
        may_close.set()
        thread.join()
        assert over.is_set()
        assert not gc.isenabled()
        assert world.run(count, "a", []) == "a"
    assert gc.isenabled()


# -- trio's own devices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cushion", [0.0, 0.001])
def test_all_tasks_blocked_can_be_waited_for(cushion: float) -> None:
    """``wait_all_tasks_blocked`` returns when all others are blocked, before any time passes, with a cushion or without."""
    log: list[Any] = []

    async def idle() -> float:
        await trio.testing.wait_all_tasks_blocked(cushion)
        log.append("idle")
        return trio.current_time()

    async def work() -> None:
        await count("work", log)
        await trio.sleep(1)
        log.append("late")

    with World() as world:
        world.spawn(work)
        assert world.run(idle) == 0
        assert log == [("work", 0), ("work", 1), ("work", 2), "idle"]
        handle = world.spawn(idle)
        world.settle()
        assert handle.result() == 0
        world.advance(1)
        assert log[-2:] == ["idle", "late"]


def test_a_function_of_that_name_is_not_mistaken() -> None:
    """A program's own function that is called like one of trio's is not taken for it."""

    async def wait_all_tasks_blocked() -> None:
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    with World() as world:
        handle = world.spawn(wait_all_tasks_blocked)
        world.settle()
        assert not handle.done


def test_a_program_may_bring_its_clock() -> None:
    """A clock that the program moves by itself is the world's clock, which moves it as well."""
    clock = trio.testing.MockClock()
    clock.jump(10)

    async def leap() -> list[float]:
        times = [trio.current_time()]
        clock.jump(5)
        times.append(trio.current_time())
        await trio.sleep(3)
        return [*times, trio.current_time()]

    with World(clock=clock) as world:
        assert world.run(leap) == [10, 15, 18]
        assert world.now == clock.current_time() == 18


def test_time_passes_by_itself_when_all_wait() -> None:
    """As under an autojump clock, ``run`` lets time jump to the next deadline when nothing else can go on, and only then."""
    log: list[Any] = []

    async def sleeper() -> float:
        with trio.move_on_after(60):
            await trio.sleep_forever()
        log.append("timeout")
        return trio.current_time()

    with World() as world:
        world.spawn(count, "a", log)
        assert world.run(sleeper) == 60
    assert log == [("a", 0), ("a", 1), ("a", 2), "timeout"]


def test_the_programs_own_instruments_are_told() -> None:
    """Further instruments are trio's as ever."""

    class Listener(trio.abc.Instrument):
        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            names.append(task.name)

    names: list[str] = []
    with World(instruments=[Listener()]) as world:
        world.run(count, "a", [], name="mine")
    assert "mine" in names


def test_callbacks_from_elsewhere_arrive() -> None:
    """What is handed to trio by ``run_sync_soon``, from a task or between two turns, is called, and wakes who waits for it."""

    async def ask() -> str:
        event = trio.Event()
        trio.lowlevel.current_trio_token().run_sync_soon(event.set)
        await event.wait()
        return "called"

    with World() as world:
        assert world.run(ask) == "called"


def test_an_abandoned_generator_is_closed() -> None:
    """An async generator that is left half-way is closed by trio in the same run."""
    log: list[str] = []

    async def numbers() -> Any:
        try:
            yield 0
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()  # noqa: ASYNC102 - that is what is tested
            log.append("closed")

    async def leave() -> None:
        log.append(f"left at {await anext(numbers())}")

    with World() as world, pytest.warns(ResourceWarning, match="Async generator"):
        world.run(leave)
    assert log == ["left at 0", "closed"]


def test_what_is_no_trio_is_an_error_of_the_task() -> None:
    """Awaiting what another framework makes fails that task with trio's own message."""

    class Foreign:
        def __await__(self) -> Generator[str, None, None]:
            yield "a future"

    async def wait_for_it() -> None:
        await Foreign()

    def live() -> None:
        with World() as world, pytest.raises(TypeError, match="asyncio"):
            world.run(wait_for_it)

    with ThreadPoolExecutor(1) as thread:  # for what trio throws in, Python's tracers lose count of who called whom
        thread.submit(live).result()
        thread.submit(assert_thread_is_free).result()


# -- looking around --------------------------------------------------------------------------------------------------------


def test_the_tree_speaks_the_schedules_names() -> None:
    """Tasks have the schedule's labels in the tree, too, children are below parents, the oldest first, and trio's own are left out."""

    async def parent() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait_for_godot)
            nursery.start_soon(trio.sleep, 5, name="a nap")

    with World() as world:
        world.spawn(parent)
        assert world.tree().splitlines()[1:] == ["  parent"]
        world.settle()
        lines = [line.partition(" (")[0] for line in world.tree().splitlines()[1:]]
        assert lines == [
            "  parent @ parent",
            "    a nap @ sleep_forever",
            "    wait_for_godot @ wait_for_godot",
            "    wait_for_godot#2 @ wait_for_godot",
            "    wait_for_godot#3 @ wait_for_godot",
        ]
        assert {line.split(" @ ")[0].strip() for line in lines} <= {each.label for each in world.trace}


def test_tasks_are_listed_with_their_depth() -> None:
    """``tasks`` lists trio's own tasks, too, each after the one it belongs to."""
    with World() as world:
        world.spawn(wait_for_godot, name="stage")
        assert [(depth, task.name.rpartition(".")[2]) for depth, task in world.tasks()][::3] == [(0, "<init>"), (2, "stage")]


# -- the outside world -----------------------------------------------------------------------------------------------------


async def read_a_socket() -> None:
    """Nothing ever comes."""
    one, other = trio.socket.socketpair()
    with one, other:
        await one.recv(1)


async def fill_a_socket() -> None:
    """Nobody ever reads."""
    one, other = trio.socket.socketpair()
    with one, other:
        while True:
            await one.send(bytes(100_000))


async def connect() -> None:
    """To a listener of our own."""
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        await trio.open_tcp_stream(*listener.getsockname())


@pytest.mark.parametrize(("program", "who"), [(read_a_socket, "client"), (fill_a_socket, "client"), (connect, "attempt_connect")])
def test_who_waits_for_a_socket_is_named(program: Callable[[], Any], who: str) -> None:
    """A task that waits for a real socket is named, and the line shown, instead of waiting for what no seed decides."""
    with World() as world:
        world.spawn(program, name="client")
        with pytest.raises(NondeterminismError, match=rf"(?s)'{who}' waits for a socket.*client @ {program.__name__} \(test_world"):
            world.settle()
    assert_thread_is_free()


def test_who_waits_shielded_for_a_socket_is_broken_off() -> None:
    """A world that a shielded wait for a socket keeps from ending can be closed, and says why that was needed."""

    async def shielded_read() -> None:
        with trio.CancelScope(shield=True):
            await read_a_socket()

    world = World()
    world.spawn(shielded_read, name="client")
    world.steps(50)
    with pytest.raises(NondeterminismError, match="'client' waits for a socket"):
        world.close()
    assert_thread_is_free()
