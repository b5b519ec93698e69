"""What ``confirm`` makes of its journal: whose it is, how old its keys are, how a run ended."""

from __future__ import annotations

import csv
import json
import pathlib
import shlex
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from carevalidate_async import cli
from carevalidate_async.journal import Journal, JournalError
from carevalidate_async.journal._file import open_to_read
from carevalidate_async.journal._runs import past_runs
from carevalidate_async.sandbox import Fault, Sandbox
from cli_support import HEADER, good, run_with, running_sandbox, start, wait_for
from journal_support import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from carevalidate_async.journal._runs import PastRun

LOST = Fault.ERROR_AFTER


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


def payments(*numbers: int, name: str = "payments.csv") -> str:
    pathlib.Path(name).write_text(HEADER + "".join(map(good, numbers)))
    return name


def confirm(served: Sandbox, file: str, *options: str, key: str | None = "test") -> Result:
    """Run a file, each row once; with another API key, or none, if that is said."""
    once = ("--concurrency", "1", "--fixed", "--max-attempts", "1", "--max-outage", "0")
    arguments = ["confirm", file, "--base-url", served.url, "--journal", "journal", *once]
    runner = CliRunner(env={"CAREVALIDATE_API_KEY": key})
    return runner.invoke(cli.cli, [*arguments, *options, "--json"])


