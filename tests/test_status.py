from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import pathlib
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async._commands.advice import Advice, Step
from carevalidate_async._version import __version__
from carevalidate_async.idempotency import derive_idempotency_key
from carevalidate_async.journal import (
    Candidate,
    Duplicates,
    Ending,
    Journal,
    Settlement,
    State,
    Verdict,
)
from carevalidate_async.journal._file import open_to_read
from carevalidate_async.journal._status import Status, read_status
from journal_support import (
    DAY,
    HOUR,
    NOW,
    TARGET,
    command,
    leave,
    left,
    left_by_a_kill,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
OLD = "too old to be sent again"
EVERY: dict[str, State | None] = {
    "a": State.CONFIRMED,
    "b": State.ALREADY_RECORDED,
    "c": State.REJECTED,
    "d": State.UNKNOWN,
    "e": None,
    "f": State.NOT_SENT,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder where nothing is yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(path: str = "journal", *, now: int = NOW, max_key_age: float | None = None) -> Status:
    with open_to_read(path) as db:
        return read_status(db, now=now, max_key_age=max_key_age)


def steps(path: str = "journal", *, now: int = NOW) -> dict[str, list[str]]:
    """Return what a journal says is to be done, and the commands for it."""
    found = Advice(journal=path, status=read(path, now=now)).steps()
    return {step.what: list(step.commands) for step in found}


async def leave_copies(
    path: str, rows: dict[str, State], *, duplicates: Duplicates, file: str = "payments.csv"
) -> None:
    """Let a run plan as many rows equal to "a" as there are keys, and settle those it sends."""
    async with Journal(path, target=TARGET, file=file, clock=lambda: NOW) as journal:
        candidates = [Candidate(line=line, content="a") for line in range(2, 2 + len(rows))]
        plans = await journal.plan(candidates, duplicates)
        sent = [plan.key for plan in plans if plan.verdict is Verdict.SEND]
        await journal.settle([Settlement(keys=[key], state=rows[key]) for key in sent])
        await journal.end(Ending.COMPLETE, {}, None)


def half_written(path: str) -> None:
    """Leave a journal as a process does that dies while SQLite writes it."""
    code = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA cache_size = 1')\n"  # so that pages are written before the end
        "db.execute('BEGIN EXCLUSIVE')\n"
        "db.execute('CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
        " FROM n LIMIT 999) SELECT i, randomblob(500) FROM n')\n"
        "db.execute('DELETE FROM rows')\n"
        "os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert 9 == done.returncode
    assert pathlib.Path(f"{path}-journal").stat().st_size


def parsed(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the steps that a terminal shows, and the commands of each."""
    heads = [n for n, line in enumerate(lines) if not line.startswith("    ")]
    for start, end in itertools.pairwise([*heads, len(lines)]):
        yield lines[start].strip().removesuffix(":"), [x.strip() for x in lines[start + 1 : end]]


def outside(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "carevalidate_async", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def glance() -> dict[str, tuple[int, int]]:
    """
    Return how large each file here is, and when it was changed last.

    Nothing is opened: who closes a file gives up all locks that his process has on it.
    """
    found = {path.name: path.stat() for path in pathlib.Path().iterdir()}
    return {name: (status.st_size, status.st_mtime_ns) for name, status in found.items()}


@contextlib.contextmanager
def closed_folder() -> Iterator[pathlib.Path]:
    """Give a folder that everybody can read; pytest's own are closed to others."""
    closed = pathlib.Path(tempfile.mkdtemp(prefix="carevalidate-test-"))
    closed.chmod(0o755)
    try:
        yield closed
    finally:
        closed.chmod(0o755)
        shutil.rmtree(closed)


@contextlib.contextmanager
def read_only(closed: pathlib.Path) -> Iterator[None]:
    """Take the right to write in a folder, and root's to write everywhere, for a while."""
    root = os.geteuid() == 0
    for path in closed.iterdir():
        if root:
            os.chown(path, NOBODY, NOBODY)
    closed.chmod(0o555)
    if root:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)


class TestRead:
    def test_each_row_is_in_one_state(self) -> None:
        """
        The counts are those of the states, and together they are all rows.
        """
        found = read(left("journal", EVERY))

        assert dict.fromkeys(State, 1) == found.states
        assert (6, 2, 2, 5) == (found.rows, found.on_record, found.in_doubt, found.attempts)
        assert (TARGET, 0, 0) == (found.target, found.by_hand, found.gone)

    def test_an_empty_journal_has_nothing_to_do(self) -> None:
        """
        A run of a file without a row that can be sent leaves no row behind.
        """
        found = read(left("journal", {}))

        assert (0, 0, None, True) == (
            found.rows,
            found.attempts,
            found.oldest,
            found.all_on_record,
        )

    def test_the_row_that_is_longest_in_doubt_is_named(self, folder: pathlib.Path) -> None:
        """
        Its line is that of the last run that saw it, and its age is told from the first time that
        its key may have been sent.
        """
        left("journal", {"settled": State.CONFIRMED}, at=NOW)
        left("journal", {"young": None, "old": None}, at=NOW + HOUR)
        left("journal", {"young": State.NOT_SENT}, at=NOW + 2 * HOUR)
        left("journal", {"young": None, "x": None}, at=NOW + 2 * HOUR)
        left("journal", {"old": State.UNKNOWN}, file="other.csv", at=NOW + 3 * HOUR)
        found = read(now=NOW + 4 * HOUR)

        assert found.oldest is not None
        assert ("old", 2, str(folder / "other.csv")) == (
            found.oldest.key,
            found.oldest.line,
            found.oldest.file,
        )
        assert (NOW + HOUR, 3 * HOUR, False) == (
            found.oldest.since,
            found.oldest.age,
            found.oldest.too_old,
        )

    @pytest.mark.parametrize(
        ("after", "most", "too_old"),
        [(DAY, DAY, 0), (DAY + 1, DAY, 2), (300 * DAY, math.inf, 0), (-60, DAY, 0), (-61, DAY, 2)],
    )
    def test_keys_that_no_run_would_send_again_are_counted(
        self, after: int, most: float | None, too_old: int
    ) -> None:
        """
        A key is too old for a run when it says so here, at the same second.
        """
        found = read(left("journal", EVERY), now=NOW + after, max_key_age=most)

        assert too_old == found.too_old
        assert found.oldest is not None
        assert bool(too_old) is found.oldest.too_old
        assert (None if after == -61 else max(0, after)) == found.oldest.age

    @pytest.mark.parametrize("after", [-HOUR, -61, -60, 0, DAY, DAY + 1, 3 * DAY])
    async def test_a_run_and_the_status_agree(self, after: int) -> None:
        """
        What is told of old keys is what the next run does about them.
        """
        await leave("journal", EVERY)
        told = read(now=NOW + after).too_old
        clock = partial(int, NOW + after)
        async with Journal("journal", target=TARGET, max_key_age=DAY, clock=clock) as journal:
            rows = [Candidate(line=line, content=key) for line, key in enumerate(EVERY)]
            await journal.plan(rows, Duplicates.REFUSE)

        assert told == journal.too_old

    def test_rows_that_their_file_no_longer_has_are_none_of_it(self) -> None:
        """
        A row that was refused and then corrected in its file is left to nobody; one that may be on
        record is, wherever it went, and one that was not sent may be a payment of another file.
        """
        left("journal", {"wrong": State.REJECTED, "lost": State.UNKNOWN, "away": State.NOT_SENT})
        left("journal", {"corrected": State.CONFIRMED})
        found = read()

        assert (1, 0, 1, 1) == (
            found.gone,
            found.states[State.REJECTED],
            found.states[State.NOT_SENT],
            found.states[State.UNKNOWN],
        )
        assert {State.UNKNOWN, State.NOT_SENT} == set(found.files)

    @pytest.mark.parametrize(
        "later", [{"file": "other.csv"}, {"ending": Ending.INTERRUPTED}, {"ending": None}]
    )
    def test_a_run_that_did_not_read_their_file_says_nothing_of_them(
        self, later: dict[str, Any]
    ) -> None:
        """
        Rows are only missed in a file that was read to its end.
        """
        left("journal", {"wrong": State.REJECTED})
        left("journal", {"other": State.CONFIRMED}, **later)

        assert (0, 1) == (read().gone, read().states[State.REJECTED])

    def test_copies_that_their_file_takes_for_one_payment_by_now_are_none_of_it(self) -> None:
        """
        What `once` decided is not offered to be sent; what another file decided says nothing.
        """
        copies = {"a": State.CONFIRMED, derive_idempotency_key("a", 2): State.NOT_SENT}
        asyncio.run(leave_copies("journal", copies, duplicates=Duplicates.EACH))
        before = read()
        asyncio.run(leave_copies("journal", copies, file="other.csv", duplicates=Duplicates.ONCE))
        other = read()
        asyncio.run(leave_copies("journal", copies, duplicates=Duplicates.ONCE))
        after = read()

        assert [1, 1, 0] == [found.states[State.NOT_SENT] for found in (before, other, after)]
        assert [False, False, True] == [found.all_on_record for found in (before, other, after)]
        assert 1 == after.gone

    def test_each_standard_input_counts_by_itself(self) -> None:
        """
        That one was read to its end says nothing of another one.
        """
        left("journal", {"a": State.CONFIRMED}, file=None, counts={"invalid": 1})
        left("journal", {"b": State.CONFIRMED}, file=None, ending=Ending.INTERRUPTED)
        left("journal", {"c": State.CONFIRMED}, file=None)
        found = read()

        assert not found.all_on_record
        assert ([1], [2]) == (
            [run.number for run in found.to_correct],
            [run.number for run in found.unfinished],
        )

    def test_the_longest_doubt_is_one_of_an_unknown_age(self) -> None:
        """
        Which a key of tomorrow has as well.
        """
        left("journal", {"a": State.UNKNOWN})
        left("journal", {"b": State.UNKNOWN}, at=NOW + DAY)
        found = read()

        assert found.oldest is not None
        assert ("b", None) == (found.oldest.key, found.oldest.age)

    @pytest.mark.parametrize(
        ("rows", "run", "whole"),
        [
            ({"a": State.CONFIRMED, "b": State.ALREADY_RECORDED}, {}, True),
            *(
                ({"a": state}, {}, False)
                for state in (State.REJECTED, State.UNKNOWN, None, State.NOT_SENT)
            ),
            ({"a": State.CONFIRMED}, {"ending": Ending.INTERRUPTED}, False),
            ({"a": State.CONFIRMED}, {"ending": Ending.STOPPED_EARLY}, False),
            ({"a": State.CONFIRMED}, {"ending": None}, False),
            ({"a": State.CONFIRMED}, {"counts": {"invalid": 1}}, False),
            ({"a": State.CONFIRMED}, {"counts": {"duplicates": 1, "to_decide": 1}}, False),
            ({"a": State.CONFIRMED}, {"counts": {"duplicates": 1, "to_decide": 0}}, True),
        ],
    )
    def test_all_is_on_record_only_where_nothing_can_be_missing(
        self, rows: dict[str, State | None], run: dict[str, Any], whole: bool
    ) -> None:
        """
        A run that did not come to the end of its file may have left rows unread, and a row that
        cannot be sent is in no journal.
        """
        left("journal", rows, **run)
        whole_again = {"ending": Ending.COMPLETE, "counts": {}}

        assert whole is read().all_on_record
        assert whole is not bool(steps())
        left("journal", rows, **{**run, **whole_again})
        assert (not set(rows.values()) - {State.CONFIRMED, State.ALREADY_RECORDED}) is (
            read().all_on_record
        )


class TestAdvice:
    def test_each_kind_of_row_has_its_step(self, folder: pathlib.Path) -> None:
        """
        What is said is what to type, with the file and the target of the rows.
        """
        file = shlex.quote(str(folder / "payments.csv"))
        again = f"carevalidate confirm {file} --base-url {TARGET} --journal journal"
        left("journal", EVERY, ending=Ending.STOPPED_EARLY, reason="the vendor is down")

        assert {
            "run the same again: run 1 ended early (the vendor is down), and may have left rows "
            "unread; 2 rows may or may not be on record, and keep their keys; 1 row surely not on "
            "record": [again],
            "1 row refused by the vendor, which recorded nothing: this writes which ones, and why; "
            "correct them where they came from, and run that again": [
                "carevalidate export journal --state rejected --output rejected.csv",
                again,
            ],
        } == steps()

    def test_keys_that_are_too_old_need_a_person(self) -> None:
        """
        No run asks for them again, so that it is not said to run the same again.
        """
        left("journal", {"a": State.UNKNOWN})

        assert {
            "1 row may or may not be on record, and their keys are too old to be sent again: look "
            "the payments up at the vendor, and say what each one is": [
                "carevalidate export journal --state unknown --output unknown.csv",
                "carevalidate settle journal KEY --as recorded",
                "carevalidate settle journal KEY --as not-recorded",
            ]
        } == steps(now=NOW + 2 * DAY)

    def test_rows_that_are_in_no_journal_have_theirs(self, folder: pathlib.Path) -> None:
        """
        What cannot be sent stands in the file alone, and duplicates are for a person to decide.
        """
        counts = {"invalid": 1, "duplicates": 2, "to_decide": 2}
        left("journal", {"a": State.CONFIRMED}, counts=counts)
        file = str(folder / "payments.csv")
        again = f"carevalidate confirm {file} --base-url {TARGET} --journal journal"

        assert {
            f"1 row of {file} cannot be sent: this writes which ones, and why; correct them there, "
            "and run it again": [
                f"carevalidate export journal --state invalid --file {file} --output invalid.csv",
                again,
            ],
            f"2 rows of {file} equal to others and not sent: say whether they are the same "
            "payments, or payments of their own": [
                f"{again} --duplicates once",
                f"{again} --duplicates each",
            ],
        } == steps()

    @pytest.mark.parametrize(
        ("ending", "told"),
        [
            (None, "did not end (it was killed, or the machine failed)"),
            (Ending.INTERRUPTED, "was interrupted"),
        ],
    )
    def test_a_run_that_broke_off_is_named(self, ending: Ending | None, told: str) -> None:
        """
        Whatever ended it, rows may not have been read.
        """
        left("journal", {"a": State.CONFIRMED}, ending=ending)

        assert [f"run the same again: run 1 {told}, and may have left rows unread"] == [*steps()]

    @pytest.mark.parametrize(
        ("target", "options"),
        [
            ("https://api.care360-next.carevalidate.com", "--environment production"),
            ("https://api-staging.care360-next.carevalidate.com", "--environment staging"),
            ("http://127.0.0.1:8080", "--base-url http://127.0.0.1:8080"),
            ("sandbox", "--sandbox"),
        ],
    )
    def test_the_target_is_told_as_it_was_given(self, target: str, options: str) -> None:
        """
        Whatever the environment's variables say by now, the command goes where the rows went.
        """
        left("journal", {"a": State.NOT_SENT}, target=target, file=None)

        assert [[f"carevalidate confirm - {options} --journal journal <FILE"]] == [
            *steps().values()
        ]

    def test_names_are_quoted(self, folder: pathlib.Path) -> None:
        """
        A command can be pasted into a shell, whatever the files are called.
        """
        left("my journal", {"a": State.REJECTED}, file="my payments.jsonl")
        left("my journal", {"b": State.REJECTED, "c": State.NOT_SENT}, file="it's.csv")
        resume, export = steps("my journal").values()

        assert [str(folder / "it's.csv")] == [shlex.split(line)[2] for line in resume]
        assert [
            ["rejected.jsonl", str(folder / "my payments.jsonl")],
            ["rejected.csv", str(folder / "it's.csv")],
        ] == [[shlex.split(line)[8], shlex.split(line)[6]] for line in export[:2]]
        assert {"my journal"} == {shlex.split(line)[2] for line in export[:2]}
        assert [str(folder / name) for name in ("my payments.jsonl", "it's.csv")] == [
            shlex.split(line)[2] for line in export[2:]
        ]

    def test_nothing_that_somebody_corrected_is_overwritten(self, folder: pathlib.Path) -> None:
        """
        Neither a file that a run had nor another command's output is written.
        """
        for file in ("rejected.csv", "one.csv", "two.csv"):
            state = State.CONFIRMED if file == "rejected.csv" else State.REJECTED
            invalid = 0 if file == "rejected.csv" else 1
            left("journal", {file: state}, file=file, counts={"invalid": invalid})
        commands = [shlex.split(line) for lines in steps().values() for line in lines]

        assert ["rejected-2.csv", "rejected-3.csv", "invalid.csv", "invalid-2.csv"] == [
            words[-1] for words in commands if words[1] == "export"
        ]

    @pytest.mark.parametrize(
        ("duplicates", "age", "options"),
        [
            (Duplicates.REFUSE, DAY, ""),
            (Duplicates.EACH, DAY, " --duplicates each"),
            (Duplicates.ONCE, None, " --duplicates once --max-key-age forever"),
            (Duplicates.REFUSE, HOUR, " --max-key-age 1h"),
        ],
    )
    def test_a_file_is_run_again_as_it_was_run(
        self, duplicates: Duplicates, age: float | None, options: str
    ) -> None:
        """
        What the last run was told of equal rows and of old keys is not forgotten.
        """
        left("journal", {"a": State.UNKNOWN}, file=None, duplicates=duplicates, max_key_age=age)
        ((command,),) = steps().values()

        again = f"carevalidate confirm - --base-url {TARGET} --journal journal{options} <FILE"
        assert again == command

    def test_rows_of_standard_input_need_a_file(self) -> None:
        """
        Where they are now, nobody knows but who piped them.
        """
        left("journal", {"a": State.REJECTED}, file=None)

        assert [
            [
                "carevalidate export journal --state rejected --file FILE --output rejected.csv",
                f"carevalidate confirm - --base-url {TARGET} --journal journal <FILE",
            ]
        ] == [*steps().values()]


class TestCommand:
    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is a day and an hour after the journals were left."""
        now = SimpleNamespace(time=lambda: NOW + DAY + HOUR + 0.9)
        monkeypatch.setattr("carevalidate_async._commands.status.time", now)

    def test_it_tells_people_all_there_is(self, folder: pathlib.Path) -> None:
        """
        The counts, the row that is longest in doubt, the runs, and what to do next.
        """
        counts = {"rows": 8, "confirmed": 1, "rejected": 1, "invalid": 2, "duplicates": 1}
        left("journal", EVERY, counts=counts)
        left("journal", {"d": None}, at=NOW + HOUR, ending=None, file=None)
        result = command("status", "journal")
        file = folder / "payments.csv"
        top, _, below = result.stdout.partition("What to do next:\n")
        lines = below.splitlines()

        assert (1, "") == (result.exit_code, result.stderr)
        assert (
            f"""Journal: journal, of {TARGET}
6 rows, 2 on record, 5 attempts
  confirmed                 1
  on record already         1
  rejected                  1
  planned                   2
  not sent                  1
Longest in doubt: line 2 of -, key d, since 2027-01-15T08:00:00Z (25 hours, {OLD})
Runs:
  1  2027-01-15T08:00:00Z  {file}  complete: 1 confirmed, 1 rejected, 2 invalid, 1 duplicates
  2  2027-01-15T09:00:00Z  -  did not end
"""
            == top
        )
        assert [*Advice(journal="journal", status=read(now=NOW + DAY + HOUR)).steps()] == [
            Step(what=what, commands=commands) for what, commands in parsed(lines)
        ]

    def test_json_is_one_line_and_has_all_of_it(self, folder: pathlib.Path) -> None:
        """
        One object: counts, moments in UTC, ages in seconds, the runs, and the commands to type;
        what people read goes to standard error.
        """
        left("journal", EVERY, counts={"rows": 7, "invalid": 1})
        result = command("status", "journal", "--json")
        found = json.loads(result.stdout)
        file = str(folder / "payments.csv")

        assert command("status", "journal").stdout == result.stderr
        assert ["what", "commands"] == [*found.pop("next")[0]]
        assert {
            "journal": "journal",
            "target": TARGET,
            "rows": 6,
            "on_record": 2,
            **{str(state): 1 for state in State},
            "by_hand": 0,
            "gone": 0,
            "too_old": 2,
            "attempts": 5,
            "oldest": {
                "key": "d",
                "line": 5,
                "file": file,
                "since": "2027-01-15T08:00:00Z",
                "age": DAY + HOUR,
                "too_old": True,
            },
            "runs": [
                {
                    "number": 1,
                    "began_at": "2027-01-15T08:00:00Z",
                    "ended_at": "2027-01-15T08:00:00Z",
                    "file": file,
                    "version": __version__,
                    "max_key_age": DAY,
                    "duplicates": "refuse",
                    "ended": "complete",
                    "reason": None,
                    "counts": {"rows": 7, "invalid": 1},
                }
            ],
        } == found

    def test_where_nothing_is_left_it_says_so(self) -> None:
        """
        With every row on record the exit status is 0, and nothing is to be done.
        """
        left("journal", {"a": State.CONFIRMED})
        result = command("status", "journal")

        assert (0, "Nothing is left to do.") == (result.exit_code, result.stdout.splitlines()[-1])
        assert "in doubt" not in result.stdout

    def test_a_clock_that_went_back_is_told(self) -> None:
        """
        Since when a row is in doubt is said only where it is known.
        """
        left("journal", {"a": State.UNKNOWN}, at=NOW + 9 * DAY)
        result = command("status", "journal", "--json")
        oldest = json.loads(result.stdout.splitlines()[-1])["oldest"]

        assert "key a, since when nobody knows: the clock went back\n" in result.stderr
        assert (None, None, True) == (oldest["since"], oldest["age"], oldest["too_old"])

    @pytest.mark.parametrize(("most", "told"), [("25h", False), ("24h", True), ("forever", False)])
    def test_the_age_that_counts_can_be_said(self, most: str, told: bool) -> None:
        """
        As for a run.
        """
        left("journal", {"a": State.UNKNOWN})
        result = command("status", "journal", "--max-key-age", most)

        assert told is ("too old to be sent again" in result.stdout)

    @pytest.mark.parametrize("text", ["24", "a day", "-1h"])
    def test_an_age_that_is_none_is_refused(self, text: str) -> None:
        """
        Exit status 2, and what an age looks like.
        """
        left("journal", {})
        result = command("status", "journal", "--max-key-age", text)

        assert 2 == result.exit_code
        assert "must be a number with m, h or d" in result.stderr

    def test_the_age_of_the_last_run_counts_otherwise(self) -> None:
        """
        What a run did not ask for again is not said to be asked for again.
        """
        left("journal", {"a": State.UNKNOWN}, max_key_age=2 * DAY)
        young = command("status", "journal").stdout
        left("journal", {}, max_key_age=HOUR)
        old = command("status", "journal").stdout

        assert [False, True] == ["too old to be sent again" in text for text in (young, old)]

    def test_rows_that_a_person_settled_are_counted(self) -> None:
        """
        Whose word it is that they are on record stays visible.
        """
        left("journal", {"a": State.UNKNOWN, "b": State.UNKNOWN})
        command("settle", "journal", "a", "--as", "recorded")

        assert "Settled by a person: 1\n" in command("status", "journal").stdout

    def test_rows_that_are_gone_are_counted(self) -> None:
        """
        They are told, so that all rows are accounted for.
        """
        left("journal", {"a": State.REJECTED})
        left("journal", {"b": State.CONFIRMED})
        result = command("status", "journal")

        assert "Not on record, and not in their file any more: 1\n" in result.stdout
        assert 0 == result.exit_code


class TestUntouched:
    """Looking at a journal changes nothing about it."""

    def test_a_journal_at_rest(self) -> None:
        """
        Neither a byte of it, nor when it was changed, nor what lies beside it.
        """
        left("journal", EVERY)
        before = snapshot()
        command("status", "journal", "--json")

        assert before == snapshot()
        assert ["journal"] == list(before)

    def test_what_a_killed_run_left(self) -> None:
        """
        What is only in the log is read, and the log is left to the next run.
        """
        left_by_a_kill("journal", a="confirmed", b="unknown")
        before = snapshot()
        result = command("status", "journal", "--json")

        assert {"journal", "journal-wal"} == before.keys()
        assert before == snapshot()
        assert (2, 1) == tuple(
            json.loads(result.stdout.splitlines()[-1])[name] for name in ("rows", "unknown")
        )
        assert "run 1 did not end (it was killed, or the machine failed)" in result.stderr

    @pytest.mark.parametrize("name", ["status", "export"])
    def test_what_was_killed_at_its_very_end(self, folder: pathlib.Path, name: str) -> None:
        """
        What SQLite has to take back first, it takes back.
        """
        left("journal", EVERY)
        half_written("journal")
        options = ("--state", "confirmed", "--file", "p.csv") if name == "export" else ()
        (folder / "p.csv").write_text("case_id,amount,payment_date,valid_until,status\n")
        result = command(name, "journal", *options)

        assert "" == result.stderr if name == "status" else "0 written" in result.stderr
        assert {"journal", "p.csv"} == {path.name for path in folder.iterdir()}
        assert len(EVERY) == read().rows

    async def test_a_run_that_is_at_work(self) -> None:
        """
        It is said that one is, which is not disturbed and knows its rows.
        """
        await leave("journal", {"a": State.CONFIRMED})
        async with Journal("journal", target=TARGET) as journal:
            await journal.plan([Candidate(line=2, content="b")], Duplicates.REFUSE)
            before = glance()
            result = await asyncio.to_thread(outside, "status", "journal")

            assert before == glance()
            await journal.settle([Settlement(keys=["b"], state=State.CONFIRMED)])
        assert 2 == result.returncode
        assert (
            "Error: the journal journal is in use: another run is at work on it, or a command\n"
            == result.stderr
        )
        assert 2 == read().on_record

    def test_a_run_does_not_begin_meanwhile(self) -> None:
        """
        What is read is a journal at one moment.
        """
        left("journal", EVERY)
        for kill in (False, True):
            path = left_by_a_kill("killed", a="confirmed") if kill else "journal"
            with open_to_read(path) as db:
                assert db.execute("SELECT count(*) FROM rows").fetchone()[0]
                # In another process: locks are a process's, whoever in it asks.
                result = outside("settle", path, "d", "--as", "recorded")

                assert "is in use" in result.stderr
            assert 0 == len([name for name in snapshot() if name.endswith("-shm")])

    def test_a_log_that_appears_meanwhile_is_not_taken_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A run that is killed while the journal is being opened leaves what it had told.
        """
        left_by_a_kill("journal", a="confirmed")
        before = snapshot()
        exists = os.path.exists

        def late(path: str) -> bool:
            return exists(path) and not path.endswith("-wal")

        monkeypatch.setattr("carevalidate_async.journal._file.os.path.exists", late)
        command("status", "journal")

        assert before == snapshot()

    @pytest.mark.parametrize("kill", [False, True])
    def test_a_folder_that_nobody_can_write(self, folder: pathlib.Path, kill: bool) -> None:
        """
        A journal at rest can be read from anywhere; what a killed run left cannot, and it is said
        what to do.
        """
        with closed_folder() as closed:
            path = str(closed / "journal")
            if kill:
                left_by_a_kill(path, a="confirmed")
            else:
                left(path, {"a": State.CONFIRMED})
            command("status", path)  # loads what it needs
            with read_only(closed):
                result = command("status", path)

            assert (2 if kill else 0) == result.exit_code
            told = f"copy it, and {path}-wal, to a folder where it can"
            assert kill is (told in result.stderr)


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "journal is no journal"),
            (b"case_id,amount\n" * 99, "cannot be used: file is not a database"),
            (None, "is a database, but no journal"),
        ],
    )
    def test_what_is_no_journal_is_left_alone(self, content: bytes | None, message: str) -> None:
        """
        Exit status 2, one line, and not a byte changed.
        """
        if content is None:
            with sqlite3.connect("journal") as db:
                db.execute("CREATE TABLE precious (x)")
            db.close()
        else:
            pathlib.Path("journal").write_bytes(content)
        before = snapshot()
        result = command("status", "journal")

        assert (2, 1) == (result.exit_code, len(result.stderr.splitlines()))
        assert message in result.stderr
        assert before == snapshot()

    def test_somebody_s_log_is_left_alone(self) -> None:
        """
        Nor is anything left beside a database that has a log, whoever it belongs to.
        """
        with sqlite3.connect("journal") as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE precious (x)")
        db.close()
        before = snapshot()
        result = command("status", "journal")

        assert (2, ["journal"]) == (result.exit_code, list(before))
        assert before == snapshot()

    def test_what_is_not_there_is_named(self) -> None:
        """
        Nothing is made where nothing is.
        """
        result = command("status", "absent")

        assert 2 == result.exit_code
        assert "'absent' does not exist" in result.stderr
        assert {} == snapshot()
