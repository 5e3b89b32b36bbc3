"""In which jobs the present code runs: a context variable that each handler's task sets, and each request carries."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

CHAIN: Final[ContextVar[tuple[str, ...]]] = ContextVar("trioworkers_chain", default=())
"""The ids of the jobs around the present code, outermost first; empty in hooks and outside workers."""
