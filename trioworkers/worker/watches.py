"""Whose readiness a worker wants to hear of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..bus.inbox import Inbox, Showing
from ..registry import WorkerRegistry
from ..types import WorkerLostData, WorkerReadyData


@attrs.define(eq=False)
class Watches:
    """What a worker watches: names, and, if it is a root that cares, all other local roots.

    Each name is watched once, however often it is asked for, so that each readiness is told once.

    Args:
        name: Who watches.
        inbox: Where the hooks run.
        registry: The registry; raises as long as there is none.
        methods: Methods marked for the readiness of one worker, by its name.
    """

    _name: str
    _inbox: Inbox
    _registry: Callable[[], WorkerRegistry]
    _methods: Mapping[str, Callable[[WorkerReadyData], Any]]
    _names: dict[str, None] = attrs.field(factory=dict, init=False)
    _roots: bool = attrs.field(default=False, init=False)
    _open: bool = attrs.field(default=False, init=False)

    def watch(self, *names: str) -> None:
        """Watch workers by name, whether they are there or not; before :meth:`open`, only remember to."""
        for name in names:
            if name not in self._names:
                self._names[name] = None
                if self._open:
                    self._registry().watch(name, self._ready, self._lost)

    def open(self) -> None:
        """Watch from now on; those, too, for whose readiness a method is marked."""
        remembered, self._names = (*self._names, *self._methods), {}
        self._open = True
        self.watch(*remembered)

    def watch_roots(self) -> None:
        """Watch the other roots of this runner, if a hook would run for them."""
        wants = self._inbox.hooks.wants
        if not self._roots and (wants("on_worker_ready") or wants("on_worker_lost")):
            self._roots = True
            self._registry().watch_roots(self._root_ready, self._root_lost)

    def close(self) -> None:
        """Watch nobody any more."""
        registry = self._registry()
        if self._names:
            registry.unwatch(self._ready, *self._names)
        if self._roots:
            registry.unwatch(self._root_ready)
        self._names.clear()
        self._roots = self._open = False

    def _ready(self, data: WorkerReadyData) -> None:
        method = self._methods.get(data.worker_name)
        calls = (("on_worker_ready", data),) if self._inbox.hooks.wants("on_worker_ready") else ()
        if method is not None or calls:
            self._inbox.data.put(Showing(methods=() if method is None else ((method, data),), calls=calls))

    def _lost(self, data: WorkerLostData) -> None:
        self._inbox.call(("on_worker_lost", data))

    def _root_ready(self, data: WorkerReadyData) -> None:
        if data.worker_name != self._name and data.worker_name not in self._names:
            self._inbox.call(("on_worker_ready", data))

    def _root_lost(self, data: WorkerLostData) -> None:
        if data.worker_name != self._name and data.worker_name not in self._names:
            self._lost(data)
