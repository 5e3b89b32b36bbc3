"""A schedule as a value: what it does otherwise than the plain one, and nothing else.

By the plain schedule a task runs until it waits for something, then the oldest that is runnable goes on. A :class:`Hold` is one
exception to that: *when ``held`` would take its step number ``step``, let ``run`` take one instead*. Tasks are named by labels (their
trio name, and a number if it is not the first of that name), and steps are counted for each task. So a hold means the same
whatever is left out around it, which is what makes a schedule shrink, and readable.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any, Literal, Self, get_args

import attrs

from ._values import an, at_least, one_of, seconds
from .errors import ReplayError

Granularity = Literal["step", "batch"]
_VERSION = 1


@attrs.frozen
class Hold:
    """One exception to the plain schedule.

    Args:
        held: The label of the task whose turn it would be.
        step: Which of its steps that is; 0 is its first.
        run: The label of the task that takes a step instead.
    """

    held: str = attrs.field(validator=an(str))
    step: int = attrs.field(validator=at_least(0))
    run: str = attrs.field(validator=an(str))


@attrs.frozen
class Schedule:
    """Who runs when, and how long a step takes. It can be printed, compared, sent elsewhere and run again.

    ::

        simulate(program, schedule=Schedule((Hold("consumer", 3, "producer"),)))

    Args:
        holds: The exceptions to the plain schedule, in order.
        seed: Decides how long each step takes, and what the program gets when it asks for randomness.
        step_cost: A step takes up to so many (virtual) seconds; 0 for none.
        granularity: ``"step"``: after each step of a task, any task may be next, as the contract of trio allows. ``"batch"``: each
            runnable task takes one step in each round, in any order, as trio does it today.

    Raises:
        TypeError: A value is of a wrong type.
        ValueError: A step, or its cost, is negative; there is no such granularity.
    """

    holds: tuple[Hold, ...] = ()
    seed: int = attrs.field(default=0, validator=an(int))
    step_cost: float = attrs.field(default=0.0, validator=seconds)
    granularity: Granularity = attrs.field(default="step", validator=one_of(*get_args(Granularity)))  # pyright: ignore[reportAssignmentType]  # it takes a literal for a str

    def to_token(self) -> str:
        """A short text that :meth:`from_token` turns back: for a bug report, or ``replay=``."""
        holds = [(hold.held, hold.step, hold.run) for hold in self.holds]
        text = json.dumps([_VERSION, self.seed, self.step_cost, self.granularity, holds], separators=(",", ":"))
        return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> Self:
        """The schedule a token stands for.

        Raises:
            ReplayError: It stands for none.
        """
        try:
            version, *fields = _unpacked(token)
            if version == _VERSION:
                return cls._of(*fields)
        except (ValueError, TypeError, zlib.error):
            raise ReplayError(f"{token!r} is no replay token: copy the whole line that a failure printed") from None
        raise ReplayError(f"the replay token {token!r} is of another version of trioworkers")

    @classmethod
    def _of(cls, seed: int, step_cost: float, granularity: Granularity, holds: Iterable[tuple[str, int, str]]) -> Self:
        return cls(tuple(Hold(*hold) for hold in holds), seed, step_cost, granularity)


def _unpacked(token: str) -> Any:
    return json.loads(zlib.decompress(base64.urlsafe_b64decode(token + "==")))  # more padding than needed does no harm
