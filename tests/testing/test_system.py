"""Systems under test: the menu, drawing from it, making operations simpler, and what clients raise."""

from __future__ import annotations

import random  # noqa: TID251 - seeded
from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from trioworkers.testing import DeadlockError, Operation, Plain, System, World, operation
from trioworkers.testing.system import LeakError

seeds = st.integers(0, 2**32)


class Shelf(System):
    """Something to put things on."""

    keys = ("a", "b", "c")

    def __init__(self) -> None:
        self.sizes = [1, 2]
        self.log: list[Any] = []

    @operation("keys", range(3), weight=3)
    async def put(self, key: str, size: int) -> None:
        """Put."""
        self.log.append(("put", key, size))
        await trio.lowlevel.checkpoint()

    @operation("sizes")
    async def take(self, size: int) -> None:
        """Take."""

    @operation()
    async def look(self) -> None:
        """Look."""

    async def helper(self) -> None:
        """Is no operation."""


class Rack(Shelf):
    """A shelf that overrides and adds."""

    keys = ("x", "y", "z")

    async def put(self, key: str, size: int) -> None:
        """Put, and more; not marked anew."""
        await super().put(key, size)

    @operation([7], weight=5)
    async def take(self, size: int) -> None:
        """Take; marked anew."""

    @operation(weight=0)
    async def look(self) -> None:
        """Off the menu."""

    @operation(n for n in (1, 2))
    async def shake(self, times: int) -> None:
        """One more, with choices that can be gone through only once."""


class Labels:
    """What other systems mix in."""

    @operation("colours")
    async def label(self, colour: str) -> None:
        """Label."""


class Box(Labels, System):
    """Has one operation, from a class that is no system."""

    colours = ("red", "blue")


def opened(system: System, world: World) -> System:
    """The system, moved in."""
    system.open(world)
    return system


# -- the menu --------------------------------------------------------------------------------------------------------------


def test_the_menu_is_made_of_the_marks() -> None:
    """Each marked method is on the menu, in alphabetical order, with what its arguments are drawn from and its weight."""
    assert list(Shelf().menu().items()) == [
        ("look", ([], 1)),
        ("put", ([("a", "b", "c"), range(3)], 3)),
        ("take", ([[1, 2]], 1)),
    ]


def test_a_subclass_inherits_the_menu() -> None:
    """Operations are inherited, an override keeps the mark unless it has its own, and the weight 0 takes it off the menu."""
    assert list(Rack().menu().items()) == [
        ("put", ([("x", "y", "z"), range(3)], 3)),
        ("shake", ([(1, 2)], 1)),
        ("take", ([[7]], 5)),
    ]


def test_operations_can_be_mixed_in() -> None:
    """A class that is no system can bring operations into one."""
    assert Box().menu() == {"label": ([("red", "blue")], 1)}


def test_what_is_off_the_menu_can_be_done() -> None:
    """An operation with the weight 0, like one that is overridden, can still be asked for by name."""
    with World() as world:
        rack = Rack()
        rack.open(world)
        handles = [rack.do(Operation(1, "look")), rack.do(Operation(2, "put", ("x", 1)))]
        world.settle()
        assert [handle.result() for handle in handles] == [None, None]
        assert rack.log == [("put", "x", 1)]


def test_an_override_that_is_no_async_method_is_an_error() -> None:
    """A class that overrides an operation with something else is not made."""
    with pytest.raises(TypeError) as caught:
        type("Broken", (Shelf,), {"look": None})
    assert str(caught.value) == "Broken.look must be an async method, for it is an operation; decorate it with @operation(...)"


def test_an_override_with_other_arguments_is_an_error() -> None:
    """A class that overrides an operation with one that takes other arguments, and does not say from what, is not made."""

    async def look(self: Shelf, where: str) -> None:
        """Look."""

    with pytest.raises(TypeError, match=r"^Broken.look is an operation with 0 arguments to be drawn: missing a required argument"):
        type("Broken", (Shelf,), {"look": look})


async def nothing(self: object) -> None:
    """Does nothing."""


