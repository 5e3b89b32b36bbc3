"""How the pages are built: ``sphinx-build -W --keep-going -b html docs docs/_build/html``. No network is needed."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "trioworkers"
author = "The trioworkers authors"
copyright = author  # noqa: A001 - Sphinx calls it that
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "diagrams", "proofs", "public_names"]
exclude_patterns = ["_build", "_ext"]
root_doc = "index"

nitpicky = True
nitpick_ignore_regex = [
    # other people's pages: looking there needs a network
    (r"py:.*", r"(trio|attrs|collections|contextlib|typing|types|signal|unittest|random|hypothesis)\..*"),
    (r"py:.*", r"(trioworkers\..*\.)?[A-Z]"),  # type variables
    (r"py:class", r"trioworkers\.testing\.(system\.Mark|_simbus\.SimBus)"),  # nobody makes one
    (r"py:class", r"trioworkers\.wire\.(Codec|serializer\.Serializer)"),  # the buses' own
    (r"py:class", r"trioworkers\.bus\.directory\.(Roster|Directory)"),  # what a bus and a registry know of each other
    (r"py:class", r"trioworkers\.messages\.BusJobAnswerMessage"),  # what all answers have in common; nobody makes one
    (r"py:class", r"trioworkers\.observers\.Observers"),  # the buses' own, too
    (r"py:class", r"trioworkers\.bus\.inbox\.Inbox"),  # what a worker subscribes with; nobody else has one
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"trioworkers {release}"
html_static_path: list[str] = []
