"""``{lifecycle} WORKER``: the picture of one of the tables in ``trioworkers._transitions``."""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from drawing import draw
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from trioworkers import _transitions


class Lifecycle(SphinxDirective):
    """Put the picture in, as SVG; where there is no HTML, the table as a list."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Draw."""
        name = self.arguments[0]
        table = getattr(_transitions, name)
        items = [
            nodes.list_item("", nodes.paragraph(text=f"{state}: {event}, then {follower}"))
            for (state, event), follower in table.items()
        ]
        only = self.env.app.builder.format
        return [nodes.raw("", draw(name, table), format="html")] if only == "html" else [nodes.bullet_list("", *items)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("lifecycle", Lifecycle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