@pytest.mark.parametrize(
    ("decorate", "kind", "text"),
    [
        (lambda: operation(7), TypeError, r"operation\(\): arguments are drawn from an iterable, or an attribute that a str names"),  # type: ignore[arg-type]  # that is the test
        (lambda: operation(nothing), TypeError, r"operation\(\): arguments are drawn from an iterable"),  # type: ignore[arg-type]  # as above
        (lambda: operation({1, 2}), TypeError, r"operation\(\): a set has no order, .* use a tuple instead of \{1, 2\}"),
        (lambda: operation(weight=-1), ValueError, "weight must be 0 or more, not -1"),
        (lambda: operation()(len), TypeError, "^len must be an async method"),  # type: ignore[type-var]  # as above
        (lambda: operation([1])(nothing), TypeError, "nothing is an operation with 1 arguments to be drawn: too many"),
    ],
)
def test_a_wrong_mark_is_an_error_at_once(decorate: Any, kind: type[Exception], text: str) -> None:
    """What cannot be an operation is told where it is marked."""
    with pytest.raises(kind, match=text):
        decorate()


@pytest.mark.parametrize(
    ("colours", "text"),
    [
        (None, "Box.colours: arguments are drawn from an iterable, or an attribute that a str names, not from None"),
        ({"red"}, "Box.colours: a set has no order, and the simplest comes first: use a tuple instead of {'red'}"),
        ("red", "Box.colours must be a sequence of values to draw from, not 'red'"),
    ],
)
def test_an_attribute_must_have_an_order(colours: Any, text: str) -> None:
    """What an attribute says there is to choose from must be in an order, or the same seed would be another world elsewhere."""
    box = Box()
    box.colours = colours
    with pytest.raises(TypeError) as caught:
        box.menu()
    assert str(caught.value) == text


def test_an_attribute_that_comes_too_late_is_told() -> None:
    """An operation that draws from what only ``start`` sets says so."""

    class Late(Labels, System):
        """Has no colours yet."""

    with pytest.raises(TypeError) as caught:
        Late().menu()
    assert str(caught.value) == (
        "Late.colours, which 'label' draws from, is not there: set it on the class, or in __init__; start() is later"
    )


# -- drawing ---------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(seeds, st.integers(1, 99))
def test_drawing_is_a_function_of_the_generator(seed: int, number: int) -> None:
    """The same seed draws the same operation, one from the menu, with the number asked for."""
    one, other = (Shelf().draw(random.Random(seed), number) for _ in range(2))  # noqa: S311 - for tests
    assert one == other
    choices, _ = Shelf().menu()[one.verb]
    assert one.number == number
    assert len(one.args) == len(choices)
    assert all(argument in values for argument, values in zip(one.args, choices, strict=True))
    assert one.delay in {0.0, 0.25, 1.0}


def test_weights_are_kept() -> None:
    """What has three times the weight is drawn about three times as often, and every choice comes up."""
    rng = random.Random(1)  # noqa: S311 - for tests
    drawn = [Shelf().draw(rng, 1) for _ in range(1000)]
    verbs = Counter(each.verb for each in drawn)
    assert 540 < verbs["put"] < 660
    assert all(150 < verbs[verb] < 250 for verb in ("take", "look"))
    assert {each.args for each in drawn if each.verb == "put"} == {(key, size) for key in "abc" for size in range(3)}


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (Operation(1, "look"), "look#1()"),
        (Operation(2, "put", ("a", 1)), "put#2('a', 1)"),
        (Operation(3, "take", (2,), 0.25), "take#3(2) after 0.25 s"),
        (Operation(3, "take", (2,), 1.0), "take#3(2) after 1 s"),
    ],
)
def test_an_operation_is_told_like_a_call(what: Operation, text: str) -> None:
    """An operation as text is its client's name, its arguments, and when it begins."""
    assert str(what) == text


# -- simpler ---------------------------------------------------------------------------------------------------------------


class Many(System):
    """Has much to choose from."""

    @operation(range(10**9), [True, False, 1.5], "abc")
    async def pick(self, number: int, flag: object, letter: str) -> None:
        """Pick."""

    abc = ("a", "b", "b", "c")


def places(what: Operation) -> list[float]:
    """How far from the simplest each part is."""
    return [what.delay, *(list(values).index(value) for value, values in zip(what.args[1:], ([True, False, 1.5], "abc"), strict=True))]


def descend(what: Operation) -> Iterator[Operation]:
    """From each operation to the last simpler one, until there is none."""
    while simpler := [*Many().simpler(what)]:
        what = simpler[-1]
        yield what


