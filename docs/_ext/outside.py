"""
Links out of docs/ to files of the repository, which read well on a code host, made into links here.

The root's own pages are part of the site (docs/project); other files are named, not linked.
"""

from __future__ import annotations

import pathlib
import re
from typing import TYPE_CHECKING, Any

from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = pathlib.Path(__file__).parents[1]
ROOT = DOCS.parent
PAGES = {
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "RELEASING.md": "releasing",
    "SECURITY.md": "security",
}


def rewrite(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the links of a page that lead out of docs/; *source* is changed in place."""
    name = docname.removeprefix("project/")
    included = next((file for file, page in PAGES.items() if f"project/{page}" == docname), None)
    folder = (DOCS / docname).parent
    if included is not None and name in PAGES.values():
        source[0] = (ROOT / included).read_text(encoding="utf-8")
        folder = ROOT

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found.groups()
        path = (folder / target).resolve()
        if path.is_relative_to(DOCS):
            return f"[{text}](/{path.relative_to(DOCS).as_posix()}{anchor or ''})"
        page = PAGES.get(path.relative_to(ROOT).as_posix())
        if page is not None:
            return f"[{text}](/project/{page}.md{anchor or ''})"
        return text if text.startswith("`") else f"`{text}`"

    source[0] = re.sub(
        r"\[([^\]\n]+)\]\((?!https?://|#|/|mailto:)([^)#\s]+)(#[^)\s]*)?\)", link, source[0]
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Hear of each page's text before it is read."""
    app.connect("source-read", rewrite)
    app.add_lexer("csv", TextLexer)  # Pygments has none, and would warn
    return {"parallel_read_safe": True, "parallel_write_safe": True}
