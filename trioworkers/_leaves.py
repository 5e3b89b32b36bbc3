"""Exceptions as a flat list, and in words.

Groups are opened at each boundary (a worker, a job) so that nesting never piles up: trio formats the exceptions of every nursery
it closes, and in a chain of some hundred nurseries that alone ends in a ``RecursionError``. Only exact ``ExceptionGroup`` and
``BaseExceptionGroup`` are opened; a subclass is somebody's own meaning and stays whole.
"""

from __future__ import annotations

import traceback

_LIMIT = 1000
_TRACEBACK_LIMIT = 10_000


def leaves(error: BaseException) -> list[BaseException]:
    """Return what is inside, outermost first, each exception once."""
    found: dict[int, BaseException] = {}
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if type(current) in (ExceptionGroup, BaseExceptionGroup):
            waiting.extend(reversed(current.exceptions))  # type: ignore[attr-defined]  # mypy does not narrow on exact types
        else:
            found.setdefault(id(current), current)
    return list(found.values())


def describe(error: BaseException) -> str:
    """Return ``"ValueError: boom"``: type and message, shortened, whatever ``__str__`` does."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - somebody's __str__ raises; its type still says something, and no answer may be lost over it
        message = "(its message cannot be shown)"
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return text if len(text) <= _LIMIT else text[: _LIMIT - 3] + "..."


def trace(error: BaseException) -> str:
    """Return the traceback as text, its end if it is long."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - as above: an exception that cannot be shown must not cost the answer
        return describe(error)
    return text[-_TRACEBACK_LIMIT:]


def flat_group(message: str, errors: list[BaseException]) -> BaseExceptionGroup[BaseException]:
    """Return one group of ``errors`` (an ``ExceptionGroup`` if it can be one)."""
    return BaseExceptionGroup(message, errors)
