"""Runners on a simulated network: everything that goes on one machine goes on two, and what happens when it cannot."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.strategies import steady

from trioworkers import (
    BaseWorker,
    BusDataMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusWorkerReadyMessage,
    DuplicateWorkerError,
    JobError,
    JobGroupError,
    LocalBus,
    UnknownWorkerError,
    WorkerActivationArgs,
    WorkerRunner,
    handles,
    job,
    open_runner,
)
from trioworkers._leaves import leaves
from trioworkers.errors import WireError
from trioworkers.testing import explore, simulate
from trioworkers.testing.faults import Crash, Delay, Drop, DropJob, Duplicate, FaultPlan, Partition, Slow
from trioworkers.testing.hypothesis import fault_plans
from trioworkers.testing.network import SimNetwork

Log = list[Any]


@attrs.frozen(kw_only=True)
class News(BusDataMessage):
    """A message of the tests' own."""

    text: str = ""


TYPES = {"news": News}


class Hand(BaseWorker):
    """Does all kinds of jobs, and writes down what it hears."""

    def __init__(self, name: str = "hand", *, active: bool = True, log: Log | None = None) -> None:
        super().__init__(name, active=active)
        self.log: Log = [] if log is None else log

    @job
    async def add(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Add."""
        self.log.append(("add", message.payload["numbers"]))
        return {"sum": sum(message.payload["numbers"])}

    @job
    async def count(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """Stream numbers."""
        for number in range(message.payload["to"]):
            yield {"n": number}

    @job
    async def stay(self, message: BusJobRequestMessage) -> None:
        """Never end; clean up for a while."""
        try:
            await trio.sleep_forever()
        finally:
            self.log.append(("left", round(trio.current_time(), 1)))

    @job
    async def odd(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Answer what cannot be sent."""
        return {"what": object()}

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Write it down."""
        self.log.append(("activated", args))

    async def on_deactivated(self) -> None:
        """Write it down."""
        self.log.append(("deactivated",))

    async def on_worker_ready(self, data: Any) -> None:
        """Write it down."""
        self.log.append(("ready", data.worker_name, data.runner))

    async def on_worker_lost(self, data: Any) -> None:
        """Write it down."""
        self.log.append(("lost", data.worker_name, data.runner))

    @handles(News)
    async def hear(self, message: News) -> None:
        """Write it down."""
        self.log.append((message.source, message.text))


@asynccontextmanager
async def two(
    *faults: Any, left: Sequence[BaseWorker] = (), right: Sequence[BaseWorker] | None = None, **how: Any
) -> AsyncIterator[tuple[SimNetwork, WorkerRunner, WorkerRunner]]:
    """Two nodes with a runner each; those on the right are known on the left when the block begins."""
    there = (Hand(),) if right is None else right
    async with (
        SimNetwork(FaultPlan(*faults), types=TYPES, **how) as network,
        open_runner(*there, bus=network.bus("right"), name="R", shutdown_timeout=5) as other,
        open_runner(*left, bus=network.bus("left"), name="L", shutdown_timeout=5) as runner,
    ):
        await runner.registry.wait_ready(*(worker.name for worker in there))
        yield network, runner, other


async def ask(runner: WorkerRunner, name: str = "add", whom: str = "hand", **how: Any) -> Any:
    """Ask for a job; return its response, or what failed."""
    how.setdefault("payload", {"numbers": [1, 2], "to": 3})
    try:
        async with runner.job(whom, name=name, **how) as asked:
            pass
    except JobError as error:
        return error
    return asked.response


def run(program: Callable[[], Awaitable[Any]], **how: Any) -> Any:
    """Run it once."""
    return simulate(program, **how).unwrap()


# -- as on one machine ---------------------------------------------------------------------------------------------------


@explore(max_examples=8)
async def test_a_job_over_the_network() -> None:
    """A worker on another node does a job, and its answer comes back."""
    async with two() as (network, runner, _):
        assert await ask(runner) == {"sum": 3}
    assert [line.what for line in network.log if line.number is not None and line.event == "arrived"] == [
        "JobRequest from L to hand, job left-1",
        "JobResponse from hand to L, job left-1",
    ]


@explore(max_examples=8)
async def test_a_stream_over_the_network() -> None:
    """A stream longer than its window arrives whole and in order, for credit goes back over the network."""
    async with (
        two() as (network, runner, _),
        runner.job("hand", name="count", payload={"to": 200}) as counting,
    ):
        events = [event.data async for event in counting]
    assert events == [None, *({"n": number} for number in range(200)), None]
    assert any("JobStreamCredit" in line.what for line in network.log)


async def test_of_time(autojump_clock: trio.testing.MockClock) -> None:
    """Runs on trio's own clock, too: nothing here needs a simulated run."""
    async with two(latency=0.0) as (_, runner, _other):
        del autojump_clock
        assert await ask(runner) == {"sum": 3}


@explore(max_examples=8)
async def test_leaving_a_block_cancels_the_job_there() -> None:
    """A block that is left before its job has ended cancels that on the other node, and waits until it is gone."""
    hand = Hand()
    async with two(right=[hand]) as (_, runner, _):
        with trio.move_on_after(1):
            await ask(runner, "stay")
        assert ("left", 1.0) in hand.log
        assert not hand.active_jobs


@explore(max_examples=8)
async def test_a_timeout_over_the_network() -> None:
    """A job that takes too long ends as CANCELLED, on both nodes."""
    hand = Hand()
    async with two(right=[hand]) as (_, runner, _):
        error = await ask(runner, "stay", timeout=2)
        assert (error.status.value, error.reason) == ("cancelled", "timeout")
        assert ("left", 2.0) in hand.log


@explore(max_examples=8)
async def test_a_group_over_the_network() -> None:
    """A group's members may be anywhere: what fails on one node cancels what runs on another."""
    hands = [Hand("near"), Hand("far")]
    async with two(left=hands[:1], right=hands[1:]) as (_, runner, _):
        async with runner.job_group("near", "far", name="add", payload={"numbers": [3]}) as group:
            pass
        assert group.responses == {"near": {"sum": 3}, "far": {"sum": 3}}
        with pytest.raises(JobGroupError, match="timeout"):
            async with runner.job_group("near", "far", name="stay", timeout=1):
                pass
        assert [hand.log[-1] for hand in hands] == [("left", 1.0), ("left", 1.0)]


@explore(max_examples=8)
async def test_activation_over_the_network() -> None:
    """A worker hands over to one on another node; whether it is active is in everybody's registry."""
    here, there = Hand("here"), Hand("there", active=False)
    async with two(left=[here], right=[there]) as (_, runner, other):
        entry = runner.registry.get("there")
        assert entry is not None
        assert not entry.active
        await here.activate_worker("there", args=WorkerActivationArgs({"topic": "trees"}), deactivate_self=True)
        await trio.sleep(1)
        assert there.log == [("activated", {"metadata": {"topic": "trees"}})]
        assert here.log == [("activated", None), ("deactivated",)]
        for registry, name, active in ((runner.registry, "there", True), (other.registry, "here", False)):
            entry = registry.get(name)
            assert entry is not None
            assert entry.active is active
        with pytest.raises(UnknownWorkerError):
            await here.activate_worker("nobody")


@explore(max_examples=8)
async def test_broadcasts_reach_all_nodes_once() -> None:
    """A broadcast reaches whoever listens, on each node, once; a targeted message only its target."""
    logs: list[Log] = [[], [], []]
    hands = [Hand(name, log=log, active=False) for name, log in zip("abc", logs, strict=True)]
    async with SimNetwork(types=TYPES) as network, trio.open_nursery() as nursery:
        runners = [WorkerRunner(bus=network.bus(f"node {hand.name}"), handle_sigint=False, handle_sigterm=False) for hand in hands]
        for runner, hand in zip(runners, hands, strict=True):
            await runner.add_workers(hand)
            await nursery.start(runner.run)
        await trio.sleep(1)
        await hands[0].send_bus_message(News(source="a", text="for all"))
        await hands[0].send_bus_message(News(source="a", target="c", text="for c"))
        await trio.sleep(1)
        assert logs == [[("a", "for all")], [("a", "for all")], [("a", "for all"), ("a", "for c")]]
        nursery.cancel_scope.cancel()


@explore(max_examples=8)
async def test_who_is_there_is_known_everywhere() -> None:
    """Workers come into and go out of the other runners' registries, and watchers there are told."""
    log: Log = []
    watcher = Hand("watcher", log=log, active=False)
    async with two(left=[watcher], right=[]) as (network, runner, other):
        await watcher.watch_workers("hand")
        await other.add_workers(Hand())
        await trio.sleep(1)
        assert runner.registry.remote_workers == ["hand"]
        assert other.registry.remote_workers == ["watcher"]
        entry, told = other.registry.get("hand"), runner.registry.get("hand")
        assert told == entry
        await other.end_workers("hand")
        await trio.sleep(1)
        assert log == [("ready", "hand", "R"), ("lost", "hand", "R")]
        assert runner.registry.remote_workers == []
        bus = network.bus("third")
        await trio.sleep(1)
        third = WorkerRunner(bus=bus)
        assert third.registry.remote_workers == ["watcher"]


@explore(max_examples=8)
async def test_readiness_is_announced_everywhere() -> None:
    """Whoever listens to BusWorkerReadyMessage hears of workers on other nodes, too; no fault counts that."""
    heard: list[str] = []
    async with two(Drop(0), left=[Listener(heard)], right=[]) as (network, _, other):
        await other.add_workers(Hand())
        await trio.sleep(1)
        assert network.struck == ()
    assert heard == ["listener", "hand"]


class Listener(BaseWorker):
    """Writes down whose readiness is announced."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__("listener")
        self.heard = heard

    @handles(BusWorkerReadyMessage)
    async def hear(self, message: BusWorkerReadyMessage) -> None:
        """Write it down."""
        self.heard.append(message.source)


class Early(BaseWorker):
    """Asks before it is ready itself."""

    async def start(self) -> None:
        """Ask, then be ready."""
        async with self.job("hand", name="add", payload={"numbers": [4]}) as asked:
            pass
        self.answer = asked.response
        await super().start()


@explore(max_examples=8)
async def test_answers_find_workers_that_are_not_ready() -> None:
    """A worker that asks while it starts, and is in no registry yet, has its answer."""
    async with two() as (_, runner, _other):
        early = Early("early")
        await runner.add_workers(early)
        assert early.answer == {"sum": 4}


class Unready(BaseWorker):
    """Asks before it is ready, and then never is."""

    async def start(self) -> None:
        """Ask, and fail."""
        async with self.job("hand", name="add", payload={"numbers": [4]}, timeout=1):
            pass
        raise ValueError("boom")


@explore(max_examples=3)
async def test_answers_find_the_last_who_has_asked() -> None:
    """Of two workers of one name on different nodes, one after the other, answers and jobs go to the present one."""
    async with two() as (network, runner, other), open_runner(bus=network.bus("third")) as third:
        for node in (runner, third, runner):
            with pytest.raises(ExceptionGroup, match="could not start"):
                await node.add_workers(Unready("early"))
        await third.add_workers(Hand("early"))
        await trio.sleep(1)
        assert await ask(other, whom="early") == {"sum": 3}
        assert [node.bus.statistics().dead_letters for node in (runner, third)] == [0, 0]


@explore(max_examples=3)
async def test_nothing_live_crosses() -> None:
    """What arrives is a copy: neither the objects in a message nor the sender's context variables are the sender's."""
    seen: Log = []
    here = ContextVar("here", default="nothing")

    class Looker(BaseWorker):
        @job
        async def look(self, message: BusJobRequestMessage) -> dict[str, Any]:
            seen.append((message.payload, here.get()))
            message.payload["list"].append(3)
            return message.payload

    payload: dict[str, Any] = {"list": [1, 2]}
    async with SimNetwork() as network, open_runner(Looker("looker"), bus=network.bus("right")):
        here.set("left")
        async with open_runner(bus=network.bus("left")) as runner:
            answer = await ask(runner, "look", "looker", payload=payload)
    assert payload == {"list": [1, 2]}
    assert answer == {"list": [1, 2, 3]}
    assert answer is not seen[0][0]
    assert seen[0][1] == "nothing"


# -- names ---------------------------------------------------------------------------------------------------------------


@explore(max_examples=3)
async def test_names_are_taken_on_all_nodes() -> None:
    """A name that a worker or runner of another node has is refused, at once."""
    async with two() as (network, runner, _):
        with pytest.raises(DuplicateWorkerError, match="taken on node 'right'"):
            await runner.add_workers(Hand())
        with pytest.raises(DuplicateWorkerError, match="taken on node 'right'"):
            WorkerRunner(name="R", bus=network.bus("third"))


@explore(max_examples=3)
async def test_one_runner_for_each_node() -> None:
    """A node has one runner at a time."""
    async with SimNetwork() as network:
        async with open_runner(bus=network.bus("left")):
            with pytest.raises(ValueError, match="give each runner a node of its own"):
                WorkerRunner(bus=network.bus("left"))
        async with open_runner(Hand(), bus=network.bus("left")), open_runner(bus=network.bus("right")) as other:
            await other.registry.wait_ready("hand")


@explore(max_examples=8)
async def test_a_name_may_move() -> None:
    """When a worker has left, another node may have one of that name at once, however stale what others know."""
    async with two() as (network, runner, other), open_runner(bus=network.bus("third")) as third:
        await third.registry.wait_ready("hand")
        await other.end_workers("hand")
        await runner.add_workers(Hand())
        await trio.sleep(1)
        for node in (other, third):
            assert node.registry.remote_workers == ["hand"]
            assert await ask(node) == {"sum": 3}
        assert runner.registry.local_workers == ["hand"]
        assert await ask(runner) == {"sum": 3}


@explore(max_examples=8)
async def test_a_name_may_move_before_the_news() -> None:
    """News of a worker that comes after another node has one of that name is not taken for it, and does not undo what is known."""
    async with two(right=[]) as (network, runner, other), open_runner(bus=network.bus("third")) as third:
        await other.add_workers(Hand())
        await other.end_workers("hand")
        await runner.add_workers(Hand())
        await trio.sleep(2)
        assert (runner.registry.local_workers, runner.registry.remote_workers) == (["hand"], [])
        assert (other.registry.remote_workers, third.registry.remote_workers) == (["hand"], ["hand"])
        assert await ask(third) == {"sum": 3}


@explore(max_examples=8)
async def test_a_name_may_move_before_it_is_missed() -> None:
    """Whoever still knows a worker where it was, and hears where it is now, knows it there."""
    cut = Partition(1, 1, cut=("right", "third"))
    async with two(cut, detection=10) as (network, runner, other), open_runner(bus=network.bus("third")) as third:
        await third.registry.wait_ready("hand")
        await trio.sleep(1.2)
        await other.end_workers("hand")
        await runner.add_workers(Hand())
        for _ in range(3):
            await trio.sleep(0.3)
            assert third.registry.remote_workers == ["hand"]
            assert await ask(third) == {"sum": 3}
        assert network.struck == (cut,)


@explore(max_examples=3)
async def test_a_runner_may_be_followed_by_another() -> None:
    """A node's next runner may have workers of the same names, even if nobody could hear that the first one has ended."""
    cut = Partition(1, 2, cut="left")
    async with SimNetwork(FaultPlan(cut), detection=10) as network, open_runner(bus=network.bus("right")) as runner:
        async with open_runner(Hand(), bus=network.bus("left"), name="first"):
            await trio.sleep(2)
        async with open_runner(Hand(), bus=network.bus("left"), name="second"):
            await trio.sleep(2)
            assert runner.registry.remote_workers == ["hand"]
            assert await ask(runner) == {"sum": 3}


@explore(max_examples=3)
async def test_a_message_for_nobody() -> None:
    """A message for a name that no node has is a dead letter."""
    async with two() as (network, runner, _):
        runner.bus.post(News(source="L", target="nobody"))
        assert runner.bus.statistics().dead_letters == 1
        assert not [line for line in network.log if line.number is not None]


@explore(max_examples=8)
async def test_whoever_is_gone_when_a_request_arrives() -> None:
    """A request that arrives when its target has gone is answered with an ERROR, at once."""
    async with two(latency=0.5) as (_, runner, other), trio.open_nursery() as nursery:
        begin = trio.current_time()
        nursery.start_soon(other.end_workers, "hand")
        error = await ask(runner)
        assert (error.status.value, round(trio.current_time() - begin, 1)) == ("error", 1.0)
        assert "no worker 'hand' here" in str(error)


# -- what cannot be sent -------------------------------------------------------------------------------------------------


@explore(max_examples=3)
async def test_what_cannot_be_sent() -> None:
    """What bytes cannot hold is an error where it is sent; an answer that cannot be sent is an ERROR that says so."""
    async with two(left=[Hand("here")]) as (_, runner, _other):
        with pytest.raises(WireError, match=r"payload\['x'\]"):
            await ask(runner, payload={"x": object()})
        error = await ask(runner, "odd")
        assert (error.status.value, error.reason.split(":")[0]) == ("error", "WireError")
        assert "cannot be sent" in error.reason
        assert await ask(runner) == {"sum": 3}
        assert await ask(runner, "odd", "here") != {}


@explore(max_examples=3)
async def test_messages_of_your_own_must_be_in_the_table() -> None:
    """A message of a class that the network was not told of cannot leave its node, but may go round there."""
    hand = Hand(active=False)
    async with SimNetwork() as network, open_runner(hand, bus=network.bus("left")):
        hand.bus.post(News(source="hand", text="here"))
        network.bus("right")
        with pytest.raises(WireError, match="not in the table"):
            hand.bus.post(News(source="hand", text="there"))
        await trio.sleep(1)
        assert hand.log == [("hand", "here"), ("hand", "there")]


# -- crashes -------------------------------------------------------------------------------------------------------------


@explore(max_examples=8)
async def test_a_crash_is_told_to_those_who_wait() -> None:
    """When a node crashes, whoever waits for a job there has an ERROR that names it, once that is detected; its workers are lost."""
    watcher = Hand("watcher", active=False)
    crash = Crash(2, "right")
    async with two(crash, left=[watcher], detection=0.5) as (network, runner, _):
        await watcher.watch_workers("hand")
        error = await ask(runner, "stay")
        assert (error.status.value, round(trio.current_time(), 1)) == ("error", 2.5)
        assert "node 'right' is lost" in error.reason
        assert runner.registry.remote_workers == []
        await trio.sleep(1)
        assert watcher.log == [("ready", "hand", "R"), ("lost", "hand", "R")]
        assert network.struck == (crash,)
        assert await runner_says(runner, "hand") == "not ready within timeout"


async def runner_says(runner: WorkerRunner, name: str) -> str | None:
    """Why a job cannot be had."""
    error = await ask(runner, whom=name, timeout=1)
    assert isinstance(error, JobError)
    return error.reason


@explore(max_examples=8)
async def test_a_crash_cancels_what_the_dead_have_asked_for() -> None:
    """When a node is lost, jobs that its workers had asked for are cancelled elsewhere."""
    hand = Hand()
    async with two(Crash(2, "left"), right=[hand], detection=0.5) as (_, runner, other):
        error = await ask(runner, "stay")
        assert (error.reason, round(trio.current_time(), 1)) == ("node 'left' has crashed", 2.0)
        await trio.sleep(1)
        assert hand.log[-1] == ("left", 2.5)
        assert not hand.active_jobs
        assert other.registry.remote_workers == []


@explore(max_examples=8)
async def test_nothing_leaves_a_node_that_has_crashed() -> None:
    """From its crash on, nothing that a node's workers still do in their clean-up gets out, and whoever asks there is refused."""
    said: Log = []

    class Talker(Hand):
        async def on_activated(self, args: dict[str, Any] | None) -> None:
            try:
                await trio.sleep_forever()
            finally:
                self.bus.post(News(source=self.name, text="farewell"))
                said.append(round(trio.current_time(), 1))

    listener = Hand("listener", active=False)
    async with two(Crash(2, "right"), left=[listener], right=[Talker()]) as (network, _, other):
        await trio.sleep(5)
        assert said == [2.0]
        assert listener.log == []
        assert "(dead)" in repr(other.bus)
        assert not [line for line in network.log if line.number is not None]


async def serve(bus: Any, log: Log | None = None) -> None:
    """A node's program: a hand, for ever."""
    async with open_runner(Hand(log=log, active=False), bus=bus, name="R"):
        await trio.sleep_forever()


@asynccontextmanager
async def hosted(*faults: Any, log: Log | None = None, **how: Any) -> AsyncIterator[tuple[SimNetwork, WorkerRunner]]:
    """A runner on the left, and a hosted node on the right."""
    async with SimNetwork(FaultPlan(*faults), **how) as network, trio.open_nursery() as nursery:
        nursery.start_soon(network.host, "right", partial(serve, log=log))
        async with open_runner(bus=network.bus("left"), name="L") as runner:
            await runner.registry.wait_ready("hand")
            yield network, runner
        nursery.cancel_scope.cancel()


@explore(max_examples=8)
async def test_a_node_comes_back() -> None:
    """A hosted node that has crashed is there again when it is up, with new workers that can be asked."""
    async with hosted(Crash(2, "right", down=3)) as (network, runner):
        first = network.bus("right")
        error = await ask(runner, "stay")
        assert error.reason.startswith("node 'right' is lost")
        with pytest.raises(RuntimeError, match="'right' is down"):
            network.bus("right")
        assert await ask(runner, timeout=10) == {"sum": 3}
        assert 5.0 <= trio.current_time() < 5.1
        assert network.bus("right") is not first


@explore(max_examples=8)
async def test_a_node_may_be_back_before_it_is_missed() -> None:
    """A node that is up again before anybody has noticed is a new one all the same: who waits for the old one is told."""
    async with hosted(Crash(2, "right", down=0.1), detection=math.inf) as (_, runner):
        error = await ask(runner, "stay")
        assert (error.reason, round(trio.current_time(), 1)) == ("node 'right' has crashed, and is up again", 2.1)
        assert await ask(runner) == {"sum": 3}


@explore(max_examples=8)
async def test_old_messages_do_not_reach_a_new_node() -> None:
    """What was on its way when a node went down is not taken by the one that comes back."""
    log: Log = []
    async with hosted(Crash(2, "right", down=0.5), Delay(0, by=3), log=log) as (network, runner):
        await trio.sleep(1)
        with pytest.raises(JobError):
            async with runner.job("hand", name="add", payload={"numbers": []}):
                pass
        await trio.sleep(5)
        assert log == []
        assert [line.why for line in network.log if line.number == 0 and line.event == "lost"] == ["too late"]


@explore(max_examples=3)
async def test_a_crash_of_nobody() -> None:
    """The crash of a node that is not there does nothing; nor does that of one that is down already, or has no runner."""
    never, once, twice = Crash(1, "nowhere"), Crash(1, "right", down=10), Crash(2, "right", down=1)
    async with SimNetwork(FaultPlan(never, once, twice)) as network:
        network.bus("right")
        await trio.sleep(5)
        assert network.struck == (once,)


@explore(max_examples=3)
async def test_messages_for_an_empty_node() -> None:
    """What arrives at a node that is up again, but on which nobody has begun anew, is lost."""
    async with two(Crash(2, "right", down=0.1), detection=10) as (network, runner, _):
        await trio.sleep(3)
        error = await ask(runner, timeout=1, cancel_grace=1)
        assert error.reason == "timeout"
        assert {line.why for line in network.log if line.number is not None and line.event == "lost"} == {"nobody is there"}


@explore(max_examples=8)
async def test_both_may_crash() -> None:
    """Two nodes that crash in turn find each other again."""
    async with SimNetwork(FaultPlan(Crash(1, "left", 1), Crash(1.5, "right", 3))) as network, trio.open_nursery() as nursery:
        answers: Log = []

        async def asker(bus: Any) -> None:
            async with open_runner(bus=bus, name="L") as runner:
                await trio.sleep(0.5)
                answers.append((await ask(runner, timeout=20), round(trio.current_time(), 1)))
                await trio.sleep_forever()

        nursery.start_soon(network.host, "left", asker)
        nursery.start_soon(network.host, "right", serve)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
    assert answers == [({"sum": 3}, 0.5), ({"sum": 3}, 4.5)]


# -- cuts ----------------------------------------------------------------------------------------------------------------


@explore(max_examples=8)
async def test_a_short_cut_is_not_noticed() -> None:
    """Nodes that are cut off for less than the detection takes do not lose each other, and hear what they have missed."""
    cut = Partition(1, 0.5, cut="right")
    async with two(cut) as (network, runner, other), trio.open_nursery() as nursery:
        nursery.start_soon(ask, runner, "stay")
        await trio.sleep(1.2)
        await other.add_workers(Hand("new"))
        await trio.sleep(1)
        assert runner.registry.remote_workers == ["hand", "new"]
        assert network.struck == (cut,)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("one_way", [False, True])
def test_a_long_cut_is_noticed(one_way: bool) -> None:
    """Nodes that are cut off for long take each other for lost, even if one of them could still be heard; then they meet again."""

    async def program() -> None:
        hand = Hand()
        cut = Partition(1, 3, cut=("right", "left"), one_way=one_way)
        async with two(cut, right=[hand]) as (network, runner, other):
            error = await ask(runner, "stay")
            assert round(trio.current_time(), 1) == 2.0
            assert "node 'right' is lost: nothing got through for 1 s" in error.reason
            assert hand.log[-1] == ("left", 2.0)
            assert (runner.registry.remote_workers, other.registry.remote_workers) == ([], [])
            assert await ask(runner, timeout=10) == {"sum": 3}
            assert 4.0 <= trio.current_time() < 4.1
            assert network.struck == (cut,)

    run(program)


@explore(max_examples=8)
async def test_a_broadcast_does_not_wait_for_the_lost() -> None:
    """A broadcast is not sent to nodes that are lost, and reaches the others."""
    logs: list[Log] = [[], []]
    left, right = (Hand(name, log=log, active=False) for name, log in zip("ab", logs, strict=True))
    async with two(Partition(1, 10, cut="third"), left=[left], right=[right]) as (network, runner, _):
        network.bus("third")
        await trio.sleep(3)
        runner.bus.post(News(source="L", text="hello"))
        await trio.sleep(1)
        assert logs == [[("L", "hello")], [("L", "hello")]]
        assert [line.receiver for line in network.log if line.event == "sent"] == ["right"]


@explore(max_examples=3)
async def test_a_node_that_comes_during_a_cut() -> None:
    """A node that begins while it is cut off is met when it no longer is."""
    async with two(Partition(1, 3, cut="third")) as (network, runner, _):
        await trio.sleep(2)
        async with open_runner(Hand("new"), bus=network.bus("third")) as third:
            await trio.sleep(1.5)
            assert (third.registry.remote_workers, "new" in runner.registry) == ([], False)
            await trio.sleep(1)
            assert (third.registry.remote_workers, "new" in runner.registry) == (["hand"], True)


# -- what is lost on the way ---------------------------------------------------------------------------------------------

SMALL: dict[str, dict[str, Any]] = {"add": {"numbers": [1]}, "count": {"to": 3}, "stay": {}}


async def asking(plan: FaultPlan, name: str, grace: float | None) -> SimNetwork:
    """One job with a timeout."""
    async with two(*plan.faults) as (network, runner, _):
        with trio.fail_after(10):
            await ask(runner, name, payload=SMALL[name], timeout=5, cancel_grace=grace)
    return network


async def requesting(plan: FaultPlan, name: str, grace: float | None) -> SimNetwork:
    """One request without a block, with a timeout, of which hooks tell; and the end of everything."""
    ended: Log = []
    del grace

    class Asker(BaseWorker):
        async def on_job_completed(self, result: Any) -> None:
            ended.append("completed")

        async def on_job_error(self, message: BusJobResponseMessage) -> None:
            ended.append(message.reason)

    asker = Asker("asker")
    async with two(*plan.faults, left=[asker]) as (network, _, _other):
        await asker.request_job("hand", name=name, payload=SMALL[name], timeout=5)
        await trio.sleep(10)
        assert len(ended) == 1
    return network


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("program", "grace"), [(asking, 1.0), (asking, None), (requesting, None)])
def test_no_single_loss_hangs_a_request(name: str, program: Any, grace: float | None) -> None:
    """Whichever one message of a job is lost: with a timeout, the request ends, its block is left, and its runner ends."""
    number = 0
    while (network := simulate(program, FaultPlan(Drop(number)), name, grace).unwrap()).struck:
        number += 1
    assert number == len({line.number for line in network.log} - {None})
    assert number >= 2


