"""Many small worlds: operations are client tasks, the seed decides which, when, and in which order everything happens."""

from __future__ import annotations

import random  # noqa: TID251 - seeded
from collections.abc import Iterator
from functools import partial

import attrs
import pytest
from property.house import House, Op
from property.model import Ask
from property.profiles import PROFILE

from trioworkers import BusJobCancelMessage, BusJobRequestMessage, BusJobResponseMessage, BusWorkerReadyMessage
from trioworkers.testing import Operation, System, World, check_system, operation

WORLDS = {"dev": 1, "ci": 4, "nightly": 300}
NAMES = ("a", "b", "c", "d", "e", "f")
JOBS = ("work", "queue", "stream", "strand", "", "nobody")
DOINGS = (
    *("", "none", "raise", "fail", "junk", "defer", "forever", "swallow", "slow"),
    *("updates", "burst", "early", "early raise", "nested"),
)
NAPS = (0.0, 0.0, 0.25, 0.5, 1.0)
TIMEOUTS = (None, None, 0.0, 0.25, 0.5, 2.0)
USES = ("wait", "iterate", "slow", "late", "break", "raise", "cancel", "give up", "grace", "ask for news")
VERBS = (
    *("block",) * 10,
    *("request",) * 6,
    *("post",) * 6,
    *("activate",) * 3,
    *("deactivate", "add", "watch", "cancel_job", "ask_news", "answer", "answer", "stop", "end_workers", "end_workers"),
)


@attrs.frozen
class Theme:
    """What a world is mostly about: a world in which everything may happen rarely goes deep anywhere."""

    names: tuple[str, ...]
    verbs: tuple[str, ...]
    jobs: tuple[str, ...]
    doings: tuple[str, ...]
    uses: tuple[str, ...]


def make_theme(rng: random.Random) -> Theme:
    """Some of everything, or all of it."""

    def some(of: tuple[str, ...], *counts: int) -> tuple[str, ...]:
        return tuple(rng.sample(of, min(len(of), rng.choice(counts))))

    return Theme(some(NAMES[:4], 2, 4), some(VERBS, 8, 99), some(JOBS, 1, 2, 6), some(DOINGS, 2, 4, 13), some(USES, 2, 4, 10))


def make_op(rng: random.Random, theme: Theme, k: int) -> Op:
    """One operation."""
    verb = rng.choice(theme.verbs)
    to = tuple(rng.sample(theme.names, min(len(theme.names), rng.choice((1, 1, 1, 2, 3)))))
    do = rng.choice(theme.doings)
    if verb == "post":
        do = rng.choice(("", "", "nap", "ask", "report", "end children") + (("raise", "stop", "end") if rng.random() < 0.1 else ()))
        to = to[: rng.choice((0, 1, 1, 1))]
    elif verb == "activate":
        do = rng.choice(("", "", "nap", "stay", "raise"))
    elif verb == "add":
        to, do = (rng.choice(NAMES),), rng.choice(("", "", "nap", "raise"))
    return Op(
        verb=verb,
        k=k,
        who=rng.choice(theme.names) if verb not in ("block", "request", "add") else rng.choice(("", *theme.names)),
        to=to,
        job=rng.choice(theme.jobs),
        do=do,
        n=rng.choice((0, 1, 2, 5, 70)),
        nap=rng.choice(NAPS),
        timeout=rng.choice(TIMEOUTS),
        use=rng.choice(theme.uses),
        flag=rng.random() < 0.5,
        delay=rng.choice((0.0, 0.0, 0.0, 0.25, 0.5, 1.0)),
    )


def make_workers(rng: random.Random) -> list[Op]:
    """Three to six workers, some of them children of others."""
    names = NAMES[: rng.randrange(3, 7)]
    owners = ["", *(rng.choice(("", *names[:place])) for place in range(1, len(names)))]
    return [
        Op(verb="add", who=owner, to=(name,), n=rng.randrange(6), flag=rng.random() < 0.7, do=rng.choice(("", "", "", "nap")))
        for owner, name in zip(owners, names, strict=True)
    ]


