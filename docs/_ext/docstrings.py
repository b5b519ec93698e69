"""
Docstrings as the sources write them, made into what Sphinx reads.

A table in a docstring is a Markdown table, since that is what people read in the source; here it
becomes a list table. The table of a folder's files is for who works on them, and is left out.

The type of an attribute that a class's docstring lists is shown beside its name.

napoleon takes what stands before a colon in an attribute's docstring for its type. None of ours has
one there, so napoleon is given a placeholder, and what stood there is put back after it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sphinx.ext.napoleon import GoogleDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx

VALUES = frozenset({"attribute", "data", "property"})
_set_aside: dict[str, list[str]] = {}


def to_list_table(rows: list[str]) -> list[str]:
    """Return the lines of a Markdown table as those of a list table."""
    head, _, *body = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *body):
        for place, cell in enumerate(row):
            lines.append(f"   {'*' if place == 0 else ' '} - {cell}")
    return [*lines, ""]


def types_first(lines: list[str]) -> list[str]:
    """Put the type of each attribute, which napoleon writes below its text, beside its name."""
    out: list[str] = []
    attribute: int | None = None
    for line in lines:
        if line.startswith(".. attribute:: "):
            attribute = len(out)
        if attribute is not None and line.startswith("   :type: "):
            out.insert(attribute + 1, line)
            attribute = None
        else:
            out.append(line)
    return out


def rewrite(
    _app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Replace the tables in a docstring's *lines*, which are changed in place."""
    out: list[str] = []
    table: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            table.append(line)
            continue
        if table:
            if not (what == "module" and table[0].startswith("| file ")):
                out += to_list_table(table)
            table = []
        # About a table that was just left out.
        if what == "module" and re.match(r"A file imports only from|Each file needs", line):
            continue
        out.append(line)
    lines[:] = out
    if what in VALUES:
        _set_aside[name] = out
        lines[:] = ["-"]


def restore(  # noqa: PLR0917 - autodoc passes them by place
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Put the docstring of a value back, its sections as those of a function."""
    if what == "class":
        lines[:] = types_first(lines)
    if what in VALUES and name in _set_aside:
        text = _set_aside.pop(name)
        lines[:] = GoogleDocstring(text, app.config, app, "function", name, obj, options).lines()


def plain_defaults(
    _app: Sphinx,
    _what: str,
    _name: str,
    _obj: object,
    _options: object,
    given: str | None,
    back: str,
) -> tuple[str | None, str]:
    """Show defaults that have no text of their own by a name: functions, and what attrs makes."""
    if given is not None:
        given = re.sub(r"<(?:built-in )?function ([\w.]+)[^>]*>", r"\1", given)
        given = re.sub(r"= ?NOTHING\b", "= ...", given)
    return given, back


def setup(app: Sphinx) -> dict[str, Any]:
    """Let autodoc hand each docstring over before anybody else reads it."""
    app.connect("autodoc-process-docstring", rewrite, priority=100)
    app.connect("autodoc-process-docstring", restore, priority=900)
    app.connect("autodoc-process-signature", plain_defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
