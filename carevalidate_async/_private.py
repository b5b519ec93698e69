"""
What a class keeps to itself: the fields that its repr leaves out, and its refusals' frames.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def discreetly(call: Callable[P, R]) -> Callable[P, R]:
    """
    Return *call*, whose refusals show none of its arguments.

    The frames of a refusal hold every argument in their local variables, which error reporters send
    along.
    """

    @functools.wraps(call)
    def run(*args: P.args, **named: P.kwargs) -> R:
        try:
            return call(*args, **named)
        except Exception as error:  # noqa: BLE001 - a TypeError for a missing argument, too
            refusal = error.with_traceback(None)
        del args, named
        refusal.__context__ = None
        try:
            raise refusal
        finally:
            # Or it and this frame would hold each other, and all that the callers' frames hold.
            del refusal

    return run


def discreet(kind: type[T]) -> type[T]:
    """Return the class *kind*, whose refusal of a field shows no other field."""
    kind.__init__ = discreetly(kind.__init__)  # type: ignore[method-assign]  # its own
    return kind


def private_texts(model: object) -> Iterator[str]:
    """Yield the texts in *model* that must not be shown: those that its repr leaves out."""
    kind = type(model)
    if not attrs.has(kind):
        return
    for field in attrs.fields(kind):
        value = getattr(model, field.name)
        if attrs.has(type(value)):
            yield from private_texts(value)
        elif field.repr is False and isinstance(value, str) and value:
            yield value
