from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import pathlib
import sqlite3
import stat
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async._files.fields import FileRow, content_key
from carevalidate_async._files.rows import RowReader
from carevalidate_async._run import export as rows_again
from carevalidate_async._run.export import Export
from carevalidate_async.idempotency import derive_idempotency_key
from carevalidate_async.journal import Candidate, Duplicates, Journal, Settlement, State
from carevalidate_async.journal._file import open_to_read
from carevalidate_async.sandbox import Fault, Sandbox
from cli_support import HEADER, good, run_with, running_sandbox, start, wait_for
from journal_support import DAY, NOW, command, left, left_by_a_kill, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from click.testing import Result

NO = Fault.HTML(status=400, body='{"success": false, "message": "no"}')
LOST = Fault.ERROR_AFTER
OK = Fault.OK


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The key of the sandbox, and a folder where nothing is yet."""
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
    monkeypatch.delenv("CAREVALIDATE_BASE_URL", raising=False)
    monkeypatch.delenv("CAREVALIDATE_ENVIRONMENT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served() -> Iterator[Sandbox]:
    with running_sandbox(api_key="test") as sandbox:
        yield sandbox


def write(name: str, *rows: str, header: str = HEADER) -> str:
    """Write rows, as CSV cells, in the format that the name ends with; return the name."""
    text = header + "".join(rows)
    if name.endswith(".jsonl"):
        found = csv.DictReader(io.StringIO(text))
        text = "".join(json.dumps({k: v for k, v in row.items() if v}) + "\n" for row in found)
    pathlib.Path(name).write_text(text, encoding="utf-8")
    return name


def confirm(served: Sandbox, file: str, *options: str, journal: str = "journal") -> dict[str, Any]:
    """Run a file, one row after the other and each once; return the counts."""
    slowly = ("--concurrency", "1", "--fixed", "--max-attempts", "1", "--max-outage", "0")
    where = ("--base-url", served.url, "--journal", journal)
    result = command("confirm", file, *where, *slowly, *options, "--json")
    found = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def export(*options: str, journal: str = "journal", output: str = "out.csv") -> Result:
    return command("export", journal, "--output", output, *options)


def exported(name: str = "out.csv") -> list[dict[str, str]]:
    with open(name, encoding="utf-8", newline="") as file:
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in file]
        return list(csv.DictReader(file))


def lines(name: str = "out.csv") -> list[int]:
    return [int(row["error_line"]) for row in exported(name)]


def key(number: int, nth: int = 1) -> str:
    """Return the key that the content of a good row gives, or that of one of its copies."""
    (row,) = RowReader(io.BytesIO((HEADER + good(number)).encode()))
    assert row.payment is not None
    content = content_key(row.payment)
    return content if nth == 1 else derive_idempotency_key(content, nth)


@pytest.mark.deep
class TestCircle:
    """What is exported can be run, and nothing is on record twice or not at all."""

    @pytest.mark.parametrize("name", ["payments.csv", "payments.jsonl"])
    @pytest.mark.parametrize("journal", ["journal", "another"])
    def test_what_is_unknown_is_settled_by_running_it(
        self, served: Sandbox, name: str, journal: str
    ) -> None:
        """
        With the same journal or with one of its own, an export asks under the keys that the rows
        had, copies among them: what is on record is told so, what is not is put there, each once.
        """
        served.script(OK, LOST, NO, Fault.DROP_BEFORE, LOST, OK, LOST)
        rows = [good(n) for n in (1, 2, 3, 4, 5, 5, 5)]
        output = f"out{pathlib.Path(name).suffix}"
        first = confirm(served, write(name, *rows), "--duplicates", "each")
        result = export("--state", "unknown", output=output)
        again = confirm(served, output, "--duplicates", "each", journal=journal)
        last = confirm(served, name, "--duplicates", "each")

        assert (2, 1, 4) == (first["confirmed"], first["rejected"], first["unknown"])
        assert 0 == result.exit_code
        assert ["case-2", "case-4", "case-5", "case-5"] == [
            row.get("case_id") or row["caseId"] for row in exported(output)
        ]
        assert [key(2), key(4), key(5), key(5, 3)] == [
            row["idempotency_key"] for row in exported(output)
        ]
        assert (3, 1) == (again["already_recorded"], again["confirmed"])
        assert (7, 0) == (last["confirmed"] + last["already_recorded"], last["unknown"])
        assert Counter({f"case-{n}": 1 for n in (1, 2, 3, 4)} | {"case-5": 3}) == Counter(
            payment.case_id for payment in served.payments
        )

    @pytest.mark.parametrize("name", ["payments.csv", "payments.jsonl"])
    def test_what_is_unknown_for_too_long_is_not_sent_by_any_run(
        self, served: Sandbox, name: str
    ) -> None:
        """
        A journal that does not know the keys would take them for new ones, so there are none to
        take; a person who says so gets them.
        """
        served.script(LOST, LOST)
        output = f"out{pathlib.Path(name).suffix}"
        first = confirm(served, write(name, good(1), f"{good(2).rstrip()}"))
        assert 2 == first["unknown"]
        with sqlite3.connect("journal") as db:
            aged = "UPDATE rows SET planned_at = planned_at - ? WHERE key = ?"
            db.execute(aged, (2 * DAY, key(1)))
        db.close()
        assert 0 == export("--state", "unknown", output=output).exit_code
        found = exported(output)
        other = confirm(served, output, journal="another")

        assert [f"\u2192 decide (was {key(1)})", key(2)] == [
            row["idempotency_key"] for row in found
        ]
        reason = "; its key may have been sent 2 days ago, which is longer than --max-key-age"
        assert [True, False] == [row["error_reason"].endswith(reason) for row in found]
        assert (1, 1) == (other["invalid"], other["already_recorded"])
        assert 2 == len(served.payments)

        export("--state", "unknown", "--max-key-age", "3d", output=output)
        assert [key(1), key(2)] == [row["idempotency_key"] for row in exported(output)]

    def test_what_is_rejected_is_corrected_and_run(self, served: Sandbox) -> None:
        """
        A corrected row is a payment with the key of what it says then, so that the file that it
        came from, corrected as well, does not record it a second time.
        """
        served.script(OK, NO)
        confirm(served, write("payments.csv", good(1), good(2)))
        export("--state", "rejected")
        corrected = pathlib.Path("out.csv").read_text().replace("case-2,2.50", "case-2,2.75")
        pathlib.Path("out.csv").write_text(corrected)
        confirm(served, "out.csv", journal="own")
        write("payments.csv", good(1), good(2).replace("2.50", "2.75"))
        last = confirm(served, "payments.csv")

        assert (1, 1) == (last["confirmed"], last["already_recorded"])
        assert 2 == len(served.payments)

    def test_a_rejected_copy_keeps_its_key(self, served: Sandbox) -> None:
        """
        The second of two equal rows, run by itself, is not taken for the first, which is on record.
        """
        served.script(OK, NO)
        confirm(served, write("payments.csv", good(1), good(1)), "--duplicates", "each")
        export("--state", "rejected")
        again = confirm(served, "out.csv", journal="own")

        assert [f"\u2192 copy 2 of {key(1)}"] == [row["idempotency_key"] for row in exported()]
        assert 1 == again["confirmed"]
        assert [key(1), key(1, 2)] == [payment.idempotency_key for payment in served.payments]

    @pytest.mark.parametrize("journal", ["journal", "own"])
    @pytest.mark.parametrize("way", ["rejects", "export"])
    @pytest.mark.parametrize("name", ["payments.csv", "payments.jsonl"])
    def test_a_rejected_copy_that_is_corrected_is_another_payment(
        self, served: Sandbox, name: str, way: str, journal: str
    ) -> None:
        """
        It has the key of what it says then, so that the file that it came from, corrected as well,
        does not record it a second time.
        """
        served.script(OK, NO)
        output = f"out{pathlib.Path(name).suffix}"
        rejects = ("--rejects", output) if way == "rejects" else ()
        confirm(served, write(name, good(1), good(1)), "--duplicates", "each", *rejects)
        if way == "export":
            export("--state", "rejected", output=output)
        corrected = pathlib.Path(output).read_text(encoding="utf-8").replace("1.50", "1.75")
        pathlib.Path(output).write_text(corrected, encoding="utf-8")
        once = confirm(served, output, journal=journal)
        write(name, good(1), good(1).replace("1.50", "1.75"))
        last = confirm(served, name, "--duplicates", "each")

        assert 1 == once["confirmed"]
        assert 2 == last["confirmed"] + last["already_recorded"]
        assert 2 == len(served.payments)

    def test_what_is_surely_not_recorded_is_another_payment_once_it_is_corrected(
        self, served: Sandbox
    ) -> None:
        """
        An exported row has the key that it may be on record under; when a person says that it is
        not, a corrected one is not sent under it.
        """
        served.script(Fault.DROP_BEFORE)
        confirm(served, write("payments.csv", good(1)))
        export("--state", "unknown")
        command("settle", "journal", key(1), "--as", "not-recorded")
        corrected = pathlib.Path("out.csv").read_text(encoding="utf-8").replace("1.50", "1.75")
        pathlib.Path("out.csv").write_text(corrected, encoding="utf-8")
        confirm(served, "out.csv")
        last = confirm(served, write("payments.csv", good(1).replace("1.50", "1.75")))

        assert 1 == last["confirmed"] + last["already_recorded"]
        assert 1 == len(served.payments)

    def test_what_a_killed_run_had_planned_is_unknown(self, served: Sandbox) -> None:
        """
        Whether it was sent, nobody knows; an export has it, out of what is only in the log.
        """
        served.script(OK, Fault.HANG_AFTER)
        file = write("payments.csv", *map(good, range(3)))
        options = ("--base-url", served.url, "--journal", "journal", "--concurrency", "1")
        run = start("confirm", file, *options)
        wait_for(lambda: len(served.payments) == 2)
        run.kill()
        run.communicate()
        before = snapshot()
        result = export("--state", "unknown")
        del before["payments.csv"]

        assert 0 == result.exit_code
        assert {2, 3, 4} >= set(lines()) >= {3, 4}
        assert before == {name: was for name, was in snapshot().items() if name in before}
        again = confirm(served, "out.csv", journal="another")
        assert len(lines()) == again["already_recorded"] + again["confirmed"]
        assert 3 == len(served.payments)


class TestRows:
    def test_each_state_has_its_rows(self, served: Sandbox) -> None:
        """
        Rows come in the order of their file, each with what became of it, and with its key where it
        may be on record.
        """
        served.script(OK, NO, LOST, Fault.RATE_LIMIT(retry_after=500))
        rows = [*map(good, range(1, 5)), "case-9,-1,2026-01-05,2026-02-05,PAID\n"]
        confirm(served, write("payments.csv", *rows))
        found = {}
        for state in ("confirmed", "rejected", "unknown", "not_sent", "invalid"):
            assert 0 == export("--state", state).exit_code
            ((found[state]),) = exported()

        assert {
            "confirmed": ("2", "confirmed", key(1)),
            "rejected": ("3", "rejected: BadRequestError, HTTP 400", ""),
            "unknown": ("4", "unknown: InternalServerError, HTTP 500", key(3)),
            "not_sent": ("5", "not_sent: RateLimitError, HTTP 429", ""),
            "invalid": ("6", "must not be negative; a refund is a status", ""),
        } == {
            state: (row["error_line"], row["error_reason"], row["idempotency_key"])
            for state, row in found.items()
        }
        assert ("case-9", "amount") == (
            found["invalid"]["case_id"],
            found["invalid"]["error_field"],
        )

    def test_several_states_are_one_file(self, served: Sandbox) -> None:
        """
        Given with commas or one by one, in the order of the file.
        """
        served.script(NO, OK, LOST)
        confirm(served, write("payments.csv", *map(good, range(3)), "x,y\n"))
        for options in (
            ("--state", "invalid, unknown", "--state", "rejected"),
            ("--state", "rejected", "--state", "unknown", "--state", "invalid"),
        ):
            export(*options)

            assert [2, 4, 5] == lines()

    def test_rows_have_their_own_keys(self, served: Sandbox) -> None:
        """
        A key that the file gives is the key, though another row says the same.
        """
        header = HEADER.replace("\n", ",idempotency_key\n")
        rows = [good(1).replace("\n", f",{own}\n") for own in ("k1", "", "k2")]
        served.script(LOST, OK, LOST)
        confirm(served, write("payments.csv", *rows, header=header))
        export("--state", "unknown")

        assert [("2", "k1"), ("4", "k2")] == [
            (row["error_line"], row["idempotency_key"]) for row in exported()
        ]

    def test_equal_rows_take_the_keys_that_are_wanted(self, served: Sandbox) -> None:
        """
        They are alike: if one of them was deleted since, those that are left stand for those that
        are wanted.
        """
        served.script(OK, LOST, OK, LOST)
        confirm(served, write("payments.csv", *[good(1)] * 4), "--duplicates", "each")
        write("payments.csv", good(7), good(1), good(1))
        result = export("--state", "unknown")

        assert 0 == result.exit_code
        assert [("3", key(1, 2)), ("4", key(1, 4))] == [
            (row["error_line"], row["idempotency_key"]) for row in exported()
        ]
        assert 1 == export("--state", "confirmed,unknown").exit_code

    def test_rows_that_the_file_no_longer_has_are_named(
        self, served: Sandbox, folder: pathlib.Path
    ) -> None:
        """
        A row that may be on record and was edited or deleted is told by its key: exit status 1.
        """
        served.script(LOST, LOST, OK)
        confirm(served, write("payments.csv", *map(good, (1, 2, 3))))
        write("payments.csv", good(1).replace("1.50", "1.75"), good(2))
        result = export("--state", "unknown")
        file = folder / "payments.csv"

        assert 1 == result.exit_code
        assert [3] == lines()
        assert [
            f"not in {file}: key {key(1)}, last seen in line 2 of {file}",
            f"1 written, of {file}; 1 not found there",
            "1 rows of it are in no run of this journal yet",
        ] == result.stderr.splitlines()

    def test_rows_that_were_corrected_and_run_are_not_missed(self, served: Sandbox) -> None:
        """
        What was refused, and is not in its file any more, needs nothing.
        """
        served.script(NO)
        confirm(served, write("payments.csv", good(1)))
        confirm(served, write("payments.csv", good(1).replace("1.50", "1.75")))

        assert 0 == export("--state", "rejected").exit_code
        assert [] == lines()

    def test_rows_that_only_the_run_found_invalid_are_told(self, served: Sandbox) -> None:
        """
        Of two payments under one key, neither of which is on record, each might be the right one.
        """
        served.script(NO)
        header = HEADER.rstrip() + ",idempotency_key\n"
        rows = [f"{good(number).rstrip()},own\n" for number in (1, 2)]
        first = confirm(served, write("payments.csv", *rows, header=header))
        result = export("--state", "invalid")

        assert (1, 1) == (first["rejected"], first["invalid"])
        assert 1 == result.exit_code
        assert "1 more were invalid in its last run" in result.stderr

    def test_a_row_under_another_payment_s_key_is_invalid(self, served: Sandbox) -> None:
        """
        It is left for a person to decide, as in a rejects file; a row that has the key of one that
        was refused is a correction that no run came to yet.
        """
        header = HEADER.replace("\n", ",idempotency_key\n")
        served.script(OK, NO)
        rows = [good(n).replace("\n", f",k{n}\n") for n in (1, 2)]
        confirm(served, write("payments.csv", *rows, header=header))
        write("payments.csv", *[row.replace(".50", ".75") for row in rows], header=header)
        result = export("--state", "invalid")
        assert 1 == export("--state", "confirmed", output="other.csv").exit_code

        assert [("2", "\u2192 decide (was k1)", "a run used this key for another payment")] == [
            (row["error_line"], row["idempotency_key"], row["error_reason"]) for row in exported()
        ]
        assert "1 rows of it are in no run of this journal yet" in result.stderr

    def test_a_file_without_such_rows_gives_an_empty_one(self, served: Sandbox) -> None:
        """
        It has its column names and nothing else.
        """
        confirm(served, write("payments.csv", good(1)))
        result = export("--state", "rejected")

        assert 0 == result.exit_code
        assert f"error_line,error_field,error_reason,idempotency_key,{HEADER}" == (
            pathlib.Path("out.csv").read_text()
        )


class TestFiles:
    def test_a_file_that_was_moved_is_named(self, served: Sandbox) -> None:
        """
        The same rows under another name are the same rows.
        """
        served.script(LOST)
        confirm(served, write("payments.csv", good(1)))
        pathlib.Path("payments.csv").rename("moved.csv")
        gone = export("--state", "unknown")
        found = export("--state", "unknown", "--file", "moved.csv")

        assert 2 == gone.exit_code
        assert "payments.csv: No such file or directory" in gone.stderr
        assert (0, [2]) == (found.exit_code, lines())

    def test_rows_of_standard_input_are_looked_for_where_it_is_said(self, served: Sandbox) -> None:
        """
        What was piped into a run is named, or piped again.
        """
        served.script(LOST)
        write("payments.csv", good(1))
        options = ("confirm", "-", "--base-url", served.url, "--journal", "journal")
        run_with("<payments.csv", *options, "--max-attempts", "1", "--max-outage", "0")
        silent = export("--state", "unknown")
        piped = run_with("<payments.csv", "export", "journal", "--state", "unknown", "--file", "-")

        assert 2 == silent.exit_code
        assert "came from standard input; say with --file where they are now" in silent.stderr
        assert 0 == piped.returncode
        assert piped.stdout.splitlines()[1].startswith('2,,"unknown: ')

    def test_rows_of_several_files_are_exported_one_by_one(
        self, served: Sandbox, folder: pathlib.Path
    ) -> None:
        """
        One file cannot have the columns of two; whose rows are in the other is told.
        """
        served.script(LOST, LOST)
        confirm(served, write("one.csv", good(1)))
        confirm(served, write("two.jsonl", good(2)))
        both = export("--state", "unknown")
        one = export("--state", "unknown", "--file", "one.csv")

        assert 2 == both.exit_code
        assert f"from which: {folder / 'one.csv'}, {folder / 'two.jsonl'}" in both.stderr
        assert (1, [2]) == (one.exit_code, lines())
        assert f"key {key(2)}, last seen in line 1 of {folder / 'two.jsonl'}" in one.stderr

    def test_a_packed_file_is_read_as_a_run_reads_it(self, served: Sandbox) -> None:
        """
        Whatever a run can read can be exported.
        """
        served.script(LOST)
        pathlib.Path("payments.csv.gz").write_bytes(gzip.compress((HEADER + good(1)).encode()))
        confirm(served, "payments.csv.gz")

        assert 0 == export("--state", "unknown").exit_code
        assert [2] == lines()

    def test_the_format_can_be_said(self, served: Sandbox) -> None:
        """
        As for a run.
        """
        confirm(served, write("payments.csv", good(1)))
        result = export("--state", "invalid", "--format", "jsonl", output="out.jsonl")

        assert 0 == result.exit_code
        assert [1, 2] == lines("out.jsonl")

    def test_only_its_owner_can_read_it(self, served: Sandbox) -> None:
        """
        It holds what the rows hold, also where a file was there that everybody could read.
        """
        confirm(served, write("payments.csv", good(1)))
        pathlib.Path("out.csv").touch(0o666)
        pathlib.Path("out.csv").chmod(0o666)
        export("--state", "confirmed")

        assert 0o600 == stat.S_IMODE(pathlib.Path("out.csv").stat().st_mode)

    @pytest.mark.parametrize("output", ["payments.csv", "journal", "journal-wal", "./link"])
    def test_neither_the_rows_nor_the_journal_are_overwritten(self, output: str) -> None:
        """
        Under whatever name, and what a killed run left in its log included.
        """
        write("payments.csv", good(1))
        left_by_a_kill("journal", a="unknown")
        pathlib.Path("link").symlink_to("payments.csv")
        before = snapshot()
        result = export("--state", "unknown", "--file", "payments.csv", output=output)

        assert 2 == result.exit_code
        assert "are the same file" in result.stderr
        assert before == snapshot()

    def test_a_file_that_cannot_be_written_is_named(self, served: Sandbox) -> None:
        """
        Exit status 2, and what was written is not taken for whole.
        """
        confirm(served, write("payments.csv", *map(good, range(5))))
        absent = export("--state", "confirmed", output="no/out.csv")
        full = export("--state", "confirmed", output="/dev/full")

        assert (2, 2) == (absent.exit_code, full.exit_code)
        assert "Error: no/out.csv: No such file or directory" in absent.stderr
        assert "No space left on device" in full.stderr

    @pytest.mark.parametrize(
        ("text", "reason"),
        [("", "it is empty"), ("a,b\n1,2\n", "columns are missing"), ("[{}]", "a JSON array")],
    )
    def test_a_file_that_is_none_is_named(self, text: str, reason: str) -> None:
        """
        As a run would.
        """
        left("journal", {"a": State.UNKNOWN})
        pathlib.Path("payments.csv").write_text(text)
        result = export("--state", "unknown")

        assert 2 == result.exit_code
        assert reason in result.stderr
        assert not pathlib.Path("out.csv").exists()


class TestStreams:
    def test_standard_output_is_where_it_goes(self, served: Sandbox) -> None:
        """
        Rows go there and words to standard error.
        """
        confirm(served, write("payments.csv", good(1)))
        result = run_with("", "export", "journal", "--state", "confirmed")

        assert 0 == result.returncode
        assert 2 == len(result.stdout.splitlines())
        assert "1 written, of " in result.stderr

    def test_standard_output_that_is_full_is_told(self, served: Sandbox) -> None:
        """
        Rows that went nowhere are no success.
        """
        confirm(served, write("payments.csv", good(1)))
        result = run_with(">/dev/full", "export", "journal", "--state", "confirmed")

        assert 2 == result.returncode
        expected = "Error: standard output cannot be written: No space left on device\n"
        assert expected == result.stderr


class TestRefused:
    @pytest.mark.parametrize("state", ["planned", "duplicates", "Unknown", "", "unknown,lost"])
    def test_a_state_that_is_none(self, state: str) -> None:
        """
        The states are those of the summary; what was planned is unknown.
        """
        left("journal", {"a": State.UNKNOWN})
        result = export("--state", state)

        assert 2 == result.exit_code
        assert "is not one of confirmed, already_recorded, rejected, unknown" in result.stderr

    def test_no_state(self) -> None:
        """
        What is wanted has to be said.
        """
        left("journal", {"a": State.UNKNOWN})

        assert "Missing option '--state'" in export().stderr

    def test_no_journal(self) -> None:
        """
        It is named, and left as it is.
        """
        write("payments.csv", good(1))
        result = export("--state", "unknown", journal="payments.csv")

        assert 2 == result.exit_code
        assert "file is not a database" in result.stderr

    async def test_while_a_run_is_at_work(self) -> None:
        """
        What it is doing is not known yet.
        """
        write("payments.csv", good(1))
        async with Journal("journal", target="t"):
            result = await asyncio.to_thread(export, "--state", "unknown")

        assert 2 == result.exit_code
        assert "another run is at work on it" in result.stderr
        assert "out.csv" not in snapshot()


def rows_of(numbers: Sequence[int]) -> Iterator[FileRow]:
    text = HEADER + "".join(map(good, numbers))
    yield from RowReader(io.BytesIO(text.encode()))


class TestLarge:
    def test_memory_does_not_grow_with_the_file(self) -> None:
        """
        A row of the journal takes a bit, and a row of the file nothing once it is written.
        """
        count = 4000
        keys = [content_key(row.payment) for row in rows_of(range(count)) if row.payment]
        left("journal", dict.fromkeys(keys, State.UNKNOWN))
        found = rows_of(range(count))
        with open_to_read("journal") as db:
            export = Export(db, [], [State.UNKNOWN], now=NOW, max_key_age=None)
            sizes = []
            tracemalloc.start()
            for _ in range(count // 100):
                batch = [next(found) for _ in range(100)]
                assert 100 == len(list(export.take(batch)))
                sizes.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()

            assert [] == list(export.missing())
        assert sizes[-1] - sizes[5] < 20_000

    def test_nor_with_the_length_of_its_rows(
        self, served: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Long rows are looked up a few at a time.
        """
        monkeypatch.setattr("carevalidate_async._commands.export._MOST_BYTES", 2**20)
        long = "x" * 100_000
        text = HEADER.replace("\n", ",note\n") + "".join(
            good(n).replace("\n", f",{long}\n") for n in range(300)
        )
        pathlib.Path("payments.csv").write_text(text, encoding="utf-8")
        assert 300 == confirm(served, "payments.csv")["confirmed"]
        tracemalloc.start()
        result = export("--state", "confirmed")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert 0 == result.exit_code
        assert 300 == len(lines())
        assert most < len(text) / 4

    async def test_many_equal_rows_take_no_longer_each(self) -> None:
        """
        Where the next copy is, an index tells, and those before it are not looked at again.
        """
        async with Journal("journal", target="t") as journal:
            rows = [Candidate(line=line, content=key(1)) for line in range(3000)]
            plans = await journal.plan(rows, Duplicates.EACH)
            await journal.settle(
                [
                    Settlement(keys=[plan.key], state=State.CONFIRMED if n % 2 else State.UNKNOWN)
                    for n, plan in enumerate(plans)
                ]
            )
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        costs = []
        with open_to_read("journal") as db:
            export = Export(db, [], [State.UNKNOWN], now=NOW, max_key_age=None)
            db.set_progress_handler(count, 100)
            for _ in range(3):
                steps = 0
                found = list(export.take(list(rows_of([1] * 1000))))
                costs.append((len(found), steps))
            plan = db.execute(
                f"EXPLAIN QUERY PLAN {rows_again._NEXT_COPY}",
                {"content": "a", "reached": 1, "states": "[]", "overtaken": "[]"},
            ).fetchall()

        assert [1000, 500, 0] == [taken for taken, _ in costs]
        assert costs[2][1] < costs[0][1] * 2
        assert any("INDEX copies (content=? AND nth>?)" in step[-1] for step in plan)
