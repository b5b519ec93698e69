"""
The sections of a command's help beside its options, which Sphinx knows nothing of.

A command of ours gives them as data (`carevalidate_async/_commands/manual.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sphinx.util.rst import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import click
    from sphinx.application import Sphinx


def definitions(title: str, rows: Mapping[Any, str]) -> Iterator[str]:
    """Yield the lines of a section whose rows say what each name means."""
    if rows:
        yield from (f".. rubric:: {title}", "")
        for name, text in rows.items():
            yield from (f"``{name}``", f"    {escape(text)}", "")


def write(_app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Replace the plain text at the end of a command's help; *lines* is changed in place."""
    command: Any = context.command
    if not hasattr(command, "statuses"):
        return
    out = [*definitions("Environment", command.environment), *definitions("Files", command.files)]
    out += definitions("Exit status", command.statuses)
    if command.examples:
        out += [".. rubric:: Examples", ""]
        for purpose, line in command.examples.items():
            shown = f"$ {line}".splitlines()
            out += [f"{escape(purpose)}:", "", ".. code-block:: console", ""]
            out += [*(f"   {part}" for part in shown), ""]
    if command.see_also:
        others = ", ".join(f"``carevalidate {name}``" for name in command.see_also)
        out += [".. rubric:: See also", "", others, ""]
    lines[:] = out


def setup(app: Sphinx) -> dict[str, Any]:
    """Hear of the end of each command's help."""
    app.setup_extension("sphinx_click")
    app.connect("sphinx-click-process-epilog", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
