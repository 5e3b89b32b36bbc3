"""Who runs next: the exact hook, the one for a rainy day, and how it is found out which of them works."""

# ruff: noqa: S311 - trio's own generator is a plain one

from __future__ import annotations

import random  # noqa: TID251 - seeded
import threading
from collections.abc import Callable, Iterator
from types import CoroutineType
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from trioworkers.testing import Follow, Hold, NondeterminismError, Plain, World, simulate
from trioworkers.testing import _choice as choice
from trioworkers.testing import _hook as hooks
from trioworkers.testing._gate import GateHook
from trioworkers.testing._hook import Hook, Pick, SwitchHook
from trioworkers.testing._where import innermost_call

step = trio.lowlevel.checkpoint
trios: Any = trio._core._run


@pytest.fixture(autouse=True)
def a_choice() -> Iterator[None]:
    """Each test begins without one, and leaves none."""
    choice.use_hook(None)
    yield
    choice.use_hook(None)


async def pair(log: list[str]) -> None:
    """Two tasks of three steps."""

    async def steps(name: str) -> None:
        for _ in range(2):
            log.append(name)
            await step()

    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(steps, name, name=name)


def works() -> bool:
    """Whether simulated runs do as they are told, on this thread."""
    log: list[str] = []
    simulate(pair, log, strategy=Follow([Hold("a", 1, "b"), Hold("b", 1, "a")])).unwrap()
    return log == list("abab")


# -- the canary ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SwitchHook, GateHook])
def test_both_hooks_obey(kind: type[Hook]) -> None:
    """With this trio both hooks let tasks run in just the order asked for."""
    assert choice.obeys(kind)


def test_the_exact_hook_is_chosen() -> None:
    """The exact hook is the one that is used, and the choice is made once."""
    hook = choice.new_hook()
    hook.release()
    assert type(hook) is SwitchHook
    assert choice._kind == [SwitchHook]


class Fake(Hook):
    """A hook for a trio that has changed: asks nobody."""

    def is_holding(self) -> bool:
        """No."""
        return False

    def turn(self, tick: Callable[[], object], pick: Pick) -> None:
        """Let trio do what it likes."""
        tick()

    def idle_waiters(self) -> bool:
        """No."""
        return False

    def release(self) -> None:
        """Nothing to do."""
        released.append(type(self))


released: list[type[Hook]] = []


class Idle(Fake):
    """Knows who waits for the others to be blocked, so that the canary's program ends; but not in the order it should."""

    def idle_waiters(self) -> bool:
        """Ask the gate."""
        return GateHook().idle_waiters()


class Lazy(Fake):
    """Does nothing."""

    def turn(self, tick: Callable[[], object], pick: Pick) -> None:
        """Not now."""


class NoNames(Fake):
    """Finds that a name is gone when it begins."""

    def __init__(self) -> None:
        gone()


class NoQueue(Fake):
    """Finds that a name is gone when it looks for tasks."""

    def is_holding(self) -> bool:
        """Look."""
        gone()


class NoTurn(Fake):
    """Finds that a name is gone in the middle of it."""

    def turn(self, tick: Callable[[], object], pick: Pick) -> None:
        """Begin."""
        tick()
        gone()


def gone() -> NoReturn:
    """What Python says of a name that is gone."""
    raise AttributeError("module 'trio._core._run' has no attribute '_r'")


