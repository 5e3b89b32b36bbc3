"""One FIFO of hooks: order, batches, who goes first, and what becomes of what still waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support import settle
from unit.strategies import steady

from trioworkers._load import Load
from trioworkers.bus.lane import BATCH, Lane

Item = Callable[[], Awaitable[None] | None]
here: ContextVar[str] = ContextVar("here", default="nowhere")


async def run(kind: str, item: Item) -> None:
    """Run one item: it is its own hook, and may have something to wait for."""
    rest = item()
    if rest is not None:
        await rest


class Story:
    """A data lane, and the system lane ahead of it; items write into one log."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.load = Load()
        self.system: Lane[Item] = Lane("system", "w", run, self.load)
        self.data: Lane[Item] = Lane("data", "w", run, self.load, ahead=self.system)

    def say(self, text: str) -> Item:
        """An item that writes something down."""
        return lambda: self.log.append(text)

    def wait(self, text: str, event: trio.Event) -> Item:
        """An item that waits for an event between its beginning and its end."""

        async def item() -> None:
            self.log.append(f"{text} begins")
            await event.wait()
            self.log.append(f"{text} ends")

        return item

    def do(self, text: str, what: Callable[[], None]) -> Item:
        """An item that does something."""

        def item() -> None:
            self.log.append(text)
            what()

        return item

    def put(self, lane: Lane[Item], *texts: str) -> None:
        """Queue items that write something down."""
        for text in texts:
            lane.put(self.say(text))


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """How much was written down in each step of one task."""

    name: str
    log: list[str]
    before: int = 0
    steps: list[int] = attrs.field(factory=list)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note where the log is."""
        self.before = len(self.log)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note what was added."""
        if task.name == self.name and len(self.log) > self.before:
            self.steps.append(len(self.log) - self.before)


# -- order ---------------------------------------------------------------------------------------------------------------


async def test_what_waits_runs_when_the_lane_opens() -> None:
    """B1: what was put in before the lane opened runs then, in order, and what comes later after it."""
    story = Story()
    story.put(story.system, "a", "b")
    await settle()
    assert story.log == []
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
        story.put(story.system, "c")
        await settle()
        assert story.log == ["a", "b", "c"]


async def test_a_lane_on_demand_has_a_task_only_while_it_has_work() -> None:
    """A lane that is opened starts a task when something is put in, which ends when nothing is left; the next one is new."""
    story = Story()
    gate = trio.Event()
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
        assert not nursery.child_tasks
        for number in range(3):
            story.system.put(story.wait(str(number), gate))
        await settle()
        assert [task.name for task in nursery.child_tasks] == ["system:w"]
        first = story.system.task
        gate.set()
        await settle()
        assert not nursery.child_tasks
        story.put(story.system, "again")
        await settle()
        assert not nursery.child_tasks
        assert story.system.task is not first
    assert story.log[-1] == "again"


