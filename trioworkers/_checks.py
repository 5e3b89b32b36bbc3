"""Arguments checked at the call: each function returns what it was given, or raises before anything has happened."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any


def check_name(name: object, what: str = "a worker's name") -> str:
    """Return a non-empty ``str``.

    Raises:
        TypeError: It is no ``str``.
        ValueError: It is empty.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a str, not {name!r}")
    if not name:
        raise ValueError(f"{what} must not be empty")
    return name


def check_names(names: Sequence[object]) -> tuple[str, ...]:
    """Return the names of the workers to ask: at least one, none twice.

    Raises:
        TypeError: One is no ``str``.
        ValueError: There is none, one is empty, one comes twice.
    """
    checked = tuple(check_name(name) for name in names)
    if not checked:
        raise ValueError("name at least one worker to ask")
    if len(set(checked)) < len(checked):
        raise ValueError(f"each worker can be asked once per request: {', '.join(map(repr, checked))}")
    return checked


def check_count(value: object, what: str) -> int:
    """Return a whole number, 1 or more.

    Raises:
        TypeError: It is no ``int``.
        ValueError: It is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{what} must be 1 or more, not {value!r}")
    return value


def check_seconds(value: object, what: str = "timeout") -> float:
    """Return a number of seconds, zero or more, perhaps ``inf``.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number of seconds, not {value!r}")
    if not 0 <= value <= sys.float_info.max and value != math.inf:
        raise ValueError(f"{what} must be zero or more seconds, not {value!r}")
    return float(value)


def check_optional_seconds(value: object, what: str = "timeout") -> float | None:
    """Like :func:`check_seconds`; ``None`` and ``inf`` mean no limit and come back as ``None``."""
    if value is None:
        return None
    seconds = check_seconds(value, what)
    return None if math.isinf(seconds) else seconds


def check_dict(value: object, what: str) -> dict[str, Any] | None:
    """Return a ``dict`` or ``None``.

    Raises:
        TypeError: It is something else.
    """
    if value is None or isinstance(value, dict):
        return value
    raise TypeError(f"{what} must be a dict or None, not {value!r}")


def check_text(value: object, what: str) -> str:
    """Return a ``str``.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(value, str):
        return value
    raise TypeError(f"{what} must be a str, not {value!r}")


def check_optional_text(value: object, what: str) -> str | None:
    """Return a ``str`` or ``None``.

    Raises:
        TypeError: It is something else.
    """
    return None if value is None else check_text(value, what)
