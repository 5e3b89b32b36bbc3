"""Puppets, what clients do to them, and what is said of those who do not do as they are told."""

from __future__ import annotations

import random  # noqa: TID251 - it is seeded
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import trio

from trioworkers import BaseWorker, BusJobRequestMessage, JobStatus, WorkerRunner, job
from trioworkers.jobs import JobGroupContext
from trioworkers.testing import (
    BrokenPromiseError,
    DeadlockError,
    LifecycleSystem,
    Operation,
    Plan,
    Puppet,
    World,
    check_lifecycle,
    operation,
    puppet_theatre,
)
from trioworkers.testing.lifecycle import SCRIPTS


def runner_with(*workers: BaseWorker) -> WorkerRunner:
    """A runner with these."""
    runner = WorkerRunner(name="runner", handle_sigint=False, handle_sigterm=False, shutdown_timeout=4)
    for worker in workers:
        _adopt(runner, worker)
    return runner


def _adopt(runner: WorkerRunner, worker: BaseWorker) -> None:
    runner._family.adopt([worker._family()])


# -- puppets ---------------------------------------------------------------------------------------------------------------


class Forgetful(Puppet):
    """Whatever it is told, it does nothing."""

    async def _play(self, message: BusJobRequestMessage) -> object:
        await self.send_job_update(message.job_id, {"begun": True})
        return {"done": True}


class Clinging(Puppet):
    """Does not leave the stage."""

    @contextmanager
    def _on_stage(self, message: BusJobRequestMessage) -> Iterator[None]:
        self.playing[message.job_id] = None
        yield


class Short(Puppet):
    """Has little to tell."""

    @job
    async def stream(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """One piece, and not the first."""
        yield {"number": 1}


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Forgetful, r"^J1: (work|queue|stream) on '(one|spare|other)' was to \w+, and is completed"),
        (Clinging, r"(?m)^J2: the block of \S+ is left, and its handler plays on '(one|spare|other)'$"),
        (Short, r"(?m)^B5: '(one|spare|other)' has sent 70 pieces and an update, and these came: \[\{'number': 1\}\]$"),
    ],
)
def test_who_does_not_do_as_told(kind: type[Puppet], told: str) -> None:
    """J1, J2, B5: what a puppet was to do is compared with what comes of it, with what runs afterwards, and with what it says."""
    verdict = check_lifecycle(lambda: runner_with(kind("one")), make_worker=kind)
    with pytest.raises(BrokenPromiseError, match=told):
        verdict.check()
    assert verdict.broken is not None
    assert len(verdict.broken.plan.operations) <= 2


def test_a_group_that_ends_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """J1: when the events of a group have ended, every member's outcome is known."""
    monkeypatch.setattr(JobGroupContext, "statuses", property(lambda self: {}))
    verdict = check_lifecycle(replay=Plan(1, (Operation(1, "ask_group", ("boss", "left", "return", True, "")),)))
    with pytest.raises(BrokenPromiseError, match=r"(?m)^J1: the events of a group have ended, and only these are decided: \{\}$"):
        verdict.check()


@pytest.mark.parametrize("script", [*SCRIPTS, "anything else"])
@pytest.mark.parametrize("which", range(3))
def test_scripts_and_uses(script: str, which: int) -> None:
    """J1, J2: every script in every job, in every kind of block, keeps all promises."""
    uses = [*LifecycleSystem.uses, "anything else"]
    operations = [Operation(number, "request", ("left", which, script, use, 2.0)) for number, use in enumerate(uses)]
    check_lifecycle(replay=Plan(1, tuple(operations)), shutdown_timeout=4).check()


# -- clients ---------------------------------------------------------------------------------------------------------------


class Diary(LifecycleSystem):
    """Keeps what has happened in the last world."""

    tally: dict[str, int]

    def check_over(self) -> None:
        """It is over."""
        super().check_over()
        Diary.tally = dict(self.promises.tally)


def lived(*operations: tuple[Any, ...], delay: float = 0.0) -> dict[str, int]:
    """What happens when clients do this, one after the other if there is a delay between them."""
    done = tuple(Operation(number, verb, tuple(args), delay * number) for number, (verb, *args) in enumerate(operations))
    check_lifecycle(system=Diary, replay=Plan(1, done)).check()
    return Diary.tally


def test_everybody_is_told_of_what_clients_do() -> None:
    """Clients add, activate, tell, flood, ask, answer, stop and end; puppets hear of it."""
    tally = lived(
        ("add", "spare", "boss", "slow"),
        ("activate", "loner", 1),
        ("deactivate", "loner"),
        ("watch_worker", "loner", "spare"),
        ("tell", "loner", "", 2),
        ("flood", "loner", "boss"),
        ("order", "boss", "left", 0, "return", None, 3),
        ("report", "left"),
        ("stop_worker", "spare"),
        ("end_worker", "left"),
        ("end_worker", "boss"),
        delay=1.0,
    )
    for hook in (
        "activated",
        "deactivated",
        "worker_ready",
        "worker_lost",
        "worker_failed",
        "bus_message",
        "job_completed",
        "job_update",
    ):
        assert tally[f"hook on_{hook}"], hook
    assert tally["hook handles:Bell"] == 5 * 2 + 70
    assert tally["asked"] == 3