@settings(deadline=None)
@given(seeds)
def test_simpler_is_simpler_in_one_thing(seed: int) -> None:
    """Each simpler operation differs in one part, which is nearer to the simplest there; everything else stays."""
    what = Many().draw(random.Random(seed), 1)  # noqa: S311 - for tests
    for simpler in Many().simpler(what):
        before, after = [what.args[0], *places(what)], [simpler.args[0], *places(simpler)]
        changed = [(new, old) for new, old in zip(after, before, strict=True) if new != old]
        assert len(changed) == 1
        assert changed[0][0] < changed[0][1]
        assert (simpler.number, simpler.verb) == (what.number, what.verb)


@settings(deadline=None)
@given(seeds)
def test_there_is_an_end_to_simpler(seed: int) -> None:
    """Whoever goes on from one simpler operation to the next comes to the simplest one in a few steps for each part."""
    what = Many().draw(random.Random(seed), 1)  # noqa: S311 - for tests
    steps = [attrs.evolve(what, args=(what.args[0] % 50, *what.args[1:]))]
    steps += descend(steps[0])
    assert len(steps) <= 60
    assert (steps[-1].args, steps[-1].delay) == ((0, True, "a"), 0.0)


def test_few_values_are_all_tried() -> None:
    """Of a few simpler values, and of the delays, each is tried, the simplest first."""
    what = Operation(1, "put", ("c", 2), 1.0)
    assert [(each.args, each.delay) for each in Shelf().simpler(what)] == [
        (("c", 2), 0.0),
        (("c", 2), 0.25),
        (("a", 2), 1.0),
        (("b", 2), 1.0),
        (("c", 0), 1.0),
        (("c", 1), 1.0),
    ]


def test_of_many_values_some_are_tried() -> None:
    """Of many simpler values some are tried, ever nearer, the next one last, so that the smallest that will do is found quickly."""
    what = Operation(1, "pick", (100, True, "a"))
    assert [each.args[0] for each in Many().simpler(what)] == [0, 50, 75, 88, 94, 97, 99]


@pytest.mark.parametrize(
    "what", [Operation(1, "look"), Operation(1, "helper"), Operation(1, "put", ("elsewhere", 9)), Operation(1, "no")]
)
def test_what_is_unknown_is_left_alone(what: Operation) -> None:
    """An argument that is on no list, or an operation on no menu, is as simple as can be."""
    assert [*Shelf().simpler(what)] == []


# -- clients ---------------------------------------------------------------------------------------------------------------


class Trouble(System):
    """Raises what it is told to."""

    expected: tuple[type[Exception], ...] = (ValueError, OSError)

    @operation([None])
    async def fail(self, error: BaseException | None) -> None:
        """Raise it."""
        await trio.lowlevel.checkpoint()
        if error is not None:
            raise error


def fail(*errors: BaseException | None) -> Trouble:
    """A system in which clients have raised these."""
    system = Trouble()
    with World(strategy=Plain()) as world:
        system.open(world)
        for number, error in enumerate(errors, 1):
            system.do(Operation(number, "fail", (error,)))
        world.settle()
    return system


def test_a_client_is_a_task_of_its_own() -> None:
    """An operation is a task with the operation's name, which takes no step before the schedule says so, and none before its delay."""
    with World(strategy=Plain()) as world:
        shelf = Shelf()
        shelf.open(world)
        shelf.do(Operation(1, "put", ("a", 1)))
        late = shelf.do(Operation(2, "put", ("b", 2), 0.25))
        assert shelf.log == []
        assert [task.name for _, task in world.tasks() if "#" in task.name] == ["put#1", "put#2"]
        world.settle()
        assert shelf.log == [("put", "a", 1)]
        world.advance(0.25)
        assert shelf.log == [("put", "a", 1), ("put", "b", 2)]
        assert late.done


def test_a_client_can_do_anything() -> None:
    """A client can be given another function than the system's method of that name."""
    log: list[Any] = []

    async def write(*what: Any) -> None:
        log.append(what)

    with World() as world:
        opened(Shelf(), world).do(Operation(1, "write", (1, 2)), write)
        world.settle()
    assert log == [(1, 2)]


