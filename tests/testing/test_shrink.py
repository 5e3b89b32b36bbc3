"""Lists that fail, made as short as can be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import steady

from trioworkers.testing.shrink import shrink

Fails = Callable[[Collection[int]], bool]


def shrunk(items: Sequence[int], fails: Fails) -> tuple[list[int], list[list[int]]]:
    """What is left of ``items``, and all that was tried."""
    tried: list[list[int]] = []

    def attempt(shorter: Sequence[int]) -> Sequence[int] | None:
        tried.append(list(shorter))
        return shorter if fails(shorter) else None

    return list(shrink(items, attempt)), tried


def is_minimal(items: Sequence[int], fails: Fails) -> bool:
    """Whether no single item can be left out."""
    return not any(fails([*items[:number], *items[number + 1 :]]) for number in range(len(items)))


lists = st.integers(1, 60).map(range).map(list)


@steady
@given(lists, st.data())
def test_what_must_stay_stays(items: list[int], data: st.DataObject) -> None:
    """If some items are needed together, exactly they are left, in their order."""
    needed = data.draw(st.sets(st.sampled_from(items)))
    assert shrunk(items, needed.issubset)[0] == sorted(needed)


@steady
@given(lists, st.integers(0), st.data())
def test_nothing_more_can_be_left_out(items: list[int], seed: int, data: st.DataObject) -> None:
    """What is left fails and is minimal, even if longer and shorter lists fail or not as they like."""
    verdicts: dict[tuple[int, ...], bool] = {tuple(items): True}

    def fails(some: Collection[int]) -> bool:
        return verdicts.setdefault(tuple(some), hash((seed, *some)) % 3 == 0)

    left, _ = shrunk(items, fails)
    assert fails(left)
    assert is_minimal(left, fails)


@steady
@given(lists, st.integers(1, 7))
def test_odd_rules_shrink_as_well(items: list[int], factor: int) -> None:
    """A rule about the length, which pieces of some sizes never meet, ends in a minimal list, too."""

    def fails(some: Collection[int]) -> bool:
        return len(some) >= len(items) or (len(some) % factor == 0 and len(some) > 0)

    left, _ = shrunk(items, fails)
    assert fails(left)
    assert is_minimal(left, fails)


@steady
@given(lists, st.integers(0))
def test_only_shorter_lists_are_tried(items: list[int], seed: int) -> None:
    """Nothing as long as the original is tried, each try is part of it in its order, and there is an end to it."""
    _, tried = shrunk(items, lambda some: hash((seed, *some)) % 2 == 0)
    assert all(len(some) < len(items) and some == sorted(set(some)) and set(some) <= set(items) for some in tried)
    assert len(tried) <= 4 * len(items) ** 2 + 4


def test_an_empty_list_is_left_alone() -> None:
    """Of nothing, nothing is tried."""
    assert shrunk([], lambda _: True) == ([], [])


def test_it_goes_on_with_what_was_really_used() -> None:
    """A try that fails with fewer items than it was given goes on with those."""
    tried: list[list[int]] = []

    def attempt(shorter: Sequence[int]) -> Sequence[int] | None:
        tried.append(list(shorter))
        return [7] if 7 in shorter else None

    assert list(shrink(range(10), attempt)) == [7]
    assert tried == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], []]


def test_a_try_that_used_more_than_it_was_given_is_no_progress() -> None:
    """A failure that needed as many items as before is not followed."""
    tried: list[list[int]] = []

    def attempt(shorter: Sequence[int]) -> Sequence[int] | None:
        tried.append(list(shorter))
        return [1, 2]

    assert list(shrink([1, 2], attempt)) == [1, 2]
    assert tried == [[1], [2]]


def test_few_tries_for_few_items_of_many() -> None:
    """Two items of a thousand are found in a few dozen tries."""
    left, tried = shrunk(range(1000), {312, 700}.issubset)
    assert left == [312, 700]
    assert len(tried) < 60
