"""Arguments are checked at the call."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.strategies import steady, texts

from trioworkers._checks import (
    check_dict,
    check_name,
    check_names,
    check_optional_seconds,
    check_optional_text,
    check_seconds,
)

anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(), st.lists(st.integers()), st.dictionaries(texts, texts)
)


@steady
@given(anything)
@example("")
@example("w")
def test_a_name_is_a_text_that_is_not_empty(value: Any) -> None:
    """A name comes back as it is; what is no str is a TypeError, an empty one a ValueError."""
    if not isinstance(value, str):
        with pytest.raises(TypeError, match="a worker's name must be a str"):
            check_name(value)
    elif not value:
        with pytest.raises(ValueError, match="a worker's name must not be empty"):
            check_name(value)
    else:
        assert check_name(value) is value


def test_what_is_named_is_said() -> None:
    """The error says what kind of name was wanted, and what was given."""
    with pytest.raises(TypeError, match="a job's id must be a str, not 5"):
        check_name(5, "a job's id")


@steady
@given(st.lists(st.sampled_from(["a", "b", "c", "d"])))
def test_each_worker_is_asked_once(asked: list[str]) -> None:
    """U3, U4: no name at all, or one twice, is refused; otherwise the names come back in order."""
    if not asked:
        with pytest.raises(ValueError, match="name at least one worker to ask"):
            check_names(asked)
    elif len({*asked}) < len(asked):
        with pytest.raises(ValueError, match="each worker can be asked once per request: '"):
            check_names(asked)
    else:
        assert check_names(asked) == tuple(asked)


@pytest.mark.parametrize(("names", "error"), [([5], TypeError), (["a", ""], ValueError), (["a", None], TypeError)])
def test_each_name_is_checked(names: list[Any], error: type[Exception]) -> None:
    """Every name of a group is checked like a single one."""
    with pytest.raises(error):
        check_names(names)


@steady
@given(st.floats(min_value=0) | st.integers(0, 10**15))
def test_seconds_come_back_as_a_float(value: float) -> None:
    """Zero or more seconds, as int or float, ``inf`` included, are a float of the same value."""
    seconds = check_seconds(value)
    assert type(seconds) is float
    assert seconds == value
    assert check_optional_seconds(value) == (None if math.isinf(value) else value)


@pytest.mark.parametrize("value", [-1, -0.001, -math.inf, math.nan])
def test_no_negative_seconds(value: float) -> None:
    """U27: a negative or NaN timeout is a ValueError at the call."""
    for check in (check_seconds, check_optional_seconds):
        with pytest.raises(ValueError, match="timeout must be zero or more seconds"):
            check(value)


@pytest.mark.parametrize("value", ["5", True, b"5", [5], 5j])
def test_seconds_are_a_number(value: object) -> None:
    """A timeout that is no number is a TypeError, and a bool is none."""
    for check in (check_seconds, check_optional_seconds):
        with pytest.raises(TypeError, match="patience must be a number of seconds"):
            check(value, "patience")


def test_seconds_that_no_float_can_hold() -> None:
    """A timeout larger than any float is a ValueError, like any other number that is none of seconds."""
    for check in (check_seconds, check_optional_seconds):
        with pytest.raises(ValueError, match="timeout"):
            check(10**400)


def test_no_limit() -> None:
    """None means no limit, where a limit is optional."""
    assert check_optional_seconds(None) is None
    with pytest.raises(TypeError, match="timeout must be a number of seconds, not None"):
        check_seconds(None)


@steady
@given(anything)
def test_a_dict_or_none(value: Any) -> None:
    """A dict or None comes back as the same object; anything else is a TypeError that says what it was for."""
    if value is None or isinstance(value, dict):
        assert check_dict(value, "a payload") is value
    else:
        with pytest.raises(TypeError, match="a payload must be a dict or None"):
            check_dict(value, "a payload")


@steady
@given(anything)
def test_a_text_or_none(value: Any) -> None:
    """A str or None comes back; anything else is a TypeError that says what it was for."""
    if value is None or isinstance(value, str):
        assert check_optional_text(value, "a reason") is value
    else:
        with pytest.raises(TypeError, match="a reason must be a str, not"):
            check_optional_text(value, "a reason")
