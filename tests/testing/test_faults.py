"""Faults as values, and a link to which they happen."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from testing.at_least_once import BUGS, Bug, story
from unit.strategies import steady

from trioworkers.testing import DeadlockError, explore, simulate
from trioworkers.testing.faults import (
    Burst,
    Crash,
    Crossing,
    Delay,
    DelayJob,
    Drop,
    DropJob,
    Duplicate,
    DuplicateJob,
    Fault,
    FaultPlan,
    Link,
    LinkEnd,
    Partition,
    Slow,
)

Log = list[Any]


async def post(plan: FaultPlan, log: Log, items: str = "abcdef", **how: Any) -> Link[str]:
    """Left sends some letters to right, one every 0.1 s; the log is what arrives when."""
    async with plan.link("left", "right", **how) as link, trio.open_nursery() as nursery:
        left, right = link
        nursery.start_soon(note, right, log)
        for item in items:
            await left.send(item)
            await trio.sleep(0.1)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    return link


async def note(end: LinkEnd[str], log: Log) -> None:
    """Write down what arrives, and in which tenth of a second."""
    async for item in end:
        log.append((item, round(trio.current_time() * 10)))


def arrivals(*faults: Fault, **how: Any) -> str:
    """What arrives at right, in order."""
    log: Log = []
    link = simulate(post, FaultPlan(*faults), log, **how).unwrap()
    assert link.struck == faults
    return "".join(item for item, _ in log)


# -- values --------------------------------------------------------------------------------------------------------------


def test_a_plan_is_a_value() -> None:
    """A plan can be compared, hashed, printed, and read back from what is printed."""
    plan = FaultPlan(Drop(nth=3), Partition(start=0.5, length=math.inf, cut=("a", "b")), Crash(at=1, node="a"))
    again = eval(repr(plan), {**globals(), "inf": math.inf})  # noqa: S307 - it is our own text
    assert again == plan
    assert hash(again) == hash(plan)
    assert plan != FaultPlan(*plan.faults[::-1])
    assert repr(FaultPlan(Drop(nth=3), Drop(nth=1))) == "FaultPlan(Drop(nth=3), Drop(nth=1))"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        plan.faults = ()  # type: ignore[misc]


BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: FaultPlan("drop"), TypeError, "made of faults, not of 'drop'"),  # type: ignore[arg-type]
    (lambda: Drop("first"), TypeError, "nth must be of type int"),  # type: ignore[arg-type]
    (lambda: Drop(-1), ValueError, "nth must be 0 or more"),
    (lambda: Delay(0, by=math.inf), ValueError, "by must be finite"),
    (lambda: Delay(0, by=math.nan), ValueError, "by must be zero or more seconds"),
    (lambda: Partition(0, -1, cut="a"), ValueError, "length must be zero or more seconds"),
    (lambda: Partition(0, 1, cut=("a", "b", "c")), TypeError, "cut must be a node's name or two of them"),  # type: ignore[arg-type]
    (lambda: Partition(0, 1, cut=""), TypeError, "cut must be a node's name or two of them"),
    (lambda: Partition(0, 1, cut=7), TypeError, "cut must be a node's name or two of them"),  # type: ignore[arg-type]
    (lambda: Crash(0, ""), ValueError, "node must not be empty"),
    (lambda: Burst(0, 1, "lose"), ValueError, "what must be one of 'drop', 'duplicate', 'delay'"),  # type: ignore[arg-type]
    (lambda: DropJob(0, "forth"), ValueError, "way must be one of 'both', 'there', 'back'"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "error", "text"), BAD)
def test_wrong_values_are_refused_at_once(make: Callable[[], object], error: type[Exception], text: str) -> None:
    """A fault that could never be is an error when it is made, and the error names the field."""
    with pytest.raises(error, match=text):
        make()


# -- each fault ----------------------------------------------------------------------------------------------------------


def test_nothing_goes_wrong_by_itself() -> None:
    """Without a fault everything arrives once and in order."""
    assert arrivals() == "abcdef"


def test_drop() -> None:
    """A dropped message does not arrive, all others do."""
    assert arrivals(Drop(2)) == "abdef"


def test_duplicate() -> None:
    """A duplicated message arrives a second time, so many seconds later."""
    assert arrivals(Duplicate(1, after=0.25)) == "abcdbef"


def test_a_copy_comes_even_if_the_first_does_not() -> None:
    """A message that is dropped and duplicated arrives late."""
    assert arrivals(Drop(1), Duplicate(1, after=0.25)) == "acdbef"


def test_a_copy_comes_after_the_first() -> None:
    """The copy of a message that is late is as much later."""
    assert arrivals(Delay(0, by=0.15), Duplicate(0, after=0.2)) == "bacdaef"


def test_delay() -> None:
    """A delayed message is overtaken by those sent after it."""
    assert arrivals(Delay(0, by=0.25)) == "bcadef"


def test_delays_add_up() -> None:
    """Several delays of one message add up."""
    assert arrivals(Delay(0, by=0.15), Delay(0, by=0.2)) == "bcdaef"


def test_bursts() -> None:
    """A burst does the same to so many messages in a row."""
    assert arrivals(Burst(1, 3)) == "aef"
    assert arrivals(Burst(1, 2, "duplicate", by=0.35)) == "abcdebfc"
    assert arrivals(Burst(0, 2, "delay", by=0.25)) == "cadbef"


def test_slow_keeps_order() -> None:
    """What passes a slow place is late, and what comes behind it waits."""
    log: Log = []
    simulate(post, FaultPlan(Slow(0.05, 0.2, cut="right", by=0.25)), log, step_cost=0.0).unwrap()
    assert log == [("a", 0), ("b", 4), ("c", 5), ("d", 5), ("e", 5), ("f", 5)]


def test_slow_elsewhere() -> None:
    """What does not pass a slow place is not late."""
    log: Log = []
    assert simulate(post, FaultPlan(Slow(0, 1, cut="nowhere", by=1)), log).unwrap().struck == ()
    assert [item for item, _ in log] == list("abcdef")


@pytest.mark.parametrize("cut", ["left", "right", ("left", "right"), ("right", "left")])
def test_partition(cut: str | tuple[str, str]) -> None:
    """Nothing passes a cut while it is there."""
    assert arrivals(Partition(0.15, 0.2, cut=cut)) == "abef"


@pytest.mark.parametrize(
    ("cut", "arrive"), [("left", "abef"), ("right", "abcdef"), (("left", "right"), "abef"), (("right", "left"), "abcdef")]
)
def test_partition_one_way(cut: str | tuple[str, str], arrive: str) -> None:
    """A cut in one direction stops what the first sends, and nothing else."""
    log: Log = []
    simulate(post, FaultPlan(Partition(0.15, 0.2, cut=cut, one_way=True)), log).unwrap()
    assert "".join(item for item, _ in log) == arrive


def test_partition_stops_what_is_on_its_way() -> None:
    """What should arrive while there is a cut is lost, too."""
    log: Log = []
    plan = FaultPlan(Partition(0.12, 0.05, cut="right"))
    simulate(post, plan, log, "ab").unwrap()
    assert [item for item, _ in log] == ["a", "b"]
    link = simulate(partial(post, plan, log, "ab", latency=0.03), step_cost=0.0).unwrap()
    assert [str(line) for line in link.log if line.event == "lost"] == [
        "t=0.130 #1 left -> right 'b': lost (Partition(start=0.12, length=0.05, cut='right', one_way=False))"
    ]


# -- jobs ----------------------------------------------------------------------------------------------------------------


async def ping(plan: FaultPlan, log: Log) -> Link[str]:
    """Two jobs, "a" and "b", each asked twice in capitals; right answers in small letters."""
    async with plan.link("left", "right", key=str.lower) as link, trio.open_nursery() as nursery:
        left, right = link
        nursery.start_soon(echo, right, log)
        nursery.start_soon(hear, left, log)
        for item in "ABAB":
            await left.send(item)
            await trio.sleep(0.1)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    return link


async def echo(end: LinkEnd[str], log: Log) -> None:
    """Answer."""
    async for item in end:
        log.append(item)
        await end.send(item.lower())


async def hear(end: LinkEnd[str], log: Log) -> None:
    """Hear answers."""
    async for item in end:
        log.append(item)


JOBS = [
    ([], "AaBbAaBb"),
    ([DropJob(0)], "BbBb"),
    ([DropJob(1, "there")], "AaAa"),
    ([DropJob(1, "back")], "AaBAaB"),
    ([DelayJob(0, by=0.15, way="there")], "BbAaBbAa"),
    ([DelayJob(0, by=0.15, way="back")], "ABbaABba"),
    ([DelayJob(0, by=0.17)], "BbABbaAa"),
    ([DuplicateJob(1, after=0.05, way="back")], "AaBbbAaBbb"),
    ([DuplicateJob(1, after=0.05, way="there")], "AaBbBbAaBbBb"),
]


@pytest.mark.parametrize(("faults", "arrive"), JOBS)
def test_faults_of_a_job(faults: list[Fault], arrive: str) -> None:
    """A fault of a job hits all its messages, in both directions or in one, and those of no other."""
    log: Log = []
    link = simulate(ping, FaultPlan(*faults), log).unwrap()
    assert "".join(log) == arrive
    assert list(link.struck) == faults


def test_without_a_key_there_are_no_jobs() -> None:
    """If nothing says what belongs together, faults of jobs do nothing."""
    log: Log = []
    link = simulate(post, FaultPlan(DropJob(0), DelayJob(0, by=1)), log).unwrap()
    assert [item for item, _ in log] == list("abcdef")
    assert link.struck == ()


# -- crashes -------------------------------------------------------------------------------------------------------------


async def hosted(plan: FaultPlan, log: Log) -> Link[int]:
    """Left sends a number every 0.1 s; what lives on right counts how many it has had in its life."""
    async with plan.link("left", "right") as link, trio.open_nursery() as nursery:
        left, right = link
        nursery.start_soon(watched, link, right, log)
        for number in range(10):
            await left.send(number)
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    return link


async def watched(link: Link[int], end: LinkEnd[int], log: Log) -> None:
    """Host a life, and note when it is over."""
    await link.host("right", live, end, log)
    log.append("over")


async def live(end: LinkEnd[int], log: Log) -> None:
    """Count what comes; go when it is a 9."""
    log.append("born")
    had = 0
    try:
        async for number in end:
            had += 1
            log.append((number, had))
            if number == 9:
                return
    finally:
        log.append("gone")


def test_a_crashed_node_starts_anew() -> None:
    """What lives on a node that crashes is cancelled; it is called again when the node is up, and has no memory."""
    log: Log = []
    link = simulate(hosted, FaultPlan(Crash(0.25, "right", down=0.4)), log).unwrap()
    assert log == ["born", (0, 1), (1, 2), (2, 3), "gone", "born", (7, 1), (8, 2), (9, 3), "gone", "over"]
    assert link.struck == (Crash(0.25, "right", down=0.4),)


def test_a_crashed_node_may_stay_away() -> None:
    """A node that is down for ever is not waited for."""
    log: Log = []
    simulate(hosted, FaultPlan(Crash(0.25, "right")), log).unwrap()
    assert log == ["born", (0, 1), (1, 2), (2, 3), "gone", "over"]


def test_a_node_may_crash_more_than_once() -> None:
    """Crashes of one node add up: while one lasts, another makes it longer."""
    log: Log = []
    simulate(hosted, FaultPlan(Crash(0.35, "right", 0.3), Crash(0.05, "right", 0.1), Crash(0.15, "right", 0.0)), log).unwrap()
    assert log == ["born", (0, 1), "gone", "born", (2, 1), (3, 2), "gone", "born", (7, 1), (8, 2), (9, 3), "gone", "over"]


def test_a_node_may_be_down_from_the_beginning() -> None:
    """What lives on a node that is down is born when it is up."""
    log: Log = []
    simulate(hosted, FaultPlan(Crash(0, "right", down=0.75)), log).unwrap()
    assert log == ["born", (8, 1), (9, 2), "gone", "over"]


def test_a_crash_loses_what_has_arrived() -> None:
    """What has arrived at a node and was not taken is lost when it crashes."""

    async def late() -> tuple[list[int], tuple[Fault, ...]]:
        plan = FaultPlan(Crash(1, "right", down=1), Crash(3, "right", down=1), Crash(5, "nobody", down=1))
        async with plan.link("left", "right") as link:
            left, right = link
            await left.send(1)
            await trio.sleep(2.5)
            await left.send(2)
            await trio.sleep(0.1)
            taken = [await right.receive()]
            await trio.sleep(10)
            return taken, link.struck

    assert simulate(late).unwrap() == ([2], (Crash(1, "right", down=1),))


def test_errors_of_what_lives_on_a_node_come_out() -> None:
    """What the program of a node raises comes out of host()."""

    async def fails() -> None:
        raise ValueError("boom")

    async def program() -> None:
        async with FaultPlan().link("left", "right") as link:
            with pytest.raises(ValueError, match="boom"):
                await link.host("right", fails)

    simulate(program).unwrap()


# -- links ---------------------------------------------------------------------------------------------------------------


def test_a_link_goes_both_ways() -> None:
    """Both directions of a link share one count; names say which end is which."""
    log: Log = []
    link = simulate(ping, FaultPlan(Drop(3)), log).unwrap()
    assert "".join(log) == "AaBAaBb"
    assert [end.name for end in link] == ["left", "right"]
    assert [(line.number, line.sender, line.event) for line in link.log if line.number == 3] == [
        (3, "right", "sent"),
        (3, "right", "lost"),
    ]


def test_the_log_tells_what_happened() -> None:
    """The log has a line for each sending, arrival and loss, in order, with the fault that had a part in it."""
    log: Log = []
    link = simulate(post, FaultPlan(Drop(0), Duplicate(1, after=0.5)), log, "ab", step_cost=0.0).unwrap()
    assert list(map(str, link.log)) == [
        "t=0.000 #0 left -> right 'a': sent",
        "t=0.000 #0 left -> right 'a': lost (Drop(nth=0))",
        "t=0.100 #1 left -> right 'b': sent (Duplicate(nth=1, after=0.5))",
        "t=0.101 #1 left -> right 'b': arrived",
        "t=0.601 #1 left -> right 'b': arrived",
    ]
    assert link.log[0] == Crossing(0.0, 0, "left", "right", "'a'", "sent")


def test_closing_an_end() -> None:
    """Who reads from the other end of a closed one gets what was sent before, then the end of it; who closed it, an error."""

    async def program() -> None:
        async with FaultPlan().link("left", "right") as link:
            left, right = link
            await left.send(1)
            left.send_nowait(2)
            with pytest.raises(trio.WouldBlock):
                right.receive_nowait()
            await left.aclose()
            left.close()
            assert [item async for item in right] == [1, 2]
            with pytest.raises(trio.EndOfChannel):
                right.receive_nowait()
            with pytest.raises(trio.ClosedResourceError):
                await left.send(3)
            with pytest.raises(trio.ClosedResourceError):
                await left.receive()
            await right.send(4)
            await trio.sleep(1)
        assert [str(line) for line in link.log if line.number is None] == ["t=0.001 left -> right hangs up: arrived"]
        assert [line.why for line in link.log if line.event == "lost"] == ["closed"]

    simulate(program, step_cost=0.0).unwrap()


def test_what_comes_after_the_end_is_lost() -> None:
    """A message that is late and comes after its sender has hung up is not taken."""

    async def program() -> Link[int]:
        async with FaultPlan(Delay(0, by=1)).link("left", "right") as link:
            left, right = link
            await left.send(1)
            left.close()
            assert [item async for item in right] == []
            await trio.sleep(2)
            return link

    assert [line.why for line in simulate(program).unwrap().log if line.event == "lost"] == ["closed"]


def test_a_cut_end_does_not_hang_up() -> None:
    """The other end does not hear of a close when it is cut off at that moment."""

    async def program() -> None:
        async with FaultPlan(Partition(0, 1, cut="left")).link("left", "right", latency=5) as link:
            left, right = link
            left.close()
            await right.receive()

    result = simulate(program)
    assert isinstance(result.error, DeadlockError)


def test_leaving_a_link() -> None:
    """When a link's block is left both ends are closed, and what is sent then goes nowhere."""

    async def program() -> None:
        async with FaultPlan().link("left", "right") as link:
            left, right = link
            await left.send(1)
        with pytest.raises(trio.ClosedResourceError):
            await left.send(2)
        with pytest.raises(trio.ClosedResourceError):
            right.receive_nowait()
        with pytest.raises(RuntimeError, match="opened once"):
            await link.opened().__aenter__()

    simulate(program).unwrap()


