"""Ids, names and wall-clock times."""

from __future__ import annotations

from datetime import UTC, datetime

from trioworkers._sources import numbered_name, random_ids, random_name, wall_clock


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
