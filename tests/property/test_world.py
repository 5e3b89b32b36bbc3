"""Tests of the stepped world itself: what the property tests stand on."""

from __future__ import annotations

import gc
import threading
import time  # noqa: TID251 - to see that none passes
from typing import Any

import pytest
import trio
import trio.testing
from property.world import DeadlockError, LivelockError, Scheduler, World


async def _count(name: str, log: list[Any]) -> str:
    for number in range(3):
        log.append((name, number))
        await trio.lowlevel.checkpoint()
    return name


def _trace(seed: int) -> list[Any]:
    log: list[Any] = []
    with World(seed) as world:
        for name in "abc":
            world.spawn(_count, name, log)
        world.settle()
    return log


@pytest.mark.parametrize("seed", range(6))
def test_a_seed_is_a_schedule(seed: int) -> None:
    """The same seed gives the same order, each time."""
    assert _trace(seed) == _trace(seed)


def test_seeds_differ() -> None:
    """Other seeds give other orders, single steps orders that rounds never give."""
    traces = {seed: _trace(seed) for seed in range(60)}
    assert len({str(trace) for trace in traces.values()}) > 30
    lead = [max(_lead(trace[: place + 1]) for place in range(9)) for seed, trace in traces.items() if seed % 3 == 0]
    assert max(lead) == 1
    assert max(max(_lead(trace[: place + 1]) for place in range(9)) for trace in traces.values()) == 3


def _lead(trace: list[Any]) -> int:
    counts: list[int] = [sum(name == who for who, _ in trace) for name in "abc"]
    return max(counts) - min(counts)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nobody_waits_for_ever(seed: int) -> None:
    """A task that never rests does not keep another from going on."""
    log: list[Any] = []

    async def spin() -> None:
        while len(log) < 3:
            await trio.lowlevel.checkpoint()

    with World(seed) as world:
        spinner = world.spawn(spin)
        world.spawn(_count, "a", log)
        world.settle()
        assert spinner.done


def test_steps_are_counted_and_end_at_rest() -> None:
    """``steps`` takes as many turns as asked for, fewer if there are no more."""
    log: list[Any] = []
    with World(1) as world:
        world.spawn(_count, "a", log)
        assert world.steps(2) == 2
        assert log == [("a", 0), ("a", 1)]
        assert 0 < world.steps(100) < 100
        assert world.steps(100) == 0
        assert not world.is_busy
        assert world.wait == float("inf")


def test_time_is_the_hosts() -> None:
    """Time stands still until it is let pass, and stops at every deadline on its way."""
    log: list[float] = []

    async def wake(*times: float) -> None:
        for moment in times:
            await trio.sleep_until(moment)
            log.append(trio.current_time())

    began = time.monotonic()
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
    assert time.monotonic() - began < 60


def test_steps_may_cost_time() -> None:
    """With ``step_cost`` a timeout can come while work goes on."""

    async def work() -> bool:
        with trio.move_on_after(1.0) as scope:
            for _ in range(100):
                await trio.lowlevel.checkpoint()
        return scope.cancelled_caught

    with World() as world:
        assert world.run(work) is False
    with World(step_cost=0.1) as world:
        assert world.run(work) is True


def test_run_returns_and_raises() -> None:
    """``run`` drives to the end through any time there is, and hands on what comes out."""

    async def nap() -> float:
        await trio.sleep(5)
        return trio.current_time()

    async def fail() -> None:
        raise ValueError("no")

    with World() as world:
        assert world.run(nap) == 5
        with pytest.raises(ValueError, match="no"):
            world.run(fail)


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


def test_a_deadlock_is_seen_and_shown() -> None:
    """What can never end is an error that shows who waits where; nothing spins."""

    async def wait_for_godot() -> None:
        await trio.Event().wait()

    with World() as world, pytest.raises(DeadlockError, match=r"(?s)'stage' can never end.*stage @ wait_for_godot:\d+"):
        world.run(wait_for_godot, name="stage")


def test_a_livelock_is_seen() -> None:
    """What never rests while time stands still is an error, not a test that hangs."""
    done = False

    async def spin() -> None:
        while not done:
            await trio.lowlevel.checkpoint()

    with World(limit=100) as world:
        world.spawn(spin, name="spinner")
        with pytest.raises(LivelockError, match=r"(?s)still busy after 100 turns.*spinner"):
            world.settle()
        done = True
        world.settle()


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
    assert "t=3" in world.tree()
    world.close()


def test_what_cannot_be_cancelled_is_broken_off() -> None:
    """A world with a shielded task that nothing will wake can be closed: that is an error, and the next world can begin."""

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    world = World()
    world.spawn(shielded, name="bunker")
    world.settle()
    with pytest.raises(DeadlockError, match=r"(?s)nothing will ever wake it.*bunker @ shielded"):
        world.close()
    with World() as after:
        assert after.run(_count, "a", []) == "a"


def test_the_first_error_says_more() -> None:
    """An error in the block comes out as it is, with what could not be cancelled as a note."""

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

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
        assert world.run(_count, "a", []) == "a"
    assert (run._r, run._ALLOW_DETERMINISTIC_SCHEDULING, gc.isenabled(), threading.active_count()) == before
    assert trio.run(_count, "b", [], clock=trio.testing.MockClock()) == "b"


def test_the_hosts_switch_of_the_collector_is_respected() -> None:
    """A world under a host that has switched collection off leaves it off."""
    gc.disable()
    try:
        with World():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_empty_batch_is_no_step() -> None:
    """A turn in which only time has passed asks the scheduler for nothing."""
    for seed in range(3):
        batch: list[Any] = []
        Scheduler(seed).shuffle(batch)
        assert batch == []