async def test_a_standing_lane_serves_until_closed() -> None:
    """B1: ``serve`` runs what waits and what comes, in order, parks in between, and returns when the lane is closed."""
    story = Story()
    story.put(story.data, "a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.data.serve)
        await settle()
        story.put(story.data, "b", "c")
        await settle()
        assert story.log == ["a", "b", "c"]
        story.data.close()


async def test_serving_a_closed_lane_returns_at_once() -> None:
    """A lane that was closed before it was served has nothing to do."""
    story = Story()
    story.put(story.data, "a")
    story.data.close()
    await story.data.serve()
    assert story.log == []


async def test_a_lane_on_demand_runs_in_the_context_of_its_opener() -> None:
    """U60: whoever puts something in, the lane's task has the context variables of whoever opened it."""
    story = Story()
    here.set("opener")
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
        here.set("putter")
        story.system.put(story.do("at home", lambda: story.log.append(here.get())))
        await settle()
    assert story.log == ["at home", "opener"]


# -- batches -------------------------------------------------------------------------------------------------------------


async def test_a_standing_lane_runs_a_batch_per_schedule_point() -> None:
    """A lane whose hooks await nothing runs 64 of them, and then lets the others run."""
    story = Story()
    steps = Steps("data:w", story.log)
    trio.lowlevel.add_instrument(steps)
    story.put(story.data, *map(str, range(200)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.data.serve, name="data:w")
        await settle()
        story.data.close()
    trio.lowlevel.remove_instrument(steps)
    assert steps.steps == [BATCH, BATCH, BATCH, 200 - 3 * BATCH]
    assert BATCH == 64


async def test_a_lane_on_demand_runs_a_batch_per_schedule_point() -> None:
    """The same holds for a lane on demand, and its task ends without another turn when a batch was just enough."""
    story = Story()
    steps = Steps("system:w", story.log)
    trio.lowlevel.add_instrument(steps)
    story.put(story.system, *map(str, range(2 * BATCH)))
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
    trio.lowlevel.remove_instrument(steps)
    assert steps.steps == [BATCH, BATCH]
    assert story.log == [str(number) for number in range(2 * BATCH)]


# -- who goes first ------------------------------------------------------------------------------------------------------


async def test_system_goes_before_data() -> None:
    """B2: whatever waits in the system lane runs before the next item of the data lane."""
    story = Story()
    story.put(story.data, "d1", "d2")
    story.put(story.system, "s1", "s2")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.data.serve)
        await settle()
        assert story.log == []
        story.system.open(nursery)
        await settle()
        assert story.log == ["s1", "s2", "d1", "d2"]
        story.data.close()


async def test_system_overtakes_within_a_batch() -> None:
    """B2: a system item that comes while a batch of data items runs goes before the next of them."""
    story = Story()
    story.data.put(story.do("d1", lambda: story.put(story.system, "s1")))
    story.data.put(story.do("d2", lambda: story.put(story.system, "s2", "s3")))
    story.put(story.data, "d3")
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
        nursery.start_soon(story.data.serve)
        await settle()
        story.data.close()
    assert story.log == ["d1", "s1", "d2", "s2", "s3", "d3"]


async def test_both_lanes_are_live() -> None:
    """U48: a system item runs while a data hook waits for something, and the other way round."""
    story = Story()
    slow_data, slow_system = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
        nursery.start_soon(story.data.serve)
        story.data.put(story.wait("d1", slow_data))
        story.put(story.data, "d2")
        await settle()
        story.put(story.system, "s1")
        await settle()
        assert story.log == ["d1 begins", "s1"]
        story.system.put(story.wait("s2", slow_system))
        story.put(story.system, "s3")
        await settle()
        slow_data.set()
        await settle()
        assert story.log == ["d1 begins", "s1", "s2 begins", "d1 ends", "d2"]
        slow_system.set()
        await settle()
        assert story.log[5:] == ["s2 ends", "s3"]
        story.data.close()


async def test_a_lane_knows_whether_it_goes_first() -> None:
    """B2: a lane goes first while something waits there that could start: not while it is empty, not while it is busy."""
    story = Story()
    gate = trio.Event()
    seen = [story.system.must_go_first]
    story.system.put(story.wait("s1", gate))
    story.put(story.system, "s2")
    seen.append(story.system.must_go_first)
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
        await settle()
        seen.append(story.system.must_go_first)
        gate.set()
    assert [*seen, story.system.must_go_first] == [False, True, False, False]


@attrs.define
class Model:
    """What the log of both lanes must look like: fed with puts, beginnings and ends, it says what is wrong."""

    waiting: dict[str, list[int]] = attrs.field(factory=lambda: {"s": [], "d": []})
    running: dict[str, int | None] = attrs.field(factory=lambda: {"s": None, "d": None})
    ended: list[tuple[str, int]] = attrs.field(factory=list)

    def put(self, lane: str, number: int) -> None:
        """Something was put in."""
        self.waiting[lane].append(number)

    def begin(self, lane: str, number: int) -> None:
        """Something begins: it must be the next, nothing else may run in its lane, and no free system lane may have work."""
        assert self.running[lane] is None
        assert self.waiting[lane].pop(0) == number
        assert lane == "s" or not self.waiting["s"] or self.running["s"] is not None
        self.running[lane] = number

    def end(self, lane: str, number: int) -> None:
        """Something ends."""
        assert self.running[lane] == number
        self.running[lane] = None
        self.ended.append((lane, number))


@steady
@given(st.lists(st.tuples(st.sampled_from("sd"), st.integers(0, 3), st.booleans()), max_size=30))
def test_any_mixture_keeps_the_order(story: list[tuple[str, int, bool]]) -> None:
    """B1, B2: whatever is put in, whenever, however long each takes: FIFO in each lane, one at a time, system before data."""
    model = Model()

    async def main() -> None:
        system: Lane[tuple[str, int, int]] = Lane("s", "w", hook, Load())
        data = Lane("d", "w", hook, Load(), ahead=system)
        async with trio.open_nursery() as nursery:
            system.open(nursery)
            nursery.start_soon(data.serve)
            for number, (lane, turns, pause) in enumerate(story):
                model.put(lane, number)
                (system if lane == "s" else data).put((lane, number, turns))
                if pause:
                    await trio.lowlevel.checkpoint()
            await settle()
            data.close()

    async def hook(kind: str, item: tuple[str, int, int]) -> None:
        lane, number, turns = item
        model.begin(lane, number)
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        model.end(lane, number)

    trio.run(main)
    assert sorted(number for _, number in model.ended) == [*range(len(story))]


# -- the end -------------------------------------------------------------------------------------------------------------


def test_closing_drops_and_counts() -> None:
    """B5: what waits when a lane is closed, and what comes later, is dropped and counted; the load forgets it."""
    story = Story()
    story.put(story.data, "a", "b")
    assert (story.data.waiting, story.load.count) == (2, 2)
    story.data.close()
    assert (story.data.waiting, story.data.dropped, story.load.count) == (0, 2, 0)
    story.put(story.data, "c")
    assert (story.data.dropped, story.load.count) == (3, 0)
    story.data.close()
    assert (story.data.dropped, story.load.count) == (3, 0)
    assert story.log == []


async def test_a_hook_may_close_its_own_lane() -> None:
    """B4: after a hook has closed its lane no other begins, in a standing lane as in one on demand."""
    story = Story()
    for lane in (story.system, story.data):
        lane.put(story.do("closing", lane.close))
        story.put(lane, "never")
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
        nursery.start_soon(story.data.serve)
    assert story.log == ["closing", "closing"]
    assert [(lane.handled, lane.dropped) for lane in (story.system, story.data)] == [(1, 1), (1, 1)]
    assert story.load.count == 0


async def test_closing_wakes_who_waits_for_the_lane() -> None:
    """J7: a data lane that waits for the system lane to move goes on when that is closed."""
    story = Story()
    story.put(story.system, "dropped")
    story.put(story.data, "d1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.data.serve)
        await settle()
        assert story.log == []
        story.system.close()
        await settle()
        assert story.log == ["d1"]
        story.data.close()


async def test_a_lane_closed_while_it_gives_way_runs_nothing() -> None:
    """B4: a data item that was waiting for the system lane when its own lane was closed is dropped, and counted once."""
    story = Story()
    story.put(story.system, "s1")
    story.put(story.data, "d1", "d2")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.data.serve)
        await settle()
        story.data.close()
        story.system.open(nursery)
    assert story.log == ["s1"]
    assert (story.data.handled, story.data.dropped, story.load.count) == (0, 2, 0)


async def test_a_lane_cancelled_while_it_gives_way_keeps_its_count() -> None:
    """B5: a data item whose lane was cancelled while waiting for the system lane still waits, until it is dropped and counted."""
    story = Story()
    story.put(story.system, "s1")
    story.put(story.data, "d1", "d2")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.data.serve)
        await settle()
        nursery.cancel_scope.cancel()
    assert (story.data.waiting, story.load.count) == (2, 3)
    story.data.close()
    story.system.close()
    assert (story.data.handled, story.data.dropped, story.system.dropped, story.load.count) == (0, 2, 1, 0)