class HouseSystem(System):
    """A house as a system under test: what is in it depends on its number, what clients do is drawn.

    Args:
        number: Decides who lives there, what it is mostly about, and how it ends.
    """

    finishes = False

    def __init__(self, number: int) -> None:
        rng = random.Random(number)  # noqa: S311 - for tests
        self.theme = make_theme(rng)
        self.workers = make_workers(rng)
        self.shutdown_timeout = rng.choice((0.0, 1.0, 4.0, float("inf")))
        self.gracefully = rng.random() < 0.5

    def draw(self, rng: random.Random, number: int) -> Operation:
        """An operation of the house; now and then one after which the house is no more."""
        op = make_op(rng, self.theme, number)
        if rng.random() < 0.02:
            verb = rng.choice(("end", "cancel", "crash_run"))
            op = Op(verb=verb, k=number, who=rng.choice(("", "a", "b")), delay=rng.choice((0.25, 1.5)))
        return Operation(number, "act", (op,))

    def simpler(self, operation: Operation) -> Iterator[Operation]:
        """With one field as it is by default."""
        (op,) = operation.args
        for field in attrs.fields(Op):
            if field.name not in ("verb", "k", "who", "to") and getattr(op, field.name) != field.default:
                yield attrs.evolve(operation, args=(attrs.evolve(op, **{field.name: field.default}),))

    @operation([])
    async def act(self, op: Op) -> None:
        """Do it."""
        await self.house.perform(op)

    def start(self) -> None:
        """Move in."""
        self.house = House(self.world, self.shutdown_timeout, self.workers)

    def watch(self) -> None:
        """Read the tap after each step, so that "before" means before."""
        self.house.model.drain()

    def check(self) -> None:
        """At any moment."""
        self.house.clients = [(client.args[0], handle) for client, handle in self.clients]
        self.house.check()

    def check_rest(self) -> None:
        """At rest."""
        self.check()
        self.house.check_rest()

    def stop(self) -> None:
        """Move out; nothing may be left."""
        self.check()
        self.house.leave(gracefully=self.gracefully)


@pytest.mark.parametrize("number", range(100))
def test_any_schedule(number: int) -> None:
    """L1-L6, J1-J7, B1-B5, R1, R2: whatever clients do at the same time, under whatever schedule."""
    check_system(partial(HouseSystem, number), max_examples=WORLDS[PROFILE], length=24, seed=number).check()


def test_a_house_that_falls_is_made_small() -> None:
    """What a world that breaks a promise is shrunk to says what is needed, in simple operations."""

    class Haunted(HouseSystem):
        def check(self) -> None:
            super().check()
            self.house.model.check("L0", not self.house.model.tally["block"], "a ghost has asked for a job")
            self.house.complain()

    broken = check_system(partial(Haunted, 1), length=24).broken
    assert broken is not None
    assert [client.args[0].verb for client in broken.plan.operations] == ["block"]
    assert broken.plan.operations[0].args[0].do == ""
    assert "L0: a ghost" in str(broken.course.error)


def test_a_broken_promise_is_told() -> None:
    """The model is no yes-man: messages that nobody may send are seen, and told with the log."""
    with World() as world:
        house = House(world, 4.0, make_workers(random.Random(1)))  # noqa: S311 - for tests
        world.settle()
        house.check_rest()
        house.model.asks[1] = Ask(1, None, ("ghost",), "")
        house.bus.post(BusJobRequestMessage(source="runner", target="ghost", job_id="j", payload={"k": 1}))
        house.bus.post(BusJobCancelMessage(source="runner", target="a", job_id="unknown"))
        house.check()
        house.bus.post(BusJobResponseMessage(source="ghost", target="a", job_id="unknown"))
        house.bus.post(BusWorkerReadyMessage(source="ghost", runner="runner"))
        with pytest.raises(
            AssertionError, match=r"(?s)ghost->a.*J1: an answer that nobody asked for.*R1: ghost is said to be ready.*runner @"
        ):
            house.check()
        house.model.broken.clear()
        house.leave(gracefully=True)
