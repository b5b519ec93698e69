"""The files of a run: rows come in, rows to be corrected and a page about the run go out."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

import click

from carevalidate_async._commands.command import StopError, open_input
from carevalidate_async._commands.output import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carevalidate_async._files.rejects import Rejects
    from carevalidate_async._files.rows import RowReader, Shape
    from carevalidate_async.report import Facts

DUPLICATES = click.option(
    "--duplicates",
    type=click.Choice(["refuse", "once", "each"]),
    default="refuse",
    show_default=True,
    help="Rows that are equal in every field: refuse the later ones (exit status 1), send them "
    "once, or send each under a key of its own. Equal rows under one idempotency_key are sent once "
    "in any case.",
)
REJECTS = click.option(
    "--rejects",
    type=click.Path(dir_okay=False),
    help="Write rows to be corrected here; an existing file is replaced.",
)
REPORT = click.option(
    "--report",
    type=click.Path(dir_okay=False),
    help="Write a page about the run here, as HTML; an existing file is replaced.",
)
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="Of text. Default: told by its first character.",
)


@contextlib.contextmanager
def open_rows(file: str, form: str | None) -> Iterator[tuple[RowReader, int | None]]:
    """
    Give the rows of *file*, - for standard input, and its bytes; None where nobody knows how many.

    Raises:
        StopError: It cannot be read.
    """
    from carevalidate_async._files.rows import FileError, FileFormat, RowReader
    from carevalidate_async._files.unpack import check_whole

    name = "standard input" if file == "-" else name_of(file)
    with open_input(file) as stream:
        status = os.fstat(stream.fileno())
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        try:
            if size is not None:
                # A byte that was changed may be an amount, and a file's sums stand at its end.
                check_whole(stream)
            reader = RowReader(stream, FileFormat(form) if form else None)
        except FileError as error:
            raise StopError(f"{name}: {error}") from None
        except OSError as error:
            raise StopError(f"{name}: {error.strerror}") from None
        yield reader, size


def check_paths(**paths: str | int | None) -> None:
    """Refuse two names (or an open file's number) for one file: it would be overwritten."""
    seen: dict[object, str] = {}
    for name, path in paths.items():
        if path or path == 0:
            first = seen.setdefault(_identity(path), name)
            if first != name:
                raise StopError(f"{name} and {first} are the same file: {name_of(str(path))}")


def _identity(path: str | int) -> object:
    try:
        status = os.stat(path)
    except OSError:
        return path if isinstance(path, int) else os.path.realpath(path)
    # What is no regular file is not overwritten.
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else object()


def begin_page(path: str | None, facts: Facts) -> None:
    """Put a page at *path* that says that the run goes on."""
    from carevalidate_async.report import begin_report

    if path is not None:
        try:
            begin_report(path, facts)
        except OSError as error:
            raise StopError(f"{name_of(path)}: {error.strerror}") from None


def open_rejects(stack: contextlib.AsyncExitStack, path: str | None, rows: Shape) -> Rejects | None:
    """Return the file for rows to be corrected, which *stack* closes; None where none is wanted."""
    from carevalidate_async._files.rejects import Rejects

    if path is None:
        return None
    try:
        rejects = Rejects(path, rows)
    except OSError as error:
        raise StopError(f"{name_of(path)}: {error.strerror}") from None
    stack.callback(close_rejects, rejects)
    return rejects


def close_rejects(rejects: Rejects) -> str | None:
    """Close the rejects file; return why it is not whole, None where it is."""
    try:
        rejects.close()
    except OSError as error:
        return f"the rejects file is not whole: {error}"
    return None
