"""The rows of a CSV file, one record at a time."""

from __future__ import annotations

import csv
import itertools
import re
from operator import itemgetter
from typing import TYPE_CHECKING

from carevalidate_async._files.columns import Columns, field_meant
from carevalidate_async._files.fields import (
    ERROR_COLUMNS,
    REQUIRED,
    FileRow,
    Problem,
    read_day,
    to_row,
)
from carevalidate_async._files.kinds import FileError, FileFormat
from carevalidate_async._files.lines import MAX_RECORD, Lines, RecordTooLongError
from carevalidate_async._files.unpack import DamagedError
from carevalidate_async.models import PaymentStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHOWN = 1000  # characters of a broken record in a rejects file
# Cells that rows have: an amount, or (in the group) a day or a status. No blank is a line's end, or
# many empty lines would take forever.
_TELLING = re.compile(
    r"(?:^|[,\r\n])[^\S\r\n]*(?:[$€£]?[0-9]+(?:\.[0-9]+)?|("
    r"[0-9]+[-/.][0-9]+[-/.][0-9]+(?:[T ][0-9:.]+Z?)?|"
    rf"{'|'.join(PaymentStatus)}))[^\S\r\n]*(?=[,\r\n]|$)",
    re.IGNORECASE,
)
_AROUND_NAMES = "\ufeff \t"  # the second file's byte order mark comes along
# Of these, what is left of a value that is cut short is refused.
_SHOWS_A_CUT = ("payment_date", "valid_until", "status")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class CsvRows:
    """
    The rows of a CSV file.

    Attributes:
        format: CSV.

        header: Column names as the file spells them.

        ignored: Names of columns that no field has.

    Args:
        lines: Read up to the first line that is not blank, which has the column names.

    Raises:
        FileError: Its columns are wrong.
    """

    format = FileFormat.CSV

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        first = lines.record[-1]
        self._reader = csv.reader(itertools.chain([first], lines), strict=True)
        self._doubt: str | None = None  # why nothing further is read
        self._columns = Columns(self._names())
        self.header = self._columns.header
        self.ignored = self._columns.ignored
        if faults := self._columns.faults():
            raise FileError("; ".join([*faults, *_hints(self.header, first)]))
        places = [place for place, field in enumerate(self._columns.fields) if field is not None]
        self._given = [field for field in self._columns.fields if field is not None]
        self._pick = itemgetter(*places)

    @property
    def bytes_read(self) -> int:
        """Bytes of the file read so far."""
        return self._lines.bytes_read

    def _names(self) -> list[str]:
        start = self._lines.number
        try:
            names = [name.strip() for name in next(self._reader)]
        except (csv.Error, RecordTooLongError):
            raise FileError(f"its column names in line {start} cannot be read") from None
        try:
            "".join(names).encode()
        except UnicodeEncodeError:
            raise FileError("it is not UTF-8 text; save it as UTF-8 and try again") from None
        return names

    def __iter__(self) -> Iterator[FileRow]:
        """
        Give the rows that are not blank.

        Raises:
            DamagedError: After a row that leaves all others in doubt, or where the file breaks off.
        """
        while True:
            line = self._lines.begin()
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._broken(line, str(error))
            except RecordTooLongError:
                yield self._too_long(line)
            else:
                text = "".join(cells)
                if text and not text.isspace():
                    yield self._row(line, cells, text)
            if self._doubt is not None:
                raise DamagedError(self._doubt).after(f"line {line}")

    def _row(self, line: int, cells: list[str], text: str) -> FileRow:
        if ("\n" in text or "\r" in text) and any(map(self._holds_rows, cells)):
            return self._broken(line, "")
        row = self._of_cells(line, cells)
        if row.payment is None and self._names_columns(cells):
            problem = Problem("", self._second_header(line, cells))
            return FileRow(line=line, problems=(problem,), original=tuple(cells))
        return row

    def _of_cells(self, line: int, cells: list[str]) -> FileRow:
        width, original = len(self.header), tuple(cells)
        if len(cells) != width:
            amount = "too few" if len(cells) < width else "too many"
            problem = Problem("", f"has {amount} cells: {len(cells)}, and the header {width}")
            return FileRow(line=line, problems=(problem,), original=original)
        cut = () if self._lines.ended else self._perhaps_cut(cells)
        return to_row(line, dict(zip(self._given, self._pick(cells), strict=True)), original, cut)

    def _perhaps_cut(self, cells: Sequence[str]) -> tuple[Problem, ...]:
        """Return what is wrong with the last row of a file that does not end its last line."""
        field = self._columns.fields[-1]
        if field is None or field in _SHOWS_A_CUT:
            return ()
        # Of a cell in quotes they would be missing, and before half a line end it is whole.
        quoted = ',"{}"'.format(cells[-1].replace('"', '""'))
        if "".join(self._lines.record).endswith(("\r", quoted)):
            return ()
        reason = "may be cut short: the file ends without a line end; add one if it is whole"
        return (Problem(field, reason),)

    def _names_columns(self, cells: Sequence[str]) -> bool:
        return set(REQUIRED) <= set(map(_field_of, cells))

    def _second_header(self, line: int, cells: Sequence[str]) -> str:
        same = self._columns.fields == tuple(map(_field_of, cells))
        # What a rejects file has of another one says nothing of the rows around it.
        rejected = self.header[0] == ERROR_COLUMNS[0] and cells[0].isdecimal()
        if same or rejected:
            return "has the column names once more; were files put together? Delete it"
        # In another order a row would still look like one, and say something else.
        self._doubt = f"line {line} has other column names than the first line"
        return (
            "has other column names than the first line; were files put together? "
            f"Nothing after line {line} was read"
        )

    def _holds_rows(self, cell: str) -> bool:
        # Between two stray quotes, what is left of two rows and all rows between become one text.
        if not ("\n" in cell or "\r" in cell) or cell.count(",") < len(self.header) - 1:
            return False
        telling = _TELLING.findall(cell)
        return len(telling) > 1 and any(telling)  # two numbers alone stand in texts, too

    def _broken(self, line: int, error: str) -> FileRow:
        if "limit" in error:
            return self._too_long(line)
        last = self._lines.number
        where = f"lines {line} to {last} were" if last > line else f"line {line} was"
        reason = f"has a quote in the wrong place, or one that is never closed; {where} not read"
        if "new-line" in error:
            reason = f"has a CR without LF, the line end of old Macs; {where} not read"
        return self._beginning(line, reason)

    def _too_long(self, line: int) -> FileRow:
        record = self._lines.record
        in_quotes = len(record) > 1 or '"' in record[0]
        if in_quotes or any(b'"' in piece for piece in self._lines.rest_of_line()):
            self._doubt = f"line {line} has a quote that is not closed, or is too long"
            reason = f"is too long; is a quote not closed? Nothing after line {line} was read"
        else:
            longest = csv.field_size_limit()
            reason = f"is too long; a cell has at most {longest} characters, a row {MAX_RECORD}"
        return self._beginning(line, reason)

    def _beginning(self, line: int, reason: str) -> FileRow:
        # One cell: read in any other way, it might pass for a row that nobody wrote.
        beginning = "".join(self._lines.record)[:_SHOWN].rstrip()
        return FileRow(line=line, problems=(Problem("", reason),), original=(beginning,))


def _field_of(cell: str) -> str | None:
    """Return the field that a cell would name in a header."""
    return field_meant(cell.strip(_AROUND_NAMES))


def _hints(names: Sequence[str], first: str) -> list[str]:
    """Return what may be meant by a first line that has not the columns of a file."""
    if first.strip().strip('"').lower().startswith("sep="):
        return ["its first line is a note of a spreadsheet (sep=); delete it"]
    if len(names) == 1:
        return [
            f"its cells seem to be separated by {title}; save it with commas"
            for separator, title in _SEPARATORS.items()
            if separator in first
        ][:1]
    if any(name in PaymentStatus.__members__ or _is_day(name) for name in names):
        return ["its first line seems to be a row; put the column names before it"]
    return []


def _is_day(text: str) -> bool:
    try:
        read_day(text)
    except ValueError:
        return False
    return True