def test_errors_come_out_as_they_are() -> None:
    """What the block of a link raises is what comes out, cancellations included; what others raise comes beside it, in a group."""

    async def raises() -> None:
        async with FaultPlan().link("left", "right") as link:
            left, _ = link
            await left.send(1)
            raise ValueError("boom")

    async def is_cancelled() -> bool:
        with trio.move_on_after(1) as scope:
            async with FaultPlan().link("left", "right") as link:
                left, _ = link
                await left.receive()
        return scope.cancelled_caught

    def fail(item: object) -> str:
        raise KeyError(item)

    async def key_fails() -> None:
        async with FaultPlan().link("left", "right", key=fail) as link:
            left, _ = link
            await left.send(1)

    assert str(simulate(raises).error) == "boom"
    assert simulate(is_cancelled).unwrap()
    assert isinstance(simulate(key_fails).error, KeyError)


def test_links_have_two_ends() -> None:
    """A link between a node and itself, or one without a name or with a wrong latency, is an error."""

    async def program(*names: Any, latency: Any = 0.0) -> None:
        await FaultPlan().link(*names, latency=latency).__aenter__()

    for names, error in ((("a", "a"), ValueError), (("", "a"), ValueError), (("a", 7), TypeError)):
        assert isinstance(simulate(program, *names).error, error)
    assert isinstance(simulate(lambda: program("a", "b", latency=-1)).error, ValueError)


