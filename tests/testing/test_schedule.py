"""Schedules as values: tokens."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import steady

from trioworkers.testing import Hold, ReplayError, Schedule

holds = st.builds(Hold, held=st.text(), step=st.integers(min_value=0), run=st.text())
schedules = st.builds(
    Schedule,
    holds=st.lists(holds).map(tuple),
    seed=st.integers(),
    step_cost=st.floats(min_value=0, allow_infinity=False),
    granularity=st.sampled_from(["step", "batch"]),
)


def packed(value: Any) -> str:
    """A token with this inside."""
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(value).encode())).decode()


@steady
@given(schedules)
def test_a_token_turns_back(schedule: Schedule) -> None:
    """Every schedule comes back from its token as it was, and the token is plain text without a line's end."""
    token = schedule.to_token()
    assert Schedule.from_token(token) == schedule
    assert token.isascii()
    assert token.replace("-", "").replace("_", "").isalnum()


def test_an_old_token_means_what_it_meant() -> None:
    """A token of the first version that was once written down still stands for its schedule."""
    written = "eNqLNtQx0DHQMzAwMNRRKi5JLVDSiY5WSs7PKy7NTS1S0jHRUSooyk8pTQZyYnWilRKVdIAKk5RiY2MB7s4Q9Q"
    assert Schedule.from_token(written) == Schedule((Hold("consumer", 4, "producer"), Hold("a", 1, "b")), 0, 0.0001, "step")


@steady
@given(schedules, st.sampled_from([" {}\n", "'{}'", "{}="]))
def test_a_token_may_be_copied_carelessly(schedule: Schedule, around: str) -> None:
    """Blanks, quotes and padding around a token do no harm."""
    assert Schedule.from_token(around.format(schedule.to_token())) == schedule


@steady
@given(st.text())
def test_what_is_no_token_is_a_replay_error(text: str) -> None:
    """Text that nobody printed is told as such, and shown."""
    with pytest.raises(ReplayError) as caught:
        Schedule.from_token(text)
    assert str(caught.value) == f"{text!r} is no replay token: copy the whole line that a failure printed"


@steady
@given(schedules, st.data())
def test_half_a_token_is_a_replay_error(schedule: Schedule, data: st.DataObject) -> None:
    """A token of which the end is missing is no token."""
    token = schedule.to_token()
    half = token[: data.draw(st.integers(0, len(token) // 2))]
    with pytest.raises(ReplayError, match="is no replay token"):
        Schedule.from_token(half)


@pytest.mark.parametrize(
    "inside",
    [
        None,
        [],
        {},
        [1],
        [1, 0, 0.0, "step"],
        [1, 0, 0.0, "step", None],
        [1, 0, 0.0, "step", [["a", 1]]],
        [1, 0, 0.0, "step", [["a", -1, "b"]]],
        [1, 0, 0.0, "step", [["a", 1, 2]]],
        [1, 0, 0.0, "step", [["a", 1.5, "b"]]],
        [1, 0, 0.0, "stop", []],
        [1, 0, -1.0, "step", []],
        [1, "0", 0.0, "step", []],
        [1, 0, 0.0, "step", [], "more"],
    ],
)
def test_a_token_with_something_else_inside_is_a_replay_error(inside: Any) -> None:
    """A text that looks like a token, and has no schedule in it, is no token."""
    with pytest.raises(ReplayError, match="is no replay token"):
        Schedule.from_token(packed(inside))


@pytest.mark.parametrize("inside", [[2], [0, "any", "thing"], [2, 0, 0.0, "step", []]])
def test_a_token_of_another_version_is_told_as_such(inside: Any) -> None:
    """A token of another version is not read, whatever is in it."""
    token = packed(inside)
    with pytest.raises(ReplayError) as caught:
        Schedule.from_token(token)
    assert str(caught.value) == f"the replay token {token!r} is of another version of trioworkers"


def test_what_is_left_out_is_plain() -> None:
    """A schedule of nothing holds nobody, costs nothing, and takes single steps."""
    assert Schedule() == Schedule(holds=(), seed=0, step_cost=0.0, granularity="step")


def test_a_replay_error_is_a_value_error() -> None:
    """Who catches a ValueError catches it."""
    assert issubclass(ReplayError, ValueError)


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ({"seed": "7"}, TypeError, "seed must be of type int, not '7'"),
        ({"step_cost": -1}, ValueError, "step_cost must be zero or more seconds, not -1"),
        ({"step_cost": float("inf")}, ValueError, "step_cost must be finite"),
        ({"step_cost": "much"}, TypeError, "step_cost must be a number of seconds, not 'much'"),
        ({"granularity": "stop"}, ValueError, "granularity must be one of 'step', 'batch', not 'stop'"),
    ],
)
def test_a_wrong_value_is_told_by_its_name(wrong: dict[str, Any], kind: type[Exception], text: str) -> None:
    """A schedule that could not be run is not made."""
    with pytest.raises(kind) as caught:
        attrs.evolve(Schedule(), **wrong)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        ((1, 0, "b"), TypeError, "held must be of type str, not 1"),
        (("a", 0, None), TypeError, "run must be of type str, not None"),
        (("a", "0", "b"), TypeError, "step must be of type int, not '0'"),
        (("a", -1, "b"), ValueError, "step must be 0 or more, not -1"),
    ],
)
def test_a_hold_that_can_never_apply_is_told(values: tuple[Any, Any, Any], kind: type[Exception], text: str) -> None:
    """A hold with a wrong value is not made."""
    with pytest.raises(kind) as caught:
        Hold(*values)
    assert str(caught.value) == text
