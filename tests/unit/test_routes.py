"""From a message's class to its effect."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import any_message, by_class, steady

from trioworkers import BusDataMessage, BusJobUpdateMessage, BusJobUpdateUrgentMessage, BusMessage, BusSystemMessage
from trioworkers._routes import Routes


class Story:
    """Routes whose effects say whose they are."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.routes = Routes(partial(self.tell, name="otherwise"))

    def tell(self, message: object, name: str) -> None:
        """An effect that writes down a name."""
        self.told.append(name)

    def claim(self, *classes: type[BusMessage]) -> None:
        """Claim some classes, each for an effect of its name."""
        self.routes.claim(self, {cls: partial(Story.tell, name=cls.__name__) for cls in classes})

    def after(self, *classes: type[BusMessage]) -> list[str]:
        """What these classes do, in order."""
        self.told.clear()
        for cls in classes:
            self.routes.of(cls)(None)
        return self.told


def test_the_nearest_claimed_base_answers() -> None:
    """A class has its own effect, or that of its nearest claimed base, or the one for the rest."""
    story = Story()
    story.claim(BusJobUpdateMessage, BusDataMessage)
    assert story.after(BusJobUpdateMessage, BusJobUpdateUrgentMessage, BusDataMessage, BusSystemMessage, BusSystemMessage) == [
        "BusJobUpdateMessage",
        "BusJobUpdateMessage",
        "BusDataMessage",
        "otherwise",
        "otherwise",
    ]


def test_a_class_is_claimed_once() -> None:
    """Two parts that would answer for one class are an error, which names the class."""
    story = Story()
    story.claim(BusDataMessage)
    with pytest.raises(ValueError, match="BusDataMessage is claimed twice"):
        story.claim(BusDataMessage)


def test_a_later_claim_is_seen() -> None:
    """What was looked up before is looked up again after another part came in."""
    story = Story()
    assert story.after(BusJobUpdateUrgentMessage) == ["otherwise"]
    story.claim(BusMessage)
    assert story.after(BusJobUpdateUrgentMessage) == ["BusMessage"]
    story.claim(BusSystemMessage)
    assert story.after(BusJobUpdateUrgentMessage) == ["BusSystemMessage"]


@steady
@given(st.sets(st.sampled_from([BusMessage, BusDataMessage, BusSystemMessage, *by_class])), any_message)
def test_the_answer_is_the_first_of_the_mro(claimed: set[type[BusMessage]], message: BusMessage) -> None:
    """For any claims and any message the effect is that of the first claimed class in the message's MRO."""
    story = Story()
    story.claim(*claimed)
    nearest = [base.__name__ for base in type(message).__mro__ if base in claimed]
    assert story.after(type(message)) == [*nearest, "otherwise"][:1]