@explore(max_examples=8)
async def test_a_lost_cancel_is_said_again() -> None:
    """A cancel that is lost is said again until it is answered."""
    hand = Hand()
    async with two(DropJob(0, "there"), Delay(0, by=0), right=[hand]) as (network, runner, _):
        error = await ask(runner, "stay", timeout=1)
        assert error.reason == "timeout"
        assert 2.0 <= trio.current_time() < 2.2
        assert hand.log[-1:] != ["left"]
        assert [line.what.split()[0] for line in network.log if line.event == "lost"] == ["JobRequest", "JobCancel"]
        await trio.sleep(10)
        assert sum(line.what.startswith("JobCancel") and line.event == "arrived" for line in network.log) == 1


@explore(max_examples=8)
async def test_a_cancel_may_overtake_its_request() -> None:
    """A request that comes after its cancel is not done."""
    hand = Hand()
    late = Delay(0, by=3)
    async with two(late, right=[hand]) as (network, runner, _):
        error = await ask(runner, timeout=1)
        assert (error.reason, round(trio.current_time(), 1)) == ("timeout", 1.0)
        await trio.sleep(5)
        assert network.struck == (late,)
        assert not [entry for entry in hand.log if entry[0] == "add"]


@explore(max_examples=3)
async def test_a_cancel_for_somebody_who_is_gone() -> None:
    """A cancel for a worker that has gone, and whose last answers are lost, is answered for it."""
    lost = DropJob(0, "back")
    async with two(lost) as (network, runner, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(ask, runner, "stay", timeout=3))
            await trio.sleep(1)
            other.cancel_nowait("for a test")
        assert round(trio.current_time(), 1) == 3.0
        assert network.struck == (lost,)


