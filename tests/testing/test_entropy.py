"""What a simulated program gets from the outside world: randomness, time, threads, names."""

# ruff: noqa: S311 - randomness is what is tested

from __future__ import annotations

import os
import random  # noqa: TID251 - what is tested
import secrets  # noqa: TID251 - the same
import subprocess
import sys
import threading
import time  # noqa: TID251 - the same
import uuid  # noqa: TID251 - the same
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from random import choice, randint, shuffle  # noqa: TID251 - as many programs do
from typing import Any, Literal

import pytest
import trio
from trio.to_thread import run_sync

from trioworkers import BaseWorker, BusJobRequestMessage, WorkerRunner, job, open_runner, sources
from trioworkers.testing import NondeterminismError, World
from trioworkers.testing._entropy import _PLACES, _SOUGHT, EPOCH
from trioworkers.testing._shared import Shared


def shuffled() -> list[int]:
    """By a function that was imported from its module."""
    numbers = list(range(20))
    shuffle(numbers)
    return numbers


SOURCES: dict[str, Callable[[], Any]] = {
    "random": lambda: [random.random(), random.gauss(0, 1), random.randbytes(3), random.choice("abcdefgh")],
    "imported from random": lambda: [choice("abcdefgh"), randint(0, 9**9), shuffled()],
    "a new generator": lambda: [random.Random().random(), random.Random(None).getrandbits(64)],
    "the system's generator": lambda: [random.SystemRandom().random(), random.SystemRandom().getrandbits(70)],
    "uuid4": lambda: uuid.uuid4().hex,
    "uuid1": lambda: uuid.uuid1().hex,
    "secrets": lambda: [secrets.token_hex(4), secrets.choice(range(9**9)), secrets.randbelow(9**9)],
    "urandom": lambda: os.urandom(8),
}
CLOCKS = ("time", "monotonic", "perf_counter", "process_time")


async def ask(*names: str) -> list[Any]:
    """Ask all of these, twice, some time apart."""
    answers = [SOURCES[name]() for name in names]
    await trio.sleep(1)
    return [*answers, *(SOURCES[name]() for name in names)]


def answers(seed: int, *names: str, **how: Any) -> list[Any]:
    """What a world's program hears."""
    with World(seed, **how) as world:
        return world.run(ask, *names)


# -- seeded ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_the_seed_decides_randomness(name: str) -> None:
    """The same seed gives the same random answers, another seed others; and asking again gives something new."""
    once, again, other = answers(1, name), answers(1, name), answers(2, name)
    assert once == again
    assert once != other
    assert once[0] != once[1]


