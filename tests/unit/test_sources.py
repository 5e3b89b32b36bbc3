"""Ids, names and wall-clock times."""

from __future__ import annotations

from datetime import UTC, datetime

from trioworkers import BaseWorker, LocalBus, WorkerRegistry, WorkerRegistryEntry, WorkerRunner, sources
from trioworkers._sources import counted_ids, counted_names, numbered_name, random_ids, random_name, wall_clock


def test_ids_never_repeat() -> None:
    """Neither one source nor two ever give the same id twice; one source's ids share a prefix and count."""
    one, other = random_ids(), random_ids()
    ids = [source() for source in (one, other) for _ in range(1000)]
    assert len(set(ids)) == 2000
    prefix, number = ids[0].split("-")
    assert number == "1"
    assert ids[:3] == [f"{prefix}-1", f"{prefix}-2", f"{prefix}-3"]


def test_random_names_say_what_they_are() -> None:
    """A random name is its kind and eight hexadecimal digits."""
    kind, digits = random_name("runner").split("-")
    assert kind == "runner"
    assert len(digits) == 8
    assert int(digits, 16) >= 0


def test_numbered_names_count_by_kind() -> None:
    """A made-up name is its kind and a number, unique in the process, counted for each kind."""
    names = [numbered_name("UnitTestKind"), numbered_name("UnitTestKind"), numbered_name("OtherUnitTestKind")]
    assert names == ["UnitTestKind#1", "UnitTestKind#2", "OtherUnitTestKind#1"]


def test_the_wall_clock_is_unix_time() -> None:
    """Wall-clock time is Unix time in seconds."""
    assert abs(wall_clock() - datetime.now(UTC).timestamp()) < 3600


# -- reproducible --------------------------------------------------------------------------------------------------------


def test_counted_sources() -> None:
    """The sources for reproducible runs count: ids from 1, names from 1 for each kind; two sources know nothing of each other."""
    ids, names = counted_ids("job"), counted_names()
    assert [ids(), ids(), counted_ids("job")()] == ["job-1", "job-2", "job-1"]
    assert [names("a"), names("a"), names("b"), counted_names()("a")] == ["a#1", "a#2", "b#1", "a#1"]


def started(registry: WorkerRegistry) -> float | None:
    """Return at what time a registry says that a worker of it started."""
    registry.register(WorkerRegistryEntry("w"))
    (entry,) = [registry.get(name) for name in registry.local_workers]
    assert entry is not None
    return entry.started_at


def test_sources_can_be_given() -> None:
    """What is made inside ``sources`` takes its ids, its made-up names and its clock from there, and keeps them."""
    with sources(new_id=counted_ids("job"), names=counted_names(), clock=lambda: 7.0):
        bus, runner, workers, registry = LocalBus(), WorkerRunner(), [BaseWorker(), BaseWorker()], WorkerRegistry("r")
    assert [bus.new_id(), runner.bus.new_id(), bus.new_id()] == ["job-1", "job-2", "job-3"]
    assert [runner.name, *(worker.name for worker in workers)] == ["runner#1", "BaseWorker#1", "BaseWorker#2"]
    assert (started(registry), started(runner.registry)) == (7.0, 7.0)


def test_sources_end_with_their_block() -> None:
    """Outside the block, and for what the block leaves out, the world is what it was; blocks can be nested."""
    with sources(names=lambda kind: f"a {kind}"), sources(clock=lambda: 7.0):
        inside = WorkerRunner()
    outside = WorkerRunner()
    assert (inside.name, started(inside.registry)) == ("a runner", 7.0)
    assert (outside.name.startswith("runner-"), started(outside.registry) == 7.0) == (True, False)
    assert inside.bus.new_id().partition("-")[0] != outside.bus.new_id().partition("-")[0]


def test_what_is_given_as_an_argument_goes_first() -> None:
    """A name, a source of ids and a clock that are given to a runner, a worker or a bus are not asked of ``sources``."""
    with sources(new_id=counted_ids("job"), names=counted_names(), clock=lambda: 7.0):
        runner = WorkerRunner(name="r", bus=LocalBus(new_id=lambda: "mine"), clock=lambda: 8.0)
        assert (runner.name, runner.bus.new_id(), BaseWorker("w").name, BaseWorker().name) == ("r", "mine", "w", "BaseWorker#1")
    assert started(runner.registry) == 8.0
