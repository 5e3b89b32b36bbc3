"""Whose readiness a worker wants to hear of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..bus.inbox import Inbox, Showing, Step
from ..registry import WorkerRegistry
from ..types import WorkerLostData, WorkerReadyData


@attrs.define(eq=False, repr=False)
class Watches:
    """What a worker watches: names it asked for, its children, and, if it is a root that cares, all other local roots.

    However many of these a name falls under, each of its registrations is told once.

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
    _asked: dict[str, None] = attrs.field(factory=dict, init=False)
    _children: dict[str, None] = attrs.field(factory=dict, init=False)
    _told: dict[str, None] = attrs.field(factory=dict, init=False)
    _roots: bool = attrs.field(default=False, init=False)
    _open: bool = attrs.field(default=False, init=False)

    def watch(self, *names: str) -> None:
        """Watch workers by name, whether they are there or not; before :meth:`open`, only remember to."""
        self._add(names, self._asked)

    def watch_children(self, *names: str) -> None:
        """Watch workers by name for as long as they are children."""
        self._add(names, self._children)

    def forget_child(self, name: str) -> None:
        """A child is gone: its name may be somebody else's soon."""
        if name in self._children:
            del self._children[name]
            if self._open and name not in self._asked:
                self._registry().unwatch(self._ready, name)

    def open(self) -> None:
        """Watch from now on; those, too, for whose readiness a method is marked."""
        self._asked |= dict.fromkeys(self._methods)
        self._open = True
        for name in self._asked | self._children:
            self._registry().watch(name, self._ready, self._lost, watcher=self._name)

    def _add(self, names: tuple[str, ...], to: dict[str, None]) -> None:
        for name in names:
            known = name in self._asked or name in self._children
            to[name] = None
            if self._open and not known:
                self._registry().watch(name, self._ready, self._lost, watcher=self._name)

    def watch_roots(self) -> None:
        """Watch the other roots of this runner, if a hook would run for them."""
        wants = self._inbox.hooks.wants
        if not self._roots and (wants("on_worker_ready") or wants("on_worker_lost")):
            self._roots = True
            self._registry().watch_roots(self._root_ready, self._lost, watcher=self._name)

    def close(self) -> None:
        """Watch nobody any more."""
        registry = self._registry()
        for name in self._asked | self._children:
            registry.unwatch(self._ready, name)
        registry.unwatch(self._root_ready)
        self._asked.clear()
        self._children.clear()
        self._open = False

    def _ready(self, data: WorkerReadyData) -> None:
        name = data.worker_name
        if name not in self._told:
            self._told[name] = None
            method = self._methods.get(name)
            steps: list[Step] = []
            if method is not None:
                steps.append((f"worker_ready:{name}", method, (data,)))
            if self._inbox.hooks.wants("on_worker_ready"):
                steps.append(("on_worker_ready", None, (data,)))
            if steps:
                self._inbox.data.put(Showing(steps=tuple(steps)))

    def _lost(self, data: WorkerLostData) -> None:
        if data.worker_name in self._told:
            del self._told[data.worker_name]
            self._inbox.call(("on_worker_lost", data))

    def _root_ready(self, data: WorkerReadyData) -> None:
        if data.worker_name != self._name:
            self._ready(data)
