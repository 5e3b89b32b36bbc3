"""Text for people: columns, and names that cannot disturb a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a title and aligned columns, numbers to the right, all else to the left; nothing at all if there are no rows."""
    if not rows:
        return ""
    cells = [list(head), *([cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    to_the_right = [isinstance(value, int | float) for value in rows[0]]
    lines = ("  ".join(map(_pad, row, widths, to_the_right)) for row in cells)
    return "\n".join([title, *(f"  {line}".rstrip() for line in lines)])


def cell(value: object) -> str:
    """Return a value as it stands in a table: ``1,234``, ``0.5``, ``-`` for NaN, text without surprises."""
    match value:
        case int():
            return f"{value:,}"
        case float():
            return "-" if math.isnan(value) else f"{value:,.1f}"
        case _:
            return printable(str(value))


def printable(text: str) -> str:
    """Return text in one line that is safe to print: a file's name may hold line feeds, escape codes, bytes that are no text."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _pad(text: str, width: int, to_the_right: bool) -> str:
    return text.rjust(width) if to_the_right else text.ljust(width)