def test_what_cannot_be_done_is_told_at_once() -> None:
    """An operation that the system does not have is an error for whoever asks for it, and no client."""
    with World() as world:
        shelf = opened(Shelf(), world)
        with pytest.raises(AttributeError, match="'nonsense'"):
            shelf.do(Operation(1, "nonsense"))
        assert shelf.clients == []


@pytest.mark.parametrize(
    "error",
    [None, ValueError(), FileNotFoundError(), ExceptionGroup("", [ValueError(), ExceptionGroup("", [OSError(), ValueError()])])],
)
def test_what_is_expected_is_excused(error: Exception | None) -> None:
    """What an operation may raise, alone or in groups of nothing else, is no failure, and is counted."""
    system = fail(None, error)
    system.complain()
    system.see_done()
    assert system.excused == ({} if error is None else {"fail": 1})


def test_what_is_not_expected_is_told() -> None:
    """The first client that raised something else is told of, with its operation as a note, however often one looks."""
    error = KeyError("what")
    system = fail(ValueError(), error, TypeError())
    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            system.complain()
        assert caught.value is error
    assert error.__notes__ == ["raised by fail#2(KeyError('what'))"]


def test_of_a_mixed_group_the_rest_is_told() -> None:
    """A group in which only some is expected is told without that."""
    unexpected = KeyError()
    system = fail(ExceptionGroup("both", [ValueError(), ExceptionGroup("inner", [unexpected, OSError()])]))
    with pytest.raises(ExceptionGroup) as caught:
        system.complain()
    (inner,) = caught.value.exceptions
    assert isinstance(inner, ExceptionGroup)
    assert inner.exceptions == (unexpected,)


def test_a_system_that_expects_nothing_excuses_nothing() -> None:
    """By default, everything that an operation raises is a failure."""

    class Strict(Trouble):
        expected = ()

    with World() as world:
        system = opened(Strict(), world)
        system.do(Operation(1, "fail", (ValueError("no"),)))
        world.settle()
        with pytest.raises(ValueError, match="no"):
            system.complain()


class Waiting(System):
    """Waits."""

    def start(self) -> None:
        """Somebody is there from the beginning."""
        self.server = self.world.spawn(trio.sleep_forever, name="server")

    @operation()
    async def wait(self) -> None:
        """For ever."""
        await trio.sleep_forever()

    def stop(self) -> None:
        """Send everybody home."""
        self.server.scope.cancel()
        for _, handle in self.clients:
            handle.scope.cancel()
        self.world.settle()


def test_clients_that_wait_are_named() -> None:
    """Clients that are not done are told by name, with the time and the tree of tasks, each with the line it waits at."""
    with World(strategy=Plain()) as world:
        system = opened(Waiting(), world)
        system.see_done()
        for number in (1, 2):
            system.do(Operation(number, "wait"))
        world.advance(2)
        with pytest.raises(DeadlockError) as caught:
            system.see_done()
        first, *tree = str(caught.value).splitlines()
        assert first == "clients still wait at t=2: wait#1(), wait#2()"
        line = Waiting.wait.__code__.co_firstlineno + 3
        assert [each.strip() for each in tree if "wait#" in each] == [
            f"wait#{number} @ Waiting.wait (test_system.py:{line})" for number in (1, 2)
        ]


def test_tasks_that_are_left_are_named() -> None:
    """Tasks that are left when a system has been taken down are told by name, with the tree."""
    with World(strategy=Plain()) as world:
        system = opened(Waiting(), world)
        system.do(Operation(1, "wait"))
        world.settle()
        with pytest.raises(LeakError) as caught:
            system.see_gone()
        assert str(caught.value).splitlines()[0] == "tasks are left after stop(): server, wait#1"
        system.stop()
        system.see_gone()
        system.see_done()


def test_a_system_is_watched_after_every_step() -> None:
    """``watch`` is called once after each step from when the system is built, and not while it is."""
    calls: list[int] = []

    class Watched(Waiting):
        def start(self) -> None:
            super().start()
            self.world.settle()

        def watch(self) -> None:
            calls.append(self.world.turns)

    with World(strategy=Plain()) as world:
        system = opened(Watched(), world)
        before = world.turns
        system.do(Operation(1, "wait"))
        world.settle()
        assert calls == [*range(before + 1, world.turns + 1)]
        assert len(calls) >= 2