@explore(max_examples=3)
async def test_a_doubled_request_runs_twice() -> None:
    """A network that doubles a request whose answer is out makes it run a second time: that is what plans are for."""
    hand = Hand()
    async with two(Duplicate(0, after=1), right=[hand]) as (_, runner, _other):
        assert await ask(runner) == {"sum": 3}
        await trio.sleep(3)
        assert [entry for entry in hand.log if entry[0] == "add"] == [("add", [1, 2])] * 2


async def both_ask(plan: FaultPlan, ended: Log) -> SimNetwork:
    """Two hosted nodes that ask each other for all kinds of jobs, in all kinds of ways, with timeouts."""

    class Asker(Hand):
        async def on_activated(self, args: dict[str, Any] | None) -> None:
            other = "b" if self.name == "a" else "a"
            with suppress(JobError):
                await self.request_job(other, name="add", payload=SMALL["add"], timeout=2)
            for name, payload in SMALL.items():
                with suppress(JobError):
                    async with self.job(other, name=name, payload=payload, timeout=0.5):
                        pass
                ended.append((self.name, name))

    async def live(name: str, bus: Any) -> None:
        async with open_runner(Asker(name), bus=bus, shutdown_timeout=1):
            await trio.sleep(15)

    async with SimNetwork(plan) as network, trio.open_nursery() as nursery:
        for node, name in (("left", "a"), ("right", "b")):
            nursery.start_soon(network.host, node, partial(live, name))
    return network


