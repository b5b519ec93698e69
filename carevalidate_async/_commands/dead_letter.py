"""The commands ``dead-letter list`` and ``dead-letter replay``: a job's rows that need a person."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from carevalidate_async._commands.broker import (
    BROKER,
    JOB,
    broker_troubles,
    named_job,
    open_ledger,
)
from carevalidate_async._commands.command import JSON, command, takes
from carevalidate_async._commands.key_age import KEY_AGE
from carevalidate_async._commands.manual import BROKER_URL, Manual, ManualGroup
from carevalidate_async._commands.output import json_line, one_line, print_json, say

if TYPE_CHECKING:
    from carevalidate_async._commands.command import Options
    from carevalidate_async._jobs.replay import Letter


@click.group(
    "dead-letter",
    cls=ManualGroup,
    short_help="List or queue once more what is not on record.",
    chapters={"Commands": ("list", "replay")},
    environment=BROKER_URL,
    statuses={0: "help was shown", 2: "the command is wrong"},
    examples={"What needs a person": "carevalidate dead-letter list --job november"},
    see_also=("collect", "enqueue", "worker"),
)
def dead_letter() -> None:
    """List rows of a job that ended without being on record, or queue them once more."""


@dead_letter.command(
    "list",
    cls=Manual,
    short_help="List rows that were rejected or are unknown.",
    environment=BROKER_URL,
    statuses={
        0: "there are none",
        1: "there are some",
        2: "the command or the broker is wrong",
        130: "interrupted",
    },
    examples={
        "What needs a person": "carevalidate dead-letter list --job november",
        "The same for a program": "carevalidate dead-letter list --job november --json",
    },
    see_also=("dead-letter replay", "collect"),
)
@takes(BROKER, JOB)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row.")
@command
def list_letters(**options: Any) -> int:  # noqa: ANN401 - click's options
    """
    List rows that the vendor rejected, or whose outcome is unknown.
    """
    import asyncio

    with broker_troubles():
        return asyncio.run(_list(options))


async def _list(options: Options) -> int:
    from carevalidate_async._jobs.replay import letters

    found = 0
    async with contextlib.AsyncExitStack() as stack:
        ledger = await open_ledger(stack, options["url"], _note)
        name = await named_job(ledger, options["job"])
        async for letter in letters(ledger, name):
            found += 1
            shown = json_line(_document(letter)) if options["as_json"] else _line(letter)
            say(shown, sys.stdout)
    return 1 if found else 0


@dead_letter.command(
    "replay",
    cls=Manual,
    short_help="Queue rows once more, each under its own key.",
    environment=BROKER_URL,
    statuses={
        0: "all are queued",
        1: "some were left",
        2: "the command or the broker is wrong",
        130: "interrupted, what is queued stays",
    },
    examples={
        "Have what is in doubt asked for again": "carevalidate dead-letter replay --job november",
        "Only the rows that begin in these lines of the file": "carevalidate dead-letter replay "
        "--job november --line 17 --line 23",
    },
    see_also=("dead-letter list", "collect"),
)
@takes(BROKER, JOB)
@click.option(
    "--state",
    type=click.Choice(["unknown", "rejected", "all"]),
    default="unknown",
    show_default=True,
    help="Which rows. What was rejected would be again, unless the vendor has changed.",
)
@click.option(
    "--line",
    "lines",
    type=click.IntRange(1),
    metavar="N",
    multiple=True,
    help="Only rows that begin there.",
)
@takes(KEY_AGE, JSON)
@command
def replay_letters(**options: Any) -> int:  # noqa: ANN401 - click's options
    """
    Queue rows once more, each under its own key; the vendor knows those that are on record.

    A row whose outcome is unknown, and whose key is older than --max-key-age, is left: the vendor
    may have forgotten the key, and would record the payment once more. Look it up there.
    """
    import asyncio

    with broker_troubles():
        return asyncio.run(_replay(options))


async def _replay(options: Options) -> int:
    from carevalidate_async._jobs.replay import letters, replay

    queued = left = 0
    async with contextlib.AsyncExitStack() as stack:
        ledger = await open_ledger(stack, options["url"], _note)
        name = await named_job(ledger, options["job"])
        # All of them are read first: what is queued may end again meanwhile.
        wanted = [letter async for letter in letters(ledger, name) if _is_wanted(letter, options)]
        for letter in wanted:
            if letter.is_too_old(options["max_key_age"]):
                left += 1
                say(f"Left, since its key is too old: {_line(letter)}", sys.stderr)
            else:
                await replay(ledger, name, letter)
                queued += 1
    status = 1 if left else 0
    told = f"Queued once more: {queued:,}; left: {left:,}"
    say(told, sys.stderr if options["as_json"] else sys.stdout)
    if options["as_json"]:
        print_json({"job": name, "queued": queued, "left": left, "exit_status": status})
    return status


def _is_wanted(letter: Letter, options: Options) -> bool:
    result = letter.result
    if options["lines"] and result.line not in options["lines"]:
        return False
    return options["state"] in {"all", result.state}


def _line(letter: Letter) -> str:
    result = letter.result
    return one_line(f"line {result.line}: {result.state}: {result.reason} (key {result.key})")


def _document(letter: Letter) -> dict[str, object]:
    result, age = letter.result, letter.age
    return {
        "line": result.line,
        "state": result.state,
        "reason": result.reason,
        "key": result.key,
        "error": result.error,
        "status": result.status,
        "code": result.code,
        "age_s": None if age is None else round(age, 1),
    }


def _note(text: str) -> None:
    say(one_line(text), sys.stderr)
