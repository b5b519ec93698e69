"""What a journal still has when the machine stops: all that was told, and nothing by halves."""

from __future__ import annotations

import asyncio
import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import pytest

from carevalidate_async.journal import Candidate, Duplicates, Journal, Settlement, State, _file
from carevalidate_async.journal._file import close, open_to_write
from cli_support import unread

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 5
"""Rows of a batch."""

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

HEADER = 32
"""Bytes at the beginning of a log that tell what it belongs to."""


def key(batch: int, row: int) -> str:
    """Return a key; those of a batch lie far from each other."""
    return f"{(batch * ROWS + row) * 7919 % 10_007:05}-{batch}-{row}"


async def act(journal: Journal, step: int) -> None:
    """Let a run do its next thing: plan the next batch, or settle the one before the last."""
    batch, settles = divmod(step, 2)
    if not settles:
        rows = [Candidate(line=n, content=key(batch, n)) for n in range(ROWS)]
        await journal.plan(rows, Duplicates.REFUSE)
    elif batch:
        done = [
            Settlement(keys=[key(batch - 1, n)], state=State.CONFIRMED, attempts=1)
            for n in range(ROWS)
        ]
        await journal.settle(done)


def states_after(steps: int) -> dict[str, str]:
    """Return what a journal holds after so many steps."""
    found: dict[str, str] = {}
    for step in range(steps):
        batch, settles = divmod(step, 2)
        state, settled = ("confirmed", batch - 1) if settles else ("planned", batch)
        found |= {key(settled, n): state for n in range(ROWS) if settled >= 0}
    return found


@attrs.frozen
class Files:
    """A journal's file and its log, as they were on the disk at one moment."""

    main: bytes
    log: bytes

    @classmethod
    def of(cls, path: pathlib.Path) -> Files:
        return cls(path.read_bytes(), pathlib.Path(f"{path}-wal").read_bytes())

    def write(self, path: pathlib.Path) -> None:
        path.write_bytes(self.main)
        pathlib.Path(f"{path}-wal").write_bytes(self.log)


def recovered(path: pathlib.Path) -> dict[str, str]:
    """Return what the next run finds, once it has seen that nothing is damaged."""
    db = open_to_write(str(path), target="t")
    try:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()
        return dict(db.execute("SELECT key, state FROM rows"))
    finally:
        close(db)


def torn(chance: random.Random, before: bytes, after: bytes) -> bytes:
    """
    Return a file that was *before* on the disk and is becoming *after*.

    What was not synced yet is written in any order: of its sectors some are there, and others are
    not; past the old end those hold zeros or anything. And the file ends anywhere in between.
    """
    odds = chance.random()
    end = chance.randint(*sorted((len(before), len(after))))
    sectors = []
    for start in range(0, end, SECTOR):
        old, new = before[start : start + SECTOR], after[start : start + SECTOR]
        filled = old + chance.choice((bytes, chance.randbytes))(SECTOR - len(old))
        sectors.append(new if new and chance.random() < odds else filled)
    return b"".join(sectors)[:end]


def crashes(chance: random.Random, before: Files, after: Files) -> Iterator[Files]:
    """
    Yield what can be on the disk when it stops within a step.

    A log that starts anew has its header synced first. Then the log is written and synced, and then
    what is in it is copied to its places, now and then.
    """
    begun = after.log[:HEADER] + before.log[HEADER:]
    yield Files(before.main, begun)
    yield Files(before.main, torn(chance, begun, after.log))
    yield Files(before.main, torn(chance, begun, after.log))
    yield Files(torn(chance, before.main, after.main), after.log)
    yield after


@pytest.mark.deep
class TestPowerLoss:
    @pytest.mark.parametrize("seed", range(4))
    async def test_what_was_told_is_there_whatever_the_disk_had_not_written_yet(
        self, tmp_path: pathlib.Path, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Sectors that were not synced are lost in any combination, in the log and in the file; a step
        that was told is whole in what is left, and one that was not is whole or absent.
        """
        monkeypatch.setattr(_file, "_LOG_PAGES", 12)  # so that it starts anew now and then
        chance = random.Random(seed)
        path, copy = tmp_path / "journal", tmp_path / "copy"
        async with Journal(str(path), target="t") as journal:
            moments = [Files.of(path)]
            for step in range(40):
                await act(journal, step)
                moments.append(Files.of(path))
        seen = set()
        for told, (before, after) in enumerate(itertools.pairwise(moments)):
            for files in crashes(chance, before, after):
                files.write(copy)
                found = recovered(copy)
                seen.add(found == states_after(told))

                assert found in (states_after(told), states_after(told + 1))
        assert {True, False} == seen
        # Logs began anew, and were copied to their places.
        assert any(a.log[:HEADER] != b.log[:HEADER] for a, b in itertools.pairwise(moments))
        assert any(a.main != b.main for a, b in itertools.pairwise(moments))

    def test_a_step_is_told_once_it_is_synced(self, tmp_path: pathlib.Path) -> None:
        """
        What the test above takes for granted: the log is synced with each transaction.
        """
        db = open_to_write(str(tmp_path / "journal"), target="t")
        (mode,), (level,) = (
            db.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous")
        )
        close(db)

        assert ("wal", 2) == (mode, level)


class TestKill:
    def test_a_process_that_dies_at_any_moment_leaves_what_it_told(
        self, tmp_path: pathlib.Path
    ) -> None:
        """
        A run is stopped again and again wherever it is, in a commit or while the log is copied to
        its places, and the files that it would leave behind have all that it told.
        """
        path, copy = tmp_path / "journal", tmp_path / "copy"
        chance = random.Random(1)
        told = 0
        command = [sys.executable, __file__, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            pipe = run.stdout.fileno()
            for _ in range(40):
                told += len(os.read(pipe, chance.randint(1, 6)))
                os.kill(run.pid, signal.SIGSTOP)
                os.waitpid(run.pid, os.WUNTRACED)
                told += len(os.read(pipe, unread(run.stdout)))
                Files.of(path).write(copy)
                os.kill(run.pid, signal.SIGCONT)

                assert recovered(copy) in (states_after(told), states_after(told + 1))
            run.kill()
            told += len(run.stdout.read())

        assert recovered(path) in (states_after(told), states_after(told + 1))


async def write(path: str) -> None:
    """Let a run go on and on, and tell a byte for each step once it is done."""
    _file._LOG_PAGES = 12
    async with Journal(path, target="t") as journal:
        for step in itertools.count():
            await act(journal, step)
            os.write(1, b".")


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
