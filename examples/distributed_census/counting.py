"""What there is to count: plain functions from files to numbers, which know nothing of workers.

It is a program, too: the same census in one process, to compare with::

    python counting.py ~/src
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

DEFINITIONS = {ast.FunctionDef: "functions", ast.AsyncFunctionDef: "functions", ast.ClassDef: "classes"}
COLUMNS = ("files", "lines", "functions", "classes", "not Python", "unreadable")


def python_files(folder: str) -> list[str]:
    """Return the Python files below a folder."""
    return sorted(str(path) for path in Path(folder).resolve().rglob("*.py"))


def count(files: Iterable[str]) -> dict[str, int]:
    """Return what some files hold."""
    total: Counter[str] = Counter()
    for file in files:
        try:
            source = Path(file).read_bytes()
        except OSError:
            total["unreadable"] += 1
            continue
        total.update({"files": 1, "lines": source.count(b"\n")})
        try:
            with warnings.catch_warnings(action="ignore"):
                tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            total["not Python"] += 1
        else:
            total.update(DEFINITIONS[type(node)] for node in ast.walk(tree) if type(node) in DEFINITIONS)
    return dict(total)


def report(total: Counter[str]) -> str:
    """Return the sums in words."""
    return "\n".join(f"{total[column]:10,} {column}" for column in COLUMNS)


if __name__ == "__main__":
    print(report(Counter(count(python_files(sys.argv[1])))))
