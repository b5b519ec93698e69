"""The decoded lines of a file, a bounded number of bytes at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carevalidate_async._files.unpack import DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase

MAX_RECORD = 1_048_576
"""Bytes of one row at most; it bounds the memory that a broken file can take."""

_BOM = b"\xef\xbb\xbf"


class RecordTooLongError(Exception):
    """A line, or a record of several lines, is longer than any honest one."""


class Lines:
    """
    The decoded lines of a stream; keeps those of the record at hand.

    Bytes that are not UTF-8 come out as lone surrogates, so that they can be told, and written back
    unchanged.

    Attributes:
        number: Of the line that was read last, the first one being 1.

        bytes_read: Of all that was read so far.

        record: The lines of the record so far.

        ended: Whether the line that was read last has its end.
    """

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self.number = 0
        self.bytes_read = 0
        self.record: list[str] = []
        self.ended = True
        self._size = 0

    def begin(self) -> int:
        """Begin a record; return the number of its first line."""
        self.record.clear()
        self._size = 0
        return self.number + 1

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        data = self._read()
        if not data:
            raise StopIteration
        if self.number == 0:
            while data.startswith(_BOM):  # an editor that did not see one wrote another
                data = data.removeprefix(_BOM)
        self.number += 1
        self._size += len(data)
        self._count(data)
        text = data.decode("utf-8", "surrogateescape")
        self.record.append(text)
        if self._size >= MAX_RECORD:
            raise RecordTooLongError(f"longer than {MAX_RECORD} bytes")
        return text

    def rest_of_line(self) -> Iterator[bytes]:
        """Give the rest of a line that was too long in pieces, if it was not read to its end."""
        while not self.ended and (data := self._read()):
            self._count(data)
            yield data

    def _read(self) -> bytes:
        try:
            return self._stream.readline(MAX_RECORD)
        except DamagedError as error:
            if not self.number:
                raise
            raise error.after(f"line {self.number}") from None

    def _count(self, data: bytes) -> None:
        self.bytes_read += len(data)
        self.ended = data.endswith(b"\n")
