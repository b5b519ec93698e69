"""What the tests of journals at rest share: journals as runs left them, and the commands."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from carevalidate_async import cli
from carevalidate_async.journal import Candidate, Duplicates, Ending, Journal, Settlement, State

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_800_000_000
"""2027-01-15T08:00:00Z."""

HOUR = 3600
DAY = 24 * HOUR
TARGET = "https://vendor.example"


def command(*arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli.cli, arguments)


async def leave(
    path: str,
    rows: Mapping[str, State | None],
    *,
    file: str | None = "payments.csv",
    at: float = NOW,
    ending: Ending | None = Ending.COMPLETE,
    counts: Mapping[str, int] | None = None,
    reason: str | None = None,
    target: str = TARGET,
    duplicates: Duplicates = Duplicates.REFUSE,
    max_key_age: float | None = DAY,
    die: bool = False,
) -> None:
    """
    Let a run plan rows, one a line, and settle those that have a state.

    Args:
        path: The journal.

        rows: What each key comes to; None leaves it planned.

        file: Whose rows they are.

        at: Seconds since 1970.

        ending: How the run ends; None for not at all.

        counts: What it counted.

        reason: Why it ended early.

        target: What they are sent to.

        duplicates: What it does with equal rows.

        max_key_age: Seconds that a key may be old and still be sent again; None for any age.

        die: Whether the process ends in the midst of it.
    """
    async with Journal(
        path, target=target, file=file, max_key_age=max_key_age, clock=lambda: at
    ) as journal:
        candidates = [Candidate(line=line, content=key) for line, key in enumerate(rows, 2)]
        await journal.plan(candidates, duplicates)
        await journal.settle(
            [
                Settlement(keys=[key], state=state, attempts=1)
                for key, state in rows.items()
                if state is not None
            ]
        )
        if die:
            os._exit(9)
        if ending is not None:
            await journal.end(ending, counts or {}, reason)


def left(path: str, rows: Mapping[str, State | None], **options: Any) -> str:
    """Do as `leave`, for tests that have no event loop; return *path*."""
    asyncio.run(leave(path, rows, **options))
    return path


def left_by_a_kill(path: str, **states: str) -> str:
    """Let a process leave rows in these states in a journal, and die; return *path*."""
    code = (
        "import asyncio, sys\n"
        "from carevalidate_async.journal import State\n"
        "from journal_support import leave\n"
        "rows = {k: State(v) for k, v in (pair.split('=') for pair in sys.argv[2:])}\n"
        "asyncio.run(leave(sys.argv[1], rows, die=True))\n"
    )
    folder = str(pathlib.Path(__file__).parent)
    pairs = [f"{key}={state}" for key, state in states.items()]
    done = subprocess.run(
        [sys.executable, "-c", code, path, *pairs],
        check=False,
        env={**os.environ, "PYTHONPATH": folder},
    )
    assert 9 == done.returncode
    return path


def snapshot(folder: str = ".") -> dict[str, tuple[bytes, int, int]]:
    """Return what is in each file of a folder, when it was changed last, and its rights."""
    found = {}
    for path in pathlib.Path(folder).iterdir():
        status = path.stat()
        found[path.name] = path.read_bytes(), status.st_mtime_ns, status.st_mode
    return found