async def test_a_cancelled_lane_begins_no_hook() -> None:
    """A hook does not begin in a cancelled lane, not even one that would await nothing."""
    story = Story()
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
        nursery.cancel_scope.cancel()
        story.put(story.system, "never")
    story.put(story.data, "never")
    with trio.CancelScope() as scope:
        scope.cancel()
        await story.data.serve()
    assert story.log == []
    assert (story.system.waiting, story.data.waiting) == (1, 1)


async def test_a_cancelled_hook_has_been_handled() -> None:
    """B5: a hook that had begun when its lane was cancelled counts as handled, not as dropped."""
    story = Story()
    story.data.put(story.wait("d1", trio.Event()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.data.serve)
        await settle()
        nursery.cancel_scope.cancel()
    story.data.close()
    assert story.log == ["d1 begins"]
    assert (story.data.handled, story.data.dropped, story.data.busy, story.load.count) == (1, 0, False, 0)


async def test_a_hook_that_raises_ends_the_task_of_its_lane() -> None:
    """I7: what a hook raises comes out of the lane's task; the rest still waits, and is dropped when the lane is closed."""
    story = Story()

    def boom() -> None:
        raise ValueError("boom")

    for lane in (story.system, story.data):
        lane.put(boom)
        story.put(lane, "later")
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="boom")):
        async with trio.open_nursery() as nursery:
            story.system.open(nursery)
    assert (story.system.waiting, story.system.handled, story.system.busy, story.load.count) == (1, 1, False, 3)
    story.system.close()
    with pytest.raises(ValueError, match="boom"):
        await story.data.serve()
    assert (story.data.waiting, story.data.handled, story.data.busy, story.load.count) == (1, 1, False, 1)
    assert story.log == []


