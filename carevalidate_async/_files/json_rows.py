"""The rows of a JSON Lines file, one line at a time."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING

from carevalidate_async._codec import too_deep
from carevalidate_async._files.columns import near_misses, shown
from carevalidate_async._files.fields import (
    ERROR_COLUMNS,
    SPELLED,
    FileRow,
    JsonObject,
    Number,
    Problem,
    to_row,
)
from carevalidate_async._files.kinds import FileError, FileFormat
from carevalidate_async._files.lines import Lines, RecordTooLongError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_SHOWN = 1000  # characters of a broken record in a rejects file
_MOST_IGNORED = 50
# What stands where JSON ends to be JSON, the comma before it included, and what is to be done.
_FAULTS = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r"\ufeff", "begins with a byte order mark (U+FEFF); were files put together? Delete it"),
        (r",?\s*$", "is cut short, or followed by a comma; write one whole object a line"),
        (r'"[^"]*$', "has a text that does not end"),
        (r",?\s*\{", "has more than one object; write one a line"),
        (r",?\s*[}\]]", "has a comma or a bracket too many"),
        (r",?\s*(//|/\*|#)", "has a comment, which JSON does not have"),
        (r",?\s*['\u2018\u2019\u201c\u201d]", 'has texts in other quotation marks than "'),
        (r",?\s*(None|True|False|undefined)", "has a word that is not JSON; write null"),
    )
)


class _Object(dict[str, object]):
    """A JSON object that remembers which fields came twice, in either spelling."""

    repeated: tuple[str, ...] = ()

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        fields = [SPELLED[name] for name, _ in pairs if name in SPELLED]
        if len(set(fields)) < len(fields):
            times = Counter(fields)
            self.repeated = tuple(sorted(field for field in times if times[field] > 1))


class JsonRows:
    """
    The rows of a JSON Lines file.

    Attributes:
        format: JSON Lines.

        header: Empty: each object names its own fields.

        ignored: Names that no field has, in rows that have a field, each told once; it grows while
            rows are read, up to 50.

    Args:
        lines: Read up to the first line that is not blank.

    Raises:
        FileError: Its objects are written over several lines.
    """

    format = FileFormat.JSONL
    header: tuple[str, ...] = ()

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._again = [lines.record[-1]]
        self.ignored: list[str] = []
        first = lines.record[-1].strip()
        if first == "{":
            raise FileError("its objects are written over several lines; write one a line")
        if first.endswith(("{", "[", ",")) and not _is_json(first):
            raise FileError(
                "it is one JSON document over several lines, going by the end of its first line "
                f"({first[-1]}); write each payment as an object on a line of its own, with no "
                "commas between them"
            )

    @property
    def bytes_read(self) -> int:
        """Bytes of the file read so far."""
        return self._lines.bytes_read

    def __iter__(self) -> Iterator[FileRow]:
        """Give a row for each line that is not blank."""
        line = self._lines.number
        while True:
            try:
                text = self._again.pop() if self._again else next(self._lines, None)
            except RecordTooLongError as error:
                for _ in self._lines.rest_of_line():
                    pass
                beginning = "".join(self._lines.record)[:_SHOWN].rstrip()
                yield FileRow(line=line, problems=(Problem("", f"is {error}"),), original=beginning)
            else:
                if text is None:
                    return
                if text.strip():
                    yield self._row(line, text.strip())
            line = self._lines.begin()

    def _row(self, line: int, text: str) -> FileRow:
        row, names = object_row(line, text)
        self._ignore(names)
        return row

    def _ignore(self, names: Iterable[str]) -> None:
        for name in names:
            if len(self.ignored) == _MOST_IGNORED:
                return
            if name not in SPELLED and name not in ERROR_COLUMNS:
                cut = shown(name)
                if cut not in self.ignored:
                    self.ignored.append(cut)


def object_row(line: int, text: str) -> tuple[FileRow, Collection[str]]:
    """
    Return the row that the text of one JSON object is, and the names in it, if any is a field's.

    Names of which none is a field's are not returned: they may be what the object says, such as
    addresses.
    """
    document: object = None
    reason = "is not one JSON object"
    try:
        text.encode()
        document = parsed(text)
    except UnicodeEncodeError:
        reason = "is not UTF-8 text; save the file as UTF-8"
    except json.JSONDecodeError as error:
        reason = f"is not one JSON object; see column {error.colno}{_fault(text, error.pos)}"
    except RecursionError:
        reason = "is nested too deeply"
    if too_deep(document):
        document, reason = None, "is nested too deeply"
    if not isinstance(document, _Object):
        return FileRow(line=line, problems=(Problem("", reason),), original=text), ()
    if document.repeated:  # the object holds one of the values, the text all of them
        twice = tuple(Problem(field, "is given twice") for field in document.repeated)
        return FileRow(line=line, problems=twice, original=text), ()
    values = {SPELLED[name]: value for name, value in document.items() if name in SPELLED}
    if not values and any(map(_is_rows, document.values())):
        inside = Problem("", "has objects in a list; write each of them on a line of its own")
        return FileRow(line=line, problems=(inside,), original=text), ()
    problems = [Problem(near, "is spelled differently") for near in near_misses(document)]
    return to_row(line, values, JsonObject(text), problems), document if values else ()


def parsed(text: str) -> object:
    """
    Return what JSON says, each number as `Number`.

    Raises:
        json.JSONDecodeError: It is no JSON.

        RecursionError: It is nested too deeply.
    """
    return json.loads(
        text,
        object_pairs_hook=_Object,
        parse_float=Number,
        parse_int=Number,
        parse_constant=Number,
    )


def _is_json(text: str) -> bool:
    try:
        parsed(text)
    except json.JSONDecodeError:
        return False
    except RecursionError:
        pass
    return True


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _fault(text: str, at: int) -> str:
    """Return what is wrong at a place where *text* ends to be JSON, where that can be told."""
    return next((f": it {reason}" for wrong, reason in _FAULTS if wrong.match(text, at)), "")
