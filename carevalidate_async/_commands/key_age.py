"""The option of commands that says how old a key may be and still be sent again."""

from __future__ import annotations

import click

from carevalidate_async._run.ages import read_age


def _read(_context: click.Context, _parameter: click.Parameter, text: str) -> float | None:
    try:
        return read_age(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


KEY_AGE = click.option(
    "--max-key-age",
    metavar="AGE",
    default="24h",
    show_default=True,
    callback=_read,
    help="Ask again for what is in doubt only while its key is no older: 90m, 36h, 7d, forever. "
    "How long the vendor keeps a key, it does not say.",
)
"""Gives seconds, or None for forever."""