async def test_a_lane_that_was_interrupted_before_it_rested_is_not_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """B4: an interrupt as a standing lane begins comes out of it, and to close the lane then is to wake nobody."""
    begin = Lane._begin

    def interrupted(lane: Lane[Item]) -> None:
        begin(lane)
        raise KeyboardInterrupt

    monkeypatch.setattr(Lane, "_begin", interrupted)
    story = Story()
    with pytest.raises(KeyboardInterrupt):
        await story.data.serve()
    story.data.close()
    await trio.lowlevel.checkpoint()


async def test_a_lane_that_was_interrupted_as_it_took_something_up_can_be_closed() -> None:
    """B5: an interrupt then comes out of the lane, what it cost is not something to do any more, and the rest is dropped."""

    class Interrupted(deque[Item]):
        def popleft(self) -> Item:
            """The first time, interrupt whoever takes it."""
            item = super().popleft()
            if not story.data.closed:
                raise KeyboardInterrupt
            return item

    story = Story()
    story.put(story.data, "a", "b")
    story.data._queued = Interrupted(story.data._items)
    with pytest.raises(KeyboardInterrupt):
        await story.data.serve()
    story.data.close()
    assert (story.data.waiting, story.data.dropped, story.load.count) == (0, 1, 0)


# -- numbers -------------------------------------------------------------------------------------------------------------


async def test_an_item_is_load_until_it_has_run() -> None:
    """L6: an item counts as something to do from the moment it is put in until its hook has returned."""
    story = Story()
    gate = trio.Event()
    counts: list[int] = []
    story.data.put(story.wait("d1", gate))
    story.data.put(story.do("d2", lambda: counts.append(story.load.count)))
    counts.append(story.load.count)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.data.serve)
        await settle()
        counts.append(story.load.count)
        gate.set()
        await settle()
        counts.append(story.load.count)
        story.data.close()
    assert counts == [2, 2, 1, 0]


async def test_the_peak_is_the_most_that_ever_waited() -> None:
    """A lane remembers how much waited at most: an item that has begun does not wait any more."""
    story = Story()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(story.data.serve)
        for batch in ("ab", "cde", "f"):
            story.put(story.data, *batch)
            await settle()
        story.data.close()
    assert (story.data.peak, story.data.waiting, story.data.handled) == (3, 0, 6)


async def test_a_hook_may_put_into_its_own_lane() -> None:
    """B1: what a hook puts into its own lane runs after what waits there already."""
    story = Story()
    for lane in (story.system, story.data):
        name = lane.name[0]
        lane.put(story.do(f"{name}1", lambda lane=lane, name=name: story.put(lane, f"{name}3")))  # type: ignore[misc]
        story.put(lane, f"{name}2")
    async with trio.open_nursery() as nursery:
        story.system.open(nursery)
        nursery.start_soon(story.data.serve)
        await settle()
        story.data.close()
    assert story.log == ["s1", "s2", "s3", "d1", "d2", "d3"]
