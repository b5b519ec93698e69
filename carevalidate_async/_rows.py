"""
A file to its rows, one record at a time: CSV and JSON Lines.

A bad row is a row with problems, never an exception; only a file that is wrong as a whole raises
`FileError`. No value of the file is ever repeated in a reason.
"""

from __future__ import annotations

import csv
import enum
import itertools
import json
import re
from typing import TYPE_CHECKING, BinaryIO

from carevalidate_async._codec import too_deep
from carevalidate_async._fields import (
    ERROR_COLUMNS,
    REQUIRED,
    SPELLED,
    FileRow,
    Number,
    Problem,
    near_misses,
    to_row,
)
from carevalidate_async._lines import Lines, RecordTooLongError
from carevalidate_async.models import PaymentStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHOWN = 1000  # characters of a broken record in a rejects file
_MOST_IGNORED = 50
# Cells that rows have: an amount, or (in the group) a day or a status. No blank is a line's end, or
# many empty lines would take forever.
_TELLING = re.compile(
    r"(?:^|[,\r\n])[^\S\r\n]*(?:[$€£]?[0-9]+(?:\.[0-9]+)?|("
    r"[0-9]+[-/.][0-9]+[-/.][0-9]+(?:[T ][0-9:.]+Z?)?|"
    rf"{'|'.join(PaymentStatus)}))[^\S\r\n]*(?=[,\r\n]|$)",
    re.IGNORECASE,
)


class FileFormat(enum.StrEnum):
    """How the rows of a file are written."""

    CSV = "csv"
    JSONL = "jsonl"


class FileError(Exception):
    """The file cannot be used at all; no row of it was taken."""


