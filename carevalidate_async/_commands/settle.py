"""The command ``settle``: what a person found out about payments that no run asks for again."""

from __future__ import annotations

import re
import sys
import time

import click

from carevalidate_async._commands.command import StopError, command, open_input
from carevalidate_async._commands.manual import Manual
from carevalidate_async._commands.output import name_of, one_line, say


@click.command(
    cls=Manual,
    short_help="Put down what you found out at the vendor.",
    files={
        "JOURNAL": "What confirm keeps beside FILE, such as payments.csv.production.journal; it "
        "is changed.",
        "--keys PATH": "One key a line, such as the column of an export.",
    },
    statuses={
        0: "all of them are settled",
        2: "none is",
        130: "interrupted: all of them or none; the same command again does no harm",
    },
    examples={
        "The vendor has these payments": "carevalidate settle "
        "payments.csv.production.journal \\\n    --as recorded --keys found.txt",
        "The vendor does not have this one": "carevalidate settle "
        "payments.csv.production.journal \\\n    --as not-recorded march-rent-17",
    },
    see_also=("status", "export", "confirm"),
)
@click.argument("journal", type=click.Path(exists=True, dir_okay=False))
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option(
    "--keys",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Keys, one a line; - for standard input.",
)
@click.option(
    "--as",
    "finding",
    type=click.Choice(["recorded", "not-recorded"]),
    required=True,
    help="What the vendor's books say of them.",
)
@command
def settle(journal: str, keys: tuple[str, ...], file: str | None, finding: str) -> int:
    """
    Put down in JOURNAL what you found out at the vendor about rows that are in doubt.

    Rows that are recorded are not asked for again. Rows that are not recorded are sent by the next
    run, under the keys that they had: say so only of what you did not find on record.

    Each KEY has to be in the journal, and its row in doubt, or settled like this before. If one is
    not, nothing is changed. It may be as an export has it: "decide (was KEY)".
    """
    from carevalidate_async.journal._by_hand import Finding, settle_by_hand
    from carevalidate_async.journal._file import JournalError, open_to_settle

    named = list(map(_key, [*keys, *(_lines(file) if file is not None else ())]))
    if not named:
        raise click.UsageError("give a KEY, or a file of them with --keys")
    try:
        with open_to_settle(journal) as db:
            wrong = settle_by_hand(db, named, Finding(finding), now=int(time.time()))
    except JournalError as error:
        raise StopError(one_line(str(error))) from None
    if wrong:
        told = "\n".join(f"  {key}: {why}" for key, why in wrong.items())
        raise StopError(f"nothing was changed, since these keys cannot be settled:\n{told}")
    count = len(set(named))
    then = {"recorded": "no run asks for them again", "not-recorded": "the next run sends them"}
    say(f"Settled as {finding}: {count:,}; {then[finding]}", sys.stdout)
    return 0


def _key(cell: str) -> str:
    """Return the key that the cell of an export has, or had."""
    found = re.fullmatch(r"\W*decide \(was (.+)\)", cell)
    return cell if found is None else found[1]


def _lines(file: str) -> list[str]:
    with open_input(file) as stream:
        try:
            text = stream.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise StopError(f"{name_of(file)}: is not UTF-8 text") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
