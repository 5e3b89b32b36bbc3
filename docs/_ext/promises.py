"""Which test proves what: the ids in the docstrings of the tests, such as ``J1`` or ``U17``. No Sphinx."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ID = re.compile(r"\b[LJBRCNU]\d{1,2}\b")


def docstrings(folder: Path) -> Iterator[tuple[str, str]]:
    """Return each test module, class and function below ``folder`` that has a docstring, by its pytest name."""
    for file in sorted(folder.rglob("test_*.py")):
        module = file.relative_to(folder.parent).as_posix()
        waiting: list[tuple[str, ast.AST]] = [(module, ast.parse(file.read_text(encoding="utf-8")))]
        while waiting:
            name, node = waiting.pop(0)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                yield name, ast.get_docstring(node) or ""
            if isinstance(node, (ast.Module, ast.ClassDef)):
                named = [inner for inner in node.body if isinstance(inner, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
                waiting.extend((f"{name}::{inner.name}", inner) for inner in named)


def proofs(folder: Path) -> dict[str, list[str]]:
    """Return the tests that name each id, in the order of their names: ``{"J1": ["tests/...::test_x", ...]}``."""
    found: dict[str, list[str]] = {}
    for name, text in docstrings(folder):
        for promise in dict.fromkeys(ID.findall(text)):
            found.setdefault(promise, []).append(name)
    return found