@settings(steady, max_examples=60)
@given(plan=fault_plans("left", "right"), seed=st.integers(0, 2**16))
def test_with_a_timeout_everything_ends(plan: FaultPlan, seed: int) -> None:
    """Whatever goes wrong, under any schedule: requests with a timeout end, their blocks are left, and the runners end."""
    ended: Log = []
    network = simulate(both_ask, plan, ended, seed=seed, detail=False).unwrap()
    if not any(isinstance(fault, Crash) for fault in network.struck):
        assert sorted(ended) == [(who, name) for who in "ab" for name in SMALL]


def test_the_same_seed_gives_the_same_run() -> None:
    """A run over a network can be repeated, to the last message and moment."""
    plan = FaultPlan(Crash(0.5, "right", down=1), Slow(1, 2, cut="left", by=0.1), Drop(3))
    results = [simulate(both_ask, plan, [], seed=7) for _ in range(2)]
    assert results[0].footprint() == results[1].footprint()
    assert results[0].unwrap().log == results[1].unwrap().log
    assert results[0].unwrap().struck == plan.faults


# -- the network itself --------------------------------------------------------------------------------------------------


@explore(max_examples=3)
async def test_a_network_has_to_be_open() -> None:
    """A network has buses while it is open, and is opened once."""
    network = SimNetwork()
    with pytest.raises(RuntimeError, match="while it is open"):
        network.bus("left")
    async with network:
        assert network.bus("left") is network.bus("left")
        assert repr(network.bus("left")) == "<SimBus 'left'>"
        with pytest.raises(RuntimeError, match="opened once"):
            await network.__aenter__()
    with pytest.raises(RuntimeError, match="while it is open"):
        network.bus("left")
    with pytest.raises(RuntimeError, match="opened once"):
        await network.__aenter__()