@pytest.mark.parametrize("kind", [Fake, Idle, Lazy, NoNames, NoQueue, NoTurn])
def test_a_hook_that_does_not_obey_is_not_chosen(kind: type[Hook], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that ignores the order, gets stuck, or misses a name of trio's is not chosen: the gate is, and does as it is told."""
    released.clear()
    monkeypatch.setattr(choice, "SwitchHook", kind)
    with World():
        assert choice._kind == [GateHook]
    assert set(released) == ({kind} - {NoNames})
    assert works()
    trio.run(pair, [])


def test_a_trio_without_the_names_gets_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """If trio's private names are not where they were, the gate is used."""
    monkeypatch.setattr(hooks, "_context", gone)
    assert works()
    assert choice._kind == [GateHook]


def test_a_trio_that_does_not_shuffle_gets_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """If trio's private names have lost their meaning, the gate is used."""
    monkeypatch.setattr(hooks._Switch, "shuffle", random.Random.shuffle)
    assert works()
    assert choice._kind == [GateHook]


# -- the switch ------------------------------------------------------------------------------------------------------------


def test_trios_generator_is_put_back_by_the_last() -> None:
    """While a hook lives, trio asks it for the order; after the last one is released, all is as it was, whatever it was."""
    for flag in (True, False):
        trios._ALLOW_DETERMINISTIC_SCHEDULING, saved = flag, trios._ALLOW_DETERMINISTIC_SCHEDULING
        try:
            before = trios._r, flag
            one, other = SwitchHook(), SwitchHook()
            one.release()
            assert (trios._r is not before[0], trios._ALLOW_DETERMINISTIC_SCHEDULING) == (True, True)
            other.release()
            assert (trios._r, trios._ALLOW_DETERMINISTIC_SCHEDULING) == before
        finally:
            trios._ALLOW_DETERMINISTIC_SCHEDULING = saved


def test_elsewhere_trios_generator_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a thread that does not simulate, trio gets from its generator just what it would have got."""
    monkeypatch.setattr(trios, "_r", random.Random(5))
    plain = random.Random(5)
    got: list[Any] = []

    def ask() -> None:
        letters = list("abcdef")
        trios._r.shuffle(letters)
        got.extend([letters, trios._r.random(), trios._r.uniform(1, 2)])

    with World() as world:
        world.spawn(trio.sleep_forever)
        world.settle()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    letters = list("abcdef")
    plain.shuffle(letters)
    assert got == [letters, plain.random(), plain.uniform(1, 2)]


@pytest.mark.parametrize("name", ["_r", "_ALLOW_DETERMINISTIC_SCHEDULING"])
def test_who_takes_the_schedule_away_is_told(name: str) -> None:
    """A program that replaces what decides on trio's schedule has an error; the world can be closed, and later ones are as ever."""
    before = trios._r, trios._ALLOW_DETERMINISTIC_SCHEDULING
    with pytest.MonkeyPatch.context() as patch:

        async def meddle() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(pair, [])
                await step()
                patch.setattr(trios, name, random.Random(0) if name == "_r" else False)
                await trio.sleep(1)

        with World(3) as world, pytest.raises(NondeterminismError, match="replaced trio's own random generator"):
            world.run(meddle)
    assert works()
    assert (getattr(trios._r, "plain", trios._r), trios._ALLOW_DETERMINISTIC_SCHEDULING) == before


# -- the gate --------------------------------------------------------------------------------------------------------------


def test_a_gated_task_looks_like_any_other() -> None:
    """Who looks into a task behind the gate finds its function, its lines, and what it waits for."""
    choice.use_hook(GateHook)
    with World() as world:
        world.spawn(wait_for, trio.Event(), [], name="waiter")
        world.settle()
        waiter = next(task for _, task in world.tasks() if task.name == "waiter")
        coroutine: Any = waiter.coro
        assert not isinstance(coroutine, CoroutineType)
        assert coroutine.cr_code.co_name == coroutine.cr_frame.f_code.co_name == "_live"
        assert [frame.f_code.co_name for frame, _ in waiter.iter_await_frames()][:4] == ["_live", "hold", "wait_for", "wait"]
        assert innermost_call(waiter) == "wait"


async def wait_for(event: trio.Event, log: list[str]) -> None:
    """Log that it has come, and wait again."""
    await event.wait()
    log.append("its step was due")
    await trio.sleep_forever()


@pytest.mark.parametrize("kind", [SwitchHook, GateHook])
def test_a_task_whose_step_is_due_takes_it(kind: type[Hook]) -> None:
    """A task that is kept from its step cannot be cancelled until it has taken it: what it waited for has happened."""
    choice.use_hook(kind)
    log: list[str] = []
    event = trio.Event()

    async def steps() -> None:
        for _ in range(10):
            await step()

    with World(strategy=Plain()) as world:
        victim = world.spawn(wait_for, event, log)
        world.settle()
        other = world.spawn(steps)
        world.steps(1)
        event.set()
        world.steps(3)
        victim.scope.cancel()
        assert (log, other.done) == ([], False)
        world.settle()
        assert (victim.done, victim.scope.cancelled_caught) == (True, True)
    assert log == ["its step was due"]


def test_the_present_call_is_trios() -> None:
    """What a task waits for is the innermost function of trio's; in a function of the program's own, it is nothing trio knows."""

    async def own() -> None:
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    with World() as world:
        world.spawn(own, name="own")
        world.spawn(trio.sleep, 1, name="trio's")
        world.settle()
        calls = {task.name: innermost_call(task) for _, task in world.tasks()}
    assert (calls["own"], calls["trio's"]) == ("", "sleep_forever")
