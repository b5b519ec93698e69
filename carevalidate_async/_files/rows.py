"""
A file to its rows: CSV, JSON Lines, either of them compressed, or Parquet.

A bad row is a row with problems, never an exception; only a file that is wrong as a whole raises
`FileError`. No value of the file is ever repeated in a reason.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

from carevalidate_async._files.csv_rows import CsvRows
from carevalidate_async._files.json_rows import JsonRows
from carevalidate_async._files.kinds import FileError, FileFormat, is_parquet, refusal
from carevalidate_async._files.lines import Lines, RecordTooLongError
from carevalidate_async._files.unpack import DamagedError, Source, Unpacked, packing_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carevalidate_async._files.fields import FileRow

__all__ = ["FileError", "FileFormat", "RowReader", "Rows", "Shape"]

_BUFFER = 16_384  # bytes that are unpacked at once


class Shape(Protocol):
    """
    What rows look like.

    Attributes:
        format: How they are written.

        header: Column names as the file spells them; empty where each row names its own.
    """

    @property
    def format(self) -> FileFormat: ...

    @property
    def header(self) -> tuple[str, ...]: ...


class Rows(Shape, Protocol):
    """
    The rows of one kind of file; iterating reads them, once.

    Attributes:
        ignored: Names that no field has, each told once; it may grow while rows are read.

        bytes_read: Bytes of the file that the rows so far stand for.
    """

    @property
    def ignored(self) -> list[str]: ...

    @property
    def bytes_read(self) -> int: ...

    def __iter__(self) -> Iterator[FileRow]: ...


class RowReader:
    """
    The rows of a file, one at a time, however it comes.

    Attributes:
        format: How the rows are written.

        header: Column names as the file spells them; empty for JSON Lines.

        ignored: Names of columns that no field has, each told once; it grows while JSON Lines are
            read, up to 50 names.

    Args:
        stream: The file, open for reading bytes, at its beginning. Nothing of it is read ahead of
            the rows but what a buffer holds.

        form: How the rows of a text are written; told by the first bytes when None.

    Raises:
        FileError: Of a kind that cannot be read, empty, not UTF-8, damaged at its very beginning,
            or its columns are wrong.

        OSError: Its very beginning cannot be read. While rows are read, `DamagedError` says where
            a file breaks off.
    """

    def __init__(self, stream: io.BufferedIOBase, form: FileFormat | None = None) -> None:
        self._unpacked: Unpacked | None = None
        try:
            self._rows = self._open(stream, form)
        except DamagedError as error:
            raise FileError(str(error)) from None
        self.format = self._rows.format
        self.header = self._rows.header
        self.ignored = self._rows.ignored

    @property
    def bytes_read(self) -> int:
        """Bytes of the file read so far, as it lies on the disk."""
        return self._rows.bytes_read if self._unpacked is None else self._unpacked.taken

    def __iter__(self) -> Iterator[FileRow]:
        return iter(self._rows)

    def _open(self, stream: io.BufferedIOBase, form: FileFormat | None) -> Rows:
        start = stream.tell() if stream.seekable() else None
        source = Source(stream.read1)
        head = source.head()
        packing = packing_of(head)
        if packing is not None:
            self._unpacked = Unpacked(lambda size: source.read(size) or b"", packing)
            return self._unpack(Source(self._unpacked.read), form, packing.name)
        if is_parquet(head):
            return _parquet(stream, start, form)
        if reason := refusal(head):
            raise FileError(f"it {reason}")
        if start is None:
            return _text(io.BufferedReader(source), form)
        stream.seek(start)
        return _text(stream, form)

    def _unpack(self, source: Source, form: FileFormat | None, name: str) -> Rows:
        head = source.head()
        if packing_of(head) is not None:
            raise FileError(f"it is compressed twice; unpack the {name} data once")
        if is_parquet(head):
            # Such a file is read from its end, and has its own compression inside.
            raise FileError(f"it is a Parquet file inside {name} data; unpack it first")
        if reason := refusal(head):
            raise FileError(f"what its {name} data holds {reason}")
        return _text(io.BufferedReader(source, _BUFFER), form)


def _parquet(stream: io.BufferedIOBase, start: int | None, form: FileFormat | None) -> Rows:
    if form not in {None, FileFormat.PARQUET}:
        raise FileError(f"it is a Parquet file, not {form}")
    if start is None:  # such a file says at its end where its columns are
        raise FileError("a Parquet file cannot be read from a pipe; give its name")
    try:
        from carevalidate_async._files.parquet_rows import ParquetRows
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        hint = "pip install 'carevalidate-async[parquet]'"
        raise FileError(f"it is a Parquet file, which takes an extra: {hint}") from None
    stream.seek(start)
    return ParquetRows(stream)


def _text(stream: io.BufferedIOBase, form: FileFormat | None) -> Rows:
    lines = Lines(stream)
    try:
        first = _first_line(lines)
    except RecordTooLongError as error:
        _check_line_ends(lines.record[-1])
        raise FileError(f"its first line is {error}") from None
    if form is FileFormat.JSONL or (form is None and first.startswith("{")):
        return JsonRows(lines)
    return CsvRows(lines)


def _first_line(lines: Lines) -> str:
    for text in lines:
        stripped = text.strip()
        if "\0" in text:
            raise FileError("it is not UTF-8 text; save it as UTF-8 and try again")
        if stripped.startswith("["):
            raise FileError("it is a JSON array; write one object a line (JSON Lines)")
        _check_line_ends(stripped)
        if stripped:
            return stripped
    raise FileError("it is empty" if lines.number == 0 else "it is empty but for blank lines")


def _check_line_ends(line: str) -> None:
    if "\r" in line:
        raise FileError("its lines end with CR alone, as on old Macs; save it with LF or CRLF")
