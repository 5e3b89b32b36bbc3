"""What the tests of observers share: an observer that writes everything down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trioworkers import Observer
from trioworkers.observers import HOOKS

Told = list[tuple[Any, ...]]


def recording(log: Told, *hooks: str) -> Observer:
    """Return an observer that overrides these hooks (all, if none is named): each writes its name and arguments into ``log``."""

    def writes(hook: str) -> Callable[..., None]:
        return lambda observer, *args: log.append((hook, *args))

    cls = type("Recording", (Observer,), {hook: writes(hook) for hook in hooks or HOOKS})
    observer: Observer = cls()
    return observer