class _Object(dict[str, object]):
    """A JSON object that remembers which fields came twice, in either spelling."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        fields = [SPELLED[name] for name, _ in pairs if name in SPELLED]
        self.repeated = sorted({field for field in fields if fields.count(field) > 1})


class RowReader:
    """
    The rows of a file, one at a time.

    Attributes:
        format: How the rows are written.

        header: Column names as the file spells them; empty for JSON Lines.

        ignored: Names of columns that no field has, each told once; it grows while JSON Lines are
            read, up to 50 names.

    Args:
        stream: The file, open for reading bytes, at its beginning.

        form: How the rows are written; told by the first character when None.

    Raises:
        FileError: Empty, not UTF-8, or its columns are wrong.
    """

    def __init__(self, stream: BinaryIO, form: FileFormat | None = None) -> None:
        self._lines = Lines(stream)
        try:
            first = self._first_line()
        except RecordTooLongError as error:
            raise FileError(f"its first line is {error}") from None
        self.format = form or (FileFormat.JSONL if first[0] == "{" else FileFormat.CSV)
        self.ignored: list[str] = []
        self.header: tuple[str, ...] = ()
        self._columns: list[str | None] = []
        if self.format is FileFormat.CSV:
            self._source = itertools.chain([self._lines.record[-1]], self._lines)
            self._read_header(first)
        else:
            self._again = [self._lines.record[-1]]
            self._rows = self._read_json()

    @property
    def bytes_read(self) -> int:
        """Bytes of the file read so far."""
        return self._lines.bytes_read

    def __iter__(self) -> Iterator[FileRow]:
        return self._rows

    def _first_line(self) -> str:
        for text in self._lines:
            if "\0" in text or text.startswith(("\udcff\udcfe", "\udcfe\udcff")):
                raise FileError("it is not UTF-8 text; save it as UTF-8 and try again")
            stripped = text.strip()
            if stripped.startswith("["):
                raise FileError("it is a JSON array; write one object a line (JSON Lines)")
            if stripped:
                return stripped
        raise FileError("it is empty")

    # CSV

    def _read_header(self, first: str) -> None:
        start = self._lines.number
        reader = csv.reader(self._source, strict=True)
        try:
            names = tuple(name.strip() for name in next(reader))
        except (csv.Error, RecordTooLongError):
            raise FileError(f"its column names in line {start} cannot be read") from None
        try:
            "".join(names).encode()
        except UnicodeEncodeError:
            raise FileError("it is not UTF-8 text; save it as UTF-8 and try again") from None
        self.header = names
        self._columns = [SPELLED.get(name) for name in names]
        _check_columns(names, first)
        self.ignored += [
            name
            for name, field in zip(names, self._columns, strict=True)
            if field is None and name and name not in ERROR_COLUMNS
        ]
        self._rows = self._read_csv(reader)

    def _read_csv(self, reader: Iterator[list[str]]) -> Iterator[FileRow]:
        while True:
            line = self._lines.begin()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._broken(line, str(error))
                if "limit" in str(error):
                    return
                continue
            except RecordTooLongError:
                yield self._broken(line, "limit")
                return
            if any(self._holds_rows(cell) for cell in cells):
                yield self._broken(line, "")
            elif any(cell.strip() for cell in cells):
                yield self._csv_row(line, cells)

    def _holds_rows(self, cell: str) -> bool:
        # Between two stray quotes, what is left of two rows and all rows between become one text.
        if not ("\n" in cell or "\r" in cell) or cell.count(",") < len(self.header) - 1:
            return False
        telling = _TELLING.findall(cell)
        return len(telling) > 1 and any(telling)  # two numbers alone stand in texts, too

    def _broken(self, line: int, error: str) -> FileRow:
        last = self._lines.number
        where = f"lines {line} to {last} were" if last > line else f"line {line} was"
        reason = f"has a quote in the wrong place, or one that is never closed; {where} not read"
        if "limit" in error:
            reason = f"is too long; is a quote not closed? Nothing after line {last} was read"
        # One cell: read in any other way, it might pass for a row that nobody wrote.
        problems = (Problem("", reason),)
        return FileRow(line=line, problems=problems, original=(self._beginning(),))

    def _beginning(self) -> str:
        return "".join(self._lines.record)[:_SHOWN].rstrip()

    def _csv_row(self, line: int, cells: list[str]) -> FileRow:
        width = len(self.header)
        original = tuple(cells)
        if len(cells) != width:
            amount = "too few" if len(cells) < width else "too many"
            problem = Problem("", f"has {amount} cells: {len(cells)}, and the header {width}")
            return FileRow(line=line, problems=(problem,), original=original)
        values = {f: c for f, c in zip(self._columns, cells, strict=True) if f is not None}
        return to_row(line, values, original)

    # JSON Lines

    def _next_line(self) -> str | None:
        return self._again.pop() if self._again else next(self._lines, None)

    def _read_json(self) -> Iterator[FileRow]:
        line = self._lines.number
        while True:
            try:
                text = self._next_line()
            except RecordTooLongError as error:
                self._lines.skip_line()
                problem = Problem("", f"is {error}")
                yield FileRow(line=line, problems=(problem,), original=self._beginning())
            else:
                if text is None:
                    return
                if text.strip():
                    yield self._json_row(line, text.strip())
            line = self._lines.begin()

    def _json_row(self, line: int, text: str) -> FileRow:
        document: object = None
        reason = "is not one JSON object"
        try:
            text.encode()
            document = json.loads(
                text,
                object_pairs_hook=_Object,
                parse_float=Number,
                parse_int=Number,
                parse_constant=Number,
            )
        except UnicodeEncodeError:
            reason = "is not UTF-8 text"
        except json.JSONDecodeError as error:
            reason = f"is not one JSON object; see column {error.colno}"
        except RecursionError:
            reason = "is nested too deeply"
        if too_deep(document):
            document, reason = None, "is nested too deeply"
        if not isinstance(document, _Object):
            return FileRow(line=line, problems=(Problem("", reason),), original=text)
        if document.repeated:  # the object holds one of the values, the text all of them
            twice = tuple(Problem(field, "is given twice") for field in document.repeated)
            return FileRow(line=line, problems=twice, original=text)
        problems = [Problem(near, "is spelled differently") for near in near_misses(document)]
        for name in document:
            if len(self.ignored) == _MOST_IGNORED:
                break
            if name not in SPELLED and name not in (*ERROR_COLUMNS, *self.ignored):
                self.ignored.append(name)
        values = {SPELLED[name]: value for name, value in document.items() if name in SPELLED}
        return to_row(line, values, document, problems)


def _check_columns(names: Sequence[str], first: str) -> None:
    fields = [SPELLED[name] for name in names if name in SPELLED]
    near = near_misses(names)
    # A column that is meant for a field but not read would be a payment without, say, its key.
    wrong = [f'rename the column "{name}" to {field}' for field, name in near.items()]
    twice = sorted({field for field in fields if fields.count(field) > 1})
    if twice:
        wrong.append(f"these columns are there more than once: {', '.join(twice)}")
    missing = [name for name in REQUIRED if name not in fields and name not in near]
    if missing:
        wrong.append(f"these columns are missing: {', '.join(missing)}")
        for separator, title in ((";", "semicolons"), ("\t", "tabs")):
            if len(names) == 1 and separator in first:
                wrong.append(f"its cells seem to be separated by {title}; save it with commas")
    if wrong:
        raise FileError("; ".join(wrong))
