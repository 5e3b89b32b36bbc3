"""The API as its users import it: a class that lives in ``trioworkers.worker.base`` is ``trioworkers.BaseWorker``.

Also small print: the last line ``Reference: ...`` of a docstring (the name in pipecat) in italics; ``TypeError, ValueError: ...``
as two exceptions with one description each, defaults without the addresses of functions.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import trioworkers
import trioworkers.testing

_REFERENCE = re.compile(r"^(\s*)Reference: (.+)$")
_FUNCTION = re.compile(r"<function (\w+)[^>]*>")
_COLON = "\0"
_SEVERAL = re.compile(r"^(\s*)(\w+(?:, \w+)+): (.+)$")


def _tidy(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    tidied: list[str] = []
    for line in lines:
        if several := _SEVERAL.match(line):
            indent, names, text = several.groups()
            tidied += [f"{indent}{one}: {text}" for one in names.split(", ")] if _raised(names) else [line]
        else:
            tidied.append(_REFERENCE.sub(r"\1*Reference:* \2", line))
    lines[:] = tidied


def _hide_colons(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    if what == "property":  # napoleon would take what stands before a colon in the first line for the property's type
        lines[0] = lines[0].replace(":", _COLON)


def _show_colons(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    if what == "property":
        lines[0] = lines[0].replace(_COLON, ":")


def _plain_defaults(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    if signature is not None:
        signature = _FUNCTION.sub(r"\1", signature).replace("= NOTHING", "= ...")
    return signature, returns


def _raised(names: str) -> bool:
    return all(name.endswith("Error") for name in names.split(", "))


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Element | None:
    """Find ``trioworkers.worker.base.BaseWorker.job`` under the name that the page documents."""
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    parts = target.split(".")
    for module in (trioworkers, trioworkers.testing):
        start = next((index for index, part in enumerate(parts) if hasattr(module, part) and part[0].isupper()), None)
        if start is not None:
            public = ".".join([module.__name__, *parts[start:]])
            if public != target:
                return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, contnode)
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx."""
    app.connect("autodoc-process-docstring", _tidy, priority=100)  # napoleon comes at 500
    app.connect("autodoc-process-docstring", _hide_colons, priority=200)
    app.connect("autodoc-process-docstring", _show_colons, priority=900)
    app.connect("autodoc-process-signature", _plain_defaults)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
