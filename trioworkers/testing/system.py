"""A system under test, and what clients can do to it: the common ground of :func:`check_system` and of state machines."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from inspect import iscoroutinefunction, signature
from typing import Any, ClassVar, TypeVar

import attrs
import trio

from ._picture import is_trios_own
from ._where import short_name
from .errors import DeadlockError
from .world import Handle, World

Choices = Iterable[Any] | str
"""What an argument is drawn from, the simplest first; or the name of an attribute of the system that says so."""

F = TypeVar("F", bound=Callable[..., Awaitable[object]])
_MARK = "_trioworkers_operation"
DELAYS = (0.0, 0.0, 0.0, 0.25, 1.0)
"""How many virtual seconds after the others a client comes."""

_FEW = 8


class LeakError(AssertionError):
    """A system has been taken down, and something of it still runs."""


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
class Mark:
    """What :func:`operation` says of a method.

    Args:
        choices: What each argument is drawn from.
        weight: How often it is drawn, compared to the others.
    """

    choices: tuple[Sequence[Any] | str, ...]
    weight: int


def operation(*choices: Choices, weight: int = 1) -> Callable[[F], F]:
    """Mark an async method of a :class:`System` as something clients may do at any moment.

    ::

        class Cache(System):
            keys = ("a", "b")

            @operation("keys", range(3))
            async def put(self, key, value): ...

    A subclass may override the method; the mark stays, unless it is marked anew. ``@operation(weight=0)`` takes it off the menu.

    Args:
        choices: For each argument, what it is drawn from, the simplest first; or the name of an attribute of the system that says so.
        weight: How often it is drawn, compared to the others.

    Raises:
        TypeError: What is decorated is no async method, or takes other arguments; or something has no order to draw from.
        ValueError: The weight is negative.
    """
    mark = Mark(tuple(_in_order(each, "operation()") for each in choices), weight)
    if weight < 0:
        raise ValueError(f"weight must be 0 or more, not {weight!r}")

    def decorate(method: F) -> F:
        _check_fits(method, mark, str(getattr(method, "__qualname__", method)))
        setattr(method, _MARK, mark)
        return method

    return decorate


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

    Raises:
        TypeError: When a subclass is made: it overrides an operation with something that is none.
    """

    expected: tuple[type[Exception], ...] = ()
    """What an operation may raise. That is a misfortune, not a failure."""

    finishes: bool = True
    """Whether every operation comes to an end by itself; if not, it must when the system is stopped."""

    patience: float = 60.0
    """Virtual seconds after which every client is to be done."""

    world: World
    clients: list[tuple[Operation, Handle[None]]]
    excused: Counter[str]
    marks: ClassVar[Mapping[str, Mark]] = {}
    """The operations, and what was said of each."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Find the operations, those of the bases included."""
        super().__init_subclass__(**options)
        cls.marks = {name: mark for name in sorted(dir(cls)) if (mark := _mark_of(cls, name)) is not None}

    def open(self, world: World) -> None:
        """Move in."""
        self.world = world
        self.clients = []
        self.excused = Counter()
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
        """Take it down, in ``self.world``, so that nothing is left: no task of it may be there afterwards."""

    def check_over(self) -> None:
        """Look at what is left when it has been taken down."""

    # -- using it ----------------------------------------------------------------------------------------------------------

    def weights(self) -> Mapping[str, int]:
        """The operations, in alphabetical order, and how often each is drawn, compared to the others."""
        return {verb: mark.weight for verb, mark in self.marks.items() if mark.weight}

    def menu(self) -> Mapping[str, tuple[Sequence[Sequence[Any]], int]]:
        """What can be done: for each operation what its arguments are drawn from, and its weight.

        Raises:
            TypeError: Something has no order, or is not there before ``start``.
        """
        return {
            verb: ([self._resolve(verb, choices) for choices in self.marks[verb].choices], weight)
            for verb, weight in self.weights().items()
        }

    def _resolve(self, verb: str, choices: Sequence[Any] | str) -> Sequence[Any]:
        if not isinstance(choices, str):
            return choices
        where = f"{type(self).__name__}.{choices}"
        if not hasattr(self, choices):
            raise TypeError(f"{where}, which {verb!r} draws from, is not there: set it on the class, or in __init__; start() is later")
        found = _in_order(getattr(self, choices), where)
        if isinstance(found, str):
            raise TypeError(f"{where} must be a sequence of values to draw from, not {found!r}")
        return found

    def draw(self, rng: random.Random, number: int) -> Operation:
        """One operation. Override it to draw them in another way."""
        menu = self.menu()
        verb = rng.choices([*menu], [weight for _, weight in menu.values()])[0]
        return Operation(number, verb, tuple(rng.choice(choices) for choices in menu[verb][0]), rng.choice(DELAYS))

    def simpler(self, operation: Operation) -> Iterable[Operation]:
        """The operations that are like this one, with one thing in it simpler. Override it together with :meth:`draw`."""
        for delay in sorted({*DELAYS}):
            if delay < operation.delay:
                yield attrs.evolve(operation, delay=delay)
        choices, _ = self.menu().get(operation.verb, ((), 0))
        for place, (argument, values) in enumerate(zip(operation.args, choices, strict=False)):
            for value in _before(argument, values):
                yield attrs.evolve(operation, args=(*operation.args[:place], value, *operation.args[place + 1 :]))

    def do(self, operation: Operation, by: Callable[..., Awaitable[object]] | None = None) -> Handle[None]:
        """Have a client do it: a task of its own, whose first step comes when the schedule says so.

        Args:
            operation: What.
            by: The async function that does it; the system's method of that name if left out.
        """
        handle = self.world.spawn(
            self._perform, operation, by or getattr(self, operation.verb), name=f"{operation.verb}#{operation.number}"
        )
        self.clients.append((operation, handle))
        return handle

    async def _perform(self, operation: Operation, by: Callable[..., Awaitable[object]]) -> None:
        await trio.sleep(operation.delay)
        try:
            await by(*operation.args)
        except* self.expected:
            self.excused[operation.verb] += 1

    def complain(self) -> None:
        """Raise what an operation has raised that was not to be expected, with the operation as a note."""
        for operation, handle in self.clients:
            if handle.error is not None:
                note = f"raised by {operation}"
                if note not in getattr(handle.error, "__notes__", ()):
                    handle.error.add_note(note)
                raise handle.error

    def see_done(self) -> None:
        """See that no client waits.

        Raises:
            DeadlockError: One does.
        """
        waiting = [str(operation) for operation, handle in self.clients if not handle.done]
        if waiting:
            raise DeadlockError(f"clients still wait at t={self.world.now:g}: {', '.join(waiting)}\n{self.world.tree()}")

    def see_gone(self) -> None:
        """See that no task is left, once it has been taken down.

        Raises:
            LeakError: One is.
        """
        left = [task.name for _, task in self.world.tasks() if not is_trios_own(short_name(task))]
        if left:
            raise LeakError(f"tasks are left after stop(): {', '.join(left)}\n{self.world.tree()}")


