"""Rows that need a person back out, in a file that can be corrected and run."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import stat
from typing import TYPE_CHECKING

from carevalidate_async._files.fields import (
    ERROR_COLUMNS,
    SPELLED,
    FileRow,
    JsonObject,
    Number,
    Problem,
)
from carevalidate_async._files.json_rows import parsed
from carevalidate_async._files.kinds import FileFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carevalidate_async._files.rows import Shape

# In the first line they would make a file of it that cannot be read; only a column that no field
# has can have them in its name.
_NO_NAME = str.maketrans("\r\0", "  ")


class Rejects:
    """
    Rows that need a person: in JSON Lines where the file they came from is, otherwise in CSV.

    The error columns come first and are ignored by the next run, so that a corrected file can be
    run as it is. Only its owner can read the file: it holds personal data.

    Args:
        path: Where; an existing file is replaced.

        rows: What the rows of the file look like. Where it lacks a column for idempotency keys, its
            rejects file has one.

    All of it raises OSError, which names the file, where it cannot be written.
    """

    def __init__(self, path: str, rows: Shape) -> None:
        self._in_json = rows.format is FileFormat.JSONL
        self._width = len(rows.header)
        self._kept = [i for i, name in enumerate(rows.header) if name not in ERROR_COLUMNS]
        columns = [SPELLED.get(name) for name in rows.header]
        self._key_at = columns.index("idempotency_key") if "idempotency_key" in columns else None
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        handle = os.open(path, flags, 0o600)
        self._file = open(  # noqa: SIM115 - closed by close()
            handle,
            "w",
            encoding="utf-8",
            errors="surrogateescape",
            newline="",  # csv ends its lines itself, and JSON Lines end in \n on every system
        )
        if stat.S_ISREG(os.fstat(handle).st_mode):  # a device is everybody's
            # It may have been there with other rights. Not by its name, which may be another's now.
            os.chmod(handle if os.chmod in os.supports_fd else path, 0o600)
        self._path = path
        self._writer = csv.writer(self._file, lineterminator="\n")
        # A lone carriage return would end the row for its reader, and is not quoted by itself.
        self._quoting = csv.writer(self._file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        if not self._in_json:
            names = [rows.header[i].translate(_NO_NAME) for i in self._kept]
            self._writer.writerow([*ERROR_COLUMNS, *self._own_key("idempotency_key"), *names])
            try:  # now, so that a full disk is found before anything is sent
                self.flush()
            except OSError:
                with contextlib.suppress(OSError):
                    self.close()
                raise

    def _own_key(self, value: str) -> list[str]:
        return [value] if self._key_at is None else []

    def write(self, row: FileRow, problems: Sequence[Problem], key: str | None = None) -> None:
        """
        Write one row.

        Args:
            row: As it was read.

            problems: Why it is here.

            key: Fixes its idempotency key; None leaves it as it is.
        """
        field = "; ".join(problem.field for problem in problems)
        reason = "; ".join(problem.reason for problem in problems)
        if self._in_json:
            with self._named():
                self._file.write(_reject_line(row, field, reason, key))
            return
        cells = list(row.original)
        if key is not None and self._key_at is not None:
            cells[self._key_at] = key
        if len(cells) == self._width:
            kept = [cells[i] for i in self._kept]
        else:  # nobody knows which cells are which, so they all stay, as many as make no row
            kept = [*cells, ""] if len(cells) == len(self._kept) else cells
        with self._named():
            lone = any("\r" in cell for cell in (reason, *kept))
            writer = self._quoting if lone else self._writer
            writer.writerow([row.line, field, reason, *self._own_key(key or ""), *kept])

    def flush(self) -> None:
        """Hand what was written to the system."""
        with self._named():
            self._file.flush()

    def close(self) -> None:
        """Close the file; doing it twice is fine."""
        with self._named():
            self._file.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error


def _reject_line(row: FileRow, field: str, reason: str, key: str | None) -> str:
    errors = dict(zip(ERROR_COLUMNS, (row.line, field, reason), strict=True))
    document = parsed(row.original) if isinstance(row.original, JsonObject) else None
    if not isinstance(document, dict):
        return _json({**errors, "original": row.original}) + "\n"
    kept = {n: v for n, v in document.items() if n not in ERROR_COLUMNS}
    if key is not None:
        kept = {n: v for n, v in kept.items() if SPELLED.get(n) != "idempotency_key"}
        kept["idempotency_key"] = key
    return _json({**errors, **kept}) + "\n"


def _json(value: object) -> str:
    """Return *value* as JSON, each number as it was written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{_json(name)}:{_json(item)}' for name, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_json, value))}]"
    text = json.dumps(value, ensure_ascii=False)
    # A lone surrogate, which only an escape can write.
    return text if text.isascii() or _is_unicode(text) else json.dumps(value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
