"""Looking on: one synchronous stream of events, told to whoever has asked for it.

**The contract is that of trio's instruments.** Observers are told in the order in which they were added, in the task in which the
thing happens, at the moment at which it has happened. An observer that raises is detached and reported, and the program goes on.

**Free when nobody listens.** :class:`Observers` has one attribute for each hook: ``None``, or a function that tells whoever overrides
that hook. So each place that has something to tell is one look and one call::

    if tell := observers.job_asked:
        tell(self.name, group.job_id, group.worker_names)
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from ._transitions import JobState, WorkerState
from .messages import BusJobAnswerMessage, BusJobRequestMessage, BusMessage
from .types import JobOutcome, JobStatus, WorkerRegistryEntry

_LOGGER: Final = logging.getLogger("trioworkers.observers")
_Listener = tuple["Observer", Callable[..., None]]


class Observer:
    """Is told what happens on a bus. Subclass it and override the hooks you want; only those are ever called.

    ::

        class Diary(Observer):
            def worker_state(self, name, old, new, reason):
                print(name, "is", new, "because of", reason)

        runner = WorkerRunner(observers=[Diary()])

    Hooks are plain functions, called in the middle of things: they must not wait, and should be quick. What an observer sees has
    happened already, unless the hook says otherwise. Observers read and do not act: a message posted from inside a hook is a
    ``RuntimeError``. An observer that raises (an ``Exception``) is detached, and logged by the logger ``trioworkers.observers``.
    """

    # -- lives -------------------------------------------------------------------------------------------------------------

    def worker_attached(self, name: str, parent: str | None, runner: str, /) -> None:
        """A worker, or a runner, has its place and its name on the bus. Told just before its first ``worker_state``.

        Args:
            name: Whose name it is.
            parent: Its parent; ``None`` for a root, and for a runner.
            runner: The runner it belongs to. For a runner that is its own name, which tells it from a worker.
        """

    def worker_state(self, name: str, old: WorkerState, new: WorkerState, reason: str | None, /) -> None:
        """A worker, or a runner, has gone from one state to the next. Told of every step from NEW to ATTACHED on, abandoned ones too.

        It is told before anybody who waits for that state goes on.

        Args:
            name: Whose state it is.
            old: The state it was in.
            new: The state it is in.
            reason: Why it ends or has ended, once it does; ``None`` before. For FAILED, the first of its errors, in words.
        """

    def worker_active(self, name: str, active: bool, /) -> None:
        """What a worker is asked to be: told when it is attached, and whenever it changes; the activation hooks follow later."""

    # -- hooks -------------------------------------------------------------------------------------------------------------

    def hook_started(self, name: str, lane: str, hook: str, about: object, /) -> None:
        """A hook, or a marked method, is going to be called, in its lane. Hooks that nobody overrides are not called.

        Args:
            name: Whose hook it is.
            lane: ``data``, ``system``, ``activation`` or ``failures``.
            hook: The hook's name (the handlers registered for it belong to it), ``handles:<class>`` for a method marked with
                ``@handles``, ``worker_ready:<name>`` for one marked with ``@worker_ready``.
            about: What it is called with: a message, data, arguments; ``None`` if it takes nothing.
        """

    def hook_ended(self, name: str, lane: str, hook: str, error: BaseException | None, /) -> None:
        """The hook has returned, or raised ``error`` (``trio.Cancelled``, too). Told once for each ``hook_started``."""

    # -- messages ----------------------------------------------------------------------------------------------------------

    def message_posted(self, message: BusMessage, /) -> None:
        """The bus is going to find out who receives a message. One posted in the effects of another is told when its turn comes."""

    def message_delivered(self, message: BusMessage, name: str, /) -> None:
        """A message is handed to one receiver: told just before it takes effect there. A broadcast may have many receivers."""

    def message_dropped(self, message: BusMessage, name: str | None, why: str, /) -> None:
        """A message was counted as lost.

        Args:
            message: The message.
            name: Who dropped it; ``None`` for the bus.
            why: ``dead letter``: nobody has the name it was for. ``stranger``: it is about no job of its sender's.
                ``stopped``: its effect has taken place, but its hooks never run, for the worker was cancelled or is over.
        """

    # -- jobs, as their asker sees them ------------------------------------------------------------------------------------

    def job_asked(self, asker: str, job_id: str, names: tuple[str, ...], /) -> None:
        """A request is open: told before the first member is sent its message."""

    def job_decided(self, asker: str, job_id: str, worker: str, outcome: JobOutcome, /) -> None:
        """How one member of a request ends is fixed: told exactly once for each member, before anybody who waits for it goes on."""

    def job_acknowledged(self, asker: str, job_id: str, worker: str, /) -> None:
        """A member's handler does not run any more, or is not waited for any more. Once for each member, after ``job_decided``."""

    def job_over(self, asker: str, job_id: str, /) -> None:
        """All members of a request are acknowledged: its asker has forgotten it."""

    def job_event(self, asker: str, job_id: str, worker: str, message: BusJobAnswerMessage, /) -> None:
        """An update, or the start, a piece or the end of a stream, takes effect at its asker. Not told of one that comes too late."""

    def job_event_seen(self, asker: str, job_id: str, worker: str, /) -> None:
        """An event counts as consumed: everybody who could see it has. At most once for each ``job_event``, perhaps after the end.

        Never, if hooks that were to see it were dropped.
        """

    # -- jobs, as their answerer sees them ---------------------------------------------------------------------------------

    def job_accepted(self, name: str, request: BusJobRequestMessage, /) -> None:
        """A request has become a job, in the state ACCEPTED; its task has not begun."""

    def job_state(self, name: str, job_id: str, old: JobState, new: JobState, /) -> None:
        """A job has gone from one state to the next: told of each step, to ANSWERED before the answer is posted, and to GONE."""

    def job_refused(self, name: str, job_id: str, status: JobStatus, reason: str, /) -> None:
        """A request is answered without becoming a job: told before the answer is posted."""

    def credit_granted(self, name: str, job_id: str, credit: int, left: int, /) -> None:
        """A job's answerer may send ``credit`` more events; it may send ``left`` now, before those who wait are served."""

    def credit_spent(self, name: str, job_id: str, left: int, /) -> None:
        """One event of a job is let through; ``left`` more may be. Not told of events that cost no credit."""

    # -- the registry ------------------------------------------------------------------------------------------------------

    def worker_registered(self, entry: WorkerRegistryEntry, /) -> None:
        """A worker is in the registry, or its entry there was replaced (it is active now, or is not): told before its watchers."""

    def worker_unregistered(self, name: str, /) -> None:
        """A worker is not in the registry any more: told before its watchers."""

    def watch_fired(self, watcher: str | None, watched: str, ready: bool, /) -> None:
        """One watch of the registry is going to be told that a worker is ready, or lost.

        Args:
            watcher: The worker that watches; ``None`` if it is a plain function.
            watched: The worker that is watched.
            ready: Whether it is ready, or lost.
        """

    # -- other runners, on a bus that spans them ---------------------------------------------------------------------------

    def bus_connected(self, incarnation: str, /) -> None:
        """The bus is connected, for the first time or again; ``incarnation`` is this runner's present life on it."""

    def bus_disconnected(self, reason: str, /) -> None:
        """The bus has lost its connection, and tries to get another."""

    def peer_joined(self, incarnation: str, /) -> None:
        """Another runner is on the bus."""

    def peer_lost(self, incarnation: str, reason: str, /) -> None:
        """It is not any more; told before its workers are unregistered, and before those who wait for them are told."""


