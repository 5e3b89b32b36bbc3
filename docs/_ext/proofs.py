"""``{tests}`J1` ``: the tests whose docstrings name a promise or a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from docutils import nodes
from promises import proofs
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

TESTS: Final = Path(__file__).parents[2] / "tests"
SHOWN: Final = 4

_logger = logging.getLogger(__name__)


class Tests(SphinxRole):
    """Name the first few tests, and say how many more there are."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look them up."""
        found = [name for promise in self.text.split(",") for name in proofs(TESTS).get(promise.strip(), [])]
        if not found:
            _logger.warning("no test names %s in its docstring", self.text, location=self.get_location())
        out: list[nodes.Node] = []
        for name in dict.fromkeys(found[:SHOWN]):
            out += [nodes.Text(", " if out else ""), nodes.literal(text=name.rpartition("/")[2])]
        if len(found) > SHOWN:
            out.append(nodes.Text(f", and {len(found) - SHOWN} more"))
        return out, []


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_role("tests", Tests())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