@pytest.mark.parametrize(
    "operations",
    [
        [("add", "spare", "", "fail")],
        [("crash", "left")],
        [("leave", False)],
        [("leave", True)],
        [("activate", "nobody", 0)],
        [("knock", "boss", 1, "nap", 2)],
        [("request", "spare", 0, "return", "wait", 0.5)],
        [("request", "boss", 0, "forever", "wait", None), ("answer", "boss")],
        [("request", "boss", 0, "defer", "iterate", None), ("answer", "")],
        [("ask", "boss", "loner", 0, "forever", "wait", None), ("cancel_jobs", "boss")],
    ],
    ids=lambda operations: "-".join(operation[0] for operation in operations),
)
def test_whatever_clients_do_alone(operations: list[tuple[Any, ...]]) -> None:
    """L1-L7, J1-J7: each of the more violent things that clients can do keeps all promises."""
    assert lived(*operations, delay=0.25)["finished"] + Diary.tally.get("failed", 0) >= 5


def test_a_world_draws_from_a_part_of_all_there_is() -> None:
    """Each world draws from few names and scripts, many from few operations; all worlds together draw from everything."""
    parts = []
    for seed in range(40):
        system, rng = LifecycleSystem(names=["a", "b", "c", "d"]), random.Random(seed)  # noqa: S311 - it is seeded
        drawn = [system.draw(rng, number) for number in range(1, 30)]
        parts.append(({operation.verb for operation in drawn}, tuple(system.names)))
    everything = set(LifecycleSystem(names=["a"]).weights())
    assert set().union(*(verbs for verbs, _ in parts)) == everything
    assert {names for _, names in parts if len(names) <= 2}
    assert {name for _, names in parts for name in names} == {"a", "b", "c", "d", "spare", "other"}
    assert min(len(verbs) for verbs, _ in parts) < 5


class Suspicious(LifecycleSystem):
    """Finds something to complain of."""

    @operation()
    async def complain_of_nothing(self) -> None:
        """In the middle of things."""
        self.promises.broken.append("L9: made up")
        await trio.sleep_forever()


def test_a_breach_is_told_at_once() -> None:
    """What is found broken in a step is told after that step, and not later."""
    verdict = check_lifecycle(system=Suspicious, replay=Plan(1, (Operation(1, "complain_of_nothing"),)))
    with pytest.raises(BrokenPromiseError, match=r"^L9: made up\n"):
        verdict.check()
    assert verdict.broken is not None
    assert verdict.broken.course.trace[-1].label == "complain_of_nothing#1"


# -- workers of one's own --------------------------------------------------------------------------------------------------


class Plain(BaseWorker):
    """Has no jobs."""


class Stubborn(BaseWorker):
    """Cannot be cancelled."""

    @job
    async def sulk(self, message: BusJobRequestMessage) -> None:
        """Wait for ever."""
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()


class Wrong(BaseWorker):
    """Fails."""

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Of something that nobody has planned."""
        raise ZeroDivisionError


def test_workers_without_jobs() -> None:
    """Workers need no jobs, and those that are added later need not be of one class."""
    check_lifecycle(lambda: runner_with(Plain("plain")), make_worker=partial(Plain, active=False), max_examples=60).check()


def test_workers_that_others_make() -> None:
    """An async function may make the runner, and a class the workers; every operation does something in a few hundred worlds."""
    verdict = check_lifecycle(puppet_theatre, make_worker=Puppet, max_examples=250, seed=77, must=["add", "request", "crash", "leave"])
    verdict.check()
    assert verdict.worlds == 250


def test_an_error_that_nobody_has_planted() -> None:
    """What workers raise, and is not to be expected, fails the check."""
    verdict = check_lifecycle(lambda: runner_with(Wrong("wrong")), max_examples=5)
    with pytest.raises(ExceptionGroup) as caught:
        verdict.check()
    assert caught.group_contains(ZeroDivisionError)


def test_who_cannot_be_cancelled() -> None:
    """C1: a runner that was cancelled returns, or it is told where it still is."""
    system = LifecycleSystem(lambda: runner_with(Stubborn("stubborn")))
    world = World()
    system.open(world)
    system.do(Operation(1, "knock", ("stubborn", 0, "", 1)))
    world.settle()
    system.stop()
    with pytest.raises(
        BrokenPromiseError, match=r"(?s)^C1: the runner was cancelled, and still runs:\n.*sulk \(test_lifecycle_system.py:\d+\)"
    ):
        system.check_over()
    world.after_turn = lambda: None
    with pytest.raises(DeadlockError, match="shielded"):
        world.close()
    assert not world.is_busy


def test_what_nobody_waits_for() -> None:
    """J1: a job that is cancelled, or answered by somebody else, may end in any way; so may that of a worker that is no puppet."""
    system = LifecycleSystem(lambda: runner_with(Plain("plain"), Puppet("puppet")))
    with World() as world:
        system.open(world)
        system._see("plain", "work", "return", JobStatus.FAILED, None)
        system._see("puppet", "work", "return", JobStatus.CANCELLED, None)
        system._see("puppet", "work", "return", JobStatus.FAILED, {"answered": True})
        system._see("puppet", "work", "ask", JobStatus.FAILED, None)
        system._see("puppet", "stream", "defer", JobStatus.COMPLETED, None)
        with pytest.raises(BrokenPromiseError, match=r"^J1: work on 'puppet' was to defer, and is completed: None"):
            system._see("puppet", "work", "defer", JobStatus.COMPLETED, None)
        system.stop()
        system.check_over()
