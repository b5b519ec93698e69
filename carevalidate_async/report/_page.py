"""
The page's template, filled in; the only file that knows jinja2.

Whatever is put in is escaped, and spelled out where it could not be seen. What the template names
and is not given is an error.
"""

from __future__ import annotations

import pathlib
import re
from datetime import UTC, datetime
from typing import Any

from carevalidate_async._extra import needs

with needs("cli"):
    import jinja2

from carevalidate_async._run.units import lasting, many, rounded, share
from carevalidate_async._version import __version__
from carevalidate_async.report._wording import TITLES, trouble

_LONGEST = 255  # characters of a name from outside
_KEEPING_BLANK = "\xa0"
_UNITS = re.compile(r"(?<=[0-9]) (?=(?:%|ms|s|min|h)(?![a-z]))")


def page(**context: Any) -> bytes:  # noqa: ANN401 - whatever the template names
    """Return the page that the template makes of *context*."""
    loader = jinja2.PackageLoader("carevalidate_async.report", ".")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        basename=_basename,
        cut=_cut,
        lasting=lasting,
        many=many,
        moment=_moment,
        rate=rounded,
        together=_together,
        trouble=trouble,
    )
    environment.globals.update(period=_period, share=share, titles=TITLES, version=__version__)
    text = environment.get_template("report.html.jinja").render(context)
    return text.encode()


def _moment(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at.day} {at:%B %Y, %H:%M:%S} UTC"


def _period(began: datetime, ended: datetime) -> str:
    """Return from when to when, with the day once where it is one day."""
    began, ended = began.astimezone(UTC), ended.astimezone(UTC)
    if began.date() != ended.date():
        return f"{_moment(began)} to {_moment(ended)}"
    return f"{began.day} {began:%B %Y, %H:%M:%S} to {ended:%H:%M:%S} UTC"


def _basename(path: str) -> str:
    if path == "-":
        return "standard input"
    return pathlib.PurePath(path).name or path


def _cut(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _together(sentence: str) -> str:
    """Return a sentence of ours in which no line ends between a number and its unit."""
    return _UNITS.sub(_KEEPING_BLANK, sentence)


def harmless(value: object) -> object:
    """
    Return a text from elsewhere without what a page would carry out, or its reader not see.

    Control characters, those that turn the writing round and halves of characters are spelled out.
    """
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(
        one if one.isprintable() or one == _KEEPING_BLANK else one.encode("unicode_escape").decode()
        for one in value
    )
