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
from typing import Literal, Self

import attrs

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

    held: str
    step: int
    run: str


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
    """

    holds: tuple[Hold, ...] = ()
    seed: int = 0
    step_cost: float = 0.0
    granularity: Granularity = "step"

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
            text = zlib.decompress(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            version, seed, step_cost, granularity, holds = json.loads(text)
            schedule = cls(tuple(Hold(*hold) for hold in holds), seed, step_cost, granularity)
        except (ValueError, TypeError, zlib.error):
            raise ReplayError(f"{token!r} is no replay token: copy the whole line that a failure printed") from None
        if version != _VERSION:
            raise ReplayError(f"the replay token {token!r} is of another version of trioworkers")
        return schedule
