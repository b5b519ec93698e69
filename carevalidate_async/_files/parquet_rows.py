"""
The rows of a Parquet file, a few at a time; the only file that knows pyarrow.

A row's values become the texts that a CSV file would have, so that a row means the same in every
kind of file, and a rejects file can have it.
"""

from __future__ import annotations

import atexit
import csv
import io
import json
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from carevalidate_async._files.columns import Columns
from carevalidate_async._files.fields import FileRow, Problem, to_row
from carevalidate_async._files.kinds import FileError, FileFormat
from carevalidate_async._files.lines import MAX_RECORD
from carevalidate_async._files.parquet_pages import MAX_PAGES, largest_pages
from carevalidate_async._files.unpack import DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

BATCH = 64
"""Rows that are read at once: few, since each may be as long as any."""

_MEMORY = 4 * MAX_PAGES  # bytes of all cells of a batch at most
_BUFFER = 65_536  # bytes of a column that are read at once
_SHOWN = 1000  # characters of a row that is too long, in a rejects file
_NAMED = 60  # characters of a type's name in a message
_TROUBLE = (OSError, ValueError, pa.ArrowException)  # what pyarrow has for a file that is damaged
_DAYS = ("payment_date", "valid_until")

Cells: TypeAlias = tuple[str, ...]

# A thread that is inside pyarrow when Python ends can end the program by a signal: from then on
# none gets in.
_inside_pyarrow = threading.Lock()
atexit.register(_inside_pyarrow.acquire, timeout=10)  # seconds