@explore(max_examples=3)
async def test_when_a_network_closes() -> None:
    """When a network is closed, those who still wait for a job on it are told."""
    runner: Any = None
    async with trio.open_nursery() as nursery:
        async with SimNetwork() as network:
            nursery.start_soon(network_life, network.bus("right"))
            runner = WorkerRunner(bus=network.bus("left"), handle_sigint=False, handle_sigterm=False)
            await nursery.start(partial(runner.run, auto_end=False))
            answers: Log = []

            async def wait() -> None:
                answers.append(await ask(runner, "stay"))

            nursery.start_soon(wait)
            await trio.sleep(1)
        await trio.sleep(1)
        assert [error.reason for error in answers] == ["the network is closed"]
        nursery.cancel_scope.cancel()


@explore(max_examples=3)
async def test_what_an_arrival_breaks() -> None:
    """An error in the middle of an arrival, of a watch for instance, comes out of the network's block: nothing is swallowed."""

    def fail(data: Any) -> None:
        raise KeyError(data.worker_name)

    async def program() -> None:
        async with two(right=[]) as (_, runner, other):
            runner.registry.watch("hand", fail)
            await other.add_workers(Hand())
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await program()
    assert [str(error) for error in leaves(caught.value)] == ["'hand'"]


async def network_life(bus: Any) -> None:
    """A hand, for ever."""
    await serve(bus)


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"latency": -1}, ValueError),
        ({"latency": "fast"}, TypeError),
        ({"detection": math.nan}, ValueError),
        ({"types": {"bad": LocalBus}}, TypeError),
    ],
)
def test_wrong_settings_are_refused(how: dict[str, Any], error: type[Exception]) -> None:
    """Wrong settings are an error where they are given."""
    with pytest.raises(error):
        SimNetwork(**how)


