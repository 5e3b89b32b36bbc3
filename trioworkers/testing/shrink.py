"""Making a failing list shorter for as long as it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(items: Sequence[T], fails: Callable[[Sequence[T]], Sequence[T] | None]) -> Sequence[T]:
    """Leave out whatever can be left out, ever smaller pieces at a time: no single one of the rest can.

    Args:
        items: A list that fails.
        fails: Tries a shorter list. If it still fails, returns it, or what of it was really used, else ``None``.

    Reference: Zeller, Hildebrandt, "Simplifying and isolating failure-inducing input" (2002): ddmin, complements only.
    """
    size = max(1, len(items) // 2)
    while items:
        shorter = _without_some(items, size, fails)
        if shorter is not None:
            items = shorter
            size = max(1, min(size, len(items) // 2))
        elif size == 1:
            break
        else:
            size //= 2
    return items


def _without_some(items: Sequence[T], size: int, fails: Callable[[Sequence[T]], Sequence[T] | None]) -> Sequence[T] | None:
    for start in reversed(range(0, len(items), size)):
        used = fails([*items[:start], *items[start + size :]])
        if used is not None and len(used) < len(items):
            return used
    return None