class ParquetRows:
    """
    The rows of a Parquet file. The line of a row is its number, the first one being 1.

    Attributes:
        format: Parquet.

        header: Column names as the file spells them.

        ignored: Names of columns that no field has.

    Args:
        stream: The file; it can go back and forth.

    Raises:
        FileError: Encrypted, damaged, or its columns are wrong.

        DamagedError: Its first rows cannot be read.
    """

    format = FileFormat.PARQUET

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._given = 0
        self._size = stream.seek(0, io.SEEK_END)
        # All rows of a batch can say the same long text, which their page has once.
        self._batch = min(BATCH, max(1, _MEMORY // (1 + largest_pages(stream))))
        try:
            self._file = pq.ParquetFile(
                stream,
                buffer_size=_BUFFER,
                pre_buffer=False,  # which would hold whole row groups
                page_checksum_verification=True,
                arrow_extensions_enabled=True,  # without, a UUID is bare bytes
            )
        except _TROUBLE as error:
            raise FileError(f"it is a Parquet file that cannot be read: {_said(error)}") from None
        schema = self._file.schema_arrow
        columns = Columns([name.strip() for name in schema.names])
        faults = [*columns.faults(), *_misfits(columns, schema.types)]
        if faults:
            raise FileError("; ".join(faults))
        self._fields = columns.fields
        self.header = columns.header
        self.ignored = columns.ignored
        self._batches = self._read()
        self._first = self._next()

    @property
    def bytes_read(self) -> int:
        """Bytes of the file that the rows so far stand for: all rows count alike."""
        rows: int = self._file.metadata.num_rows
        return self._size * self._given // rows if rows else self._size

    def __iter__(self) -> Iterator[FileRow]:
        """Give all rows."""
        batch = self._first
        while batch is not None:
            for cells in batch:
                self._given += 1
                yield self._row(cells)
            batch = self._next()
        rows = self._file.metadata.num_rows
        if self._given != rows:
            reason = f"its Parquet data says that there are {rows} rows"
            raise DamagedError(reason).after(f"row {self._given}")

    def _row(self, cells: Cells) -> FileRow:
        longest = csv.field_size_limit()  # of a cell of the rejects file, when it is read again
        if max(map(len, cells)) > longest or sum(map(len, cells)) > MAX_RECORD:
            reason = f"is too long; a cell has at most {longest} characters, a row {MAX_RECORD}"
            # As one cell, which is no row: cut off it might pass for one.
            beginning = ",".join(cells)[:_SHOWN]
            return FileRow(line=self._given, problems=(Problem("", reason),), original=(beginning,))
        fields = zip(self._fields, cells, strict=True)
        return to_row(self._given, {f: cell for f, cell in fields if f is not None}, cells)

    def _next(self) -> list[Cells] | None:
        try:
            with _inside_pyarrow:
                return next(self._batches, None)
        except _TROUBLE as error:
            damaged = DamagedError(f"its Parquet data cannot be read: {_said(error)}")
            raise (damaged.after(f"row {self._given}") if self._given else damaged) from None

    def _read(self) -> Iterator[list[Cells]]:
        for group in range(self._file.num_row_groups):
            batches = self._file.iter_batches(self._batch, row_groups=[group], use_threads=False)
            for batch in batches:
                yield list(zip(*map(_texts, batch.columns), strict=True))


def _said(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _misfits(columns: Columns, kinds: list[Any]) -> list[str]:
    """Return what is wrong with the types of the columns that fields have."""
    return [
        f'the column "{name}" is {str(kind)[:_NAMED]}; {wanted}'
        for name, field, kind in zip(columns.header, columns.fields, kinds, strict=True)
        if field is not None and (wanted := _misfit(field, kind))
    ]


def _misfit(field: str, kind: Any) -> str | None:  # noqa: ANN401 - pyarrow has no types
    """Return what a column of type *kind* should be to hold *field*, None where it can."""
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_null(kind) or _is_text(kind):
        return None
    if field == "amount":
        if types.is_decimal(kind) or types.is_integer(kind):
            return None
        why = "a binary float is no exact money: " if types.is_floating(kind) else ""
        return f"{why}write it as decimal(12, 2), as a whole number or as text"
    if field in _DAYS:
        if types.is_date(kind):
            return None
        why = "a moment is no calendar day: " if types.is_timestamp(kind) else ""
        return f"{why}write it as a date, or as text (YYYY-MM-DD)"
    return None if _is_uuid(kind) else "write it as text"


def _is_text(kind: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    tests = (types.is_string, types.is_large_string, types.is_string_view)
    return any(test(kind) for test in tests)


def _is_bytes(kind: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    tests = (types.is_binary, types.is_large_binary, types.is_binary_view)
    return any(test(kind) for test in tests) or types.is_fixed_size_binary(kind)


def _is_uuid(kind: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid"


def _texts(column: Any) -> list[str]:  # noqa: ANN401 - pyarrow has no types
    """Return the values of *column* as a CSV file would have them, nothing for null."""
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if _is_text(kind) or _is_bytes(kind):
        return _decoded(column)
    if types.is_decimal(kind):
        return ["" if value is None else _digits(value) for value in column.to_pylist()]
    if not types.is_nested(kind) and not _is_uuid(kind):
        try:
            return [value or "" for value in column.cast(pa.string()).to_pylist()]
        except pa.ArrowException:
            pass  # an odd type, whose values Python can write
    try:
        return [_written(value) for value in column.to_pylist()]
    except Exception:  # noqa: BLE001 - a column that no field has stops no run, whatever it holds
        return ["(cannot be shown)"] * len(column)


def _decoded(column: Any) -> list[str]:  # noqa: ANN401 - pyarrow has no types
    """Return texts, and bytes as `Lines` would, which can be told."""
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(pa.large_binary()).to_pylist()
    return [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value or ""
        for value in values
    ]


def _digits(value: Decimal) -> str:
    """Return *value* in digits, without zeros that stand beyond its cents."""
    whole, point, fraction = f"{value:f}".partition(".")
    return f"{whole}{point}{fraction[:2]}{fraction[2:].rstrip('0')}"


def _written(value: object) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=_plain)
    return "" if value is None else str(value)


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
