"""Names that a package has, and that are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names(package: dict[str, Any], homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``, as PEP 562 has them.

    Args:
        package: The package's ``globals()``.
        homes: The module that each name is in, relative to the package.
    """
    name_of_package: str = package["__name__"]

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {name_of_package!r} has no attribute {name!r}", name=name)
        package[name] = found = getattr(import_module(homes[name], name_of_package), name)
        return found

    return find, lambda: sorted({*package, *homes})
