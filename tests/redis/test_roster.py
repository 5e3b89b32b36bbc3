"""Who is told to be there, and when: without a server."""

from __future__ import annotations

import pytest

from trioworkers.bus.redis.roster import Roster
from trioworkers.bus.remote.transport import SessionOver


def roster() -> tuple[Roster, list[list[str]]]:
    """Return a roster of one member, and the lists it has told since."""
    told: list[list[str]] = []
    made = Roster("me", lambda present: told.append(sorted(present)))
    made.fetched(1, ("me",))
    assert told == [["me"]]
    told.clear()
    return made, told


def test_more_members_are_told_at_once() -> None:
    """A list that lacks nobody is told when it is fetched, and the same list is not told twice."""
    made, told = roster()
    made.fetched(2, ("me", "a"))
    made.fetched(3, ("a", "me"))
    made.emptied()
    assert told == [["a", "me"]]
    assert not made.waiting


def test_a_farewell_waits() -> None:
    """A list that lacks somebody waits until the inboxes were empty; a newer list takes its place."""
    made, told = roster()
    made.fetched(2, ("me", "a", "b"))
    told.clear()
    made.fetched(3, ("me", "a", "c"))
    assert made.waiting
    made.fetched(4, ("me", "c"))
    assert told == []
    made.emptied()
    assert told == [["c", "me"]]
    made.emptied()
    assert told == [["c", "me"]]


def test_somebody_comes_back_before_the_farewell() -> None:
    """A newer list that lacks nobody any more is told at once, and the one that waited is forgotten."""
    made, told = roster()
    made.fetched(2, ("me", "a"))
    made.fetched(3, ("me",))
    made.fetched(4, ("me", "a", "b"))
    made.emptied()
    assert told == [["a", "me"], ["a", "b", "me"]]


def test_another_generation_makes_the_list_stale() -> None:
    """A generation that is not the list's, greater or less, asks for another look; the same one does not."""
    made, _ = roster()
    stale: list[bool] = []
    for generation in (1, 2, 0, 1):
        made.compare(generation)
        stale.append(made.stale)
        made.fetched(1, ("me",))
        stale.append(made.stale)
    assert stale == [False, False, True, False, True, False, False, False]


def test_a_list_without_us() -> None:
    """A list that lacks us is the end, and is told to nobody."""
    made, told = roster()
    with pytest.raises(SessionOver, match="taken for dead"):
        made.fetched(2, ("a",))
    assert told == []
