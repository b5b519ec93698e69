"""
What a class keeps to itself: the fields that its repr leaves out, and its refusals' frames.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


def discreet(kind: type[T]) -> type[T]:
    """
    Return the class *kind*, whose refusal of a field shows no other field.

    The frames of the constructor that attrs writes, and of the checks that it calls, hold every
    argument in their local variables, which error reporters send along.
    """
    make: Any = kind.__init__

    @functools.wraps(make)
    def __init__(self: T, *args: Any, **fields: Any) -> None:  # noqa: ANN401, N807
        try:
            make(self, *args, **fields)
        except Exception as error:  # noqa: BLE001 - a TypeError for a missing field, too
            refusal = error.with_traceback(None)
        else:
            return
        del self, args, fields
        refusal.__context__ = None
        raise refusal

    kind.__init__ = __init__  # type: ignore[assignment]
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
