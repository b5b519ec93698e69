"""The option of commands that says how old a key may be and still be sent again."""

from __future__ import annotations

import math

import click

from carevalidate_async._run.ages import DEFAULT_KEY_AGE, read_age


def _read(_context: click.Context, _parameter: click.Parameter, text: str) -> float | None:
    try:
        return read_age(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _read_if_given(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> float | None:
    if text is None:
        return None
    age = _read(context, parameter, text)
    return math.inf if age is None else age


KEY_AGE = click.option(
    "--max-key-age",
    metavar="AGE",
    default=DEFAULT_KEY_AGE,
    show_default=True,
    callback=_read,
    help="Ask again for what is in doubt only while its key is no older: 90m, 36h, 7d, forever. "
    "How long the vendor keeps a key, it does not say.",
)
"""Gives seconds, or None for forever."""

KEY_AGE_OF_LAST_RUN = click.option(
    "--max-key-age",
    metavar="AGE",
    callback=_read_if_given,
    help="How old a key in doubt may be for a run to ask again: 90m, 36h, 7d, forever. Default: as "
    "the last run had it.",
)
"""Gives seconds, infinitely many for forever, or None where it is not given."""
