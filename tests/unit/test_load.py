"""How much is still to do, counted by hand and by the counter."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.strategies import steady

from trioworkers._load import Load


def test_idleness_is_told_once() -> None:
    """Who waits for idleness hears of it when the count is back at zero, and only that time."""
    load, calls = Load(), list[str]()
    load.add(2)
    load.when_idle(lambda: calls.append("idle"))
    load.done()
    assert calls == []
    load.done()
    assert calls == ["idle"]
    load.add()
    load.done()
    assert calls == ["idle"]


def test_all_who_wait_are_told_in_order() -> None:
    """Those who wait are called in the order they came; who waits again from inside waits for the next time."""
    load, calls = Load(1), list[str]()

    def again() -> None:
        calls.append("first")
        load.when_idle(again)

    load.when_idle(again)
    load.when_idle(lambda: calls.append("second"))
    load.done()
    assert calls == ["first", "second"]
    load.add()
    load.done()
    assert calls == ["first", "second", "first"]


def test_amounts_count() -> None:
    """Several things can be taken on and be over at once."""
    load, calls = Load(), list[str]()
    load.add(5)
    load.when_idle(lambda: calls.append("idle"))
    load.done(3)
    load.done(2)
    assert (load.count, calls) == (0, ["idle"])


def test_a_joined_load_counts_into_the_whole() -> None:
    """L6: what is open when a part joins counts, what it takes on later counts, and the whole is idle when all parts are."""
    whole, one, two = Load(), Load(2), Load()
    calls: list[str] = []
    assert not one.is_part
    one.join(whole)
    two.join(whole)
    assert (one.is_part, two.is_part, whole.is_part) == (True, True, False)
    two.add()
    assert whole.count == 3
    whole.when_idle(lambda: calls.append("whole"))
    one.when_idle(lambda: calls.append("one"))
    one.done(2)
    assert (whole.count, calls) == (1, ["one"])
    two.done()
    assert (whole.count, calls) == (0, ["one", "whole"])


def test_a_chain_of_loads() -> None:
    """A whole may itself be part of a larger one."""
    top, middle, leaf = Load(), Load(), Load(1)
    leaf.join(middle)
    middle.join(top)
    assert top.count == 1
    leaf.add()
    assert (leaf.count, middle.count, top.count) == (2, 2, 2)
    leaf.done(2)
    assert (leaf.count, middle.count, top.count) == (0, 0, 0)


class LoadMachine(RuleBasedStateMachine):
    """Some loads that take on, finish and join each other, beside a model: one number for each, and who counts into whom."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[Load] = []
        self.own: list[int] = []
        self.into: dict[int, int] = {}
        self.heard: list[int] = []
        self.expected: list[int] = []
        self.waiting: list[int] = []

    @initialize(count=st.integers(2, 5))
    def make(self, count: int) -> None:
        """Begin with some."""
        self.loads = [Load() for _ in range(count)]
        self.own = [0] * count
        self.waiting = [0] * count

    def expected_count(self, index: int) -> int:
        """What a load should say: its own, and all that count into it."""
        return self.own[index] + sum(self.expected_count(part) for part, whole in self.into.items() if whole == index)

    def upwards(self, index: int) -> list[int]:
        """A load, and those it counts into."""
        return [index, *(self.upwards(self.into[index]) if index in self.into else [])]

    @rule(data=st.data(), amount=st.integers(1, 3))
    def add(self, data: st.DataObject, amount: int) -> None:
        """Take something on."""
        index = data.draw(st.integers(0, len(self.loads) - 1))
        self.loads[index].add(amount)
        self.own[index] += amount

    @precondition(lambda self: any(self.own))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Something is over; the largest whole that this empties hears of it first."""
        index = data.draw(st.sampled_from([index for index, count in enumerate(self.own) if count]))
        amount = data.draw(st.integers(1, self.own[index]))
        self.own[index] -= amount
        for above in reversed(self.upwards(index)):
            if not self.expected_count(above):
                self.expected += [above] * self.waiting[above]
                self.waiting[above] = 0
        self.loads[index].done(amount)

    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        """Somebody wants to hear of idleness."""
        index = data.draw(st.integers(0, len(self.loads) - 1))
        self.loads[index].when_idle(lambda: self.heard.append(index))
        self.waiting[index] += 1

    @precondition(lambda self: len(self.into) < len(self.loads) - 1)
    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        """One joins another, above it in the list, so that there is no circle; each joins once."""
        index = data.draw(st.sampled_from([index for index in range(len(self.loads) - 1) if index not in self.into]))
        whole = data.draw(st.integers(index + 1, len(self.loads) - 1))
        self.loads[index].join(self.loads[whole])
        self.into[index] = whole

    @invariant()
    def every_count_is_right(self) -> None:
        """Each load counts its own and all that joined it."""
        assert [load.count for load in self.loads] == [self.expected_count(index) for index in range(len(self.loads))]

    @invariant()
    def idleness_was_told(self) -> None:
        """Each wait was told at the first moment of idleness after it, in order."""
        assert self.heard == self.expected


TestLoads = LoadMachine.TestCase
TestLoads.settings = settings(steady, stateful_step_count=30)
TestLoads.__doc__ = "L6: however loads join, each counts what is open below it, and whoever waits for idleness hears of it."
