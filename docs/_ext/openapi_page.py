"""
The page of the HTTP interface, written at each build from the description that the sandbox serves.

It stands below the page's own text (docs/reference/http.md): each operation with its fields and its
answers, and then what the answers hold.
"""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

ROOT = pathlib.Path(__file__).parents[2]
DESCRIPTION = ROOT / "carevalidate_async" / "sandbox" / "openapi.json"
PAGE = "reference/http"
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "pattern": "matches `{}`",
    "format": "{}",
    "minProperties": "with at least {} of its fields",
}


def cell(text: str) -> str:
    """Return *text* as the cell of a table can hold it."""
    return text.replace("|", "\\|").replace("\n", " ")


def kind(schema: dict[str, Any]) -> str:
    """Return what a value is, in a few words."""
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    named = schema.get("type", "any")
    told = " or ".join(named) if isinstance(named, list) else named
    if told == "array":
        told = f"array of {kind(schema.get('items', {}))}"
    limits = [text.format(schema[name]) for name, text in BOUNDS.items() if name in schema]
    if schema.get("minLength") == 1:
        limits.append("not empty")
    return ", ".join([told, *limits])


def fields(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, bool, dict[str, Any]]]:
    """Yield the fields of an object and of those in it: path, whether it is required, schema."""
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        yield f"{prefix}{name}", name in required, inner
        yield from fields(inner, f"{prefix}{name}.")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


class Description:
    """
    An OpenAPI description in words.

    Args:
        document: The parsed description.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def _get(self, found: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in found:
            here: Any = self._document
            for step in found["$ref"].removeprefix("#/").split("/"):
                here = here[step]
            found = here
        return found

    def _body(self, answer: dict[str, Any]) -> str:
        told = []
        for media, content in answer.get("content", {}).items():
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            told.append(f"[{name}](#{name.lower()})" if name else f"`{media}`")
        return ", ".join(told) or "nothing"

    def operation(self, method: str, path: str, told: dict[str, Any]) -> str:
        """Return the section of an operation."""
        signed = "the header `cv-api-key`" if told["security"] else "the field `token` of the body"
        rows = [
            (
                f"`{given['name']}`",
                "yes",
                f"in the {given['in']}: {kind(given['schema'])}",
                given.get("description", ""),
            )
            for given in told.get("parameters", ())
        ]
        schema = self._get(told["requestBody"]["content"]["application/json"]["schema"])
        rows += [
            (f"`{name}`", "yes" if needed else "no", kind(inner), inner.get("description", ""))
            for name, needed, inner in fields(schema)
        ]
        answers = [
            (status, answer["description"], self._body(answer))
            for status, found in told["responses"].items()
            for answer in (self._get(found),)
        ]
        return "\n\n".join(
            (
                f"## {told['operationId']}",
                f"`{method.upper()} {path}` ({told['tags'][0]}): {told['summary']}",
                f"The credential goes into {signed}.",
                table(("field", "needed", "type", "what"), rows),
                table(("status", "when", "body"), answers),
            )
        )

    def schema(self, name: str, schema: dict[str, Any]) -> str:
        """Return the section of what an answer holds."""
        rows = [
            (f"`{path}`", "always" if needed else "may be missing", kind(inner))
            for path, needed, inner in fields(schema)
        ]
        return f"### {name}\n\n{table(('field', 'there', 'type'), rows)}"

    def page(self) -> str:
        """Return all sections."""
        parts = [
            self.operation(method, path, told)
            for path, methods in self._document["paths"].items()
            for method, told in methods.items()
        ]
        asked = {
            told["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            for methods in self._document["paths"].values()
            for told in methods.values()
        }
        parts.append("## What the answers hold")
        parts += [
            self.schema(name, schema)
            for name, schema in self._document["components"]["schemas"].items()
            if name not in asked
        ]
        return "\n\n".join(parts)


def append(app: Sphinx, docname: str, source: list[str]) -> None:
    """Write the description below the text of its page; *source* is changed in place."""
    if docname == PAGE:
        app.env.note_dependency(str(DESCRIPTION))
        document = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
        source[0] = f"{source[0]}\n\n{Description(document).page()}\n"


def setup(app: Sphinx) -> dict[str, Any]:
    """Hear of each page's text before it is read."""
    app.connect("source-read", append)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
