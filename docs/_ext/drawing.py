"""Pictures of the lifecycles: what may follow what comes from the tables, where it stands from here. No Sphinx, no network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Final, NamedTuple

Point = tuple[float, float]

WIDTH, HEIGHT = 126.0, 34.0  # of a box
COLUMN, ROW = 186.0, 112.0  # from one to the next
MARGIN = 26.0


class Layout(NamedTuple):
    """Where the states of one table stand, in columns and rows, and the few arrows that are not straight.

    Args:
        places: Where each state stands.
        bends: The two control points of an arrow, in columns and rows.
        size: How many columns and rows the picture has.
        labels: How far along its arrow a label stands, if not at the middle.
    """

    places: Mapping[str, Point]
    size: Point
    bends: Mapping[tuple[str, str], tuple[Point, Point]] = {}
    labels: Mapping[tuple[str, str], float] = {}


LAYOUTS: Final[dict[str, Layout]] = {
    "WORKER": Layout(
        places={
            "failed": (3.4, 0),
            "new": (0, 1),
            "attached": (1, 1),
            "starting": (2, 1),
            "ready": (3, 1),
            "ending": (4, 1),
            "finished": (5, 1),
            "cancelling": (2.4, 2),
        },
        size=(5.3, 2),
        bends={("cancelling", "fail"): ((6.5, 2.15), (6.5, -0.15))},
        labels={("cancelling", "fail"): 0.12},
    ),
    "ACTIVATION": Layout(
        places={"inactive": (0, 0.6), "active": (1.7, 0.6)},
        size=(2.2, 1.1),
        bends={
            ("inactive", "activate"): ((0.5, 0.1), (1.2, 0.1)),
            ("active", "deactivate"): ((1.2, 1.1), (0.5, 1.1)),
            ("active", "activate with other args"): ((1.85, -0.35), (2.75, 0.05)),
        },
    ),
    "JOB": Layout(
        places={"accepted": (0, 0), "running": (1.2, 0), "streaming": (2.4, 0), "answered": (1.2, 1), "gone": (2.4, 1)},
        size=(2.4, 1),
    ),
    "REQUEST": Layout(places={"asked": (0, 0), "decided": (1.1, 0), "acknowledged": (2.35, 0)}, size=(2.35, 0)),
}


def _at(place: Point) -> Point:
    return (MARGIN + WIDTH / 2 + place[0] * COLUMN, MARGIN + HEIGHT / 2 + place[1] * ROW)


def _edge_of_box(centre: Point, towards: Point) -> Point:
    """Where the line from the centre of a box leaves it."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    scale = min(WIDTH / 2 / abs(dx) if dx else math.inf, HEIGHT / 2 / abs(dy) if dy else math.inf)
    return (centre[0] + dx * scale, centre[1] + dy * scale)


def _along(start: Point, one: Point, two: Point, end: Point, part: float) -> Point:
    """A point of a cubic curve."""
    rest = 1 - part
    weights = (rest**3, 3 * rest**2 * part, 3 * rest * part**2, part**3)
    points = (start, one, two, end)
    return (sum(w * p[0] for w, p in zip(weights, points, strict=True)), sum(w * p[1] for w, p in zip(weights, points, strict=True)))


def _arrow(layout: Layout, source: str, event: str, target: str) -> str:
    start, end = _at(layout.places[source]), _at(layout.places[target])
    bend = layout.bends.get((source, event))
    one, two = (start, end) if bend is None else (_at(bend[0]), _at(bend[1]))
    first = _edge_of_box(start, one if bend else end)
    last = _edge_of_box(end, two if bend else start)
    if bend is None:
        one, two = first, last
    label = _along(first, one, two, last, layout.labels.get((source, event), 0.5))
    if first[1] == last[1]:
        label = (label[0], label[1] - 10)  # an arrow along a row has its label above it
    path = f"M{first[0]:.1f} {first[1]:.1f} C{one[0]:.1f} {one[1]:.1f} {two[0]:.1f} {two[1]:.1f} {last[0]:.1f} {last[1]:.1f}"
    return (
        f'<g class="arrow" data-from="{escape(source)}" data-event="{escape(event)}" data-to="{escape(target)}">'
        f"<title>{escape(source)}: {escape(event)}, then {escape(target)}</title>"
        f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="1.2" marker-end="url(#arrowhead)"/>'
        f'<text x="{label[0]:.1f}" y="{label[1] + 4:.1f}" text-anchor="middle" font-size="12" fill="currentColor"'
        f' stroke="var(--color-background-primary, white)" stroke-width="5" paint-order="stroke">{escape(event)}</text></g>'
    )


def _box(layout: Layout, state: str) -> str:
    x, y = _at(layout.places[state])
    return (
        f'<g class="state" data-state="{escape(state)}">'
        f'<rect x="{x - WIDTH / 2:.1f}" y="{y - HEIGHT / 2:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="8"'
        ' fill="none" stroke="currentColor" stroke-width="1.5"/>'
        f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle" font-size="12" font-weight="bold" fill="currentColor">'
        f"{escape(state.upper())}</text></g>"
    )


def draw(name: str, table: Mapping[tuple[str, str], str]) -> str:
    """Return the picture of one table, as SVG.

    Args:
        name: The table's name, for its layout.
        table: State and event, to the state that follows.

    Raises:
        ValueError: The layout and the table have not the same states.
    """
    layout = LAYOUTS[name]
    states = {str(state) for (state, _), follower in table.items() for state in (state, follower)}
    if states != set(layout.places):
        raise ValueError(f"the layout of {name} does not fit its table: {sorted(states ^ set(layout.places))}")
    width = layout.size[0] * COLUMN + WIDTH + 2 * MARGIN
    height = layout.size[1] * ROW + HEIGHT + 2 * MARGIN
    arrows = "".join(_arrow(layout, str(state), event, str(follower)) for (state, event), follower in table.items())
    boxes = "".join(_box(layout, state) for state in layout.places)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(name)}"'
        f' style="width: 100%; max-width: {width:.0f}px" font-family="sans-serif">'
        '<defs><marker id="arrowhead" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="currentColor"/></marker></defs>'
        f"{arrows}{boxes}</svg>"
    )