def document(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def grow_old(days: float) -> None:
    """Let all keys have been sent so long ago."""
    with sqlite3.connect("journal") as db:
        db.execute("UPDATE rows SET planned_at = planned_at - ?", (days * 86_400,))
    db.close()


def past() -> list[PastRun]:
    with open_to_read("journal") as db:
        return list(past_runs(db))


class TestCredential:
    def test_another_organization_s_key_is_refused(self, served: Sandbox) -> None:
        """
        Exit status 2 before anything is sent: rows on record in the one organization would silently
        not be sent to the other.
        """
        confirm(served, payments(1))
        result = confirm(served, "payments.csv", key="another-key")

        assert 2 == result.exit_code
        assert "Error: the journal journal was begun with another API key" in result.stderr
        assert "scoped per organization" in result.stderr
        assert "another-key" not in result.output
        assert 1 == served.received

    def test_a_rotated_key_is_said_once(self, served: Sandbox) -> None:
        """
        From then on the old key is another organization's.
        """
        confirm(served, payments(1))
        rotated = confirm(served, "payments.csv", "--rotated-key", key="new")
        again = confirm(served, "payments.csv", key="new")
        old = confirm(served, "payments.csv")

        assert [0, 0, 2] == [result.exit_code for result in (rotated, again, old)]

    def test_a_mistyped_key_does_not_bind_the_journal(self, served: Sandbox) -> None:
        """
        Where the vendor refused the key, nothing is on record, and the right key goes on.
        """
        refused = confirm(served, payments(1), key="mistyped")
        again = confirm(served, "payments.csv")

        assert [2, 0] == [refused.exit_code, again.exit_code]

    @pytest.mark.parametrize(("key", "status"), [(None, 0), ("test", 0), ("another", 2)])
    def test_a_rehearsal_needs_none(self, served: Sandbox, key: str | None, status: int) -> None:
        """
        Without a key nothing is looked at; with one it is told what a run would say.
        """
        confirm(served, payments(1))

        assert status == confirm(served, "payments.csv", "--dry-run", key=key).exit_code

    def test_a_sandbox_of_its_own_is_nobody_s(self) -> None:
        """
        With --sandbox the journal is the sandbox's, whatever key is in the environment.
        """
        options = ("confirm", payments(1), "--sandbox", "--journal", "journal")
        for key in ("one", "two"):
            result = CliRunner(env={"CAREVALIDATE_API_KEY": key}).invoke(cli.cli, options)

            assert 0 == result.exit_code


class TestKeyAge:
    def test_a_row_whose_key_is_old_is_not_sent_again(self, served: Sandbox) -> None:
        """
        A vendor that has forgotten the key would record the payment twice: the row is unknown,
        named with its key, and it is said where to look what to do.
        """
        served.script(LOST)
        confirm(served, payments(1))
        grow_old(2)
        received = served.received
        result = confirm(served, payments(1, 2))

        assert (1, 1, 1) == (
            result.exit_code,
            document(result)["unknown"],
            document(result)["confirmed"],
        )
        assert 1 == served.received - received
        assert "line 2: unknown: not asked for again: key cv1-" in result.stderr
        assert "may have been sent 2 days ago, which is longer than --max-key-age" in result.stderr
        assert (
            "Not asked for again: 1 of the unknown rows, since the vendor may have forgotten their "
            "keys (--max-key-age). Look them up there; what to do then says: carevalidate status "
            "journal\n" in result.stderr
        )

    @pytest.mark.parametrize(("most", "sent"), [("47h", 0), ("49h", 1), ("3d", 1), ("forever", 1)])
    def test_who_knows_better_says_so(self, served: Sandbox, most: str, sent: int) -> None:
        """
        A larger age, or any age, has the row asked for again.
        """
        served.script(LOST)
        confirm(served, payments(1))
        grow_old(2)
        result = confirm(served, "payments.csv", "--max-key-age", most)

        assert (sent, 1 - sent) == (
            document(result)["already_recorded"],
            document(result)["unknown"],
        )

    def test_an_age_that_is_none_is_refused(self) -> None:
        """
        Nothing is guessed.
        """
        result = command("confirm", payments(1), "--sandbox", "--max-key-age", "24")

        assert 2 == result.exit_code
        assert (
            "must be a number with m, h or d, such as 90m, 36h or 7d, or forever" in result.stderr
        )

    def test_what_a_person_found_out_ends_it(self, served: Sandbox) -> None:
        """
        The whole way: a run that cannot go on, the commands that its status tells, and a run that
        puts on record what was not.
        """
        served.script(LOST, Fault.DROP_BEFORE)
        confirm(served, payments(1, 2))
        grow_old(2)
        confirm(served, "payments.csv")
        status = json.loads(command("status", "journal", "--json").stdout.splitlines()[-1])
        (step,) = status["next"]
        look, recorded, not_recorded = (shlex.split(line)[1:] for line in step["commands"])
        command(*look)
        with open("unknown.csv", encoding="utf-8", newline="") as file:
            cells = [row["idempotency_key"] for row in csv.DictReader(file)]
        assert all(cell.startswith("→ decide (was ") for cell in cells)
        keys = [cell.removeprefix("→ decide (was ").removesuffix(")") for cell in cells]
        for line, key in zip((recorded, not_recorded), keys, strict=True):
            assert 0 == command(*[key if word == "KEY" else word for word in line]).exit_code
        last = confirm(served, "payments.csv")

        assert (1, 1, 0) == (
            document(last)["already_recorded"],
            document(last)["confirmed"],
            last.exit_code,
        )
        assert ["case-1", "case-2"] == [payment.case_id for payment in served.payments]
        assert 0 == command("status", "journal").exit_code


class TestRuns:
    def test_each_says_how_it_ended(self, served: Sandbox, folder: pathlib.Path) -> None:
        """
        Complete, ended early with the reason, or interrupted, with its counts.
        """
        confirm(served, payments(1))
        confirm(served, payments(1, 2, 2), "--duplicates", "once", key="test")
        served.script(Fault.HTML(status=401))
        confirm(served, payments(1, 2, 3))
        served.script(Fault.DELAY(seconds=0.3), *[Fault.DELAY(seconds=0.1)] * 900)
        payments(*range(900))
        options = ("--base-url", served.url, "--journal", "journal", "--concurrency", "1")
        before = served.received
        run = start("confirm", "payments.csv", *options)
        wait_for(lambda: served.received > before)
        run.terminate()
        run.communicate(timeout=30)
        first, second, third, fourth = past()

        assert ["complete", "complete", "stopped early", "interrupted"] == [
            run.ended for run in (first, second, third, fourth)
        ]
        assert {str(folder / "payments.csv")} == {run.file for run in (first, second, third)}
        assert (1, 1, 0) == (first.count("rows"), first.count("confirmed"), first.count("invalid"))
        assert (1, 0) == (second.count("duplicates"), second.count("to_decide"))
        assert "the vendor refuses the API key" in str(third.reason)
        assert fourth.count("rows") >= 1

    def test_another_file_is_told_what_the_journal_was_begun_with(
        self, served: Sandbox, folder: pathlib.Path
    ) -> None:
        """
        Once, and harmlessly: rows that both files have are on record.
        """
        confirm(served, payments(1))
        other = confirm(served, payments(1, 2, name="other.csv"))
        same = confirm(served, "payments.csv")

        told = f"The journal was begun with {folder / 'payments.csv'}\n"
        assert (1, 0) == (other.stderr.count(told), same.stderr.count("was begun with"))
        assert 2 == len(served.payments)
        assert (0, 2) == (other.exit_code, document(other)["confirmed"])

    def test_standard_input_is_told_so(self, served: Sandbox) -> None:
        """
        A journal that began with a pipe says that.
        """
        payments(1)
        options = ("--base-url", served.url, "--journal", "journal")
        run_with("<payments.csv", "confirm", "-", *options)

        assert "was begun with standard input\n" in confirm(served, "payments.csv").stderr

    def test_an_end_that_cannot_be_written_is_told(
        self, served: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        It changes nothing about what the run did, nor its exit status.
        """

        async def fail(*_: object) -> None:
            raise JournalError("database or disk is full")

        monkeypatch.setattr(Journal, "end", fail)
        result = confirm(served, payments(1))

        assert (0, 1) == (result.exit_code, document(result)["confirmed"])
        expected = "How the run ended is not in its journal: database or disk is full\n"
        assert expected in result.stderr


class TestTrouble:
    def test_a_disk_that_is_full_ends_the_run_and_loses_nothing(self, served: Sandbox) -> None:
        """
        A journal that may not grow any more stops the run; what was sent is known or in doubt, and
        with more room the same command puts each payment on record exactly once.
        """
        count = 3000
        options = (payments(*range(count)), "--base-url", served.url, "--journal", "journal")
        limited = ["sh", "-c", 'ulimit -f 2000; exec "$@"', "sh"]  # blocks of 512 or of 1024 bytes
        full = subprocess.run(
            [*limited, sys.executable, "-m", "carevalidate_async", "confirm", *options, "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(full.stdout.splitlines()[-1])
        status = command("status", "journal", "--json")
        again = confirm(served, "payments.csv", "--concurrency", "64", "--max-attempts", "9")

        assert 1 == full.returncode, full.stderr
        assert "the run cannot go on: the journal journal cannot be used" in full.stderr
        assert count > found["confirmed"] > 0
        assert found["rows"] == sum(found[name] for name in ("confirmed", "unknown", "not_sent"))
        assert 1 == status.exit_code
        assert found["confirmed"] == json.loads(status.stdout.splitlines()[-1])["confirmed"]
        assert (0, count) == (again.exit_code, len(served.payments))
        assert count == len({payment.case_id for payment in served.payments})

    def test_somebody_s_database_is_left_alone(self, served: Sandbox) -> None:
        """
        Exit status 2, and nothing is sent or changed.
        """
        with sqlite3.connect("journal") as db:
            db.execute("CREATE TABLE precious (x)")
        db.close()
        before = pathlib.Path("journal").read_bytes()
        result = confirm(served, payments(1))

        assert (2, 0) == (result.exit_code, served.received)
        assert "journal is a database, but no journal; name another file" in result.stderr
        assert before == pathlib.Path("journal").read_bytes()

    def test_a_journal_of_another_version_is_left_alone(self, served: Sandbox) -> None:
        """
        Nor is one guessed at that a later version of the package wrote.
        """
        confirm(served, payments(1))
        with sqlite3.connect("journal") as db:
            db.execute("PRAGMA user_version = 1")
        db.close()
        before = pathlib.Path("journal").read_bytes()
        for name, *options in (
            ("status",),
            ("export", "--state", "unknown"),
            ("settle", "--as", "recorded", "k"),
        ):
            result = command(name, "journal", *options)

            assert 2 == result.exit_code
            assert "has format 1, and this version of the package reads format 3" in result.stderr
        assert 2 == confirm(served, "payments.csv").exit_code
        assert before == pathlib.Path("journal").read_bytes()
