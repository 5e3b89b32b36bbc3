"""One simulated run, as a value."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import unittest
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import hypothesis
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption
from testing.toys import counts_of_steps, lost_wakeup, mixed, step
from unit.strategies import steady

from trioworkers.testing import (
    DeadlockError,
    Hold,
    LivelockError,
    NondeterminismError,
    Pct,
    Plain,
    Pos,
    Schedule,
    SimResult,
    Strand,
    Strategy,
    Uniform,
    simulate,
)
from trioworkers.testing.schedule import Granularity

KINDS: Sequence[Callable[[int], Strategy]] = (Uniform, Pos, Pct, partial(Pct, depth=5, length=20))
strategies = st.builds(partial, st.sampled_from(KINDS), st.integers(0, 9999))
granularities: st.SearchStrategy[Granularity] = st.sampled_from(["step", "batch"])
costs = st.sampled_from([0.0, 1e-4, 0.1])


async def double(number: int) -> int:
    """Twice as much, a little later."""
    await trio.sleep(1)
    return 2 * number


async def fail(error: BaseException) -> None:
    """Raise it, from inside of two nurseries."""
    async with trio.open_nursery(), trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await step()
        raise error


async def stuck() -> None:
    """Wait for nothing."""
    await trio.sleep_forever()


async def stuck_in_a_shield() -> None:
    """Wait for nothing, and let nobody interrupt."""
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def restless() -> None:
    """Never get anywhere."""
    while True:
        await step()


# -- what comes of it ----------------------------------------------------------------------------------------------------


def test_what_it_returns() -> None:
    """The program's value, and the virtual time it took, come back."""
    result = simulate(double, 21, step_cost=0)
    assert (result.value, result.unwrap(), result.error, result.now) == (42, 42, None, 1.0)
    assert result.steps == len(result.trace)


def test_what_it_raises() -> None:
    """An error of the program is kept in the result, and raised by ``unwrap``."""
    error = ValueError("odd")
    result = simulate(fail, error)
    assert isinstance(result.error, ExceptionGroup)
    assert result.value is None
    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(ValueError, check=error.__eq__))):
        result.unwrap()


def test_none_is_a_value() -> None:
    """A program that returns nothing has not failed."""
    assert simulate(step).unwrap() is None


def test_what_can_never_go_on_is_an_error_of_its_own() -> None:
    """A deadlock is kept in the result, and says who waits where."""
    result = simulate(stuck)
    assert isinstance(result.error, DeadlockError)
    assert "'stuck' can never end:" in str(result.error)
    assert "stuck @ stuck (test_simulate.py:" in str(result.error)


def test_what_waits_in_a_shield_for_ever_is_a_deadlock() -> None:
    """A program that not even closing the world can end is a deadlock like any other."""
    assert isinstance(simulate(stuck_in_a_shield).error, DeadlockError)


def test_what_is_left_behind_in_a_shield_is_a_deadlock() -> None:
    """A program that leaves something behind that never ends has failed, although it has returned."""

    async def program() -> int:
        trio.lowlevel.spawn_system_task(stuck_in_a_shield)
        await step()
        return 1

    result = simulate(program)
    assert isinstance(result.error, DeadlockError)
    assert str(result.error).startswith("shielded, and nothing will ever wake it:")
    assert result.value is None


def test_the_programs_error_goes_before_what_it_left_behind() -> None:
    """Of two failures the program's own is told."""

    async def program() -> None:
        trio.lowlevel.spawn_system_task(stuck_in_a_shield)
        await step()
        raise ValueError

    assert isinstance(simulate(program).error, ValueError)


def test_what_never_rests_is_an_error_of_its_own() -> None:
    """A livelock is kept in the result."""
    result = simulate(restless, max_steps=100)
    assert isinstance(result.error, LivelockError)
    assert "still busy after 100 steps" in str(result.error)


def test_a_plain_function_is_told() -> None:
    """What is no async function is told by a TypeError that says what it returned."""

    def plain() -> int:
        return 3

    result: SimResult[Any] = simulate(plain)  # type: ignore[arg-type]  # what is tried
    assert isinstance(result.error, TypeError)
    assert str(result.error) == f"{plain!r} is no async function: it returned 3"


class Nameless:
    """Called like an async function."""

    async def __call__(self) -> None:
        """Do nothing."""
        await step()


@pytest.mark.parametrize(
    ("program", "name"), [(lost_wakeup, "lost_wakeup"), (partial(partial(double), 1), "double"), (Nameless(), "task")]
)
def test_its_task_has_its_name(program: Callable[[], Any], name: str) -> None:
    """The program's task is named after it, whatever it has been given already; one without a name is called ``task``."""
    labels = {step.label for step in simulate(program).trace}
    assert name in labels
    assert labels <= {name, "consumer", "producer", "<world>", "<TrioToken.run_sync_soon task>"}


