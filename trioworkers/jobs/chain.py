"""In which jobs the present code runs: a context variable that each handler's task sets, and each request carries."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

CHAIN: Final[ContextVar[tuple[str, ...]]] = ContextVar("trioworkers_chain", default=())
"""The jobs around the present code, outermost first, as :func:`link` names them; empty in hooks and outside workers."""


def link(job_id: str, worker_name: str) -> str:
    """Name one job: the members of a group share an id, so the worker belongs to it."""
    return f"{job_id}@{worker_name}"
