"""Exceptions as a flat list, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import steady

from trioworkers._leaves import describe, flat_group, leaves, trace


class Meaning(ExceptionGroup[Exception]):
    """A group of somebody's own."""

    def derive(self, excs: Sequence[Exception]) -> Meaning:  # type: ignore[override]  # the base's is generic
        """A part of it means the same."""
        return Meaning(self.message, excs)


class MuteError(Exception):
    """An exception whose message cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def flatten(error: BaseException) -> Iterator[BaseException]:
    """The obvious recursion, for trees that are shallow."""
    if type(error) in {ExceptionGroup, BaseExceptionGroup}:
        assert isinstance(error, BaseExceptionGroup)
        for inner in error.exceptions:
            yield from flatten(inner)
    else:
        yield error


trees: st.SearchStrategy[BaseException] = st.recursive(
    st.builds(ValueError, st.integers()) | st.builds(KeyboardInterrupt) | st.builds(lambda: Meaning("own", [KeyError(1)])),
    lambda inner: st.lists(inner, min_size=1, max_size=4).map(lambda errors: flat_group("some", errors)),
    max_leaves=12,
)


@steady
@given(trees)
def test_leaves_are_in_order(error: BaseException) -> None:
    """The leaves of any tree of groups come in the order of the tree, each once."""
    expected = list(dict.fromkeys(map(id, flatten(error))))
    assert [id(leaf) for leaf in leaves(error)] == expected


def test_an_exception_is_its_own_leaf() -> None:
    """What is no group is the only leaf."""
    error = ValueError("boom")
    assert leaves(error) == [error]


def test_the_same_exception_twice_is_one_leaf() -> None:
    """An exception that two groups hold is told once, at its first place."""
    shared, other = ValueError("shared"), KeyError("other")
    assert leaves(ExceptionGroup("all", [ExceptionGroup("a", [shared, other]), shared])) == [shared, other]


def test_equal_exceptions_are_two() -> None:
    """Identity counts, not equality: an exception with its own ``__eq__`` hides no other."""

    class SameError(Exception):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    one, two = SameError(), SameError()
    found = leaves(ExceptionGroup("all", [one, two]))
    assert found[0] is one
    assert found[1] is two
    assert one == two


def test_a_group_of_ones_own_stays_whole() -> None:
    """A subclass of ExceptionGroup is somebody's meaning: it is not opened."""
    own = Meaning("own", [ValueError(1), KeyError(2)]).subgroup(ValueError)
    assert isinstance(own, Meaning)
    assert leaves(ExceptionGroup("all", [own, KeyError(1)]))[0] is own


def test_a_very_deep_group_needs_no_deep_stack() -> None:
    """A nesting far deeper than Python's stack is flattened all the same."""
    leaf = ValueError("at the bottom")
    error: Exception = leaf
    for _ in range(5000):
        error = ExceptionGroup("deeper", [error])
    assert leaves(error) == [leaf]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("boom"), "ValueError: boom"),
        (ValueError(), "ValueError"),
        (KeyError("k"), "KeyError: 'k'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (MuteError(), "MuteError: (its message cannot be shown)"),
        (ExceptionGroup("two", [ValueError(1), ValueError(2)]), "ExceptionGroup: two (2 sub-exceptions)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_exception_in_words(error: BaseException, text: str) -> None:
    """I2: an exception is described by its type and message, whatever its ``__str__`` does."""
    assert describe(error) == text


@steady
@given(st.integers(0, 1100))
def test_a_description_has_a_bound(length: int) -> None:
    """A message is told whole up to a thousand characters, and shortened beyond."""
    whole = f"ValueError: {'x' * length}" if length else "ValueError"
    text = describe(ValueError("x" * length))
    assert text == (whole if len(whole) <= 1000 else f"{whole[:997]}...")
    assert len(text) <= 1000


def test_a_trace_shows_where() -> None:
    """The traceback as text names the function that raised, and the exception."""

    def culprit() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom") as caught:
        culprit()
    text = trace(caught.value)
    assert "in culprit" in text
    assert text.endswith("ValueError: boom\n")


def test_a_long_trace_keeps_its_end() -> None:
    """Of a traceback longer than ten thousand characters the end is kept, where the cause is."""
    text = trace(ValueError("x" * 20_000 + " the end"))
    assert len(text) == 10_000
    assert text.endswith("x the end\n")


def test_an_exception_that_cannot_be_shown_has_a_trace() -> None:
    """An exception whose ``__str__`` raises costs no answer: what can be told is told."""
    assert "MuteError" in trace(MuteError())


def test_an_exception_that_breaks_the_formatter_has_a_trace() -> None:
    """When the traceback cannot be formatted at all, the description stands for it."""
    error = ValueError("boom")
    error.__notes__ = _Notes()
    assert trace(error) == "ValueError: boom"


class _Notes(list[str]):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no notes")


def test_a_flat_group_is_as_plain_as_it_can_be() -> None:
    """A group of exceptions is an ExceptionGroup; with an exit among them it is a BaseExceptionGroup."""
    assert type(flat_group("all", [ValueError()])) is ExceptionGroup
    assert type(flat_group("all", [ValueError(), KeyboardInterrupt()])) is BaseExceptionGroup
