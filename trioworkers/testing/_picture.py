"""A run, drawn: for a terminal, and as a Mermaid diagram."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import attrs

from ._scheduler import Step, Switch

_INSIDE = "<"


@attrs.frozen
class Stretch:
    """Steps of one task in a row.

    Args:
        label: Whose.
        time: When the first was taken.
        count: How many.
        end: Where the task stands then, as text; empty if nobody knows.
    """

    label: str
    time: float
    count: int
    end: str


def stretches(trace: Sequence[Step]) -> Iterator[Stretch]:
    """The trace, with the steps of one task in a row taken together, and without trio's own tasks."""
    known = any(step.place is not None for step in trace)
    own = (step for step in trace if not is_trios_own(step.label))
    for label, steps in groupby(own, key=lambda step: step.label):
        row = list(steps)
        yield Stretch(label, row[0].time, len(row), _end(row[-1]) if known else "")


def is_trios_own(label: str) -> bool:
    """Whether a task is part of trio, or of the world, and not of the program."""
    return label.startswith(_INSIDE)


def as_text(trace: Sequence[Step], switches: Sequence[Switch] = ()) -> str:
    """One line for each stretch."""
    rows = list(stretches(trace))
    width = max((len(row.label) for row in rows), default=0)
    lines = [f"t={row.time:<8.3f} {row.label:<{width}}  {counted(row.count, 'step'):<8} {row.end}".rstrip() for row in rows]
    return "\n".join([*lines, *(told(switch) for switch in switches if switch.preempts)])


def as_mermaid(trace: Sequence[Step]) -> str:
    """A sequence diagram: each stretch a note, each change of task an arrow."""
    rows = list(stretches(trace))
    names = {label: f"t{number}" for number, label in enumerate(dict.fromkeys(row.label for row in rows))}
    lines = ["sequenceDiagram", *(f"    participant {short} as {_plain(label)}" for label, short in names.items())]
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None:
            lines.append(f"    {names[before.label]}-->>{names[row.label]}: t={row.time:.3f}")
        note = f"{counted(row.count, 'step')}, {row.end}".removesuffix(", ")
        lines.append(f"    Note over {names[row.label]}: {_plain(note)}")
    return "\n".join(lines)


def told(switch: Switch) -> str:
    """A switch as a sentence."""
    where = f"held at {switch.place}" if switch.place is not None else "held before its first step"
    return f"t={switch.time:.3f}  {switch.held} is {where} while {switch.run} runs"


def counted(number: int, what: str) -> str:
    """A number of things: ``"1 step"``, ``"2 steps"``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _end(step: Step) -> str:
    return "ends" if step.place is None else f"waits at {step.place}"


def _plain(text: str) -> str:
    """Mermaid ends a text at some characters, and takes others for HTML."""
    return text.translate(_NOT_PLAIN)


_NOT_PLAIN = str.maketrans({"#": " no. ", ";": ",", "<": "(", ">": ")", "\n": " ", "\r": " "})
