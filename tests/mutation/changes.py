"""The small mistakes: every change to a module's source, one at a time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import libcst as cst
import libcst.matchers as m
from mutmut.mutation.mutators import mutation_operators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

# Types are for the type checkers, which have a check of their own.
_TYPES = m.Call(func=m.Name("cast") | m.Name("TypeVar"))
_ALIAS = m.Assign(value=_TYPES | m.BinaryOperation(operator=m.BitOr()))
_TYPES_ONLY = m.If(test=m.Name("TYPE_CHECKING"))
_SKIPPED = _TYPES | _ALIAS | _TYPES_ONLY | m.Annotation() | m.Import() | m.ImportFrom()
_CALLS = m.Call() | m.Await() | m.Yield()
_STEP = m.SimpleStatementLine(body=[m.Expr(_CALLS) | m.Raise() | m.Del()])
_PLAIN_TEST = ~(m.Comparison() | m.UnaryOperation(m.Not()))
_CONSTANT = m.Name("None") | m.Name("True") | m.Name("False")
_SQL = re.compile(
    r"""["']((begin|commit|insert|pragma|rollback|select|update)\b| \w+ = | \w+, .* values )""",
    re.IGNORECASE,
)


@attrs.frozen
class Mutant:
    """
    A module with one change.

    Attributes:
        path: Of its file.

        name: Where it is and what changed, without line numbers, which any edit would change.

        source: All of it.
    """

    path: str
    name: str
    source: str


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Yield each mutant of a module that compiles, once."""
    module = cst.parse_module(source)
    seen = {source}
    for node, where in _walk(module, ()):
        for other in _changes(node):
            changed = module.deep_replace(node, other)
            text = changed.code if isinstance(changed, cst.Module) else source
            if text in seen or not _compiles(text):
                continue
            seen.add(text)
            yield Mutant(path, f"{'.'.join(where)}: {_difference(source, text)}", text)


def _walk(
    node: cst.CSTNode, where: tuple[str, ...]
) -> Iterator[tuple[cst.CSTNode, tuple[str, ...]]]:
    if m.matches(node, _SKIPPED):
        return
    if isinstance(node, cst.FunctionDef | cst.ClassDef):
        where = (*where, node.name.value)
    yield node, where
    for child in node.children:
        # What a value is put into: to change that is no mistake that anyone makes.
        if not isinstance(child, cst.AssignTarget):
            yield from _walk(child, where)


def _changes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in (*mutation_operators, *_OPERATORS):
        if isinstance(node, kind):
            yield from (other for other in operator(node) if not _same_sql(node, other))


def _rows(node: cst.Dict | cst.Set | cst.Tuple | cst.List) -> Iterator[cst.CSTNode]:
    """Leave a row of a table out."""
    if len(node.elements) > 1:
        for index in range(len(node.elements)):
            yield node.with_changes(elements=_without(node.elements, index))


def _one_less(node: cst.Integer) -> Iterator[cst.CSTNode]:
    yield cst.parse_expression(str(node.evaluated_value - 1))


def _half(node: cst.BooleanOperation | cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """Take one side of "and" and "or", and of a union of types."""
    if isinstance(node, cst.BooleanOperation) or isinstance(node.operator, cst.BitOr):
        yield from (node.left, node.right)


def _alternatives(node: cst.MatchOr) -> Iterator[cst.CSTNode]:
    for index in range(len(node.patterns)):
        left = _without(node.patterns, index)
        if len(left) == 1:
            yield left[0].pattern
        else:
            last = left[-1].with_changes(separator=cst.MaybeSentinel.DEFAULT)
            yield node.with_changes(patterns=[*left[:-1], last])


def _contrary(node: cst.If | cst.While | cst.CompIf) -> Iterator[cst.CSTNode]:
    if m.matches(node.test, _PLAIN_TEST):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def _unguarded(node: cst.MatchCase) -> Iterator[cst.CSTNode]:
    if node.guard is not None:
        yield node.with_changes(guard=None)


def _returns_none(node: cst.Return) -> Iterator[cst.CSTNode]:
    if node.value is not None and not m.matches(node.value, _CONSTANT):
        yield node.with_changes(value=cst.Name("None"))


def _left_out(node: cst.SimpleStatementLine) -> Iterator[cst.CSTNode]:
    if m.matches(node, _STEP):
        yield node.with_changes(body=[cst.Pass()])


def _other_words(node: cst.FormattedStringText) -> Iterator[cst.CSTNode]:
    yield node.with_changes(value=f"XX{node.value}XX")


def _numbers(node: cst.SimpleString | cst.FormattedString) -> Iterator[cst.CSTNode]:
    """Change a number in a pattern."""
    if "r" not in node.prefix:
        return
    text = cst.Module([]).code_for_node(node)
    for found in re.finditer(r"[0-9]+", text):
        for number in (int(found[0]) - 1, int(found[0]) + 1):
            changed = text[: found.start()] + str(number) + text[found.end() :]
            yield cst.parse_expression(changed)


_OPERATORS: tuple[tuple[Any, Callable[[Any], Iterator[cst.CSTNode]]], ...] = (
    (cst.Dict | cst.Set | cst.Tuple | cst.List, _rows),
    (cst.Integer, _one_less),
    (cst.BooleanOperation | cst.BinaryOperation, _half),
    (cst.MatchOr, _alternatives),
    (cst.If | cst.While | cst.CompIf, _contrary),
    (cst.MatchCase, _unguarded),
    (cst.Return, _returns_none),
    (cst.SimpleStatementLine, _left_out),
    (cst.FormattedStringText, _other_words),
    (cst.SimpleString | cst.FormattedString, _numbers),
)


def _same_sql(node: cst.CSTNode, other: cst.CSTNode) -> bool:
    """Tell whether both are one statement to SQLite: only what it quotes has upper and lower."""
    if not isinstance(node, cst.SimpleString) or not isinstance(other, cst.SimpleString):
        return False
    one, two = (re.sub(r"(?!^)'[^']*'(?!$)|.", _folded, text.value) for text in (node, other))
    return _SQL.match(node.value) is not None and one == two


def _folded(found: re.Match[str]) -> str:
    return found[0] if len(found[0]) > 1 else found[0].lower()


def _without(items: Sequence[T], index: int) -> list[T]:
    return [*items[:index], *items[index + 1 :]]


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _difference(before: str, after: str) -> str:
    """Return the lines that differ, from "old" to "new", each on one line."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return f"{_one_line(old)} -> {_one_line(new)}"


def _one_line(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)
