"""Promises about lives: who is there, in whose nursery, until when, and who knows (L1, L2, L4 to L7, R1, R2)."""

from __future__ import annotations

from collections.abc import Iterator

import trio

from .._transitions import WORKER, WorkerState
from ..messages import BusCancelWorkerMessage, BusEndWorkerMessage, BusMessage
from ..observers import Observer
from ..types import WorkerRegistryEntry
from ..worker import BaseWorker
from ._ledger import OVER, SERVING, SLACK, Ending, Ledger, Life, now

ROLES = ("worker:", "job:", "idle:", "system:", "activation:", "failures:", "timeout:", "end:")
_STEPS = {(old, new) for (old, _), new in WORKER.items()}


class LifePromises(Observer):
    """Watches lives, and writes what is wrong into the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._dead: list[Life] = []
        self._fired: dict[tuple[str, str], tuple[Life, Life, int]] = {}

    # -- judging -----------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What must be true between two steps."""
        self._check_names()
        self._check_registry()
        self._check_watches()

    def check_rest(self) -> None:
        """What must be true when nothing can go on without time passing."""
        for life in self.ledger.lives.values():
            if life.hurried and life.state is WorkerState.FINISHED and life.above is not None and life.above.state in SERVING:
                self.ledger.blame("L6", f"{life.name!r} was to end, nobody has told it to stop, and it stopped before its time")
        for life in self.ledger.living():
            if life.lost and life.state in SERVING:
                self.ledger.blame("L6", f"{life.name!r} lives, and has lost the jobs {life.lost}")
            if life.ending is not None and life.state in (WorkerState.STARTING, *SERVING) and not self.ledger.may_shield:
                self._check_late(life, life.ending)
        for life in (self.ledger.top, *self.ledger.living()):
            if life.state is WorkerState.ENDING and (life.above is None or life.above.state is WorkerState.READY):
                self._check_idle(life)

    def check_over(self) -> None:
        """What must be true when the runner has returned."""
        left = [life.name for life in self.ledger.living()]
        if left:
            self.ledger.blame("L4", f"the runner has returned, and these are left: {left}")
        if self.ledger.registered:
            self.ledger.blame("R1", f"still registered: {list(self.ledger.registered)}")
        for life in self._dead:
            if life.was_ready and life.above is not None and life.above.state is not WorkerState.FAILED:
                self.ledger.blame("L7", f"{life.name!r} has failed, and {life.above.name!r} above it is {life.above.state}")

    def check_tree(self, tasks: Iterator[tuple[int, trio.lowlevel.Task]]) -> None:
        """L4: whoever owns a task is around it, and every job that runs has one."""
        around: list[tuple[int, str]] = []
        found: dict[tuple[str, str], None] = {}
        for depth, task in tasks:
            role, _, name = task.name.partition(":")
            if f"{role}:" in ROLES:
                while around and around[-1][0] >= depth:
                    around.pop()
                self._check_owner(task.name, role, name, around[-1][1] if around else self.ledger.top.name)
                if role == "worker":
                    around.append((depth, name))
                elif role == "job":
                    what, _, owner = name.rpartition("@")
                    found[owner, what.rpartition("#")[2]] = None
        running = {(life.name, job_id): None for life in self.ledger.living() for job_id in life.jobs}
        if running.keys() != found.keys():
            self._blame_tasks(running, found)

    def _check_owner(self, task: str, role: str, name: str, around: str) -> None:
        life = self.ledger.life(name if role == "worker" else name.rpartition("@")[2])
        owner = life.above if life is not None and role == "worker" else life
        if owner is not None and owner.name != around:
            self.ledger.blame("L4", f"the task {task!r} is in the nursery of {around!r}, not of {owner.name!r}")

    def _blame_tasks(self, running: dict[tuple[str, str], None], found: dict[tuple[str, str], None]) -> None:
        lost = [key for key in running if key not in found]
        if lost:
            self.ledger.blame("J4", f"jobs that are not over have no task: {lost}")
        astray = [key for key in found if key not in running and key[0] in self.ledger.lives]
        if astray:
            self.ledger.blame("J2", f"jobs that are over have a task: {astray}")

    def _check_names(self) -> None:
        bus = self.ledger.runner.bus
        nameless = [life.name for life in self.ledger.living() if life.name not in bus]
        if nameless:
            self.ledger.blame("L5", f"these live, and the bus does not know them: {nameless}")

    def _check_registry(self) -> None:
        found, told = self.ledger.runner.registry.local_workers, self.ledger.registered
        if found != [*told]:
            self.ledger.blame("R1", f"registered are {found}, told of are {[*told]}")
        for life in self.ledger.lives.values():
            registered = life.name in told
            if life.state is WorkerState.READY and not registered:
                self.ledger.blame("R1", f"{life.name!r} is ready, and not registered")
            if registered and (life.state in OVER or not life.was_ready):
                self.ledger.blame("R1", f"{life.name!r} is registered, and {life.state}")
            if registered and told[life.name].active is not life.active:
                self.ledger.blame("R1", f"{life.name!r} is registered as active: {told[life.name].active}, and is not so")

    def _check_watches(self) -> None:
        for key, (watcher, watched, _) in [*self._fired.items()]:
            if watcher.state is not WorkerState.READY or self.ledger.lives.get(watcher.name) is not watcher:
                del self._fired[key]
            elif watched.is_over:
                self.ledger.blame("R2", f"{watcher.name!r} was told that {watched.name!r} is ready, and not that it is lost")
        roots = [life for life in self.ledger.living() if life.above is self.ledger.top and life.state is WorkerState.READY]
        for watcher in roots:
            if watcher.wants("on_worker_ready") and watcher.opened:
                untold = [life.name for life in roots if life is not watcher and (watcher.name, life.name) not in self._fired]
                if untold:
                    self.ledger.blame("R2", f"the root {watcher.name!r} was not told that other roots are ready: {untold}")

    def _check_late(self, life: Life, ending: Ending) -> None:
        if now() > ending.due + SLACK:
            self.ledger.blame("L6", f"{life.name!r} was to end by t={ending.due:g}, and is {life.state}")

    def _check_idle(self, life: Life) -> None:
        """L6: an end waits for nothing but work; a runner without workers may be in a handler of an event of its own."""
        family = [life]
        for member in family:
            family.extend(self.ledger.below(member))
        if family != [self.ledger.top] and not any(self._is_busy(member) for member in family):
            self.ledger.blame("L6", f"{life.name!r} ends, nothing in it or below it is left to do, and it is not over")

    def _is_busy(self, life: Life) -> bool:
        asking = any(asker == life.name for asker, _ in self.ledger.asks)
        return asking or self._is_wrapped(life) or bool(life.lanes or life.jobs) or life.state is not WorkerState.ENDING

    @staticmethod
    def _is_wrapped(life: Life) -> bool:
        """Whether its class may do anything around its life."""
        return life.worker is not None and type(life.worker).run is not BaseWorker.run

    # -- lives -------------------------------------------------------------------------------------------------------------

    def worker_attached(self, name: str, parent: str | None, runner: str, /) -> None:
        """It is new, whoever had its name before."""
        if runner == self.ledger.top.name != name:
            before = self.ledger.lives.get(name)
            if before is not None and not before.is_over:
                self.ledger.blame("L5", f"the name {name!r} is given away while it is taken")
            self.ledger.begin(name, parent)
            self.ledger.tally["attached"] += 1

    def worker_state(self, name: str, old: WorkerState, new: WorkerState, reason: str | None, /) -> None:
        """L2."""
        del reason
        life = self.ledger.life(name)
        if life is None:
            return
        self.ledger.tally[str(new)] += 1
        if life.state is not old or (old, new) not in _STEPS:
            self.ledger.blame("L2", f"{name!r} goes from {life.state} ({old}) to {new}")
        life.state = new
        if new is WorkerState.READY:
            self._ready(life)
        elif new is WorkerState.ENDING and life.ending is None:
            life.ending = Ending(now() + self.ledger.shutdown_timeout)
        elif new is WorkerState.CANCELLING and old is WorkerState.ENDING and life.ending is not None:
            life.hurried = not (life.stopped or self._is_wrapped(life)) and now() < life.ending.due - SLACK
        elif new in OVER:
            self._over(life, old)

    def _ready(self, life: Life) -> None:
        life.was_ready = True
        if life.ending is None:
            life.opened = True
            if life.active:
                life.activations.append(("on_activated", life.args))

    def _over(self, life: Life, old: WorkerState) -> None:
        """What must be gone when it is: L1, B4, L5, L6, R1."""
        alive = [other.name for other in self.ledger.below(life)]
        if alive:
            self.ledger.blame("L1", f"{life.name!r} is over, and its children live: {alive}")
        if life.name in self.ledger.runner.bus:
            self.ledger.blame("L5", f"{life.name!r} is over, and has its name still")
        if life.name in self.ledger.registered:
            self.ledger.blame("R1", f"{life.name!r} is over, and registered still")
        if life.lanes:
            self.ledger.blame("B4", f"{life.name!r} is over, and its hooks go on: {[*life.lanes.values()]}")
        if life.lost and old is WorkerState.ENDING:
            self.ledger.blame("L6", f"{life.name!r} has ended in time, and has lost the jobs {life.lost}")
        if life.state is WorkerState.FAILED:
            self._dead.append(life)

    def message_delivered(self, message: BusMessage, name: str, /) -> None:
        """L6: it is to end, in the same end as what is above it if that ends already."""
        life = self.ledger.lives.get(name)
        if life is not None and isinstance(message, BusCancelWorkerMessage):
            life.stopped = True
        elif life is not None and isinstance(message, BusEndWorkerMessage):
            self._told_to_end(life)

    def _told_to_end(self, life: Life) -> None:
        above = None if life.above is None else life.above.ending
        if life.ending is None and life.state not in (WorkerState.CANCELLING, *OVER):
            life.ending = above or Ending(now() + self.ledger.shutdown_timeout)
            life.ending.links |= life.links()
        elif above is not None and life.ending is not None:
            above.links |= life.ending.links

    # -- who knows ---------------------------------------------------------------------------------------------------------

    def worker_registered(self, entry: WorkerRegistryEntry, /) -> None:
        """R1: when it is about to be ready, or has changed."""
        life = self.ledger.lives.get(entry.name)
        if life is not None:
            if entry.name not in self.ledger.registered and life.state is not WorkerState.STARTING:
                self.ledger.blame("R1", f"{entry.name!r} is {life.state}, and is registered")
            self.ledger.registered[entry.name] = entry

    def worker_unregistered(self, name: str, /) -> None:
        """R1: when nothing of it runs, and not before."""
        life = self.ledger.lives.get(name)
        if life is None or name not in self.ledger.registered:
            return
        del self.ledger.registered[name]
        left = [*life.jobs, *life.lanes.values(), *(other.name for other in self.ledger.below(life))]
        if life.state in (WorkerState.STARTING, WorkerState.READY) or left:
            self.ledger.blame("R1", f"{name!r} is {life.state}, has {left}, and is not registered any more")

    def watch_fired(self, watcher: str | None, watched: str, ready: bool, /) -> None:
        """R2: once for each registration; where a watch by name and one of roots both fire, each does.

        A root's own readiness fires its watch of roots, and is told only if it watches itself by name, which nobody can see here.
        """
        who, whom = self.ledger.lives.get(watcher or ""), self.ledger.lives.get(watched)
        if who is None or whom is None or who is whom:
            return
        if who.is_over:
            self.ledger.blame("R2", f"{who.name!r} is over, and is told of {watched!r}")
        if ready != (watched in self.ledger.registered):
            self.ledger.blame("R2", f"{who.name!r} is told that {watched!r} is {'ready' if ready else 'lost'}, and it is not")
        if ready:
            self._told_ready(who, whom)
        else:
            self._fired.pop((who.name, watched), None)
            if watched in who.watched:
                del who.watched[watched]
                who.news.append(("on_worker_lost", watched))

    def _told_ready(self, who: Life, whom: Life) -> None:
        key = (who.name, whom.name)
        _, before, times = self._fired.get(key, (who, None, 0))
        times = times + 1 if before is whom else 1
        self._fired[key] = (who, whom, times)
        if times > (2 if who.above is self.ledger.top is whom.above else 1):
            self.ledger.blame("R2", f"{who.name!r} is told {times} times that {whom.name!r} is ready")
        if whom.name not in who.watched:
            who.watched[whom.name] = None
            who.news.append(("on_worker_ready", whom.name))
