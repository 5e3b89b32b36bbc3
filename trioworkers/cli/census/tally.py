"""The sums: what all files together hold. Its result does not depend on the order in which they were counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from .count import KEPT, FileCount, Function


@attrs.define
class Total:
    """Files of one kind, or of all kinds."""

    files: int = 0
    lines: int = 0
    size: int = 0

    def add(self, counted: FileCount) -> None:
        """One file more."""
        self.files += 1
        self.lines += counted.lines
        self.size += counted.size


@attrs.define
class Tally:
    """What has been counted so far.

    Args:
        expected: How many files there are; ``None`` as long as that is not known.
        total: Of all kinds.
        kinds: By suffix.
        functions: The longest, each with its file's path.
        modules: How many files import each.
        unparsed: Python files that are counted but could not be parsed, and why.
        failed: Files that could not be read or decoded, and why.
    """

    expected: int | None = None
    total: Total = attrs.field(factory=Total)
    kinds: dict[str, Total] = attrs.field(factory=dict)
    functions: list[tuple[Function, str]] = attrs.field(factory=list)
    modules: Counter[str] = attrs.field(factory=Counter)
    unparsed: dict[str, str] = attrs.field(factory=dict)
    failed: dict[str, str] = attrs.field(factory=dict)

    @property
    def seen(self) -> int:
        """How many files were looked at, counted or failed."""
        return self.total.files + len(self.failed)

    def count(self, path: str, counted: FileCount) -> None:
        """Add one file."""
        self.total.add(counted)
        self.kinds.setdefault(counted.kind, Total()).add(counted)
        self.functions = _longest([*self.functions, *((function, path) for function in counted.functions)])
        self.modules.update(counted.modules)
        if counted.unparsed is not None:
            self.unparsed[path] = counted.unparsed

    def fail(self, path: str, reason: str) -> None:
        """Note one file that failed."""
        self.failed[path] = reason


def _longest(functions: Iterable[tuple[Function, str]]) -> list[tuple[Function, str]]:
    return sorted(functions, key=lambda found: (-found[0].lines, found[1], found[0].line))[:KEPT]
