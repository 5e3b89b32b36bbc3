"""A Hypothesis state machine over workers: rules are plain sync code, the world is stepped in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from hypothesis import settings as Settings  # noqa: N812 - it is a class
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ..runner import WorkerRunner
from ..worker import BaseWorker
from .errors import VacuousError
from .lifecycle import LifecycleSystem, MakeRunner, Puppet, names_of, puppet_theatre
from .strategies import Pct, Pos, Strategy, Uniform
from .system import Operation
from .world import World

_KINDS: tuple[Callable[[int], Strategy], ...] = (Pos, Uniform, Pct)


def _of(attribute: str) -> st.SearchStrategy[Any]:
    """One of what the system of the running machine says."""

    def choose(machine: LifecycleMachine) -> st.SearchStrategy[Any]:
        return st.sampled_from(list(getattr(machine.system, attribute)))

    return st.runner().flatmap(choose)


names = _of("names")
owners = _of("owners")
spare = _of("spare")
scripts = _of("scripts")
uses = _of("uses")
timeouts = _of("timeouts")
which = st.integers(0, 2)
steps = st.integers(0, 12)


class LifecycleMachine(RuleBasedStateMachine):
    """Everything may be done to workers at any moment; the promises hold after every step. Subclass it for workers of your own.

    ::

        class MyTeam(LifecycleMachine):
            async def make_runner(self):
                runner = WorkerRunner()
                await runner.add_workers(Planner("planner"), Coder("coder"))
                return runner

            @rule(name=names, steps=steps)
            def hand_over(self, name, steps):
                self.do("hand_over", name, steps=steps)     # an operation of your LifecycleSystem

            @invariant()
            def the_budget_is_kept(self):
                assert self.worker("planner").budget >= 0

        def test_my_team():
            check_machine(MyTeam)

    A rule starts an operation as a client's task and lets ``steps`` steps be taken; it is done when the schedule says so. When an
    example is over, everything is ended, then cancelled, and nothing may be left.
    """

    system_class: ClassVar[type[LifecycleSystem]] = LifecycleSystem
    shutdown_timeout: ClassVar[float] = float("inf")
    tally: ClassVar[Counter[str]] = Counter()
    _names: ClassVar[Sequence[str] | None] = None

    world: World
    system: LifecycleSystem

    def __init_subclass__(cls, **options: Any) -> None:
        """A rule that is overridden without ``@rule`` would silently be one no more."""
        super().__init_subclass__(**options)
        cls.tally = Counter()
        cls._names = None
        lost = [name for name in vars(cls) if _is_rule(_inherited(cls, name)) and not _is_rule(vars(cls)[name])]
        if lost:
            raise TypeError(f"{cls.__name__}.{lost[0]} overrides a rule and is none: decorate it with @rule, or choose another name")

    # -- to override -------------------------------------------------------------------------------------------------------

    def make_runner(self) -> Any:
        """Make the runner, with its workers; sync or async. Puppets by default."""
        return puppet_theatre()

    def make_worker(self, name: str) -> BaseWorker:
        """Make a worker to be added later."""
        return Puppet(name)

    # -- a life ------------------------------------------------------------------------------------------------------------

    @initialize(seed=st.integers(0, 2**16), step_cost=st.sampled_from([0.0, 1 / 128]))
    def begin(self, seed: int, step_cost: float) -> None:
        """A world under a schedule of its own."""
        cls = type(self)
        make: MakeRunner = self.make_runner
        if cls._names is None:
            cls._names = names_of(make)
        self._number = 0
        self.world = World(seed, strategy=_KINDS[seed % len(_KINDS)](seed), step_cost=step_cost)
        self.system = self.system_class(make, make_worker=self.make_worker, shutdown_timeout=self.shutdown_timeout, names=cls._names)
        self.system.open(self.world)

    def do(self, verb: str, *args: Any, steps: int = 0) -> None:
        """Have a client do an operation, and let some steps be taken.

        Args:
            verb: An operation of the system.
            args: Its arguments.
            steps: How many.
        """
        self._number += 1
        self.tally[verb] += 1
        self.system.do(Operation(self._number, verb, args))
        self.world.steps(steps)

    @property
    def runner(self) -> WorkerRunner:
        """The runner."""
        return self.system.runner

    def worker(self, name: str) -> BaseWorker:
        """The worker of that name; see :meth:`LifecycleSystem.worker`."""
        return self.system.worker(name)

    def teardown(self) -> None:
        """End everything; nothing may be left."""
        if not hasattr(self, "world"):
            return
        with self.world:
            if not self.system.promises.failed:
                self.system.stop()
                self.system.see_done()
                self.system.check_over()
        self.tally.update(self.system.promises.tally)

    @invariant()
    def the_promises_are_kept(self) -> None:
        """L1 to R2, and nothing that was not to be expected was raised."""
        if hasattr(self, "system"):
            self.system.check()
            self.system.complain()

    # -- time --------------------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 40))
    def step(self, count: int) -> None:
        """Let some steps be taken."""
        self.tally["step"] += 1
        self.world.steps(count)

    @rule()
    def settle(self) -> None:
        """Go on until nothing can without time passing."""
        self.tally["settle"] += 1
        self.world.settle()
        self.system.check_rest()

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.0, 30.0]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.tally["advance"] += 1
        self.world.advance(seconds)
        self.system.check_rest()

    # -- workers -----------------------------------------------------------------------------------------------------------

    @rule(name=spare, owner=owners, steps=steps)
    def add(self, name: str, owner: str, steps: int) -> None:
        """Add a worker."""
        self.do("add", name, owner, steps=steps)

    @rule(name=names, steps=steps)
    def activate(self, name: str, steps: int) -> None:
        """Activate a worker."""
        self.do("activate", name, steps=steps)

    @rule(name=names, steps=steps)
    def deactivate(self, name: str, steps: int) -> None:
        """Deactivate a worker."""
        self.do("deactivate", name, steps=steps)

    @rule(name=names, steps=steps)
    def stop_worker(self, name: str, steps: int) -> None:
        """Stop a worker."""
        self.do("stop_worker", name, steps=steps)

    @rule(name=names, steps=steps)
    def end_worker(self, name: str, steps: int) -> None:
        """End a worker."""
        self.do("end_worker", name, steps=steps)

    @rule(name=names, steps=steps)
    def crash(self, name: str, steps: int) -> None:
        """Make a worker's hook raise."""
        self.do("crash", name, steps=steps)

    @rule(source=names, receiver=owners, count=st.integers(1, 3), steps=steps)
    def tell(self, source: str, receiver: str, count: int, steps: int) -> None:
        """Send messages."""
        self.do("tell", source, receiver, count, steps=steps)

    # -- jobs --------------------------------------------------------------------------------------------------------------

    @rule(name=names, which=which, script=scripts, use=uses, timeout=timeouts, steps=steps)
    def request(self, name: str, which: int, script: str, use: str, timeout: float | None, steps: int) -> None:
        """Ask a worker, from outside."""
        self.do("request", name, which, script, use, timeout, steps=steps)

    @rule(asker=names, name=names, which=which, script=scripts, use=uses, timeout=timeouts, steps=steps)
    def ask(self, asker: str, name: str, which: int, script: str, use: str, timeout: float | None, steps: int) -> None:
        """Ask a worker, from another."""
        self.do("ask", asker, name, which, script, use, timeout, steps=steps)

    @rule(one=names, other=names, script=scripts, cancel_on_error=st.booleans(), steps=steps)
    def ask_group(self, one: str, other: str, script: str, cancel_on_error: bool, steps: int) -> None:
        """Ask two workers at once."""
        self.do("ask_group", one, other, script, cancel_on_error, steps=steps)

    @rule(name=names, steps=steps)
    def answer(self, name: str, steps: int) -> None:
        """Answer what is open at a worker."""
        self.do("answer", name, steps=steps)

    @rule(name=names, steps=steps)
    def cancel_jobs(self, name: str, steps: int) -> None:
        """Give up what a worker has asked for."""
        self.do("cancel_jobs", name, steps=steps)


def check_machine(
    machine: type[LifecycleMachine],
    *,
    settings: Settings | None = None,
    must: Sequence[str] = ("request", "advance", "settle", "delivered", "accepted", "decided completed", "finished"),
) -> None:
    """Run a machine, and see that it did not pass by doing nothing.

    Args:
        machine: A subclass of :class:`LifecycleMachine`.
        settings: Hypothesis' settings.
        must: What must have happened at least once, by the names in ``machine.tally``.

    Raises:
        VacuousError: Something of that never happened: the machine has passed, and proved little.
    """
    run_state_machine_as_test(machine, settings=settings)
    missing = [what for what in must if not machine.tally[what]]
    if missing:
        raise VacuousError(
            f"{machine.__name__} passed, but these never happened: {', '.join(missing)}; they were {dict(machine.tally)}"
        )


def _is_rule(member: object) -> bool:
    return any(hasattr(member, marker) for marker in _MARKERS)


_MARKERS = ("hypothesis_stateful_rule", "hypothesis_stateful_initialize_rule", "hypothesis_stateful_invariant")


def _inherited(cls: type, name: str) -> object:
    return next((vars(base)[name] for base in cls.__mro__[1:] if name in vars(base)), None)
