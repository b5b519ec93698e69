"""
How much memory the pages of a Parquet file take, by their own headers.

A page is unpacked as a whole, and its header alone says to how much: a file of some kilobytes can
take gigabytes. pyarrow has no bound for that, and its view of a file's footer ends the program when
the footer is damaged; so what is looked at here are the bytes, as pyarrow will read them.

Source: https://parquet.apache.org/docs/file-format/metadata/
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, TypeAlias

from carevalidate_async._files.kinds import FileError
from carevalidate_async._files.thrift import Compact, Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PAGES = 134_217_728
"""Bytes of the pages that are unpacked at once, one of each column, at most."""

Chunk: TypeAlias = tuple[int, int, int]
"""Where the pages of a column in a row group begin and end, and how many values they have."""

MAX_ITEMS = 4_000_000
"""Items in the lists of a column in a row group at most; one row may have them all."""

_MAGIC = b"PAR1"
_LONGEST_HEADER = 16_777_216  # bytes; pyarrow takes no longer one
_REPEATED = 2
# By the type of a page, the field that holds how many values it has: data pages of both versions.
_COUNTED_IN = {0: 5, 3: 8}


def largest_pages(stream: io.BufferedIOBase) -> int:
    """
    Return how many bytes the largest pages of all columns take together, in the worst row group.

    Raises:
        FileError: More than is read, or the file is cut short, damaged or encrypted.
    """
    try:
        footer = _footer(stream)
        if 8 in footer.structs:  # how its columns are encrypted
            raise FileError("it is an encrypted Parquet file; write it without encryption")
        repeated = _repeated(footer.lists[2])
        largest = max((_together(stream, group, repeated) for group in footer.lists[4]), default=0)
    except (IndexError, KeyError, ValueError):
        raise FileError("it is a Parquet file that is damaged; get a whole copy") from None
    if largest > MAX_PAGES:
        raise FileError(
            f"its pages take {largest >> 20} MiB at once, and at most {MAX_PAGES >> 20} are read; "
            "write it with smaller pages, or with fewer rows in a row group"
        )
    return largest


def _footer(stream: io.BufferedIOBase) -> Struct:
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - 8))
    length, magic = int.from_bytes(stream.read(4), "little"), stream.read(4)
    if size < 12 or magic != _MAGIC:
        raise FileError("it is a Parquet file that is cut short; get a whole copy")
    stream.seek(size - 8 - length)
    # There may be millions of chunks, and of each but three numbers matter.
    return Compact(stream.read(length), {4: _chunks}).struct()


def _chunks(group: Struct) -> list[Chunk]:
    """Return what matters of the columns of a row group."""
    return [_chunk(chunk.structs[3]) for chunk in group.lists[1]]


def _chunk(column: Struct) -> Chunk:
    at = column.i64[9]
    if 0 < column.i64.get(11, 0) < at:  # its dictionary comes first
        at = column.i64[11]
    return at, at + column.i64[7], column.i64[5]


def _repeated(schema: list[Struct]) -> list[bool]:
    """Return of each column whether a row can have many values of it."""
    columns: list[bool] = []
    inside: list[tuple[int, bool]] = []  # children that are to come, and whether they are repeated
    for element in schema[1:]:
        while inside and inside[-1][0] == 0:
            inside.pop()
        above = False
        if inside:
            left, above = inside.pop()
            inside.append((left - 1, above))
        repeated = above or element.i32.get(3) == _REPEATED
        if children := element.i32.get(5, 0):
            inside.append((children, repeated))
        else:
            columns.append(repeated)
    return columns


def _together(stream: io.BufferedIOBase, group: list[Chunk], repeated: list[bool]) -> int:
    """Return how many bytes the largest pages of a row group's columns take."""
    together = 0
    for chunk, many in zip(group, repeated, strict=True):
        largest, items = 0, 0
        for size, values in _pages(stream, chunk):
            largest = max(largest, size)
            items += values
        if many and items > MAX_ITEMS:
            raise FileError("it has a column of lists that are too long; leave it out")
        together += largest
    return together


def _pages(stream: io.BufferedIOBase, chunk: Chunk) -> Iterator[tuple[int, int]]:
    """Give the unpacked bytes and the number of values of each page of a column."""
    at, end, left = chunk
    while at < end and left > 0:
        header, size = _header(stream, at)
        if header.i32[2] < 0 or header.i32[3] < 0:
            raise ValueError("a page cannot be smaller than nothing")
        counted_in = _COUNTED_IN.get(header.i32[1])
        values = 0 if counted_in is None else header.structs[counted_in].i32[1]
        yield header.i32[2], values
        left -= values
        at += size + header.i32[3]


def _header(stream: io.BufferedIOBase, at: int) -> tuple[Struct, int]:
    """Read a page's header; return it, and how many bytes it takes."""
    window = 1024
    while True:
        stream.seek(at)
        reader = Compact(stream.read(window))
        try:
            return reader.struct(), reader.at
        except IndexError:  # a text of any length may be in it
            if window > _LONGEST_HEADER:
                raise
            window *= 16
