"""Runners on one server that come, go, hang, crash and are cut off; what they do for each other, and what must be true of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import attrs
import trio
from memory_bus import MemoryBus, Server

from trioworkers import (
    BaseWorker,
    BusConnectionError,
    BusDataMessage,
    BusJobRequestMessage,
    BusResetError,
    BusSystemMessage,
    DuplicateWorkerError,
    JobError,
    JobGroupError,
    Observer,
    PeerDownError,
    UnknownWorkerError,
    WorkerRunner,
    WorkerStateError,
    handles,
    job,
    open_runner,
)
from trioworkers.testing import Handle, World
from trioworkers.types import JobOutcome

LONG = 40.0
"""After so many seconds without a fault everything has settled."""

FOR_EVER = 1000.0
"""Jobs that take so long end only because somebody gives them up, or is lost."""

Reading = tuple[str, int, int]
"""Who has read, which process it is from, in which lane."""


@attrs.frozen(kw_only=True)
class Letter(BusDataMessage):
    """Has a number, and knows which process it is from."""

    process: int
    number: int


@attrs.frozen(kw_only=True)
class Telegram(BusSystemMessage):
    """The same, urgent."""

    process: int
    number: int


class Citizen(BaseWorker):
    """Does jobs, reads letters, and has a child that is called like everybody's child."""

    def __init__(self, name: str, process: Process) -> None:
        super().__init__(name)
        self.process = process

    @job
    async def work(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Take a nap; say where."""
        with self.process.doing(message):
            await trio.sleep(message.payload["nap"])
            return {"at": self.process.number}

    @job
    async def count(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """Count, with naps."""
        with self.process.doing(message):
            for number in range(message.payload["to"]):
                yield {"n": number}
                if number % 20 == 19:
                    await trio.sleep(message.payload["nap"])

    @job
    async def pass_on(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Have one's own child do it."""
        with self.process.doing(message):
            async with self.job("kid", name="work", payload=message.payload) as asked:
                pass
            return asked.response

    @handles(Letter)
    async def letter(self, message: Letter) -> None:
        """Read."""
        self.process.read(self.name, 1, message.process, message.number)

    @handles(Telegram)
    async def telegram(self, message: Telegram) -> None:
        """Read."""
        self.process.read(self.name, 0, message.process, message.number)


class Auditor(Observer):
    """Counts how often each request was decided, and how often somebody was lost."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.decided: Counter[tuple[str, str]] = Counter()
        self.losses = 0

    def job_asked(self, asker: str, job_id: str, names: tuple[str, ...], /) -> None:
        """Count it."""
        self.asked.update((job_id, name) for name in names)

    def job_decided(self, asker: str, job_id: str, worker: str, outcome: JobOutcome, /) -> None:
        """Count it."""
        self.decided[job_id, worker] += 1

    def peer_lost(self, incarnation: str, reason: str, /) -> None:
        """Count it."""
        self.losses += 1


@attrs.define(eq=False)
class Process:
    """One runner, from its beginning to its end.

    Args:
        number: Which one; never again.
        slot: Its runner's name says which.
        province: Where.
        bus: Its bus.
    """

    number: int
    slot: int
    province: Province
    bus: MemoryBus
    leaving: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    handle: Handle[None] | None = None
    runner: WorkerRunner | None = None
    is_killed: bool = False
    sent: int = 0
    running: Counter[str] = attrs.field(factory=Counter)
    readings: dict[Reading, list[int]] = attrs.field(factory=dict)

    @property
    def name(self) -> str:
        """Its root's name."""
        return f"w{self.slot}"

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.handle is not None and self.handle.done

    @property
    def is_there(self) -> bool:
        """Whether it can be asked to do something."""
        return self.runner is not None and not self.is_over and not self.is_killed

    async def live(self) -> None:
        """Be there until it is to leave, or is killed."""
        citizen, kid = Citizen(self.name, self), Citizen("kid", self)
        await citizen.add_workers(kid)
        with self.scope:
            try:
                async with open_runner(
                    citizen, name=f"r{self.slot}", bus=self.bus, observers=[self.province.auditor], shutdown_timeout=10
                ) as self.runner:
                    await self.leaving.wait()
            except (BusConnectionError, DuplicateWorkerError):
                assert self.runner is None
                self.province.tally["refused"] += 1

    def doing(self, message: BusJobRequestMessage) -> Doing:
        """While a handler runs."""
        return Doing(self, f"{message.job_id}@{message.target}")

    def read(self, name: str, lane: int, process: int, number: int) -> None:
        """B1: in order, each once."""
        readings = self.readings.setdefault((name, process, lane), [])
        assert not readings or readings[-1] < number, f"{name} of process {self.number} read {readings} and then {number}"
        readings.append(number)
        self.province.tally["read"] += 1


@attrs.define
class Doing:
    """Marks that a handler runs."""

    process: Process
    job: str

    def __enter__(self) -> None:
        """It begins."""
        self.process.running[self.job] += 1
        assert self.process.running[self.job] == 1, "one request was accepted twice"

    def __exit__(self, *_: object) -> None:
        """It ends."""
        del self.process.running[self.job]


@attrs.define(eq=False)
class Province:
    """All of it.

    Args:
        world: Where it happens.
    """

    world: World
    server: Server = attrs.field(factory=Server)
    auditor: Auditor = attrs.field(factory=Auditor)
    processes: list[Process] = attrs.field(factory=list)
    clients: list[Handle[None]] = attrs.field(factory=list)
    patient: list[Handle[None]] = attrs.field(factory=list)
    tally: Counter[str] = attrs.field(factory=Counter)

    # -- who is there ------------------------------------------------------------------------------------------------------

    def at(self, slot: int) -> Process | None:
        """The present process of that slot, if there is one."""
        last = next((process for process in reversed(self.processes) if process.slot == slot), None)
        return None if last is None or last.is_over or last.is_killed else last

    def join(self, slot: int, window: int) -> None:
        """A process begins, if the slot is free."""
        if self.at(slot) is None:
            bus = MemoryBus(self.server, types={"letter": Letter, "telegram": Telegram}, window=window, mailbox_capacity=20)
            process = Process(len(self.processes), slot, self, bus)
            self.processes.append(process)
            process.handle = self.world.spawn(process.live, name=f"process:{process.number}")
            self.tally["join"] += 1

    def kill(self, process: Process) -> None:
        """Nothing of it is heard of any more."""
        process.is_killed = True
        process.bus.way.cut()
        process.bus.way.resume()  # or what is left of it in this process would never find out
        process.scope.cancel()

    # -- what they do ------------------------------------------------------------------------------------------------------

    def write(self, process: Process, to: str, *, urgent: bool, count: int) -> None:
        """Write letters."""
        assert process.runner is not None
        make = Telegram if urgent else Letter
        for _ in range(count):
            process.sent += 1
            process.bus.post(make(source=process.runner.name, target=to, process=process.number, number=process.sent))

    def ask(self, process: Process, names: tuple[str, ...], job_name: str, payload: dict[str, Any], timeout: float) -> None:
        """Ask, in a task of its own."""
        ask = self._ask_group if len(names) > 1 else self._ask_one
        if payload["nap"] >= FOR_EVER:
            timeout = 2 * FOR_EVER
        client = self.world.spawn(ask, process, names, job_name, payload, timeout, name=f"client:{len(self.clients)}")
        self.clients.append(client)
        if timeout > FOR_EVER:
            self.patient.append(client)

    async def _ask_one(self, process: Process, names: tuple[str, ...], job_name: str, payload: dict[str, Any], timeout: float) -> None:
        assert process.runner is not None
        losses, seen, end = self.auditor.losses, list[int](), "completed"
        block = None
        try:
            block = process.runner.job(names[0], name=job_name, payload=payload, timeout=timeout)
            async with block:
                async for event in block:
                    if event.data is not None:
                        assert event.data["n"] == len(seen), "a chunk out of order"
                        seen.append(event.data["n"])
            assert job_name != "count" or len(seen) == payload["to"], "a chunk is missing"
        except PeerDownError:
            end = "peer down"
        except BusResetError:
            end = "bus reset"
        except JobError as error:
            end = f"{error.status}: {(error.reason or '').split(':')[0]}"
        except (WorkerStateError, UnknownWorkerError):
            end = "asker over"
        except trio.Cancelled:
            end = "given up"
            raise
        finally:
            self.tally[f"job {end}"] += 1
            if block is not None and block._group is not None and losses == self.auditor.losses:
                self._check_gone(block.job_id, names)

    async def _ask_group(
        self, process: Process, names: tuple[str, ...], job_name: str, payload: dict[str, Any], timeout: float
    ) -> None:
        assert process.runner is not None
        try:
            async with process.runner.job_group(*names, name=job_name, payload=payload, timeout=timeout) as group:
                pass
        except JobGroupError:
            self.tally["group failed"] += 1
        except WorkerStateError:
            self.tally["asker over"] += 1
        else:
            self.tally["group completed"] += 1
            assert set(group.responses) == set(names)

    def _check_gone(self, job_id: str, names: tuple[str, ...]) -> None:
        """J2: nobody was lost meanwhile, so now that the block is left no handler runs."""
        for process in self.processes:
            if not process.is_killed:
                for name in names:
                    assert not process.running[f"{job_id}@{name}"], f"job {job_id} still runs in process {process.number}"

    # -- what must be true -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """At any moment."""
        assert all(count == 1 for count in self.auditor.decided.values()), "a request was decided twice"
        for handle in (*self.clients, *(process.handle for process in self.processes)):
            if handle is not None and handle.error is not None:
                raise handle.error

    def heal(self) -> None:
        """Nothing fails any more; wait until all has settled."""
        for process in self.processes:
            if not process.is_killed:
                process.bus.way.mend()
                process.bus.way.resume()
        if not self.server.is_up:
            self.server.restart()
        for client in self.patient:
            client.scope.cancel()
        self.world.advance(LONG)
        self.check()

    def check_rest(self) -> None:
        """When nothing has failed for long: everybody has an answer, knows everybody, and owes nobody anything."""
        assert all(client.done for client in self.clients), "somebody still waits"
        assert set(self.auditor.decided) == set(self.auditor.asked), "a request was never decided"
        there = [process for process in self.processes if process.is_there]
        roots = {process.name for process in there}
        if there:  # somebody has looked for the dead
            assert set(self.server.members) == {process.bus.statistics().incarnation for process in there}
        for process in self.processes:
            assert not process.running, f"in process {process.number} still run {process.running}"
        for process in there:
            assert process.runner is not None
            registry = process.runner.registry
            assert registry.local_workers == ["kid", process.name]
            assert set(registry.remote_workers) - {"kid"} == roots - {process.name}
            statistics = process.bus.statistics()
            assert statistics.jobs == 0
            assert statistics.malformed == statistics.forged == 0
            assert len(statistics.peers) == len(there) - 1
            for peer in statistics.peers:
                assert peer.link.unacknowledged == 0, f"process {process.number} owes {peer}"
            assert all(peer.link._jobs == {} for peer in process.bus._peers())
            assert not statistics.waiting

    def close(self) -> None:
        """All leave: nothing is left of any."""
        for process in self.processes:
            process.leaving.set()
            self.world.advance(0.5)
        self.world.advance(LONG)
        self.check()
        if not any(process.is_killed for process in self.processes):
            assert not self.server.members
        for process in self.processes:
            assert process.is_over
            where, statistics = process.bus._where, process.bus.statistics()
            assert (statistics.incarnation, statistics.subscribers, statistics.peers) == (None, 0, ())
            assert [*where._homes, *where._heard, *where._wanted] == []
