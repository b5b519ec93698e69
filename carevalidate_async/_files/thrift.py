"""
Thrift's compact protocol, as far as it takes to read what a Parquet file says of itself.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

_DEEPEST = 16  # structs, lists and maps in each other
_END, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64 = range(7)
_DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = range(7, 14)
_WIDTHS = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}


@attrs.define  # a frozen one takes twice as long to make, and there are millions
class Struct:
    """
    A struct's fields by their numbers; texts and whatever else nobody asks for are left out.

    Attributes:
        i32: Numbers of 32 bits.

        i64: Numbers of 64 bits; a reader takes no other for one of 32.

        structs: Structs.

        lists: Lists of structs, or of what is kept of them.
    """

    i32: dict[int, int] = attrs.Factory(dict)
    i64: dict[int, int] = attrs.Factory(dict)
    structs: dict[int, Struct] = attrs.Factory(dict)
    lists: dict[int, list[Any]] = attrs.Factory(dict)


class Compact:
    """
    Reads structs from bytes.

    Attributes:
        at: Where the next one begins.

    Args:
        data: Where they are.

        condense: By the number of a list in the outermost struct: makes what is kept of each struct
            in it, which may be much smaller.

    Reading raises IndexError where the bytes end too early, and ValueError where they are no such
    struct.
    """

    def __init__(
        self, data: bytes, condense: dict[int, Callable[[Struct], object]] | None = None
    ) -> None:
        self._data = data
        self._condense = condense or {}
        self.at = 0

    def struct(self, depth: int = 0) -> Struct:
        """Read a struct."""
        _check(depth)
        found = Struct()
        names: set[int] = set()
        name = 0
        while (head := self._byte()) & 15 != _END:
            name = name + (head >> 4) if head >> 4 else self._number()
            if name in names:  # which of them counts is up to the reader
                raise ValueError("says something twice")
            names.add(name)
            kind = head & 15
            if kind == _I32:
                found.i32[name] = self._number()
            elif kind == _I64:
                found.i64[name] = self._number()
            elif kind == _STRUCT:
                found.structs[name] = self.struct(depth + 1)
            elif kind == _LIST:
                found.lists[name] = self._list(depth, None if depth else self._condense.get(name))
            else:
                self._skip(kind, depth)
        return found

    def _list(self, depth: int, condense: Callable[[Struct], object] | None = None) -> list[Any]:
        """Read a list; return its structs, or what *condense* makes of them."""
        _check(depth)
        head = self._byte()
        size = self._varint() if head >> 4 == 15 else head >> 4
        if head & 15 == _STRUCT:
            if condense is not None:
                return [condense(self.struct(depth + 1)) for _ in range(size)]
            return [self.struct(depth + 1) for _ in range(size)]
        for _ in range(size):
            self._skip_item(head & 15, depth + 1)
        return []

    def _skip(self, kind: int, depth: int) -> None:
        if kind in {_I16, _I32, _I64}:
            self._varint()
        elif kind in _WIDTHS or kind == _BINARY:
            self._move(_WIDTHS.get(kind) or self._varint())
        elif kind == _STRUCT:
            self.struct(depth + 1)
        elif kind in {_LIST, _SET}:
            self._list(depth)
        elif kind == _MAP:
            if size := self._varint():
                kinds = self._byte()
                _check(depth)
                for _ in range(size):
                    self._skip_item(kinds >> 4, depth + 1)
                    self._skip_item(kinds & 15, depth + 1)
        elif kind not in {_TRUE, _FALSE}:  # whose kind is their value
            raise ValueError("has something that is no value")

    def _skip_item(self, kind: int, depth: int) -> None:
        self._skip(_BYTE if kind in {_TRUE, _FALSE} else kind, depth)

    def _move(self, size: int) -> None:
        self.at += size
        if self.at > len(self._data):
            raise IndexError

    def _byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def _varint(self) -> int:
        byte = self._data[self.at]
        if byte < 128:  # as most are
            self.at += 1
            return byte
        value = 0
        for shift in range(0, 64, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("has a number that is too long")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _check(depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("is nested too deeply")
