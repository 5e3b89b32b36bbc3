"""Small programs, one for each part of the house, each under many schedules."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import trio
import trio.testing
from property.profiles import PROFILE

from trioworkers import (
    BaseWorker,
    BusDataMessage,
    BusJobRequestMessage,
    BusSystemMessage,
    JobError,
    JobGroupError,
    WorkerRunner,
    WorkerStateError,
    handles,
    job,
    open_runner,
)
from trioworkers.testing import explore

EXAMPLES = {"dev": 20, "ci": 100, "nightly": 5000}[PROFILE]
WINDOW = 64
PIECES = 70
step = trio.lowlevel.checkpoint


@attrs.frozen(kw_only=True)
class Letter(BusDataMessage):
    """Has a number."""

    number: int


@attrs.frozen(kw_only=True)
class Telegram(BusSystemMessage):
    """Has a number, and goes first."""

    number: int


class Reader(BaseWorker):
    """Writes down what it reads, slowly."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.read: list[tuple[str, str, int]] = []

    @handles(Letter)
    async def letter(self, message: Letter) -> None:
        """Read it."""
        self.read.append(("letter", message.source, message.number))
        await step()

    @handles(Telegram)
    async def telegram(self, message: Telegram) -> None:
        """Read it."""
        self.read.append(("telegram", message.source, message.number))
        await step()


@explore(max_examples=EXAMPLES)
async def test_bus() -> None:
    """B1, B3: whoever sends at the same time, each sender's messages of a kind come to their receiver in order, each once."""
    readers = Reader("ann"), Reader("bob")

    async def write(name: str) -> None:
        for number in range(4):
            for reader in readers:
                await runner.bus.send(Letter(source=name, target=reader.name, number=number))
                await runner.bus.send(Telegram(source=name, target=reader.name, number=number))

    async with open_runner(*readers) as runner, trio.open_nursery() as nursery:
        for name in "xy":
            nursery.start_soon(write, name)
    for reader in readers:
        for kind in ("letter", "telegram"):
            for name in "xy":
                assert [number for what, source, number in reader.read if (what, source) == (kind, name)] == [0, 1, 2, 3]
        assert len(reader.read) == 16


class Doer(BaseWorker):
    """Does jobs of all kinds, and knows which it is in."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.inside: dict[str, str | None] = {}
        self.sent: Counter[str] = Counter()

    @contextmanager
    def doing(self, message: BusJobRequestMessage) -> Iterator[None]:
        """Be in a job."""
        self.inside[message.job_id] = message.job_name
        try:
            yield
        finally:
            del self.inside[message.job_id]

    @job
    async def nap(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Sleep, and answer; when cancelled, take a moment."""
        with self.doing(message):
            try:
                await trio.sleep(message.payload["for"])
            finally:
                with trio.CancelScope(shield=True):
                    await step()
        return {"slept": message.payload["for"]}

    @job(sequential=True)
    async def queue(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """The same, alone."""
        assert "queue" not in self.inside.values()
        return await self.nap(message)

    @job
    async def fail(self, message: BusJobRequestMessage) -> None:
        """Raise."""
        await step()
        raise LookupError(message.payload["for"])

    @job
    async def count(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, int]]:
        """Send numbers."""
        with self.doing(message):
            for number in range(message.payload["to"]):
                self.sent[message.job_id] += 1
                yield {"number": number}


@explore(max_examples=EXAMPLES)
async def test_jobs() -> None:
    """J1, J2, J5, J7: a job that races with its timeout ends once, in one way, and when its block is left it does not run."""
    doer = Doer("doer")
    ends: list[tuple[str, str]] = []

    async def ask(name: str, seconds: float, timeout: float) -> None:
        asked = runner.job("doer", name=name, payload={"for": seconds}, timeout=timeout)
        try:
            async with asked:
                pass
            assert asked.response == {"slept": seconds}
            ends.append((name, "done"))
        except JobError as error:
            ends.append((name, f"{error.status}"))
        assert asked.job_id not in doer.inside

    async with open_runner(doer) as runner:
        async with trio.open_nursery() as nursery:
            for name, seconds, timeout in (("nap", 1, 1), ("queue", 1, 1), ("queue", 0.5, 2), ("fail", 0, 1), ("nap", 0, 1)):
                nursery.start_soon(ask, name, seconds, timeout)
        assert not doer.active_jobs
    assert sorted(name for name, _ in ends) == ["fail", "nap", "nap", "queue", "queue"]
    assert ("fail", "error") in ends
    assert {end for name, end in ends if name != "fail"} <= {"done", "cancelled"}
    assert {("nap", "done"), ("queue", "done")} <= {*ends}


