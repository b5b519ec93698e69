"""
What a name leads to, in a docstring and on a page.

The sources write `outcome`, `UNKNOWN` or `confirm_payment` between single backquotes and leave the
rest to the reader. Here such a name is looked up as a reader would do it: in the class and the
module that it stands in, in the package, among the values that errors carry, and then anywhere, if
there is but one of that name. Where nothing is found, for a parameter or a field of a request say,
it is shown as code; what looks like one of our classes and is not there is a mistake, so a warning.

On a page, code that is no more than one of the package's own names leads there, so that pages need
no markup which other readers of Markdown would show.
"""

from __future__ import annotations

import builtins
import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.addnodes import desc_signature
from sphinx.domains.python import PyXRefRole
from sphinx.util.docutils import SphinxRole

if TYPE_CHECKING:
    from docutils.nodes import Element, Node, system_message
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

PACKAGE = "carevalidate_async"
# Where a bare name is looked for, the likeliest first.
HOMES = (
    f"{PACKAGE}.",
    f"{PACKAGE}.Outcome.",
    f"{PACKAGE}.CareValidateError.",
    f"{PACKAGE}.APIStatusError.",
    f"{PACKAGE}.CareValidate.",
    f"{PACKAGE}.GaveUp.",
)
PYTHON = "https://docs.python.org/3/library/"
# Names of Python's own that stand in our signatures without their module.
SHORT = {
    "Any": "typing.Any",
    "AbstractAsyncContextManager": "contextlib.AbstractAsyncContextManager",
    "AbstractContextManager": "contextlib.AbstractContextManager",
    "AsyncGenerator": "collections.abc.AsyncGenerator",
    "AsyncIterable": "collections.abc.AsyncIterable",
    "AsyncIterator": "collections.abc.AsyncIterator",
    "Awaitable": "collections.abc.Awaitable",
    "Callable": "collections.abc.Callable",
    "ClassVar": "typing.ClassVar",
    "Coroutine": "collections.abc.Coroutine",
    "Decimal": "decimal.Decimal",
    "Generator": "collections.abc.Generator",
    "Iterable": "collections.abc.Iterable",
    "Iterator": "collections.abc.Iterator",
    "Literal": "typing.Literal",
    "Mapping": "collections.abc.Mapping",
    "Self": "typing.Self",
    "Sequence": "collections.abc.Sequence",
    "TracebackType": "types.TracebackType",
    "Unpack": "typing.Unpack",
    "date": "datetime.date",
    "asyncio.locks.Event": "asyncio.Event",
    "datetime": "datetime.datetime",
    "ssl_module.SSLContext": "ssl.SSLContext",
}
MODULES = frozenset(
    {"asyncio", "collections", "collections.abc", "contextlib", "datetime", "decimal", "enum"}
    | {"pathlib", "ssl", "time", "types", "typing", "uuid"}
)
LINKED = frozenset({"class", "exception", "function"})
TYPES = frozenset({"str", "int", "float", "bytes", "bool", "dict", "list", "tuple"})
# Names that stand on another page than that of their module.
STRAYS = {
    "None": "constants",
    "asyncio.CancelledError": "asyncio-exceptions",
    "asyncio.Event": "asyncio-sync",
    "asyncio.run": "asyncio-runner",
    "object": "functions",
}


class NameRole(SphinxRole):
    """Single backquotes: a reference where there is something to refer to, and code where not."""

    def run(self) -> tuple[list[Node], list[system_message]]:
        """Return the node: a reference to be resolved, or code for what can be no name."""
        if not re.fullmatch(r"~?[A-Za-z_][\w.]*(\(\))?", self.text):
            return [nodes.literal(self.rawtext, self.text)], []
        return PyXRefRole()(
            "py:obj", self.rawtext, self.text, self.lineno, self.inliner, {}, self.content
        )


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: Element
) -> Element | None:
    """Return the reference that *node* means, where Sphinx itself found none."""
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"]).removesuffix("()")
    python = python_address(target)
    if python is not None:
        return nodes.reference("", "", shown, internal=False, refuri=python)
    name = found(target, env.domains["py"].data["objects"], node)
    if name is not None:
        entry = env.domains["py"].data["objects"][name]
        node_ = nodes.reference("", "", shown, internal=True, reftitle=name)
        address = app.builder.get_relative_uri(node["refdoc"], entry.docname)
        node_["refuri"] = f"{address}#{entry.node_id}"
        return node_
    if node["reftype"] == "obj" and not _is_ours(target):
        return nodes.literal(shown.astext(), shown.astext())
    return None


def found(target: str, objects: dict[str, Any], node: pending_xref) -> str | None:
    """Return the full name of what *target* means where *node* stands; None for nothing."""
    inside = [node.get("py:module"), node.get("py:class")]
    here = [f"{part}." for part in (".".join(filter(None, inside)), inside[0], inside[1]) if part]
    for home in (*here, *HOMES):
        if f"{home}{target}" in objects:
            return f"{home}{target}"
    ends = {
        (entry.docname, entry.node_id): name
        for name, entry in objects.items()
        if name.endswith(f".{target}")
    }
    return next(iter(ends.values())) if len(ends) == 1 else None


def python_address(target: str) -> str | None:
    """Return where Python's documentation has *target*; None where it is not Python's."""
    full = SHORT.get(target, target)
    module, _, name = full.rpartition(".")
    page = STRAYS.get(full)
    if page is None and module in MODULES:
        page = module
    elif page is None and not module:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, BaseException):
            page = "exceptions"
        elif name in TYPES:
            page = "stdtypes"
    return None if page is None else f"{PYTHON}{page}.html#{full}"


def _is_ours(target: str) -> bool:
    # A class is written with a capital and small letters; a parameter or a field is not.
    return target.startswith(PACKAGE) or re.match(r"_*[A-Z]\w*[a-z]", target) is not None


def link_code(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let code on a page that is a name of the package's lead there."""
    objects = app.env.domains["py"].data["objects"]
    for code in list(doctree.findall(nodes.literal)):
        full = f"{PACKAGE}.{code.astext()}"
        name = full if full in objects else code.astext()
        if name not in objects or "." not in name or _is_linked(code):
            continue
        # A bare name of a module may be a command's or an option's, and is a word.
        if objects[name].objtype not in LINKED and "." not in code.astext():
            continue
        entry = objects[name]
        address = app.builder.get_relative_uri(docname, entry.docname)
        link = nodes.reference("", "", internal=True, refuri=f"{address}#{entry.node_id}")
        code.replace_self(link)
        link += code


def put_dashes(_app: Sphinx, doctree: nodes.document, _docname: str) -> None:
    """Make the two hyphens that Sphinx puts after the name of a parameter one dash."""
    for text in list(doctree.findall(nodes.Text)):
        if text.astext() == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def _is_linked(node: Node) -> bool:
    while node is not None:
        if isinstance(node, nodes.reference | nodes.title | desc_signature):
            return True
        node = node.parent
    return False


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the role, and hear of what was not found."""
    app.add_role("name", NameRole())
    app.connect("missing-reference", resolve)
    app.connect("doctree-resolved", link_code)
    app.connect("doctree-resolved", put_dashes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