# -- what is raised at once ----------------------------------------------------------------------------------------------


async def ask_for_a_thread() -> None:
    """Ask for a thread."""
    await trio.to_thread.run_sync(int)


async def ask_for_a_thread_quietly() -> None:
    """Ask for a thread, and say nothing of what comes of it."""
    try:
        await ask_for_a_thread()
    except NondeterminismError:
        await trio.sleep(1)


async def wait_for_a_socket() -> None:
    """Wait for what comes over a socket."""
    one, other = socket.socketpair()
    with one, other:
        await trio.lowlevel.wait_readable(one)


@pytest.mark.parametrize("program", [ask_for_a_thread, ask_for_a_thread_quietly, wait_for_a_socket])
def test_what_no_seed_decides_is_raised(program: Callable[[], Any]) -> None:
    """A program that asks for what no seed decides makes the whole simulation fail, even if it hides it."""
    with pytest.raises(NondeterminismError):
        simulate(program)


def skipped() -> BaseException:
    """What ``pytest.skip`` raises."""
    return pytest.skip.Exception("not here")


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), unittest.SkipTest("not here"), skipped(), UnsatisfiedAssumption()],
    ids=lambda error: type(error).__name__,
)
def test_who_wishes_to_stop_is_heard(error: BaseException) -> None:
    """An interrupt, a skipped test and the like are raised, out of all groups, and the world is gone."""
    with pytest.raises(type(error)) as caught:
        simulate(fail, error)
    assert caught.value is error
    assert simulate(double, 1).unwrap() == 2


def test_an_interrupt_while_choosing_is_raised() -> None:
    """Who interrupts while the strategy thinks is heard, too."""

    class Interrupted(Strategy):
        def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(lost_wakeup, strategy=Interrupted())


def test_an_assumption_inside_of_a_program_is_heard() -> None:
    """Hypothesis gets to know of an assumption that does not hold."""
    odd: list[int] = []

    async def program(number: int) -> None:
        await step()
        hypothesis.assume(number % 2)
        odd.append(number)

    @steady
    @given(st.integers())
    def tested(number: int) -> None:
        assert simulate(program, number).error is None

    tested()
    assert odd


def test_a_failed_test_is_a_failure() -> None:
    """``pytest.fail``, which ``pytest.raises`` calls, is a failure although it is no Exception."""

    async def program() -> None:
        with pytest.raises(ValueError, match="anything"):
            await step()

    assert isinstance(simulate(program).error, pytest.fail.Exception)


def test_a_stray_cancelled_is_a_failure() -> None:
    """A ``Cancelled`` that is raised where nothing is cancelled is an error of the program, not an end."""
    kept: list[trio.Cancelled] = []

    async def program() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await step()
            except trio.Cancelled as cancelled:
                kept.append(cancelled)
        raise kept[0]

    assert isinstance(simulate(program).error, trio.Cancelled)


async def test_inside_of_a_trio_program_it_is_refused() -> None:
    """A simulation inside of a trio program is a RuntimeError."""
    with pytest.raises(RuntimeError, match="a thread without a trio program"):
        simulate(step)


# -- again, the same -----------------------------------------------------------------------------------------------------


@steady
@given(strategies, st.integers(0, 9), granularities, costs)
def test_a_recorded_schedule_gives_the_same_run(
    strategy: Callable[[], Strategy], seed: int, granularity: Granularity, step_cost: float
) -> None:
    """Whatever the strategy, what it chose, written down, gives the same steps at the same times, and the same schedule again."""
    for program in (mixed, lost_wakeup):
        result = simulate(program, seed=seed, strategy=strategy(), granularity=granularity, step_cost=step_cost)
        again = simulate(program, schedule=Schedule.from_token(result.to_token()))
        assert again.footprint() == result.footprint()
        assert again.schedule == result.schedule
        assert (again.value, repr(again.error)) == (result.value, repr(result.error))
        assert again.switches == result.switches


@steady
@given(st.integers(), granularities, costs)
def test_the_same_seed_gives_the_same_run(seed: int, granularity: Granularity, step_cost: float) -> None:
    """Two runs with the same arguments take the same course."""
    one, other = (simulate(mixed, seed=seed, granularity=granularity, step_cost=step_cost) for _ in range(2))
    assert one.footprint() == other.footprint()


