"""The events of one request: who keeps them, who drops them, and when they count as consumed."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support import settle
from unit.strategies import steady

from trioworkers import JobEvent
from trioworkers.jobs.events import Events, Receipt


class Story:
    """Events, and which of them have been consumed."""

    def __init__(self) -> None:
        self.events: Events[JobEvent] = Events(lambda source, kind, data: JobEvent(f"{kind} of {source}", data))
        self.consumed: list[int] = []

    def put(self, *numbers: int) -> None:
        """Some events come."""
        for number in numbers:
            self.events.put("w", "update", {"n": number}, Receipt(1, lambda number=number: self.consumed.append(number)))  # type: ignore[misc]

    async def take(self, count: int = -1) -> list[int]:
        """Iterate over so many events, and leave; or to the end."""
        found: list[int] = []
        async for event in self.events.iterate():
            found.append(number_of(event))
            if len(found) == count:
                break
        gc.collect()
        return found


def number_of(event: JobEvent) -> int:
    """Which event it is."""
    assert event.type == "update of w"
    assert event.data is not None
    number: int = event.data["n"]
    return number


# -- receipts ------------------------------------------------------------------------------------------------------------


def test_a_receipt_waits_for_all() -> None:
    """J6: an event is consumed when the last of those who can see it has seen it, and only then."""
    log: list[str] = []
    receipt = Receipt(2, lambda: log.append("consumed"))
    receipt.seen()
    assert log == []
    receipt.seen()
    assert log == ["consumed"]


# -- one iterator --------------------------------------------------------------------------------------------------------


async def test_events_wait_for_the_iterator() -> None:
    """R3, I13: events that come before the ``async for`` are kept for it, in order, and not consumed until it gives them out."""
    story = Story()
    story.put(1, 2, 3)
    assert (story.events.waiting, story.consumed) == (3, [])
    assert await story.take(2) == [1, 2]
    assert story.consumed[:2] == [1, 2]


async def test_events_come_while_it_iterates() -> None:
    """An iterator that waits gets each event when it comes, and ends when there will be no more."""
    story = Story()
    found: list[int] = []

    async def iterate() -> None:
        found.extend(await story.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(iterate)
        for number in range(3):
            await settle()
            story.put(number)
        story.events.finish()
    assert found == story.consumed == [0, 1, 2]


async def test_what_waits_is_given_out_after_the_end() -> None:
    """U47: when the request is decided, the events that came before are still given out."""
    story = Story()
    story.put(1, 2)
    story.events.finish()
    assert await story.take() == [1, 2]


async def test_giving_out_is_a_checkpoint() -> None:
    """A step of the iterator can be cancelled, and takes no event then."""
    story = Story()
    story.put(1)
    iterator = story.events.iterate()
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(iterator)
    assert scope.cancelled_caught
    assert await anext(iterator) == JobEvent("update of w", {"n": 1})


async def test_an_iterator_iterates_over_itself() -> None:
    """The iterator of an ``async for`` can be iterated itself."""
    story = Story()
    story.put(1)
    story.events.finish()
    iterator = story.events.iterate()
    assert aiter(iterator) is iterator
    assert [number_of(event) async for event in iterator] == [1]


# -- leaving -------------------------------------------------------------------------------------------------------------


async def test_a_break_drops_what_waits() -> None:
    """J6: an ``async for`` that is left early consumes what waits, and what comes later, so that nobody is held up."""
    story = Story()
    story.put(1, 2, 3)
    assert await story.take(1) == [1]
    assert (story.consumed, story.events.waiting) == ([1, 2, 3], 0)
    story.put(4)
    assert story.consumed == [1, 2, 3, 4]


async def test_a_second_iteration_sees_what_comes_from_then_on() -> None:
    """U8: after a ``break`` another ``async for`` begins where the request is now."""
    story = Story()
    story.put(1, 2)
    assert await story.take(1) == [1]
    second = story.events.iterate()
    story.put(3)
    story.events.finish()
    assert [number_of(event) async for event in second] == [3]
    assert story.consumed == [1, 2, 3]


async def test_a_second_iteration_after_the_end_is_empty() -> None:
    """U8: iterating again, after the end, ends at once."""
    story = Story()
    story.put(1)
    story.events.finish()
    assert await story.take() == [1]
    assert await story.take() == []
    assert story.consumed == [1]


async def test_an_iterator_that_is_over_stays_over() -> None:
    """I13: asking an iterator again after its end ends again, and it is left once."""
    story = Story()
    story.events.finish()
    iterator = story.events.iterate()
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)
    other = story.events.iterate()
    del iterator
    gc.collect()
    assert story.events._iterators == 1
    with pytest.raises(StopAsyncIteration):
        await anext(other)


async def test_two_iterators_share() -> None:
    """U8: two at once get each event once, and both end; what waits is dropped when the last of them leaves."""
    story = Story()
    found: dict[str, list[int]] = {"a": [], "b": []}

    async def iterate(name: str) -> None:
        found[name] = await story.take()

    async with trio.open_nursery() as nursery:
        for name in found:
            nursery.start_soon(iterate, name)
        await settle()
        for number in range(6):
            story.put(number)
            await settle()
        story.events.finish()
    assert sorted(found["a"] + found["b"]) == [*range(6)]


async def test_one_of_two_iterators_leaves() -> None:
    """As long as one iterator is there, events are kept for it."""
    story = Story()
    staying = story.events.iterate()
    story.put(1, 2)
    assert await story.take(1) == [1]
    assert story.consumed == [1]
    assert number_of(await anext(staying)) == 2
    del staying
    gc.collect()
    story.put(3)
    assert story.consumed == [1, 2, 3]


# -- the end of the block ------------------------------------------------------------------------------------------------


async def test_discarding_consumes_everything() -> None:
    """J6: from leaving the block on, what waits and what comes counts as consumed, and iteration ends."""
    story = Story()
    story.put(1, 2)
    story.events.discard()
    assert (story.consumed, story.events.waiting, story.events.open) == ([1, 2], 0, False)
    story.put(3)
    story.events.discard()
    story.events.finish()
    assert story.consumed == [1, 2, 3]
    assert await story.take() == []


async def test_discarding_ends_a_waiting_iterator() -> None:
    """I13: an iterator that waits when the block is left ends, whichever task it is in."""
    story = Story()
    found: list[Any] = []

    async def iterate() -> None:
        found.append(await story.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(iterate)
        await settle()
        story.events.discard()
    assert found == [[]]


def test_discarding_after_the_end() -> None:
    """What waited after the request was decided is consumed when the block is left."""
    story = Story()
    story.put(1)
    story.events.finish()
    story.events.discard()
    assert story.consumed == [1]


@steady
@given(st.lists(st.sampled_from(["put", "put", "begin", "next", "leave", "finish", "discard"]), max_size=40))
def test_every_event_is_consumed_once(story: list[str]) -> None:
    """J6, I13: whatever happens, each event is given out at most once, in order, and consumed exactly once in the end."""
    seen: list[int] = []
    told = Story()

    async def main() -> None:
        iterators: list[Any] = []
        count = 0
        finished = False
        for what in [*story, "discard"]:
            if what == "put" and not finished:
                told.put(count)
                count += 1
            elif what == "begin":
                iterators.append(told.events.iterate())
            elif what == "next" and iterators and told.events.waiting:
                seen.append(number_of(await anext(iterators[-1])))
            elif what == "leave" and iterators:
                iterators.pop()
            elif what == "finish":
                told.events.finish()
                finished = True
            elif what == "discard":
                told.events.discard()
        assert sorted(told.consumed) == [*range(count)]

    trio.run(main)
    assert seen == sorted({*seen})