def test_all_randomness_together_is_the_same_in_every_process() -> None:
    """What a program hears depends on the seed alone, in whatever process it runs."""
    script = f"""
import sys
sys.path[:] = {sys.path!r}
from testing.test_entropy import SOURCES, answers
print(answers(5, *SOURCES))
"""
    said = {
        subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {f"{answers(5, *SOURCES)}\n"}


def test_a_programs_own_seed_counts() -> None:
    """A program that seeds the shared generator, or makes one of its own from a seed, hears what that seed says."""

    async def seed_it() -> list[Any]:
        random.seed(5)
        state = random.getstate()
        first = random.random()
        random.setstate(state)
        mine = random.Random(6)
        return [first, random.random(), mine.random()]

    with World(1) as world:
        first, second, mine = world.run(seed_it)
    assert first == second == random.Random(5).random()
    assert mine == random.Random(6).random()


def test_clocks_tell_virtual_time() -> None:
    """All clocks of ``time`` go with the virtual time, in seconds and in nanoseconds; Unix time begins at a fixed moment."""

    async def read() -> list[list[float]]:
        return [[getattr(time, name)() for name in CLOCKS], [getattr(time, f"{name}_ns")() for name in CLOCKS]]

    async def read_later() -> list[list[float]]:
        await trio.sleep(2.5)
        return await read()

    with World() as world:
        assert world.run(read) == [[EPOCH, 0, 0, 0], [EPOCH * 1e9, 0, 0, 0]]
        assert world.run(read_later) == [[EPOCH + 2.5, 2.5, 2.5, 2.5], [(EPOCH + 2.5) * 1e9, 2.5e9, 2.5e9, 2.5e9]]


def test_all_is_put_back() -> None:
    """After a world everything is where it was, and the shared generator says what it would have said."""

    def places() -> list[Any]:
        return [(vars(owner).get(attribute), getattr(owner, attribute)) for _, owner, attribute in _PLACES]

    before, state = places(), random.getstate()
    answers(1, *SOURCES)
    assert places() == before
    assert random.getstate() == state


def test_every_place_is_there() -> None:
    """With this trio and this Python, nothing that is to be stood in for has moved."""
    assert _PLACES == _SOUGHT


def test_other_threads_hear_the_real_ones() -> None:
    """While a thread simulates, another one hears the real time, and its own randomness, which it does not take from the world's."""
    heard: list[Any] = []

    def listen() -> None:
        random.seed(3)
        heard.extend([time.time(), random.random(), choice("abc"), uuid.uuid4(), random.Random().random()])

    async def meet() -> list[Any]:
        first = SOURCES["random"]()
        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        return [*first, *SOURCES["random"]()]

    async def alone() -> list[Any]:
        return [*SOURCES["random"](), *SOURCES["random"]()]

    state = random.getstate()
    try:
        with World(1) as world:
            met = world.run(meet)
        with World(1) as world:
            assert world.run(alone) == met
        plain = random.Random(3)
        assert heard[1:3] == [plain.random(), plain.choice("abc")]
        assert heard[0] > EPOCH + 10**8
    finally:
        random.setstate(state)


def test_worlds_on_two_threads_hear_their_own() -> None:
    """Two worlds that overlap, and do not close in the order they opened in, hear each what its own seed says."""
    opened, closed = threading.Event(), threading.Event()
    heard: list[Any] = []

    def other() -> None:
        with World(2) as world:
            opened.set()
            closed.wait()
            heard.extend(world.run(ask, *SOURCES))

    real = time.time
    thread = threading.Thread(target=other)
    with World(1) as world:
        thread.start()
        opened.wait()
        mine = world.run(ask, *SOURCES)
    closed.set()
    thread.join()
    assert (mine, heard) == (answers(1, *SOURCES), answers(2, *SOURCES))
    assert time.time is real


def test_real_is_left_alone() -> None:
    """With ``entropy="real"`` a program hears what it would hear anywhere."""
    with World(entropy="real") as world:
        assert world.run(ask, *SOURCES)
        assert time.time() > EPOCH + 10**8
        assert world.run(ask, "urandom") != world.run(ask, "urandom")
    assert answers(1, "uuid4", entropy="real") != answers(1, "uuid4", entropy="real")


# -- forbidden -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("swallows", [False, True])
def test_forbidden_randomness_is_named(name: str, swallows: bool) -> None:
    """With ``entropy="forbid"`` it is an error to ask for randomness; it names who asked for what, also if the program swallows it."""

    async def greedy() -> None:
        try:
            SOURCES[name]()
        except NondeterminismError:
            if not swallows:
                raise

    with World(entropy="forbid") as world:
        world.spawn(greedy)
        with pytest.raises(NondeterminismError, match=r"'greedy' asks for (random|os|uuid)\.\w+.*no seed decides"):
            world.steps(1)
        world.settle()


@pytest.mark.parametrize("unit", ["", "_ns"])
@pytest.mark.parametrize("name", CLOCKS)
def test_forbidden_clocks_are_named(name: str, unit: str) -> None:
    """With ``entropy="forbid"`` it is an error to ask what time it is."""

    async def greedy() -> None:
        getattr(time, name + unit)()

    with World(entropy="forbid") as world, pytest.raises(NondeterminismError, match=rf"'greedy' asks for time\.{name}{unit}:"):
        world.run(greedy)


def test_what_is_forbidden_is_so_for_tasks() -> None:
    """With ``entropy="forbid"``, the host may ask as ever; a generator that is made from a seed is nobody's business."""

    async def seeded() -> float:
        return random.Random(5).random()

    with World(entropy="forbid") as world:
        assert time.time() > EPOCH + 10**8
        assert random.Random().random() != random.Random().random()
        assert world.run(seeded) == random.Random(5).random()


# -- threads and processes -------------------------------------------------------------------------------------------------


async def use_a_thread() -> None:
    """Ask for a function to be run elsewhere."""
    await trio.to_thread.run_sync(threading.get_ident)


async def use_a_thread_by_its_name() -> None:
    """The same, as some programs write it."""
    await run_sync(threading.get_ident)


async def read_a_file() -> None:
    """Trio does that in a thread."""
    await trio.Path(__file__).exists()


async def resolve_a_name() -> None:
    """And that."""
    await trio.socket.getaddrinfo("localhost", 1)


async def run_a_process() -> None:
    """And that begins in one."""
    await trio.run_process([sys.executable, "-c", "pass"])


async def start_a_thread() -> None:
    """The same by trio's lowest level."""
    trio.lowlevel.start_thread_soon(threading.get_ident, print)


THREADED = (use_a_thread, use_a_thread_by_its_name, read_a_file, resolve_a_name, run_a_process, start_a_thread)


@pytest.mark.parametrize("program", THREADED)
@pytest.mark.parametrize("swallows", [False, True])
def test_threads_are_refused_by_name(program: Callable[[], Any], swallows: bool) -> None:
    """Who asks trio for a thread, in whatever way, is named, together with the way out, also if the program swallows the error."""

    async def greedy() -> None:
        try:
            await program()
        except NondeterminismError:
            if not swallows:
                raise

    with World() as world:
        world.spawn(greedy)
        with pytest.raises(NondeterminismError, match=r"'greedy' asks for trio\.to_thread\.run_sync.*threads='inline'"):
            world.settle()


@pytest.mark.parametrize("fetch", [trio.to_thread.run_sync, run_sync])
def test_what_was_for_a_thread_runs_in_a_step_of_its_own(fetch: Any) -> None:
    """With ``threads="inline"`` the function runs on the same thread, at some time before its answer is seen, as a thread would."""
    log: list[str] = []

    def run() -> int:
        log.append(f"run in {spell.get()}")
        return threading.get_ident()

    async def ask_for_it() -> None:
        spell.set("the asker's context")
        log.append("asked")
        assert await fetch(run, limiter=trio.CapacityLimiter(1)) == threading.get_ident()
        log.append("answered")

    async def others() -> None:
        for _ in range(3):
            log.append("other")
            await trio.lowlevel.checkpoint()

    orders = set()
    for seed in range(40):
        log.clear()
        with World(seed, threads="inline") as world:
            world.spawn(others)
            world.run(ask_for_it)
        assert [each for each in log if each != "other"] == ["asked", "run in the asker's context", "answered"]
        orders.add(tuple(log))
    assert len(orders) > 5


spell: ContextVar[str] = ContextVar("spell", default="no context")


def test_errors_and_files_come_in_line() -> None:
    """With ``threads="inline"``, what trio does in threads works, and errors come where they belong."""

    async def read(name: str) -> bytes:
        return await trio.Path(name).read_bytes()

    with World(threads="inline") as world:
        assert world.run(read, __file__) == Path(__file__).read_bytes()
        with pytest.raises(NotADirectoryError):
            world.run(read, f"{__file__}/none")


# -- what the library makes up ---------------------------------------------------------------------------------------------


class Greeter(BaseWorker):
    """Answers."""

    @job
    async def greet(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Say what the job is called."""
        return {"id": message.job_id}


async def party() -> list[Any]:
    """A runner and two workers without names, what one says when it is asked, and since when they are there."""
    one, other = Greeter(), Greeter()
    async with open_runner(one, other) as runner:
        await trio.sleep(1)
        async with runner.job(other.name, name="greet") as greeting:
            pass
        entries = [runner.registry.get(worker.name) for worker in (one, other)]
        return [runner.name, one.name, other.name, greeting.response, *(entry and entry.started_at for entry in entries)]


@pytest.mark.parametrize("entropy", ["seeded", "forbid"])
def test_names_ids_and_times_are_counted(entropy: Literal["seeded", "forbid"]) -> None:
    """What the library makes up is the same in every world: names of runners and workers, ids of jobs, and the time of day."""
    parties = []
    for seed in range(3):
        with World(seed, entropy=entropy) as world:
            parties.append(world.run(party))
    assert parties == [["runner#1", "Greeter#1", "Greeter#2", {"id": "job-1"}, EPOCH, EPOCH]] * 3


def test_what_the_host_makes_is_counted_too() -> None:
    """A runner that the host makes while a world lives gets such a name, too; afterwards names are random again."""
    with World():
        inside = [WorkerRunner().name, WorkerRunner().name]
    assert inside == ["runner#1", "runner#2"]
    assert not WorkerRunner().name.startswith("runner#")


def test_what_a_test_has_said_stays() -> None:
    """Sources that a test has given itself, around a world, are kept in it."""
    with sources(new_id=lambda: "mine", clock=lambda: 5.0), World() as world:
        assert world.run(party) == ["runner#1", "Greeter#1", "Greeter#2", {"id": "mine"}, 5.0, 5.0]
    with sources(names=lambda kind: f"a {kind}"), World():
        assert WorkerRunner().name == "a runner"


def test_with_real_entropy_names_are_made_up() -> None:
    """With ``entropy="real"`` the library makes up names as ever."""
    with World(entropy="real") as world:
        assert not world.run(party)[0].startswith("runner#")


# -- what is shared --------------------------------------------------------------------------------------------------------


def test_the_last_switches_off() -> None:
    """What several need is switched on by the first and off after the last, in whatever order they leave, and again for the next."""
    log: list[str] = []

    @contextmanager
    def light() -> Iterator[None]:
        log.append("on")
        yield
        log.append("off")

    shared = Shared(light)
    for _ in range(2):
        one, other = shared.use(), shared.use()
        for each in (one, other):
            each.__enter__()
        one.__exit__(None, None, None)
        log.append("still")
        other.__exit__(None, None, None)
    assert log == ["on", "still", "off"] * 2
