"""What a command prints: output that cannot be written changes nothing about what was done."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from typing import TYPE_CHECKING, TextIO

import click

# What moves a terminal's cursor, turns its writing round or sets its title; lines and tabs stay.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_NOT_IN_A_LINE = re.compile(rf"[\t\n]|{_CONTROLS.pattern}")

if TYPE_CHECKING:
    from collections.abc import Mapping


def say(text: str, stream: TextIO | None) -> bool:
    """
    Write *text* and a line's end to *stream*, None being a closed one; tell whether it got there.

    That nobody can read how a command went (a full disk, a pipe whose reader left) changes neither
    what it did nor its exit status.
    """
    if stream is None:
        return False
    try:
        try:
            click.echo(harmless(text), file=stream)
        except UnicodeEncodeError:
            click.echo(harmless(text).encode("ascii", "backslashreplace"), file=stream)
    except OSError as error:
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            say(f"Error: standard output cannot be written: {error.strerror}", sys.stderr)
        mute(stream)
        return False
    return True


def harmless(text: str) -> str:
    """Return *text* from elsewhere without what a terminal would carry out."""
    return _CONTROLS.sub("?", text)


def one_line(text: str) -> str:
    """Return *text* from elsewhere as one line: what would end it, or do more, is spelled out."""
    return _NOT_IN_A_LINE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def name_of(path: str) -> str:
    """Return a file's name as it can be shown: it may hold bytes that are no text, and controls."""
    return one_line(click.format_filename(path))


def mute(stream: TextIO) -> None:
    """
    Send what is left in the buffer of a broken *stream*, and all that follows, nowhere.

    Otherwise it would fail again when Python ends, and change the exit status.
    """
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def print_json(document: Mapping[str, object]) -> bool:
    """Print *document* to standard output, in one line of ASCII; tell whether it got there."""
    return say(json_line(document), sys.stdout)


def json_line(document: Mapping[str, object]) -> str:
    """Return *document* as JSON, in one line of ASCII."""
    from carevalidate_async._codec import encode

    try:
        text = encode(document).decode()
    except UnicodeEncodeError:  # a lone surrogate, which a header can hold
        text = encode({name: _printable(value) for name, value in document.items()}).decode()
    return re.sub("[^\0-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)


def _printable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(name): _printable(item) for name, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value