HOOKS: Final = tuple(name for name in vars(Observer) if not name.startswith("_"))
"""The names of all hooks."""


class Observers:
    """Those who look on at one bus. Its attributes are the hooks: ``None``, or what tells everybody who overrides it."""

    worker_attached: Callable[[str, str | None, str], None] | None
    worker_state: Callable[[str, WorkerState, WorkerState, str | None], None] | None
    worker_active: Callable[[str, bool], None] | None
    hook_started: Callable[[str, str, str, object], None] | None
    hook_ended: Callable[[str, str, str, BaseException | None], None] | None
    message_posted: Callable[[BusMessage], None] | None
    message_delivered: Callable[[BusMessage, str], None] | None
    message_dropped: Callable[[BusMessage, str | None, str], None] | None
    job_asked: Callable[[str, str, tuple[str, ...]], None] | None
    job_decided: Callable[[str, str, str, JobOutcome], None] | None
    job_acknowledged: Callable[[str, str, str], None] | None
    job_over: Callable[[str, str], None] | None
    job_event: Callable[[str, str, str, BusJobAnswerMessage], None] | None
    job_event_seen: Callable[[str, str, str], None] | None
    job_accepted: Callable[[str, BusJobRequestMessage], None] | None
    job_state: Callable[[str, str, JobState, JobState], None] | None
    job_refused: Callable[[str, str, JobStatus, str], None] | None
    credit_granted: Callable[[str, str, int, int], None] | None
    credit_spent: Callable[[str, str, int], None] | None
    worker_registered: Callable[[WorkerRegistryEntry], None] | None
    worker_unregistered: Callable[[str], None] | None
    watch_fired: Callable[[str | None, str, bool], None] | None
    bus_connected: Callable[[str], None] | None
    bus_disconnected: Callable[[str], None] | None
    peer_joined: Callable[[str], None] | None
    peer_lost: Callable[[str, str], None] | None

    def __init__(self) -> None:
        self._all: dict[int, Observer] = {}
        self._listening: dict[str, tuple[_Listener, ...]] = {}
        self.telling: bool = False
        for name in HOOKS:
            self._tune(name, ())

    def add(self, observer: Observer) -> bool:
        """Tell this one, too, from now on, after those that are there; return whether it was not there already.

        Raises:
            TypeError: It is no observer, or one of its hooks is ``async``.
        """
        if not isinstance(observer, Observer):
            raise TypeError(f"an observer must be an Observer, not {observer!r}")
        hooks = _overridden(observer)
        if id(observer) in self._all:
            return False
        self._all[id(observer)] = observer
        for name, hook in hooks.items():
            self._tune(name, (*self._listening[name], (observer, hook)))
        return True

    def remove(self, observer: Observer) -> None:
        """Tell this one nothing any more.

        Raises:
            LookupError: It is not there.
        """
        if id(observer) not in self._all:
            raise LookupError(f"{observer!r} does not observe this bus: it was never added, or it has raised")
        self._detach(observer)

    def _detach(self, observer: Observer) -> None:
        self._all.pop(id(observer), None)  # it may have removed itself, and then raised
        for name, listeners in self._listening.items():
            self._tune(name, tuple(listener for listener in listeners if listener[0] is not observer))

    def _tune(self, name: str, listeners: tuple[_Listener, ...]) -> None:
        self._listening[name] = listeners
        setattr(self, name, partial(self._tell, name) if listeners else None)

    def _tell(self, name: str, *args: object) -> None:
        for observer, hook in self._listening[name]:
            if id(observer) in self._all:  # else it was removed by one that was told before it
                try:
                    self._call(hook, args)
                except Exception:
                    self._detach(observer)
                    _LOGGER.exception("%s raised in its hook %r: it is detached", type(observer).__name__, name)

    def _call(self, hook: Callable[..., None], args: tuple[object, ...]) -> None:
        outer, self.telling = self.telling, True
        try:
            hook(*args)
        finally:
            self.telling = outer


NOBODY: Final = Observers()
"""Those who look on at what is on no bus yet: nobody, ever."""


def _overridden(observer: Observer) -> dict[str, Callable[..., None]]:
    hooks = {name: getattr(observer, name) for name in HOOKS}
    for name, hook in hooks.items():
        if inspect.iscoroutinefunction(hook):
            raise TypeError(f"{type(observer).__name__}.{name} must be a plain function: observers are told, not waited for")
    return {name: hook for name, hook in hooks.items() if getattr(hook, "__func__", None) is not getattr(Observer, name)}
