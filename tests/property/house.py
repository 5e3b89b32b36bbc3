"""A runner with its workers in a stepped world, what can be done to it, and what must be true of it whenever one looks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import attrs
import trio
from property.actor import EXPECTED, Actor, Bell, Letter, Listener, PlantedError
from property.model import OVER, Ask, Model

from trioworkers import (
    JobContext,
    JobError,
    JobGroupContext,
    JobGroupEvent,
    JobStatus,
    LocalBus,
    NoSuchJobError,
    UnknownWorkerError,
    WorkerActivationArgs,
    WorkerRunner,
    WorkerStartError,
    WorkerStateError,
)
from trioworkers.testing import Handle, World

ROLES = ("worker:", "job:", "system:", "activation:", "failures:", "timeout:", "end:")
PATIENCE = 30.0
"""Virtual seconds after which everything that was stopped must be gone: more than all clean-ups together."""


@attrs.frozen(kw_only=True)
class Op:
    """Something to be done by a client: a plain value, printed when an example fails.

    Args:
        verb: A method of :class:`House`.
        k: Its number; also that of the request it makes.
        who: The worker that does it, or to which it is done; ``""`` is the runner.
        to: Other workers.
        job: Which handler; ``""`` for ``on_job_request``.
        do: What the handler or hook does.
        n: How many updates or chunks.
        nap: How long it naps, or waits before it gives up.
        timeout: The request's.
        use: How the block is used.
        flag: Something that is so or not: urgent, watch, cancel_on_error, deactivate_self, listener.
        delay: Seconds before it begins.
    """

    verb: str
    k: int = 0
    who: str = ""
    to: tuple[str, ...] = ()
    job: str = "work"
    do: str = ""
    n: int = 0
    nap: float = 0.0
    timeout: float | None = None
    use: str = "wait"
    flag: bool = True
    delay: float = 0.0


class House:
    """What is tested.

    Args:
        world: Where it runs.
        shutdown_timeout: The runner's.
        workers: ``add`` operations done before the runner runs.
    """

    def __init__(self, world: World, shutdown_timeout: float, workers: Sequence[Op] = ()) -> None:
        self.world = world
        self.ids = itertools.count(1)
        self.inner = itertools.count(1001)
        self.clients: list[tuple[Op, Handle[None]]] = []
        self.bus = LocalBus(new_id=lambda: f"j{next(self.ids)}")
        self.runner = WorkerRunner(
            name="runner",
            bus=self.bus,
            handle_sigint=False,
            handle_sigterm=False,
            shutdown_timeout=shutdown_timeout,
            clock=lambda: self.world.now,
        )
        self._tap = self.bus.tap(size=1_000_000)
        self.model = Model(shutdown_timeout, self._tap.__enter__())
        self.model.runner_stops = lambda: self.runner.statistics().state in ("cancelling", *OVER)
        world.after_turn = self.model.drain
        for op in workers:
            world.run(self.perform, op)
        self.running = world.spawn(self._run, name="runner")

    async def _run(self) -> None:
        await self.runner.run(auto_end=False)

    # -- what can be done --------------------------------------------------------------------------------------------------

    def do(self, op: Op) -> None:
        """Have a client do it; it begins when the schedule says so."""
        self.clients.append((op, self.world.spawn(self.perform, op, name=f"client:{op.k}:{op.verb}")))

    async def perform(self, op: Op) -> None:
        """Do it, and take misfortunes as they come."""
        await trio.sleep(op.delay)
        self.model.say(f"client {op}")
        self.model.tally[op.verb] += 1
        try:
            await getattr(self, op.verb)(op)
        except* EXPECTED as group:
            self.model.say(f"client {op.k}: {group.exceptions!r}")

    def find(self, name: str) -> Actor | None:
        """The worker that has that name; if nobody has, the latest that had it; if nobody ever had, the latest that is to have it."""
        named = [actor for actor in self.model.actors[::-1] if actor.name == name]
        states = [self.model.state(actor) for actor in named]
        for passed in ({"new", "finished", "failed"}, {"new"}, ()):
            for actor, state in zip(named, states, strict=True):
                if state not in passed:
                    return actor
        return None

    def _someone(self, name: str) -> Actor:
        actor = self.find(name)
        if actor is None:
            raise UnknownWorkerError(name)
        return actor

    async def add(self, op: Op) -> None:
        """Add a worker to another, or to the runner."""
        owner = self._someone(op.who) if op.who else self.runner
        make = Listener if op.flag else Actor
        actor = make(op.to[0], self, active=op.n % 2 == 0, start=op.do, fused=op.n % 3 == 0)
        watch = op.nap == 0.0
        was_ready = isinstance(owner, Actor) and self.model.state(owner) == "ready"
        try:
            if isinstance(owner, Actor):
                await owner.add_workers(actor, watch=watch)
                owner.record.kin.pop(actor.name, None)  # an earlier child of that name was perhaps watched
                owner.record.kin |= dict.fromkeys([actor.name] * watch)
            else:
                await owner.add_workers(actor)
        except BaseException:
            self.model.check("L4", self.model.state(actor) in ("new", *OVER), actor.name, "stays, though it could not be added")
            raise
        self.model.drain()
        self.model.check("L2", actor.record.ready or not was_ready, actor.name, "was added, but is", self.model.state(actor))

    async def watch(self, op: Op) -> None:
        """Watch somebody."""
        actor = self._someone(op.who)
        self.model.watches(actor, op.to, self.runner.registry)
        await actor.watch_workers(*op.to)

    async def activate(self, op: Op) -> None:
        """Activate somebody, perhaps handing over."""
        args = WorkerActivationArgs({"do": op.do}) if op.do else None
        known = op.to[0] in self.bus
        actor = self._someone(op.who)
        try:
            await actor.activate_worker(op.to[0], args=args, deactivate_self=op.flag)
        except UnknownWorkerError:
            self.model.check("L3", not known or op.to[0] not in self.bus, op.to[0], "is said to be unknown")
            raise

    async def deactivate(self, op: Op) -> None:
        """Deactivate somebody."""
        await self._someone(op.who).deactivate_worker(op.to[0])

    async def post(self, op: Op) -> None:
        """Post a plain message."""
        make = Letter if op.flag else Bell
        target = op.to[0] if op.to else None
        message = make(source=op.who or "runner", target=target, number=op.k, do=op.do, nap=op.nap)
        if op.n % 2:
            await self.bus.send(message)
        else:
            self.bus.post(message)

    # -- asking ------------------------------------------------------------------------------------------------------------

    def _ask(self, op: Op, asker: Actor | None, names: tuple[str, ...], **more: Any) -> dict[str, Any]:
        self.model.asks[op.k] = Ask(
            op.k, asker, names, op.do, deadline=self.world.now + (float("inf") if op.timeout is None else op.timeout), **more
        )
        payload = {"k": op.k, "do": op.do, "n": op.n, "nap": op.nap, "to": op.who}
        return {"name": op.job or None, "payload": payload, "timeout": op.timeout}

    async def request(self, op: Op) -> None:
        """Ask without a block."""
        asker = self._someone(op.who) if op.who else self.runner
        actor = asker if isinstance(asker, Actor) else None
        single = actor is None or len(op.to) == 1
        request = self._ask(op, actor, op.to[:1] if single else op.to, cancel_on_error=op.flag or single)
        try:
            if actor is None or single:
                await asker.request_job(op.to[0], **request)
            else:
                group = await actor.create_job_group_and_request_job(list(op.to), cancel_on_error=op.flag, **request)
                if op.use == "iterate":
                    await group.wait()
        except WorkerStateError:
            self.model.check("J7", actor is None or self._may_refuse(actor), op.who, "refuses to ask")
            raise

    def _may_refuse(self, actor: Actor) -> bool:
        return self.model.state(actor) != "ready" or self.model.is_stopping(actor.record)

    async def block(self, op: Op) -> None:
        """Ask with a block."""
        asker = self._someone(op.who) if op.who else self.runner
        await self.hold(op, asker)

    async def ask_inside(self, actor: Actor, payload: dict[str, Any]) -> dict[str, Any]:
        """A handler asks somebody else (the original asker, if that is a worker), in a block."""
        op = Op(
            verb="block",
            k=next(self.inner),
            who=actor.name,
            to=(payload["to"] or actor.name,),
            job="queue",
            nap=payload["nap"],
            timeout=3.0,
        )
        await self.hold(op, actor)
        return {"k": payload["k"]}

    async def ask_in_hook(self, actor: Actor, message: Letter | Bell) -> None:
        """A hook asks the message's sender, in a block."""
        to = message.source if message.source != "runner" else actor.name
        op = Op(verb="block", k=next(self.inner), who=actor.name, to=(to,), nap=message.nap, timeout=3.0)
        try:
            await self.hold(op, actor)
        except (JobError, WorkerStateError) as error:
            self.model.say(f"{actor.name}: {error!r}")

    async def hold(self, op: Op, asker: Actor | WorkerRunner) -> None:
        """Hold a block, in one of many ways."""
        actor = asker if isinstance(asker, Actor) else None
        group = len(op.to) > 1
        iterates = op.use in ("iterate", "slow", "late", "break")
        request = self._ask(
            op, actor, op.to, block=True, cancel_on_error=op.flag or not group, iterates=iterates, grace=op.use == "grace"
        )
        grace = 0.25 if op.use == "grace" else None
        context: JobContext | JobGroupContext
        try:
            if group:
                context = asker.job_group(*op.to, cancel_on_error=op.flag, cancel_grace=grace, **request)
            else:
                context = asker.job(op.to[0], cancel_grace=grace, **request)
        except WorkerStateError:
            self.model.check("J7", actor is None or self._may_refuse(actor), op.who, "refuses to ask")
            raise
        with trio.move_on_after(op.nap if op.use == "give up" else float("inf")):
            failure: BaseException | None = None
            ask = self.model.asks[op.k]
            try:
                async with context:
                    await self._use(op, asker, context)
                    ask.iterates, ask.waits = ask.iterates and op.use != "break", True
            except BaseException as error:
                failure = error
                raise
            finally:
                statuses = {}
                if isinstance(context, JobGroupContext) and self.model.asks[op.k].job_id is not None:
                    statuses = {name: status.value for name, status in context.statuses.items()}
                self.model.left(op.k, statuses, failure)

    async def _use(self, op: Op, asker: Actor | WorkerRunner, context: JobContext | JobGroupContext) -> None:
        ask = self.model.asks[op.k]
        match op.use:
            case "iterate" | "slow" | "late" | "break":
                await self._iterate(op, ask, context)
            case "raise":
                await trio.sleep(op.nap)
                raise PlantedError("in a body")
            case "cancel":
                await trio.sleep(op.nap)
                if isinstance(asker, Actor):
                    await asker.cancel_job_group(context.job_id, reason="cancelled in its block")
            case "ask for news":
                await trio.sleep(op.nap)
                if isinstance(asker, Actor):
                    await asker.request_job_update(context.job_id, op.to[0])

    async def _iterate(self, op: Op, ask: Ask, context: JobContext | JobGroupContext) -> None:
        await trio.sleep(op.nap if op.use == "late" else 0.0)
        count = 0
        try:
            async for event in context:
                source = event.worker_name if isinstance(event, JobGroupEvent) else op.to[0]
                self.model.iterated(op.k, source, event.type, event.data, urgent=bool((event.data or {}).get("urgent")))
                count += 1
                if op.use == "slow":
                    await trio.sleep(0.25)
                if op.use == "break" and count > (op.n // 2 if op.nap else 0):
                    ask.iterates = False
                    break
        except BaseException:
            ask.iterates = False
            raise

    async def cancel_job(self, op: Op) -> None:
        """Give a request up."""
        actor = self._someone(op.who)
        for job_id in list(actor.job_groups)[: op.n]:
            await actor.cancel_job_group(job_id, reason="cancelled by somebody")

    async def ask_news(self, op: Op) -> None:
        """Ask for news of a request."""
        actor = self._someone(op.who)
        for job_id, group in actor.job_groups.items():
            await actor.request_job_update(job_id, group.worker_names[0])

    async def answer(self, op: Op) -> None:
        """Answer a job that was deferred, or one that has not begun."""
        status = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.ERROR, JobStatus.CANCELLED)[op.n % 4]
        for actor, job_id in [*self.model.deferred, *self._unbegun()]:
            known = job_id in actor.active_jobs
            if known:
                self.model.answers(job_id, actor.name)
            try:
                actor.send_job_response_nowait(job_id, {"answered": op.k}, status=status, urgent=op.flag)
            except NoSuchJobError:
                self.model.check("J4", not known, actor.name, "has the job", job_id, "and does not know it")
        self.model.deferred.clear()

    def _unbegun(self) -> list[tuple[Actor, str]]:
        waiting = [(actor, job_id, member) for actor in self.model.actors for job_id, member in actor.record.unanswered.items()]
        return [(actor, job_id) for actor, job_id, member in waiting if not member.begun and job_id in actor.active_jobs][:1]

    # -- leaving -----------------------------------------------------------------------------------------------------------

    async def stop(self, op: Op) -> None:
        """Stop a worker."""
        actor = self._someone(op.who)
        await actor.stop()
        self.model.check("C1", self.model.state(actor) in OVER, actor.name, "was stopped, and is", self.model.state(actor))

    async def end_workers(self, op: Op) -> None:
        """End one worker, by its owner."""
        actor = self._someone(op.who)
        parent = self.find(actor.parent or "")
        await (self.runner if parent is None else parent).end_workers(op.who)
        self.model.check("L6", self.model.state(actor) in OVER, actor.name, "was ended, and is", self.model.state(actor))

    async def end(self, op: Op) -> None:
        """End the session, by the runner or by a worker."""
        await (self._someone(op.who).end(reason="a worker says so") if op.who else self.runner.end("the client says so"))

    async def cancel(self, op: Op) -> None:
        """Cancel the session, by the runner or by a worker."""
        await (self._someone(op.who).cancel(reason="a worker says so") if op.who else self.runner.cancel("the client says so"))

    async def crash_run(self, op: Op) -> None:
        """Crash a worker outside its hooks."""
        self._someone(op.who).fuse.set()

    # -- what must be true -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """At any moment between two steps."""
        self.model.drain()
        live = []
        for actor in self.model.actors:
            state = self.model.state(actor)
            if state not in ("new", *OVER):
                live.append(actor)
            self._check_worker(actor, state)
        self._check_registry(live)
        self._check_tree()
        for op, handle in self.clients:
            self.model.check("errors", handle.error is None, op, "raised", repr(handle.error))
        self.complain()

    def complain(self) -> None:
        """Fail if anything is wrong."""
        if self.model.broken:
            told = "\n".join([*self.model.log[-200:], *self.model.broken[:5]])
            raise AssertionError(f"{told}\n{self.world.tree()}")

    def _check_worker(self, actor: Actor, state: str) -> None:
        record, check = actor.record, self.model.check
        over = state in OVER
        parent = self.find(actor.parent) if actor.parent else None
        check(
            "L1", over or not record.begun or parent is None or self.model.state(parent) not in OVER, actor.name, "outlives its parent"
        )
        if record.ready and not over:
            check(
                "J4",
                set(actor.active_jobs) == set(record.unanswered),
                actor.name,
                "has",
                set(actor.active_jobs),
                "not",
                set(record.unanswered),
            )
        else:
            check("J4", not actor.active_jobs, actor.name, "is", state, "and has", set(actor.active_jobs))
        if not over:
            check("L3", actor.active == record.wish, actor.name, "is active:", actor.active)
            patient = record.ended is None or self.world.now <= record.ended + self.model.shutdown_timeout + PATIENCE
            check("L6", patient, actor.name, "was ended at", record.ended, "and is", state)
        for job_id, group in actor.job_groups.items():
            ask = self.model.by_id[job_id]
            found = {name: status.value for name, status in group.statuses.items()}
            expected = {name: member.status for name, member in ask.members.items() if member.status is not None}
            check("J1", found == expected, "request", ask.k, "has outcomes", found, "not", expected)
        if over:
            check("J7", not actor.job_groups, actor.name, "is", state, "and still waits for", list(actor.job_groups))
            check("L5", self._name_is_free(actor), actor.name, "is", state, "and keeps its name")

    def _name_is_free(self, actor: Actor) -> bool:
        return actor.name not in self.bus or self.find(actor.name) is not actor

    def _check_registry(self, live: list[Actor]) -> None:
        found = sorted(self.runner.registry.local_workers)
        expected = sorted(actor.name for actor in live if actor.record.ready and not actor.record.served)
        self.model.check("R1", found == expected, "registered are", found, "not", expected)

    def _check_tree(self) -> None:
        """L4: whoever owns a task is around it."""
        path: list[tuple[int, str]] = []
        for depth, task in self.world.tasks():
            while path and path[-1][0] >= depth:
                path.pop()
            owners = [name for _, name in path]
            role, _, name = task.name.partition(":")
            if f"{role}:" in ROLES and not task.name.startswith("client"):
                self._check_owner(role, name, owners)
            if role in ("worker", "runner"):
                path.append((depth, name or "runner"))

    def _check_owner(self, role: str, name: str, owners: list[str]) -> None:
        expected = [name.rpartition("@")[2]]
        if role == "worker":
            expected = [actor.parent or "runner" for actor in self.model.actors if actor.name == name]
        self.model.check("L4", bool(owners) and owners[-1] in expected, f"{role}:{name}", "is below", owners, "not", expected)

    def check_rest(self) -> None:
        """When nothing can go on by itself."""
        self.check()
        for ask in self.model.by_id.values():
            self._check_credit(ask)
        for actor in self.model.actors:
            if self.model.state(actor) == "ready" and not self.model.is_stopping(actor.record):
                self._check_resting(actor)
            for group in actor.job_groups.values():
                ask = self.model.by_id[group.job_id]
                gone = [name for name in group.unacknowledged() if self.model.holder(name) is None]
                self.model.check("J7", not gone, "request", ask.k, "waits for", gone, "who are gone")
        self.complain()

    def _check_credit(self, ask: Ask) -> None:
        """J6, J7: who has consumed everything has given the credit back, all but what is saved up for the next message."""
        for member in ask.members.values():
            open_ = member.status is None and member.request is not None and member.answer is None
            consumed = ask.asker is None or (self.model.state(ask.asker) == "ready" and not ask.asker.record.lanes)
            consumed = consumed and (not ask.block or ask.waits or (ask.iterates and member.iterated == member.posted))
            if open_ and consumed and member.request is not None:
                owed = member.posted - member.granted
                self.model.check("J6, J7", owed < max(2, member.request.window // 2), "request", ask.k, member.name, "is owed", owed)

    def _check_resting(self, actor: Actor) -> None:
        record, check = actor.record, self.model.check
        mailbox = actor.statistics().mailbox
        if "data" not in record.lanes:
            check("B5", mailbox.data == 0, actor.name, "rests, but", mailbox.data, "data messages wait")
        if "system" not in record.lanes:
            check("B5", mailbox.system == 0, actor.name, "rests, but", mailbox.system, "system messages wait")
        if "activation" not in record.lanes:
            check("L3", record.activated == record.activations, actor.name, "had", record.activated, "not", record.activations)
        if record.lanes:
            return
        check("B5", sorted(record.read) == sorted(record.letters), actor.name, "has read", record.read, "not", record.letters)
        for ask in self.model.by_id.values():
            if ask.asker is actor:
                check("J1, B5", ask.seen == ask.hooks, actor.name, "saw of request", ask.k, ask.seen[-3:], "not", ask.hooks[-3:])
        others = [other for other in self.model.actors if other.record.begun and other is not actor]
        latest = [other for other in others if self.find(other.name) is other]
        roots = [other.name for other in latest if actor.parent is None and other.parent is None]
        kin = [name for name in record.kin if (self._someone(name).parent or "") == actor.name]
        for name in dict.fromkeys((*record.watched, *roots, *kin)):
            news = record.news.get(name, [])
            there = name in self.runner.registry
            check("R2", (news[-1:] == ["on_worker_ready"]) == there, actor.name, "was told of", name, news, "which is there:", there)

    # -- the end -----------------------------------------------------------------------------------------------------------

    def leave(self, *, gracefully: bool) -> None:
        """Stop everything, and see that nothing is left."""
        if gracefully:
            self.runner.end_nowait("it is over")
            self.world.advance(min(self.model.shutdown_timeout, PATIENCE) + PATIENCE)
            self.check()
        self.runner.cancel_nowait("it is really over")
        self.world.advance(PATIENCE)
        self.check()
        self.check_over()

    def check_over(self) -> None:
        """Nothing is left."""
        check = self.model.check
        check("C1", self.running.done, "the runner still runs")
        for actor in self.model.actors:
            check("L4", self.model.state(actor) in ("new", *OVER), actor.name, "is", self.model.state(actor))
        for op, handle in self.clients:
            check("J7", handle.done, op, "still waits")
        for ask in self.model.by_id.values():
            for member in ask.members.values():
                check("J1", member.status is not None, "request", ask.k, "to", member.name, "was never decided")
                check(
                    "J1",
                    member.request is None or member.answer is not None,
                    "request",
                    ask.k,
                    "to",
                    member.name,
                    "was never answered",
                )
                check("L4", not member.running, "request", ask.k, "still runs on", member.name)
        tasks = [task.name for _, task in self.world.tasks() if task.name.startswith(ROLES)]
        check("L4", not tasks, "still there:", tasks)
        statistics = self.bus.statistics()
        check("L5", statistics.subscribers == 0, statistics)
        check("J7", not statistics.waiting, statistics)
        check("R1", not self.runner.registry.local_workers, self.runner.registry.local_workers)
        check("J7", not self.runner.registry.waiting(), self.runner.registry.waiting())
        self._check_errors()
        self.complain()
        self._tap.__exit__(None, None, None)
        self.world.after_turn = lambda: None

    def _check_errors(self) -> None:
        """Errors travel: what was planted, all of that, nothing else, in one flat group."""
        error = self.running.error
        found = list(error.exceptions) if isinstance(error, ExceptionGroup) else [] if error is None else [error]
        strange = [one for one in found if not isinstance(one, (PlantedError, WorkerStartError))]
        self.model.check("errors", not strange, "the runner raised", strange)
        for actor, planted in self.model.crashes:
            told = planted in found or not actor.record.ready or self.model.state(actor) != "failed"
            self.model.check("errors", told, planted, "killed", actor.name, "and was not told")