def test_another_seed_gives_another_run() -> None:
    """Of twenty seeds, hardly two give the same run."""
    assert len({simulate(mixed, seed=seed, step_cost=0).footprint() for seed in range(20)}) >= 18


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    """Neither another process nor another hash seed changes a run."""
    script = "from testing.toys import mixed; from trioworkers.testing import simulate; print(simulate(mixed, seed=5).footprint())"
    outputs = {
        subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{simulate(mixed, seed=5).footprint()}\n"}


@settings(steady, max_examples=12)
@given(strategies, st.integers(0, 9), granularities, costs)
def test_any_hold_can_be_left_out(strategy: Callable[[], Strategy], seed: int, granularity: Granularity, step_cost: float) -> None:
    """Without any one of its holds, a schedule still gives a whole run, and no new holds."""
    schedule = simulate(mixed, seed=seed, strategy=strategy(), granularity=granularity, step_cost=step_cost).schedule
    for number in range(len(schedule.holds)):
        shorter = attrs.evolve(schedule, holds=(*schedule.holds[:number], *schedule.holds[number + 1 :]))
        result = simulate(mixed, schedule=shorter, detail=False)
        assert sorted(result.unwrap().split()) == ["a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2"]
        assert len(result.schedule.holds) <= len(shorter.holds)


@pytest.mark.parametrize(
    "hold",
    [
        Hold("nobody", 0, "a"),
        Hold("listen", 999, "a"),
        Hold("listen", 0, "nobody"),
        Hold("listen", 0, "listen"),
        Hold("mixed", 0, "listen"),
    ],
    ids=str,
)
def test_a_hold_that_does_not_apply_is_passed_over(hold: Hold) -> None:
    """A hold whose task or step there is not, or for a task that cannot run then, changes nothing."""
    plain = simulate(mixed, schedule=Schedule())
    result = simulate(mixed, schedule=Schedule((hold,)))
    assert result.footprint() == plain.footprint()
    assert result.schedule.holds == ()


def test_a_hold_is_done_once() -> None:
    """Of two holds of the same step, each holds once, in their order; one that does not apply does not stop the next."""
    holds = (Hold("a", 0, "nobody"), Hold("a", 0, "c"), Hold("a", 0, "b"))
    result = simulate(counts_of_steps, 0, 0, 0, schedule=Schedule(holds))
    assert [step.label for step in result.trace if step.label in {"a", "b", "c"}] == ["c", "b", "a"]
    assert result.schedule.holds == holds[1:]


# -- what it is given ----------------------------------------------------------------------------------------------------


def test_a_schedule_brings_seed_cost_and_granularity() -> None:
    """With a schedule, seed, cost of steps and granularity are its own."""
    schedule = Schedule((), 3, 0.25, "batch")
    assert simulate(mixed, seed=1, schedule=schedule, step_cost=9, granularity="step").schedule == schedule


def test_without_detail_no_places_are_noted() -> None:
    """``detail=False`` leaves out where the tasks stand, and nothing else."""
    full, bare = simulate(mixed, seed=3), simulate(mixed, seed=3, detail=False)
    assert bare.footprint() == full.footprint()
    assert bare.schedule == full.schedule
    assert bare.switches == ()
    assert {step.place for step in bare.trace} == {None}
    assert full.switches
    assert len({step.place for step in full.trace}) > 1


def test_choices_are_counted() -> None:
    """A program of one task has no choice; one of two tasks has one whenever both could go on."""
    assert simulate(double, 1).choices == 0
    assert simulate(counts_of_steps, 0, 0, schedule=Schedule()).choices == 1
    assert simulate(counts_of_steps, 2, 2, schedule=Schedule()).choices == 3


def test_further_arguments_reach_the_world() -> None:
    """Threads, entropy, clock and instruments are as they are asked for."""

    class Count(trio.abc.Instrument):
        tasks = 0

        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            self.tasks += 1

    async def program() -> tuple[int, float]:
        clock.jump(5)
        return await trio.to_thread.run_sync(int), trio.current_time()

    clock = trio.testing.MockClock()
    count = Count()
    result = simulate(program, threads="inline", clock=clock, instruments=(count,), step_cost=0, strategy=Plain())
    assert result.unwrap() == (0, 5.0)
    assert count.tasks >= 2


def test_entropy_can_be_forbidden() -> None:
    """With ``entropy="forbid"``, to ask for randomness is an error."""

    async def program() -> bytes:
        return os.urandom(1)

    assert len({simulate(program, seed=3).unwrap() for _ in range(3)}) == 1
    with pytest.raises(NondeterminismError, match=r"os\.urandom"):
        simulate(program, entropy="forbid")
