"""Validators of fields: a wrong value is told by the field's name, at the call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .._checks import check_optional_seconds, check_seconds

Validator = Callable[[Any, Any, Any], None]


def one_of(*choices: object) -> Validator:
    """It must be one of these."""

    def check(of: object, field: Any, value: object) -> None:
        del of
        if value not in choices:
            raise ValueError(f"{field.name} must be one of {', '.join(map(repr, choices))}, not {value!r}")

    return check


def an(kind: type) -> Validator:
    """It must be of this type."""

    def check(of: object, field: Any, value: object) -> None:
        del of
        if not isinstance(value, kind):
            raise TypeError(f"{field.name} must be of type {kind.__name__}, not {value!r}")

    return check


def at_least(least: int) -> Validator:
    """It must be a whole number, this one or more."""

    def check(of: object, field: Any, value: Any) -> None:
        an(int)(of, field, value)
        if value < least:
            raise ValueError(f"{field.name} must be {least} or more, not {value!r}")

    return check


def seconds(of: object, field: Any, value: object) -> None:
    """It must be a finite number, zero or more."""
    del of
    if math.isinf(check_seconds(value, field.name)):
        raise ValueError(f"{field.name} must be finite")


def optional_seconds(of: object, field: Any, value: object) -> None:
    """It must be a number, zero or more, or ``None``."""
    del of
    check_optional_seconds(value, field.name)
