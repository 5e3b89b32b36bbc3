"""Many small worlds: operations are client tasks, the seed decides which, when, and in which order everything happens."""

from __future__ import annotations

import random  # noqa: TID251 - seeded

import attrs
import pytest
from property.house import House, Op
from property.model import Ask
from property.world import World

from trioworkers import BusJobCancelMessage, BusJobRequestMessage, BusJobResponseMessage, BusWorkerReadyMessage

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


@attrs.frozen
class Plan:
    """One world as a value.

    Args:
        seed: The schedule.
        workers: Who is there from the beginning.
        ops: What clients do.
        shutdown_timeout: The runner's.
        step_cost: The world's.
        gracefully: How it ends.
        looks: How many steps are taken between two looks.
    """

    seed: int
    workers: tuple[Op, ...]
    ops: tuple[Op, ...]
    shutdown_timeout: float
    step_cost: float
    gracefully: bool
    looks: tuple[int, ...]


def make_plan(seed: int) -> Plan:
    """A plan is a function of its seed."""
    rng = random.Random(seed)  # noqa: S311 - for tests
    theme = make_theme(rng)
    ops = [make_op(rng, theme, k) for k in range(1, rng.randrange(4, 25))]
    if rng.random() < 0.3:
        last = Op(verb=rng.choice(("end", "cancel", "crash_run")), k=99, who=rng.choice(("", "a", "b")), delay=rng.choice((0.25, 1.5)))
        ops.append(last)
    return Plan(
        seed,
        tuple(make_workers(rng)),
        tuple(ops),
        rng.choice((0.0, 1.0, 4.0, float("inf"))),
        rng.choice((0.0, 0.0, 1 / 128, 1 / 8)),
        rng.random() < 0.5,
        tuple(rng.randrange(1, 20) for _ in range(50)),
    )


def live(plan: Plan) -> House:
    """One world, from its first step to its last."""
    with World(plan.seed, step_cost=plan.step_cost) as world:
        house = House(world, plan.shutdown_timeout, plan.workers)
        for op in plan.ops:
            house.do(op)
        for count in plan.looks:
            world.steps(count)
            house.check()
        world.settle()
        house.check_rest()
        for _ in range(8):
            world.advance(0.25)
            house.check_rest()
        house.leave(gracefully=plan.gracefully)
    return house


@pytest.mark.parametrize("seed", range(300))
def test_any_schedule(seed: int) -> None:
    """L1-L6, J1-J7, B1-B5, R1, R2: whatever clients do at the same time, under whatever schedule."""
    live(make_plan(seed))


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
