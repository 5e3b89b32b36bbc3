"""A system under test, and what clients can do to it: the common ground of :func:`check_system` and of state machines."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import trio

from .errors import DeadlockError
from .world import Handle, World

Choices = Iterable[Any] | str
"""What an argument is drawn from, the simplest first; or the name of an attribute of the system that says so."""

F = TypeVar("F", bound=Callable[..., Awaitable[None]])
_MARK = "_trioworkers_operation"
_DELAYS = (0.0, 0.0, 0.0, 0.25, 1.0)


@attrs.frozen
class Operation:
    """Something a client does, as a value.

    Args:
        number: Its number: with the verb, the name of the client's task.
        verb: A method of the system.
        args: What it is called with.
        delay: Virtual seconds before it begins.
    """

    number: int
    verb: str
    args: tuple[Any, ...] = ()
    delay: float = 0.0

    def __str__(self) -> str:
        after = f" after {self.delay:g} s" if self.delay else ""
        return f"{self.verb}#{self.number}({', '.join(map(repr, self.args))}){after}"


@attrs.frozen
class _Mark:
    choices: tuple[Choices, ...]
    weight: int


def operation(*choices: Choices, weight: int = 1) -> Callable[[F], F]:
    """Mark an async method of a :class:`System` as something clients may do at any moment.

    ::

        class Cache(System):
            keys = ("a", "b")

            @operation("keys", range(3))
            async def put(self, key, value): ...

    Args:
        choices: For each argument, what it is drawn from, the simplest first; or the name of an attribute of the system that says so.
        weight: How often it is drawn, compared to the others.
    """

    def mark(method: F) -> F:
        setattr(method, _MARK, _Mark(choices, weight))
        return method

    return mark


class System:
    """What is tested: made anew for every world.

    ::

        class Counter(System):
            def start(self):
                self.value = self.added = 0

            @operation(range(1, 4))
            async def add(self, amount):
                self.added += amount
                value = self.value
                await trio.lowlevel.checkpoint()
                self.value = value + amount

            def check_rest(self):
                assert self.value == self.added

    Methods marked with :func:`operation` are run as tasks of their own, any number of them at once.
    """

    expected: tuple[type[Exception], ...] = ()
    """What an operation may raise: a misfortune, not a failure."""

    finishes: bool = True
    """Whether every operation comes to an end by itself; if not, it must when the system is stopped."""

    world: World
    clients: list[tuple[Operation, Handle[None]]]

    def open(self, world: World) -> None:
        """Move in."""
        self.world = world
        self.clients = []
        self.start()
        world.after_turn = self.watch

    # -- to override -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Build it, and spawn in ``self.world`` what runs from the beginning."""

    def watch(self) -> None:
        """Look at it after every single step; must be quick. Raise ``AssertionError`` if something is wrong."""

    def check(self) -> None:
        """Look at it between two steps, now and then."""

    def check_rest(self) -> None:
        """Look at it when nothing can go on without time passing."""

    def stop(self) -> None:
        """Take it down, in ``self.world``, so that nothing is left."""

    def check_over(self) -> None:
        """Look at what is left when it has been taken down."""

    # -- using it ----------------------------------------------------------------------------------------------------------

    def menu(self) -> Mapping[str, tuple[Sequence[Sequence[Any]], int]]:
        """What can be done: for each operation what its arguments are drawn from, and its weight."""
        found: dict[str, tuple[Sequence[Sequence[Any]], int]] = {}
        for name in sorted(dir(type(self))):
            mark: _Mark | None = getattr(getattr(type(self), name), _MARK, None)
            if mark is not None:
                found[name] = [list(self._resolve(choices)) for choices in mark.choices], mark.weight
        return found

    def _resolve(self, choices: Choices) -> Iterable[Any]:
        if not isinstance(choices, str):
            return choices
        found: Iterable[Any] = getattr(self, choices)
        return found

    def draw(self, rng: random.Random, number: int) -> Operation:
        """One operation. Override it to draw them in another way."""
        menu = self.menu()
        verb = rng.choices([*menu], [weight for _, weight in menu.values()])[0]
        return Operation(number, verb, tuple(rng.choice(choices) for choices in menu[verb][0]), rng.choice(_DELAYS))

    def simpler(self, operation: Operation) -> Iterable[Operation]:
        """The operations that are like this one, with one thing in it simpler. Override it together with :meth:`draw`."""
        if operation.delay:
            yield attrs.evolve(operation, delay=0.0)
        choices = self.menu()[operation.verb][0]
        for place, (argument, values) in enumerate(zip(operation.args, choices, strict=True)):
            for value in values[: values.index(argument)]:
                yield attrs.evolve(operation, args=(*operation.args[:place], value, *operation.args[place + 1 :]))

    def do(self, operation: Operation) -> Handle[None]:
        """Have a client do it: a task of its own, whose first step comes when the schedule says so."""
        handle = self.world.spawn(self._perform, operation, name=f"{operation.verb}#{operation.number}")
        self.clients.append((operation, handle))
        return handle

    async def _perform(self, operation: Operation) -> None:
        await trio.sleep(operation.delay)
        try:
            await getattr(self, operation.verb)(*operation.args)
        except* self.expected:
            pass

    def complain(self) -> None:
        """Raise what an operation has raised that was not to be expected."""
        for _, handle in self.clients:
            if handle.error is not None:
                raise handle.error

    def see_done(self) -> None:
        """See that no client waits.

        Raises:
            DeadlockError: One does.
        """
        waiting = [str(operation) for operation, handle in self.clients if not handle.done]
        if waiting:
            raise DeadlockError(f"clients still wait at t={self.world.now:g}: {', '.join(waiting)}\n{self.world.tree()}")
