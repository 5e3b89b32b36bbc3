"""What can go wrong on the way, as values, and what a plan of it means for one message. Nothing here waits, or knows of trio.

A *number* counts what is sent, over all links, in the order of sending. A *job* is whatever belongs together by its key: all messages
of one request, all attempts at one thing. Faults that hit by number find bugs that one mishap is enough for. Bugs that need two or
three mishaps which conspire (each retry lost, *and* the late answer not) are out of their reach; that is what faults are for that
hit a whole job, a run of messages, or everything for a while: to the protocol they are many mishaps, to a search only one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, Final, Literal, get_args

import attrs

from .._checks import check_name, check_seconds
from ._values import Validator, an, at_least, one_of, seconds

Cut = str | tuple[str, str]
Way = Literal["both", "there", "back"]
What = Literal["drop", "duplicate", "delay"]

WAYS: Final = ("both", "there", "back")
MISHAPS: Final = ("drop", "duplicate", "delay")

_BOTH: Final[Any] = "both"
_DROP: Final[Any] = "drop"

Role = Literal["number", "count", "job", "time", "length", "cut", "node", "way", "what", "flag"]
_ROLE: Final = "role"
NUMBER, COUNT, JOB, TIME, LENGTH, CUT, NODE, WAY, WHAT, FLAG = ({_ROLE: role} for role in get_args(Role))


@attrs.frozen
class Sight:
    """One message, as a fault sees it.

    Args:
        number: How many were sent before it, anywhere.
        job: How many jobs began before its own; ``None`` if it belongs to none.
        back: Whether it goes to the one who began the job.
        sender: From which node.
        receiver: To which.
        time: When it is sent, in seconds since the plan began.
    """

    number: int
    job: int | None
    back: bool
    sender: str
    receiver: str
    time: float


@attrs.frozen
class Effect:
    """What one fault does to one message.

    Args:
        lost: It does not arrive.
        late: It arrives so many seconds later; what is sent after it may overtake it.
        held: It arrives so many seconds later, and nothing overtakes it.
        again: It arrives once more, so many seconds after the first time.
    """

    lost: bool = False
    late: float = 0.0
    held: float = 0.0
    again: float | None = None


def _check_cut(_: object, attribute: Any, value: Any) -> None:
    ends = (value, value) if isinstance(value, str) else value
    if not (isinstance(ends, tuple) and len(ends) == _PAIR and all(isinstance(end, str) and end for end in ends)):
        raise TypeError(f"{attribute.name} must be a node's name or two of them, not {value!r}")


_PAIR: Final = 2
_count: Final[Validator] = at_least(0)
_seconds: Final[Validator] = seconds


def _length(_: object, attribute: Any, value: Any) -> None:
    check_seconds(value, attribute.name)


def _name(_: object, attribute: Any, value: Any) -> None:
    check_name(value, attribute.name)


def _passes(cut: Cut, sender: str, receiver: str, *, one_way: bool = False) -> bool:
    """Whether what goes from one node to another passes through a cut."""
    if isinstance(cut, tuple):
        return (sender, receiver) == cut or (not one_way and (receiver, sender) == cut)
    return sender == cut or (not one_way and receiver == cut)


@attrs.frozen
class Fault:
    """One thing that goes wrong."""

    def effect(self, sight: Sight) -> Effect | None:
        """What it does to this message; ``None`` if it has nothing to do with it."""
        del sight
        return None

    def cuts(self, sender: str, receiver: str, now: float, start: float) -> bool:
        """Whether nothing gets from one node to another now."""
        del sender, receiver, now, start
        return False

    def window(self, start: float) -> tuple[float, float]:
        """From when to when it cuts: nowhere and never, for most."""
        del start
        return math.inf, math.inf


# -- by number -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Drop(Fault):
    """One message is lost.

    Args:
        nth: Its number, from 0.
    """

    nth: int = attrs.field(validator=_count, metadata=NUMBER)

    def effect(self, sight: Sight) -> Effect | None:
        """It is lost."""
        return Effect(lost=True) if sight.number == self.nth else None


@attrs.frozen
class Duplicate(Fault):
    """One message arrives a second time.

    Args:
        nth: Its number, from 0.
        after: How many seconds after the first time; a copy arrives even if the first one is lost.
    """

    nth: int = attrs.field(validator=_count, metadata=NUMBER)
    after: float = attrs.field(default=0.0, validator=_seconds, metadata=TIME)

    def effect(self, sight: Sight) -> Effect | None:
        """It arrives again."""
        return Effect(again=self.after) if sight.number == self.nth else None


@attrs.frozen
class Delay(Fault):
    """One message is late; those sent after it may overtake it.

    Args:
        nth: Its number, from 0.
        by: How many seconds.
    """

    nth: int = attrs.field(validator=_count, metadata=NUMBER)
    by: float = attrs.field(validator=_seconds, metadata=TIME)

    def effect(self, sight: Sight) -> Effect | None:
        """It is late."""
        return Effect(late=self.by) if sight.number == self.nth else None


@attrs.frozen
class Burst(Fault):
    """The same happens to several messages in a row, whosever they are.

    Args:
        start: The number of the first, from 0.
        count: How many.
        what: ``"drop"``, ``"duplicate"`` or ``"delay"``.
        by: How many seconds later they (or their copies) arrive; nothing to a drop.
    """

    start: int = attrs.field(validator=_count, metadata=NUMBER)
    count: int = attrs.field(validator=_count, metadata=COUNT)
    what: What = attrs.field(default=_DROP, validator=one_of(*MISHAPS), metadata=WHAT)
    by: float = attrs.field(default=0.0, validator=_seconds, metadata=TIME)

    def effect(self, sight: Sight) -> Effect | None:
        """What happens to each."""
        return _effect(self.what, self.by) if self.start <= sight.number < self.start + self.count else None


def _effect(what: What, by: float) -> Effect:
    return {"drop": Effect(lost=True), "duplicate": Effect(again=by), "delay": Effect(late=by)}[what]


# -- by job --------------------------------------------------------------------------------------------------------------


def _is_of(sight: Sight, nth: int, way: Way) -> bool:
    return sight.job == nth and way in ("both", "back" if sight.back else "there")


@attrs.frozen
class DropJob(Fault):
    """All messages of one job are lost.

    Args:
        nth: Which job: how many began before it.
        way: ``"there"``: those of whoever began it. ``"back"``: those to them. ``"both"``: all.
    """

    nth: int = attrs.field(validator=_count, metadata=JOB)
    way: Way = attrs.field(default=_BOTH, validator=one_of(*WAYS), metadata=WAY)

    def effect(self, sight: Sight) -> Effect | None:
        """They are lost."""
        return Effect(lost=True) if _is_of(sight, self.nth, self.way) else None


@attrs.frozen
class DuplicateJob(Fault):
    """All messages of one job arrive a second time.

    Args:
        nth: Which job: how many began before it.
        after: How many seconds after the first time.
        way: ``"there"``: those of whoever began it. ``"back"``: those to them. ``"both"``: all.
    """

    nth: int = attrs.field(validator=_count, metadata=JOB)
    after: float = attrs.field(default=0.0, validator=_seconds, metadata=TIME)
    way: Way = attrs.field(default=_BOTH, validator=one_of(*WAYS), metadata=WAY)

    def effect(self, sight: Sight) -> Effect | None:
        """They arrive again."""
        return Effect(again=self.after) if _is_of(sight, self.nth, self.way) else None


@attrs.frozen
class DelayJob(Fault):
    """All messages of one job are late; others overtake them.

    Args:
        nth: Which job: how many began before it.
        by: How many seconds.
        way: ``"there"``: those of whoever began it. ``"back"``: those to them. ``"both"``: all.
    """

    nth: int = attrs.field(validator=_count, metadata=JOB)
    by: float = attrs.field(validator=_seconds, metadata=TIME)
    way: Way = attrs.field(default=_BOTH, validator=one_of(*WAYS), metadata=WAY)

    def effect(self, sight: Sight) -> Effect | None:
        """They are late."""
        return Effect(late=self.by) if _is_of(sight, self.nth, self.way) else None


# -- by time -------------------------------------------------------------------------------------------------------------


@attrs.frozen
class Slow(Fault):
    """For a while everything that passes a place is late, in order.

    Args:
        start: From when, in seconds.
        length: For how many seconds; ``inf`` allowed.
        cut: A node: whatever it sends or receives. Two nodes: whatever they send each other.
        by: How many seconds late.
    """

    start: float = attrs.field(validator=_seconds, metadata=TIME)
    length: float = attrs.field(validator=_length, metadata=LENGTH)
    cut: Cut = attrs.field(validator=_check_cut, metadata=CUT)
    by: float = attrs.field(validator=_seconds, metadata=TIME)

    def effect(self, sight: Sight) -> Effect | None:
        """It is late, and so is what comes behind it."""
        slow = self.start <= sight.time < self.start + self.length and _passes(self.cut, sight.sender, sight.receiver)
        return Effect(held=self.by) if slow else None


@attrs.frozen
class Partition(Fault):
    """For a while nothing gets through: what is sent, and what should arrive, is lost.

    Args:
        start: From when, in seconds.
        length: For how many seconds; ``inf`` allowed.
        cut: A node: it is cut off from all others. Two nodes: they are cut off from each other.
        one_way: Only what the node sends (of two: what the first sends to the second) is lost.
    """

    start: float = attrs.field(validator=_seconds, metadata=TIME)
    length: float = attrs.field(validator=_length, metadata=LENGTH)
    cut: Cut = attrs.field(validator=_check_cut, metadata=CUT)
    one_way: bool = attrs.field(default=False, validator=an(bool), metadata=FLAG)

    def cuts(self, sender: str, receiver: str, now: float, start: float) -> bool:
        """Whether it is there now, and this passes it."""
        begin, end = self.window(start)
        return begin <= now < end and _passes(self.cut, sender, receiver, one_way=self.one_way)

    def window(self, start: float) -> tuple[float, float]:
        """From when to when."""
        begin = start + self.start
        return begin, begin + self.length


@attrs.frozen
class Crash(Fault):
    """A node dies, with everything on it, and is back some time later, without a memory.

    Args:
        at: When, in seconds.
        node: Which.
        down: For how many seconds it is away; ``inf`` allowed.
    """

    at: float = attrs.field(validator=_seconds, metadata=TIME)
    node: str = attrs.field(validator=_name, metadata=NODE)
    down: float = attrs.field(default=math.inf, validator=_length, metadata=LENGTH)

    def cuts(self, sender: str, receiver: str, now: float, start: float) -> bool:
        """Whether one of the two is down now."""
        begin, end = self.window(start)
        return begin <= now < end and self.node in (sender, receiver)

    def window(self, start: float) -> tuple[float, float]:
        """From when to when it is down."""
        begin = start + self.at
        return begin, begin + self.down


KINDS: Final[tuple[type[Fault], ...]] = (Drop, DropJob, Delay, DelayJob, Duplicate, DuplicateJob, Burst, Partition, Slow, Crash)
"""The kinds of faults, simple ones first."""

TIMES: Final = (0.0, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds, of all sizes: mishaps that have to come together do so more often if there are few moments to choose from."""