# -- any plan ------------------------------------------------------------------------------------------------------------


@steady
@given(
    sends=st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.0, 0.001, 0.1])), max_size=12),
    seed=st.integers(0, 2**16),
    latency=st.sampled_from([0.0, 0.001, 0.1]),
)
def test_order_and_number_without_faults(sends: list[tuple[bool, float]], seed: int, latency: float) -> None:
    """Whoever sends what when, under any schedule: without faults each end receives, in order, what the other has sent."""

    async def program() -> None:
        async with FaultPlan().link("left", "right", latency=latency) as link, trio.open_nursery() as nursery:
            ends = tuple(link)
            got: tuple[Log, Log] = ([], [])
            for end, taken in zip(ends, got, strict=True):
                nursery.start_soon(take, end, taken)
            for number, (side, pause) in enumerate(sends):
                await ends[side].send(number)
                await trio.sleep(pause)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert got[0] == [number for number, (side, _) in enumerate(sends) if side]
        assert got[1] == [number for number, (side, _) in enumerate(sends) if not side]

    simulate(program, seed=seed).unwrap()


def test_arrivals_are_moments_of_their_own() -> None:
    """Two messages that are due at once arrive one after the other: under some schedules, something happens in between."""

    async def program() -> int:
        async with FaultPlan().link("left", "right") as link:
            left, right = link
            left.send_nowait(1)
            left.send_nowait(2)
            await right.receive()
            return sum(line.event == "arrived" for line in link.log)

    assert {simulate(program, seed=seed, step_cost=0.0).unwrap() for seed in range(20)} == {1, 2}


async def take(end: LinkEnd[int], taken: Log) -> None:
    """Take what comes."""
    async for item in end:
        taken.append(item)


# -- at least once -------------------------------------------------------------------------------------------------------


@explore(max_examples=50)
async def test_a_plan_goes_with_explore() -> None:
    """A plan is applied under each schedule that is explored."""
    link = await story(FaultPlan(Drop(0), DelayJob(1, by=0.1)))
    assert link.struck == link.plan.faults


MINIMAL: list[tuple[Bug, Fault, str]] = [
    (BUGS[0], Drop(3), "was done 2 times"),
    (BUGS[1], Drop(0), "'story' can never end"),
    (BUGS[2], DelayJob(0, by=0.5), "ended"),
]


@pytest.mark.parametrize(("bug", "fault", "text"), MINIMAL)
def test_one_mishap_is_enough(bug: Bug, fault: Fault, text: str) -> None:
    """Each of three classic mistakes is shown by one fault, which the right protocol survives."""
    assert text in str(simulate(story, FaultPlan(fault), bug).error)
    assert simulate(story, FaultPlan(fault)).unwrap().struck == (fault,)
