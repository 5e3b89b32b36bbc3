"""Who is there: the workers that are ready, here and elsewhere, and who wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

import attrs
import trio

from ._checks import check_name
from ._sources import WallClock, present_clock
from .bus.directory import Directory
from .errors import DuplicateWorkerError, UnknownWorkerError
from .observers import NOBODY, Observers
from .types import WorkerLostData, WorkerReadyData, WorkerRegistryEntry

OnReady = Callable[[WorkerReadyData], None]
OnLost = Callable[[WorkerLostData], None]


@attrs.define(eq=False, repr=False)
class _Watch:
    ready: OnReady
    lost: OnLost | None
    watcher: str | None
    live: bool = True


@attrs.define(eq=False)
class WorkerRegistry:
    """The workers that are ready and not finished.

    A sync core: nothing here waits but :meth:`wait_ready`. Handlers are plain functions called at the moment of the change; a
    worker's handler only puts a hook into its own lane, so that a slow or failing hook is its own affair.

    Args:
        runner_name: The runner whose workers are the local ones.
        clock: Unix time in seconds, for ``started_at``.
        observers: Those who look on: ``bus.observers``, for a registry made by hand.

    Reference: WorkerRegistry, which never forgot anybody.
    """

    runner_name: str
    _clock: WallClock = attrs.field(factory=present_clock)
    _observers: Observers = NOBODY
    _local: dict[str, WorkerRegistryEntry] = attrs.field(factory=dict, init=False)
    _remote: dict[str, dict[str, WorkerRegistryEntry]] = attrs.field(factory=dict, init=False)
    _watches: dict[str, list[_Watch]] = attrs.field(factory=dict, init=False)
    _root_watches: list[_Watch] = attrs.field(factory=list, init=False)
    _waits: dict[str, dict[trio.Event, None]] = attrs.field(factory=dict, init=False)
    _closed: str | None = attrs.field(default=None, init=False)
    _directory: Directory | None = attrs.field(default=None, init=False)
    registered: int = attrs.field(default=0, init=False)
    unregistered: int = attrs.field(default=0, init=False)

    @property
    def local_workers(self) -> list[str]:
        """The names of this runner's workers, in the order they became ready."""
        return list(self._local)

    @property
    def remote_workers(self) -> list[str]:
        """The names of other runners' workers."""
        return [name for workers in self._remote.values() for name in workers]

    def wants(self, name: str) -> bool:
        """Whether somebody watches or waits for that worker."""
        return name in self._watches or name in self._waits

    def share(self, directory: Directory | None) -> None:
        """Tell this directory what others may want to know from now on; ``None`` for nobody."""
        self._directory = directory
        for name in (*self._watches, *self._waits):
            self._want(name)

    def get(self, name: str) -> WorkerRegistryEntry | None:
        """The entry of that name, or ``None``."""
        found = self._local.get(name)
        return found or next((workers[name] for workers in self._remote.values() if name in workers), None)

    def __contains__(self, name: object) -> bool:
        """Whether a worker of that name is ready."""
        return name in self._local or any(name in workers for workers in self._remote.values())

    def has(self, names: Iterable[str]) -> bool:
        """Whether workers of all these names are ready."""
        return all(name in self for name in names)

    def register(self, entry: WorkerRegistryEntry, *, runner: str | None = None) -> bool:
        """Add a worker, or replace its entry; watchers hear of a new one.

        Args:
            entry: The worker. Without ``started_at`` it gets the present time.
            runner: Whose it is; this runner's if left out.

        Returns:
            Whether it is new.

        Raises:
            DuplicateWorkerError: Another runner has a worker of that name.
        """
        runner = runner or self.runner_name
        workers = self._workers_of(runner)
        new = entry.name not in workers
        if new:
            self._take(entry.name, runner)
        if entry.started_at is None:
            entry = attrs.evolve(entry, started_at=self._clock())
        workers[entry.name] = entry
        if runner != self.runner_name:
            self._remote[runner] = workers
        if tell := self._observers.worker_registered:
            tell(entry)
        if new:
            self.registered += 1
            data = WorkerReadyData(entry.name, runner)
            for watch in self._watching(entry, runner):
                if watch.live:
                    self._tell_ready(watch, data)
            for event in self._waits.get(entry.name, ()):
                event.set()
        if self._directory is not None and runner == self.runner_name:
            self._directory.changed(entry)
        return new

    def unregister(self, name: str, *, runner: str | None = None) -> None:
        """Forget a worker; watchers hear that it is lost. Harmless if it is not there."""
        runner = runner or self.runner_name
        workers = self._workers_of(runner)
        entry = workers.pop(name, None)
        if not workers:
            self._remote.pop(runner, None)
        if entry is not None:
            self.unregistered += 1
            if tell := self._observers.worker_unregistered:
                tell(name)
            data = WorkerLostData(name, runner)
            for watch in self._watching(entry, runner):
                if watch.live and watch.lost is not None:
                    if fired := self._observers.watch_fired:
                        fired(watch.watcher, name, False)  # noqa: FBT003 - a hook is called by position
                    watch.lost(data)
            if self._directory is not None and runner == self.runner_name:
                self._directory.gone(entry)

    def watch(self, name: str, ready: OnReady, lost: OnLost | None = None, *, watcher: str | None = None) -> None:
        """Call ``ready`` once for each time the worker registers, at once if it is there, and ``lost`` when it goes.

        Args:
            name: The worker to watch.
            ready: Called when it is ready.
            lost: Called when it is lost.
            watcher: The worker that watches, for those who look on.

        Raises:
            TypeError: The name is no ``str``.
            ValueError: The name is empty.
        """
        watch = _Watch(ready, lost, watcher)
        self._watches.setdefault(check_name(name), []).append(watch)
        for runner, workers in {self.runner_name: self._local, **self._remote}.items():
            if name in workers:
                self._tell_ready(watch, WorkerReadyData(name, runner))
        self._want(name)

    def watch_roots(self, ready: OnReady, lost: OnLost | None = None, *, watcher: str | None = None) -> None:
        """Like :meth:`watch`, for every root of this runner."""
        watch = _Watch(ready, lost, watcher)
        self._root_watches.append(watch)
        for entry in tuple(self._local.values()):
            if entry.parent is None:
                self._tell_ready(watch, WorkerReadyData(entry.name, self.runner_name))

    def unwatch(self, ready: OnReady, *names: str) -> None:
        """Drop the watches of this handler: those on ``names``, or the one on roots if none is given."""
        for name in names:
            kept = self._drop(self._watches.pop(name, []), ready)
            if kept:
                self._watches[name] = kept
            else:
                self._want_no_more(name)
        if not names:
            self._root_watches = self._drop(self._root_watches, ready)

    async def wait_ready(self, *names: str) -> None:
        """Wait until all are ready at one moment; a cancel point even if they are.

        Raises:
            TypeError: A name is no ``str``.
            ValueError: A name is empty.
            UnknownWorkerError: The runner ended, so that they never will be.
        """
        for name in names:
            check_name(name)
        await trio.lowlevel.checkpoint_if_cancelled()
        while missing := [name for name in names if name not in self]:
            if self._closed is not None:
                self._give_up(missing)
            event = trio.Event()
            name = missing[0]
            self._waits.setdefault(name, {})[event] = None
            self._want(name)
            try:
                await event.wait()
            finally:
                waits = self._waits[name]
                del waits[event]
                if not waits:
                    del self._waits[name]
                    self._want_no_more(name)

    def waiting(self) -> Mapping[str, int]:
        """How many waits there are for each worker that is not ready."""
        return {name: len(events) for name, events in self._waits.items()}

    def close(self, reason: str) -> None:
        """Nobody will become ready any more: every wait ends."""
        self._closed = reason
        for events in self._waits.values():
            for event in events:
                event.set()

    def _want(self, name: str) -> None:
        if self._directory is not None and name not in self._local:
            self._directory.wanted(name)

    def _want_no_more(self, name: str) -> None:
        if self._directory is not None and not self.wants(name):
            self._directory.unwanted(name)

    def _tell_ready(self, watch: _Watch, data: WorkerReadyData) -> None:
        if tell := self._observers.watch_fired:
            tell(watch.watcher, data.worker_name, True)  # noqa: FBT003 - a hook is called by position
        watch.ready(data)

    def _take(self, name: str, runner: str) -> None:
        if self._directory is not None and runner == self.runner_name:
            self._directory.taken(name)
        if name in self:
            raise DuplicateWorkerError(f"the name {name!r} is taken by a worker of runner {self._runner_of(name)!r}: choose another")

    def _runner_of(self, name: str) -> str:
        return next((runner for runner, workers in self._remote.items() if name in workers), self.runner_name)

    def _workers_of(self, runner: str) -> dict[str, WorkerRegistryEntry]:
        return self._local if runner == self.runner_name else self._remote.get(runner, {})

    @staticmethod
    def _drop(watches: list[_Watch], ready: OnReady) -> list[_Watch]:
        for watch in watches:
            watch.live = watch.live and watch.ready != ready  # who is being told just now is told no further
        return [watch for watch in watches if watch.live]

    def _watching(self, entry: WorkerRegistryEntry, runner: str) -> tuple[_Watch, ...]:
        roots = self._root_watches if entry.parent is None and runner == self.runner_name else ()
        return (*self._watches.get(entry.name, ()), *roots)

    def _give_up(self, missing: list[str]) -> NoReturn:
        raise UnknownWorkerError(f"{', '.join(map(repr, missing))} will not be ready any more: {self._closed}")
