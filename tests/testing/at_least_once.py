"""The classic: a client asks again until it has an answer, a worker does each job once. And the ways in which people get it wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import attrs
import trio

from trioworkers.testing.faults import Crash, FaultPlan, Link, LinkEnd

Bug = Literal["", "does retries again", "waits without a timeout", "takes late answers"]
BUGS: tuple[Bug, ...] = ("does retries again", "waits without a timeout", "takes late answers")
PATIENCE = 0.05
ATTEMPTS = 3
NODES = ("client", "worker")


@attrs.frozen
class Question:
    """One attempt at a job."""

    job: int
    attempt: int


@attrs.frozen
class Answer:
    """A job is done."""

    job: int


def job_of(item: Question | Answer) -> int:
    """What belongs together."""
    return item.job


@attrs.define(eq=False)
class Client:
    """Asks, and asks again, and gives up."""

    end: LinkEnd[Any]
    bug: Bug
    outcomes: dict[int, list[str]] = attrs.field(factory=dict)
    bells: dict[int, trio.Event] = attrs.field(factory=dict)

    async def ask(self, job: int) -> None:
        """One job: how it ended is in ``outcomes``."""
        self.outcomes[job] = []
        bell = self.bells[job] = trio.Event()
        for attempt in range(ATTEMPTS):
            await self.end.send(Question(job, attempt))
            with trio.move_on_after(float("inf") if self.bug == "waits without a timeout" else PATIENCE * 2**attempt):
                await bell.wait()
                return
        if self.bug != "takes late answers":
            del self.bells[job]
        self.outcomes[job] = self.outcomes[job] or ["given up"]  # the answer may have come in this very moment

    async def listen(self) -> None:
        """Take answers: of each job, the first one, as long as somebody waits for it."""
        async for answer in self.end:
            bell = self.bells.get(answer.job)
            if bell is not None and not bell.is_set():
                self.outcomes[answer.job].append("done")
                bell.set()


async def serve(end: LinkEnd[Any], bug: Bug, done: Counter[int]) -> None:
    """Do each job once, and say so as often as asked."""
    known: dict[int, None] = {}
    async for question in end:
        if question.job not in known or bug == "does retries again":
            known[question.job] = None
            done[question.job] += 1
        await end.send(Answer(question.job))


async def story(plan: FaultPlan, bug: Bug = "", jobs: int = 3) -> Link[Any]:
    """Three jobs at once, and a look at how they went."""
    done: Counter[int] = Counter()
    async with plan.link(*NODES, key=job_of) as link, trio.open_nursery() as nursery:
        client, worker = link
        desk = Client(client, bug)
        nursery.start_soon(desk.listen)
        nursery.start_soon(link.host, "worker", serve, worker, bug, done)
        async with trio.open_nursery() as asking:
            for job in range(jobs):
                asking.start_soon(desk.ask, job)
        await trio.sleep(30)  # whatever is late has come
        nursery.cancel_scope.cancel()
    remembers = not any(isinstance(fault, Crash) for fault in link.struck)
    for job, outcome in desk.outcomes.items():
        assert len(outcome) == 1, f"job {job} ended {outcome}"
        assert done[job] <= 1 or not remembers, f"job {job} was done {done[job]} times"
    return link
