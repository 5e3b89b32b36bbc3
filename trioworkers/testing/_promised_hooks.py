"""Promises about messages and the hooks that show them (B1 to B5, L3, and what hooks say of J1, J3, R2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .._transitions import WorkerState
from ..messages import (
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    BusJobAnswerMessage,
    BusJobRequestMessage,
    BusMessage,
)
from ..observers import Observer
from ._ledger import SERVING, Ledger, Life, channel, is_always_shown

_SHOWING = ("on_bus_message", "on_job_update_requested")
_ENDS = ("on_job_completed", "on_job_error")


class HookPromises(Observer):
    """Watches messages and hooks, and writes what is wrong into the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._underway: BusMessage | None = None
        self._missing: list[str] = []
        self._receivers: list[str] = []

    # -- judging -----------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What must be true between two steps."""
        self._close()
        for life in self.ledger.living():
            if life.held and life.was_ready:
                self.ledger.blame("B5", f"{life.name!r} is ready, and has forgotten the requests that came before: {[*life.held]}")
            if life.worker is not None and life.worker.active is not life.active:
                self.ledger.blame("L3", f"{life.name!r} is active: {life.worker.active}, and was asked to be otherwise")

    def check_rest(self) -> None:
        """What must be true when nothing can go on without time passing."""
        for life in self.ledger.living():
            if life.state in SERVING and life.worker is not None:
                self._check_idle_lanes(life, life.worker.statistics().mailbox)
            if life.state is WorkerState.READY and not life.lanes:
                self._check_told(life)

    def _check_idle_lanes(self, life: Life, mailbox: Any) -> None:
        waiting = {lane: getattr(mailbox, lane) for lane in ("data", "system") if lane not in life.lanes}
        if any(waiting.values()):
            self.ledger.blame("B5", f"{life.name!r} rests, and messages wait for it: {waiting}")

    def _check_told(self, life: Life) -> None:
        """Nothing waits and no hook runs: everything there was to tell has been told."""
        unseen = [message for mail in life.mail.values() for message in mail if is_always_shown(message)]
        if unseen:
            self.ledger.blame("B5", f"{life.name!r} was never shown {unseen[0]}")
        activations = [hook for hook, _ in life.activations if life.wants(hook)]
        if activations:
            self.ledger.blame("L3", f"{life.name!r} waits for {activations}, which never comes")
        news = [(hook, name) for hook, name in life.news if life.wants(hook)]
        if news:
            self.ledger.blame("R2", f"{life.name!r} waits for {news}, which never comes")
        if life.ends and life.wants(_ENDS[0]) and life.wants(_ENDS[1]):
            self.ledger.blame("J1", f"{life.name!r} is never told of the ends of its requests {[*life.ends]}")

    # -- messages ----------------------------------------------------------------------------------------------------------

    def message_posted(self, message: BusMessage, /) -> None:
        """B3: from here on it may be delivered."""
        self._close()
        self._underway = message
        self._receivers = []
        if message.target is None:
            self._missing = [life.name for life in self.ledger.living() if life.shows(message)]
        else:
            life = self.ledger.lives.get(message.target)
            self._missing = [] if life is None or life.is_over else [life.name]

    def _close(self) -> None:
        """B3: all that the message was for have it."""
        if self._missing:
            self.ledger.blame("B3", f"{self._missing} did not get {self._underway}")
            self._missing = []

    def message_delivered(self, message: BusMessage, name: str, /) -> None:
        """B3, B4."""
        self.ledger.tally["delivered"] += 1
        if message is not self._underway or (message.target or name) != name:
            self.ledger.blame("B3", f"{name!r} got what was not for it: {message}")
        if name in self._receivers:
            self.ledger.blame("B3", f"{name!r} got twice: {message}")
        self._receivers.append(name)
        if name in self._missing:
            self._missing.remove(name)
        life = self.ledger.lives.get(name)
        if life is not None:
            self._arrived(life, message)

    def _arrived(self, life: Life, message: BusMessage) -> None:
        if life.is_over:
            self.ledger.blame("B4", f"{life.name!r} is {life.state}, and got {message}")
        if not isinstance(message, BusJobAnswerMessage) and life.shows(message):
            life.mail.setdefault(channel(message), deque()).append(message)
        if isinstance(message, BusActivateWorkerMessage):
            if not life.active or message.args != life.args:
                self._wish(life, active=True, args=message.args)
        elif isinstance(message, BusDeactivateWorkerMessage):
            if life.active:
                self._wish(life, active=False, args=None)
        elif isinstance(message, BusJobRequestMessage) and not life.was_ready:
            life.held[message.job_id] = message

    @staticmethod
    def _wish(life: Life, *, active: bool, args: dict[str, Any] | None) -> None:
        life.active, life.args = active, args
        if life.opened:
            life.activations.append(("on_activated", args) if active else ("on_deactivated", None))

    def message_dropped(self, message: BusMessage, name: str | None, why: str, /) -> None:
        """Nobody will be shown it; one that is for nobody here is for nobody."""
        life = self.ledger.lives.get(name or "")
        mail = None if life is None or why != "stopped" else life.mail.get(channel(message))
        if mail is not None and message in mail:
            mail.remove(message)

    def worker_active(self, name: str, active: bool, /) -> None:
        """L3: what it was told to be."""
        life = self.ledger.lives.get(name)
        if life is not None and life.state is WorkerState.ATTACHED:
            life.active = active
        elif life is not None and life.active is not active:
            self.ledger.blame("L3", f"{name!r} is active: {active}, and was asked to be otherwise")

    # -- hooks -------------------------------------------------------------------------------------------------------------

    def hook_started(self, name: str, lane: str, hook: str, about: object, /) -> None:
        """B1, B2, B4, and what each hook says."""
        self.ledger.tally[f"hook {hook}"] += 1
        life = self.ledger.lives.get(name)
        if life is None:
            return
        follows = about is not None and lane != "activation" and life.last.get(lane) is about
        early = lane == "failures" and life.state is WorkerState.STARTING  # its children live before it is ready itself
        if not (life.state in SERVING or early or (follows and life.state is WorkerState.CANCELLING)):
            self.ledger.blame(
                "B4" if life.was_ready or lane != "activation" else "L3", f"{name!r} is {life.state}, and its hook {hook} begins"
            )
        if lane in life.lanes:
            self.ledger.blame("B1", f"{name!r} begins {hook} while {life.lanes[lane]} runs in its lane {lane}")
        if lane == "data" and not follows and "system" not in life.lanes:
            self._check_urgent(life, hook)
        life.lanes[lane] = hook
        life.last[lane] = about
        tell = _TOLD.get(hook)
        if tell is not None:
            tell(self, life, hook, about)
        elif not follows and isinstance(about, BusMessage) and (hook in _SHOWING or hook.startswith("handles:")):
            self._show(life, about)

    def hook_ended(self, name: str, lane: str, hook: str, error: BaseException | None, /) -> None:
        """Its lane is free."""
        del hook, error
        life = self.ledger.lives.get(name)
        if life is not None:
            life.lanes.pop(lane, None)

    def _check_urgent(self, life: Life, hook: str) -> None:
        waiting = 0 if life.worker is None else life.worker.statistics().mailbox.system
        if waiting:
            self.ledger.blame("B2", f"{life.name!r} begins the data hook {hook} while {waiting} system messages wait")

    def _show(self, life: Life, message: BusMessage) -> None:
        """B1: in the order in which they were delivered, each once, none left out."""
        if isinstance(message, BusJobAnswerMessage):
            if message.job_id in life.told:
                self.ledger.blame("J3", f"{life.name!r} is shown after the end of its request: {message}")
        elif life.shows(message):
            mail = life.mail.get(channel(message), deque())
            while mail and mail[0] is not message and not is_always_shown(mail[0]):
                mail.popleft()
            if mail and mail[0] is message:
                mail.popleft()
            else:
                before = f", and before {mail[0]}" if mail else ""
                self.ledger.blame("B1", f"{life.name!r} is shown out of its turn, or twice: {message}{before}")

    def _on_activation(self, life: Life, hook: str, about: object) -> None:
        """L3: the changes that were accepted, in order, each once."""
        while life.activations and life.activations[0][0] != hook and not life.wants(life.activations[0][0]):
            life.activations.popleft()
        if life.activations and life.activations[0] == (hook, about):
            life.activations.popleft()
        else:
            self.ledger.blame("L3", f"{life.name!r} is told {hook}({about!r}), and due were {[*life.activations]}")

    def _on_news(self, life: Life, hook: str, about: object) -> None:
        """R2: what the registry has said, in order, each once."""
        news = hook, getattr(about, "worker_name", "")
        while life.news and life.news[0] != news and not life.wants(life.news[0][0]):
            life.news.popleft()
        if life.news and life.news[0] == news:
            life.news.popleft()
        elif news[1] != life.name:
            self.ledger.blame("R2", f"{life.name!r} is told {news}, and due were {[*life.news]}")

    def _on_job_end(self, life: Life, hook: str, about: object) -> None:
        """J1, J3: one end for each request, when all of it is decided."""
        job_id = getattr(about, "job_id", "")
        ask = self.ledger.asks.get((life.name, job_id))
        if ask is not None and not ask.is_decided:
            self.ledger.blame("J1", f"{life.name!r} is told {hook} of {job_id}, which is not decided")
        if job_id in life.ends:
            del life.ends[job_id]
        else:
            self.ledger.blame("J1", f"{life.name!r} is told {hook} of {job_id} once more, or unasked")
        life.told[job_id] = None

    def _on_job_news(self, life: Life, hook: str, about: object) -> None:
        """J3: in order, and nothing after the end."""
        job_id = getattr(about, "job_id", "")
        if job_id in life.told:
            self.ledger.blame("J3", f"{life.name!r} is told {hook} of {job_id} after its end: {about}")


_TOLD: dict[str, Callable[[HookPromises, Life, str, object], None]] = {
    "on_activated": HookPromises._on_activation,  # noqa: SLF001 - its own
    "on_deactivated": HookPromises._on_activation,  # noqa: SLF001 - as above
    "on_worker_ready": HookPromises._on_news,  # noqa: SLF001 - as above
    "on_worker_lost": HookPromises._on_news,  # noqa: SLF001 - as above
    "on_job_completed": HookPromises._on_job_end,  # noqa: SLF001 - as above
    "on_job_error": HookPromises._on_job_end,  # noqa: SLF001 - as above
    "on_job_response": HookPromises._on_job_news,  # noqa: SLF001 - as above
    "on_job_update": HookPromises._on_job_news,  # noqa: SLF001 - as above
    "on_job_stream_start": HookPromises._on_job_news,  # noqa: SLF001 - as above
    "on_job_stream_data": HookPromises._on_job_news,  # noqa: SLF001 - as above
    "on_job_stream_end": HookPromises._on_job_news,  # noqa: SLF001 - as above
}
