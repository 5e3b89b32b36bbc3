"""Who is there, as a bus that spans runners has to know it: what it is told by its runner's registry, and what it asks of it.

The registry lives on a higher floor and knows nothing of buses; these are the two sides of the one conversation they have.
"""

from __future__ import annotations

from typing import Protocol

from ..types import WorkerRegistryEntry


class Directory(Protocol):
    """Told what others may want to know. Every method is sync, and called at the moment of the change."""

    def taken(self, name: str) -> None:
        """A worker of this runner is going to be registered: a name that is taken here is nobody else's, seen from here."""
        ...

    def changed(self, entry: WorkerRegistryEntry) -> None:
        """A worker of this runner is ready, or its entry is another."""
        ...

    def gone(self, entry: WorkerRegistryEntry) -> None:
        """A worker of this runner is not there any more."""
        ...

    def wanted(self, name: str) -> None:
        """Somebody watches or waits for a worker that this runner does not have."""
        ...

    def unwanted(self, name: str) -> None:
        """Nobody does any more."""
        ...


class Roster(Protocol):
    """A runner's registry, as far as its bus needs it; :class:`~trioworkers.WorkerRegistry` is one."""

    @property
    def runner_name(self) -> str:
        """The runner whose workers are the local ones."""
        ...

    @property
    def local_workers(self) -> list[str]:
        """Their names."""
        ...

    def wants(self, name: str) -> bool:
        """Whether somebody watches or waits for that worker."""
        ...

    def get(self, name: str) -> WorkerRegistryEntry | None:
        """The entry of that name."""
        ...

    def register(self, entry: WorkerRegistryEntry, *, runner: str | None = None) -> bool:
        """Add a worker of another runner, or replace its entry."""
        ...

    def unregister(self, name: str, *, runner: str | None = None) -> None:
        """Forget a worker of another runner."""
        ...

    def share(self, directory: Directory | None) -> None:
        """Tell this directory from now on; ``None`` for nobody."""
        ...
