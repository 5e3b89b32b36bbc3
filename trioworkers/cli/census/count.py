"""What one file holds: a pure function from its name and its bytes to a :class:`FileCount`."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import attrs

PYTHON = frozenset({".py", ".pyi", ".pyw"})
KEPT = 10


class NotTextError(Exception):
    """Bytes that cannot be decoded; says why."""


class Function(NamedTuple):
    """A function or method, from the line of its ``def`` (``line``) on ``lines`` lines long; ``name`` says what it is inside of."""

    lines: int
    name: str
    line: int


@attrs.frozen
class FileCount:
    """What one file holds.

    Args:
        kind: Its suffix, in lower case.
        size: Bytes.
        lines: Lines; a last one without a line feed counts.
        functions: Its longest functions, if it is Python.
        modules: The modules it imports by their full names, each once, if it is Python.
        unparsed: Why it could not be parsed, if it is meant to be Python.
    """

    kind: str
    size: int
    lines: int
    functions: list[Function] = attrs.field(factory=list)
    modules: list[str] = attrs.field(factory=list)
    unparsed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as the response of a job."""
        return attrs.asdict(self, recurse=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build it from the response of a job."""
        return cls(**{**data, "functions": [Function(*function) for function in data["functions"]]})


def count(name: str, data: bytes) -> FileCount:
    """Count one file.

    Raises:
        NotTextError: It cannot be decoded.
    """
    kind = Path(name).suffix.lower()
    text = _decode(data, is_python=kind in PYTHON)
    counted = FileCount(kind, len(data), text.count("\n") + bool(text and not text.endswith("\n")))
    return _parse(counted, text) if kind in PYTHON else counted


def _decode(data: bytes, *, is_python: bool) -> str:
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0] if is_python else "utf-8-sig"
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NotTextError(f"not {error.encoding}: {error.reason} at byte {error.start}") from None
    except (UnicodeError, LookupError, SyntaxError) as error:  # an encoding that there is not, or that is not for text
        raise NotTextError(str(error)) from None


def _parse(counted: FileCount, text: str) -> FileCount:
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text)
    except SyntaxError as error:
        where = "" if error.lineno is None else f" (line {error.lineno})"
        return attrs.evolve(counted, unparsed=f"{error.msg}{where}")
    except (ValueError, RecursionError, MemoryError) as error:  # null characters; too deep for the parser
        return attrs.evolve(counted, unparsed=str(error) or type(error).__name__)
    functions: list[Function] = []
    modules: set[str] = set()
    for node, name in _statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.append(Function((node.end_lineno or node.lineno) - node.lineno + 1, name, node.lineno))
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            modules.add(node.module)
    return attrs.evolve(counted, functions=sorted(functions, key=_longest_first)[:KEPT], modules=sorted(modules))


def _statements(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """All statements, each with its qualified name, or that of what is around it if it has none.

    Definitions and imports are statements, so nothing has to look into expressions, of which a tree mostly consists.
    """
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, around = waiting.pop()
        for block in ("body", "handlers", "orelse", "finalbody", "cases"):
            for child in getattr(node, block, ()):
                name = around
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    name = f"{around}.{child.name}" if around else child.name
                yield child, name
                if hasattr(child, "body") or hasattr(child, "cases"):
                    waiting.append((child, name))


def _longest_first(function: Function) -> tuple[int, int]:
    return -function.lines, function.line
