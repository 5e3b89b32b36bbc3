"""Small programs over several runners, each under many schedules: what happens at the same time there."""

from __future__ import annotations

from typing import Any

import trio
from job_support import Hand, ask, echo, forever, nap
from property.profiles import PROFILE
from remote_support import Place, quiet, town
from support import Recorder

from trioworkers import BusJobRequestMessage, DuplicateWorkerError, JobError, JobStatus, PeerDownError
from trioworkers.testing import explore

EXAMPLES = {"dev": 10, "ci": 60, "nightly": 3000}[PROFILE]


@explore(max_examples=EXAMPLES)
async def test_joining_and_leaving() -> None:
    """R1: whoever joins while others join and leave knows, in the end, exactly those who are there."""
    async with town() as place:
        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "c"):
                nursery.start_soon(place.open, name, Recorder(f"root {name}"))
        a, b, c = sorted(place.places, key=lambda one: one.name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.leave)
            nursery.start_soon(place.open, "d", Recorder("root d"))
            nursery.start_soon(c.runner.end_workers, "root c")
        await trio.sleep(3)
        [d] = [one for one in place.places if one.name == "d"]
        assert sorted(a.runner.registry.remote_workers) == ["root d"]
        assert sorted(c.runner.registry.remote_workers) == ["root a", "root d"]
        assert sorted(d.runner.registry.remote_workers) == ["root a"]
        assert quiet(a, c, d)


@explore(max_examples=EXAMPLES)
async def test_a_cancel_behind_its_request() -> None:
    """J2: a request that is given up at any moment has no handler running when its block is left."""
    called: list[str] = []
    gone: list[str] = []

    async def work(hand: Hand, message: BusJobRequestMessage) -> None:
        called.append(message.job_id)
        try:
            await trio.sleep_forever()
        finally:
            gone.append(message.job_id)

    async with town() as place:
        left, right = await place.open_all(left=[], right=[Hand("hand", work)])

        async def ask_and_give_up(patience: float) -> None:
            with trio.move_on_after(patience):
                async with left.runner.job("hand", name="do"):
                    pass
            assert called == gone

        for patience in (0.0, 0.0005, 0.0011, 0.0021, 0.0035):
            await ask_and_give_up(patience)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, left.runner, "hand")
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert called == gone
        await trio.sleep(3)
        assert quiet(left, right)


@explore(max_examples=EXAMPLES)
async def test_answers_and_a_leave() -> None:
    """L6: whoever asks a runner that leaves has an answer from it, or hears that it ends, or that nobody has the name any more."""
    ends: list[str] = []

    async def end_of(asker: Place, seconds: float) -> None:
        await trio.sleep(seconds)
        with trio.move_on_after(20):
            try:
                await ask(asker.runner, "hand", timeout=10)
            except PeerDownError:
                ends.append("gone")
            except JobError as error:
                ends.append(error.status)
            else:
                ends.append("completed")

    async with town() as place:
        left, right = await place.open_all(left=[], right=[Hand("hand", nap(0.002))])
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(end_of, left, number / 1000)
            await trio.sleep(0.006)
            await right.leave()
        assert len(ends) == 6
        assert set(ends) <= {"completed", "gone", JobStatus.CANCELLED, JobStatus.ERROR}
        assert "completed" in ends
        assert quiet(left)


@explore(max_examples=EXAMPLES)
async def test_one_name_claimed_by_two() -> None:
    """A name that two runners want for a root at the same time is given to exactly one; both runners go on."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Hand("other", echo)])
        taken: list[str] = []

        async def add(to: Place) -> None:
            try:
                await to.runner.add_workers(Hand("hand", echo))
            except* DuplicateWorkerError:
                pass
            else:
                taken.append(to.name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(add, left)
            nursery.start_soon(add, right)
        assert len(taken) == 1
        await trio.sleep(1)
        for asker in (left, right):
            assert await ask(asker.runner, "hand") == {"echo": {}}
            assert await ask(asker.runner, "other") == {"echo": {}}


@explore(max_examples=EXAMPLES)
async def test_a_reset_while_everybody_works() -> None:
    """J7: when the server loses what it knew, whoever waits is told, whichever runner finds out first, and all is well again."""
    answers: list[Any] = []

    async def expect(asker: Place, whom: str) -> None:
        try:
            answers.append(await ask(asker.runner, whom))
        except JobError as error:
            answers.append(error)

    async with town() as place:
        left, right = await place.open_all(
            left=[Hand("here", forever), Hand("quick", echo)], right=[Hand("there", forever), Hand("hand", echo)]
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, left, "there")
            nursery.start_soon(expect, right, "here")
            nursery.start_soon(expect, left, "hand")
            await trio.sleep(0.0025)
            place.server.crash(keep=False)
            place.server.restart()
        assert len(answers) == 3
        await trio.sleep(3)
        assert await ask(left.runner, "hand") == await ask(right.runner, "quick") == {"echo": {}}
        await trio.sleep(3)
        assert quiet(left, right)