@explore(max_examples=3)
async def test_mailboxes_may_be_bounded() -> None:
    """Each node's bus has the mailbox capacity that the network was given."""
    with pytest.raises(ValueError, match="mailbox_capacity"):
        async with SimNetwork(mailbox_capacity=0) as network:
            network.bus("left")


@settings(steady, max_examples=40)
@given(
    sends=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from([0.0, 0.0, 0.01])), max_size=12),
    seed=st.integers(0, 2**16),
)
def test_order_and_number_without_faults(sends: list[tuple[str, str, float]], seed: int) -> None:
    """Whoever sends what to whom when, under any schedule: each receives what each other has sent, once, in that order."""

    async def program() -> list[Log]:
        hands = [Hand(name, active=False) for name in "abc"]
        async with SimNetwork(types=TYPES) as network, AsyncExitStack() as stack:
            for hand in hands:
                runner = await stack.enter_async_context(open_runner(hand, bus=network.bus(f"node {hand.name}")))
                await runner.registry.wait_ready("a")
            await trio.sleep(1)
            for number, (source, target, pause) in enumerate(sends):
                await hands["abc".index(source)].send_bus_message(News(source=source, target=target, text=str(number)))
                await trio.sleep(pause)
            await trio.sleep(1)
        return [hand.log for hand in hands]

    logs = simulate(program, seed=seed, detail=False).unwrap()
    for target, log in zip("abc", logs, strict=True):
        for source in "abc":
            texts = [text for who, text in log if who == source]
            assert texts == [str(number) for number, send in enumerate(sends) if send[:2] == (source, target)]