@explore(max_examples=EXAMPLES)
async def test_streams() -> None:
    """J2, J3, J6: a stream is seen in order without a gap, its producer is never more than a window ahead, and stops when left."""
    doer = Doer("doer")

    async def read(upto: int) -> None:
        seen: list[int] = []
        async with runner.job("doer", name="count", payload={"to": PIECES}) as events:
            async for event in events:
                if event.data is not None and "number" in event.data:
                    seen.append(event.data["number"])
                assert doer.sent[events.job_id] - len(seen) <= WINDOW + 1
                if len(seen) == upto:
                    break
        assert seen == [*range(min(upto, PIECES))]
        assert events.job_id not in doer.inside

    async with open_runner(doer) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(read, 3)
        nursery.start_soon(read, PIECES + 1)
    assert max(doer.sent.values()) == PIECES


@explore(max_examples=EXAMPLES)
async def test_groups() -> None:
    """J1, J2: a group of which one goes fails, tells of everybody, and leaves nobody at work; or all were done before."""
    names = "fast", "slow", "slower"
    doers = [Doer(name) for name in names]
    told: list[set[str]] = []

    async def stop_soon() -> None:
        await trio.sleep(1)
        await doers[2].stop()

    async def ask() -> None:
        group = runner.job_group(*names, name="nap", payload={"for": 1}, timeout=3)
        try:
            async with group:
                pass
            told.append({*group.responses})
        except JobGroupError as error:
            told.append({*error.responses, *error.errors})
        assert not any(doer.inside for doer in doers)

    async with open_runner(*doers) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(stop_soon)
        nursery.start_soon(ask)
    assert told == [{*names}]


class Player(BaseWorker):
    """Hands over as soon as it is active."""

    def __init__(self, name: str, other: str, stage: list[str]) -> None:
        super().__init__(name, active=False)
        self.other = other
        self.stage = stage

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Play, and hand over."""
        self.stage.append(f"+{self.name}")
        await step()
        if len(self.stage) < 12:
            await self.activate_worker(self.other, deactivate_self=True)

    async def on_deactivated(self) -> None:
        """Go."""
        self.stage.append(f"-{self.name}")
        await step()


@explore(max_examples=EXAMPLES)
async def test_activation() -> None:
    """L3: of two workers that hand over to each other never both are active, and the hooks of each come in turn."""
    stage: list[str] = []
    players = Player("ann", "bob", stage), Player("bob", "ann", stage)

    async def look() -> None:
        for _ in range(60):
            assert not all(player.active for player in players)
            await step()

    async with open_runner(*players), trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await players[0].activate_worker("ann")
        await trio.testing.wait_all_tasks_blocked()
    for player in players:
        own = [what[0] for what in stage if what[1:] == player.name]
        assert own == [*"+-" * len(own)][: len(own)]
    assert len(stage) >= 12


class Parent(BaseWorker):
    """Has children, of which the last one comes late, and asks them."""

    def __init__(self, name: str, gone: list[str]) -> None:
        super().__init__(name)
        self.gone = gone
        self.answers: list[object] = []

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Children, and a job for each, until the end is near."""
        with suppress(WorkerStateError):
            while True:
                child = Child(f"child{len(self.answers)}", self.gone)
                await self.add_workers(child)
                async with self.job(child.name, name="work") as asked:
                    pass
                self.answers.append(asked.response)

    async def run(self, *args: Any, **options: Any) -> None:
        """Say when it is over."""
        try:
            await super().run(*args, **options)
        finally:
            self.gone.append(self.name)


class Child(BaseWorker):
    """Works for a while."""

    def __init__(self, name: str, gone: list[str]) -> None:
        super().__init__(name)
        self.gone = gone

    @job
    async def work(self, message: BusJobRequestMessage) -> dict[str, str]:
        """Take a moment."""
        await trio.sleep(0.5)
        return {"done": self.name}

    async def run(self, *args: Any, **options: Any) -> None:
        """Say when it is over."""
        try:
            await super().run(*args, **options)
        finally:
            self.gone.append(self.name)


@explore(max_examples=EXAMPLES)
async def test_shutdown() -> None:
    """L1, L6, C1: an end that comes at any moment lets accepted jobs be done, ends children before their parents, and is in time."""
    gone: list[str] = []
    parent = Parent("parent", gone)
    runner = WorkerRunner(handle_sigint=False, handle_sigterm=False, shutdown_timeout=2)
    await runner.add_workers(parent)

    async def end() -> None:
        await trio.sleep(0.75)
        await runner.end("enough")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        await runner.run()
    assert trio.current_time() <= 3
    assert gone[-1] == "parent"
    assert len(gone) == len({*gone}) >= 2
    assert parent.answers == [{"done": f"child{number}"} for number in range(len(parent.answers))]
    assert len(parent.answers) >= 1