def _in_order(choices: Choices, where: str) -> Sequence[Any] | str:
    """What is drawn from, in an order that is always the same."""
    if isinstance(choices, AbstractSet):
        raise TypeError(f"{where}: a set has no order, and the simplest comes first: use a tuple instead of {choices!r}")
    if not isinstance(choices, Iterable):
        raise TypeError(f"{where}: arguments are drawn from an iterable, or an attribute that a str names, not from {choices!r}")
    return choices if isinstance(choices, Sequence) else tuple(choices)


def _mark_of(cls: type, name: str) -> Mark | None:
    """The mark of an operation, perhaps of one that this class overrides."""
    members = [vars(base)[name] for base in cls.__mro__ if name in vars(base)]
    mark: Mark | None = next((getattr(member, _MARK) for member in members if hasattr(member, _MARK)), None)
    if mark is not None:
        _check_fits(members[0], mark, f"{cls.__name__}.{name}")
    return mark


def _check_fits(method: object, mark: Mark, name: str) -> None:
    if not iscoroutinefunction(method):
        raise TypeError(f"{name} must be an async method, for it is an operation; decorate it with @operation(...)")
    if mark.weight:
        try:
            signature(method).bind(None, *mark.choices)
        except TypeError as error:
            raise TypeError(f"{name} is an operation with {len(mark.choices)} arguments to be drawn: {error}") from None


def _before(argument: object, values: Sequence[Any]) -> Iterator[Any]:
    """What comes before it: all, if that is little, else some, ever closer to it."""
    place = _place(argument, values)
    if place <= _FEW:
        yield from values[:place]
        return
    step = place
    while step:
        yield values[place - step]
        step //= 2


def _place(argument: object, values: Sequence[Any]) -> int:
    """Where it is; 0 if it is none of them, for then nothing is known to be simpler."""
    try:
        return values.index(argument)
    except ValueError:
        return 0