def roles(kind: type[Fault]) -> dict[str, Role]:
    """What each field of a kind of fault means, so that somebody can draw one."""
    return {field.name: field.metadata[_ROLE] for field in attrs.fields(kind)}


# -- what a plan means ---------------------------------------------------------------------------------------------------


@attrs.frozen
class Fate:
    """What becomes of one message that is sent.

    Args:
        number: Its number.
        arrives: Whether it is on its way; otherwise only its copies are, if there are any.
        late: How many seconds longer it takes, when others may overtake it.
        held: How many seconds longer it takes, and all behind it.
        copies: How many seconds after it each of its copies comes.
        why: The faults that have a part in it.
    """

    number: int
    arrives: bool
    late: float
    held: float
    copies: tuple[float, ...]
    why: tuple[Fault, ...]


@attrs.define(eq=False)
class Weather:
    """A plan while it happens: counts what is sent, and which faults struck.

    Args:
        faults: The plan.
        start: When it began; all times of its faults count from there.
    """

    faults: tuple[Fault, ...]
    start: float = 0.0
    _sent: int = attrs.field(default=0, init=False)
    _jobs: dict[Hashable, tuple[int, str]] = attrs.field(factory=dict, init=False)
    _struck: dict[int, None] = attrs.field(factory=dict, init=False)

    @property
    def struck(self) -> tuple[Fault, ...]:
        """The faults that have done something, in the order of the plan."""
        return tuple(fault for place, fault in enumerate(self.faults) if place in self._struck)

    def fate(self, sender: str, receiver: str, key: Hashable, now: float) -> Fate:
        """Say what becomes of a message that is sent now; ``key`` says which job it belongs to, ``None`` if to none."""
        sight = self._see(sender, receiver, key, now)
        effects: list[Effect] = []
        why: list[Fault] = []
        for place, fault in enumerate(self.faults):
            effect = fault.effect(sight)
            if effect is not None:
                effects.append(effect)
                why.append(fault)
                self._struck[place] = None
        return Fate(
            sight.number,
            not any(effect.lost for effect in effects),
            sum(effect.late for effect in effects),
            sum(effect.held for effect in effects),
            tuple(effect.again for effect in effects if effect.again is not None),
            tuple(why),
        )

    def cut(self, sender: str, receiver: str, now: float) -> Fault | None:
        """The fault because of which nothing gets from one node to another now, if there is one."""
        place = next((place for place, fault in enumerate(self.faults) if fault.cuts(sender, receiver, now, self.start)), None)
        return None if place is None else self.faults[place]

    def strike(self, fault: Fault) -> None:
        """Note that it has done something."""
        self._struck[self.faults.index(fault)] = None

    def next_change(self, now: float) -> float:
        """When a cut begins or ends for the next time after now; ``inf`` if never."""
        moments = [moment for fault in self.faults for moment in fault.window(self.start) if moment > now]
        return min(moments, default=math.inf)

    def crashes(self) -> list[tuple[float, Crash]]:
        """When which node crashes, in order."""
        found = [(fault.window(self.start)[0], fault) for fault in self.faults if isinstance(fault, Crash)]
        return sorted(found, key=lambda moment: moment[0])

    def up_at(self, node: str, now: float) -> float:
        """When a node that is down now is up again, as far as one fault says so; ``now`` if it is up."""
        down = [fault for fault in self.faults if isinstance(fault, Crash) and fault.cuts(node, node, now, self.start)]
        return max((fault.window(self.start)[1] for fault in down), default=now)

    def _see(self, sender: str, receiver: str, key: Hashable, now: float) -> Sight:
        number, self._sent = self._sent, self._sent + 1
        job, asker = (None, sender) if key is None else self._jobs.setdefault(key, (len(self._jobs), sender))
        return Sight(number, job, sender != asker, sender, receiver, now - self.start)
