from __future__ import annotations

import gc
import io
import json
import os
import pathlib
import pty
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import carevalidate_async
from carevalidate_async import CareValidate, cli
from carevalidate_async._commands import progress, voice
from carevalidate_async._run import file_run
from carevalidate_async._run.counts import Counts, Summary
from carevalidate_async._run.sight import Sight, in_words
from carevalidate_async._run.tiles import Latency, Span
from carevalidate_async.journal import Duplicates
from carevalidate_async.sandbox import Fault, Sandbox
from cli_support import HEADER, good, run_with, running_sandbox, start, unread, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
KEYS = [
    *("rows", "confirmed", "already_recorded", "rejected", "invalid", "duplicates", "unknown"),
    *("not_sent", "attempts", "elapsed_s", "rows_per_s", "journal", "exit_status", "ending"),
    *("stopped_by", "dry_run", "already_known", "retries", "whole", "estimated_rows"),
    *("rejects", "report"),
]


ROW = {
    "case_id": "c",
    "amount": "9",
    "payment_date": "2026-01-05",
    "valid_until": "2026-02-05",
    "status": "PAID",
}


@pytest.fixture
def served() -> Iterator[Sandbox]:
    with running_sandbox(api_key="test") as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Signals are handled as before: this process outlives a command that takes it for its own."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """The key of the sandbox, and a folder where nothing is yet."""
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
    monkeypatch.delenv("CAREVALIDATE_BASE_URL", raising=False)
    monkeypatch.delenv("CAREVALIDATE_ENVIRONMENT", raising=False)
    monkeypatch.chdir(tmp_path)
    # Wherever a default goes wrong, no vendor is at the other end.
    for name in ("production", "staging"):
        monkeypatch.setitem(_origins(), name, f"https://{name}.invalid")


def _origins() -> dict[str, str]:
    from carevalidate_async import carevalidate

    assert isinstance(carevalidate.ORIGINS, dict)
    return carevalidate.ORIGINS


def confirm(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli.cli, ["confirm", *arguments], input=stdin)


def document(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def payments(*rows: str, name: str = "payments.csv", header: str = HEADER) -> str:
    path = pathlib.Path(name)
    path.write_text(header + "".join(rows))
    return name


def listing() -> list[str]:
    return sorted(path.name for path in pathlib.Path().iterdir())


class TestConfirm:
    def test_the_examples_are_confirmed(self) -> None:
        """
        The shipped payments go through the embedded sandbox with nothing to set up.
        """
        result = confirm(str(EXAMPLES / "payments.csv"), "--sandbox", "--json")
        found = document(result)

        assert 0 == result.exit_code
        assert KEYS == list(found)
        assert 520 == found["rows"] == found["confirmed"]
        assert found["journal"].endswith("payments.csv.sandbox.journal")
        assert pathlib.Path(found["journal"]).exists()
        assert "520 of 520 rows" in result.stderr

    def test_the_example_with_mistakes_names_each(self) -> None:
        """
        Each bad row of the shipped example has a reason of its own, and the good ones go through.
        """
        result = confirm(
            str(EXAMPLES / "payments-with-mistakes.csv"), "--sandbox", "--rejects", "r.csv"
        )
        reasons = [
            line.split(": ", 1)[1] for line in result.stderr.splitlines() if line[:4] == "line"
        ]

        assert 1 == result.exit_code
        assert len(reasons) == len(set(reasons))
        assert re.search(r"confirmed +7\n +invalid +20\n +duplicates +1\n", result.stdout)
        assert 22 == len(pathlib.Path("r.csv").read_text().splitlines())
        assert "Rows to be corrected: r.csv" in result.stdout

    def test_the_same_command_again_resumes(self, served: Sandbox) -> None:
        """
        The journal lies beside the file under the target's name, and what is on record stays so.
        """
        served.script(*[Fault.HTML(status=400)] * 2)
        file = payments(*map(good, range(6)))
        first = confirm(file, "--base-url", served.url, "--json")
        second = confirm(file, "--base-url", served.url, "--json")

        assert (4, 2, 1) == (
            document(first)["confirmed"],
            document(first)["rejected"],
            first.exit_code,
        )
        assert (6, 2, 0) == (
            document(second)["confirmed"],
            document(second)["attempts"],
            second.exit_code,
        )
        assert "Not sent again, since an earlier run put them on record: 4" in second.stderr
        assert "Not sent again" not in first.stderr
        assert 6 == len(served.payments)
        label = served.url.removeprefix("http://").replace(":", "-")
        assert f"payments.csv.{label}.journal" == document(second)["journal"]

    def test_json_is_the_last_line_and_everything_adds_up(self, served: Sandbox) -> None:
        """
        One object with the documented names, in which every row is counted once.
        """
        file = payments(good(1), good(1), "case-2,-1,2026-01-05,2026-02-05,PAID\n", good(3))
        result = confirm(file, "--base-url", served.url, "--json", "--journal", "j")
        found = document(result)

        assert KEYS == list(found)
        assert found["rows"] == sum(found[name] for name in KEYS[1:8])
        assert {"rows": 4, "confirmed": 2, "invalid": 1, "duplicates": 1, "attempts": 2} == {
            name: found[name] for name in ("rows", "confirmed", "invalid", "duplicates", "attempts")
        }
        assert "j" == found["journal"]
        assert (1, "complete", True, None, None) == tuple(
            found[name] for name in ("exit_status", "ending", "whole", "rejects", "report")
        )

    def test_json_says_where_files_are_and_what_was_known(self, served: Sandbox) -> None:
        """
        What a person reads of a run stands in its last line, too.
        """
        options = ("--base-url", served.url, "--json", "--journal", "j", "--rejects", "r")
        confirm(payments(good(1)), *options)
        found = document(confirm(payments(good(1), "x,y\n"), *options, "--report", "p.html"))
        refused = document(confirm(payments(good(1)), *options, "--report", "/dev/full"))

        assert ("r", "p.html", 1, 0) == tuple(
            found[name] for name in ("rejects", "report", "already_known", "attempts")
        )
        assert None is refused["report"]

    def test_a_summary_for_people_says_what_to_do_next(self, served: Sandbox) -> None:
        """
        Without --json each kind of leftover has its advice on standard output.
        """
        file = payments(good(1), good(1), "x,y\n")
        result = confirm(file, "--base-url", served.url)

        assert "What to do next:" in result.stdout
        assert "invalid: refused here" in result.stdout
        assert "--duplicates once if" in result.stdout
        assert "Journal: payments.csv." in result.stdout

    def test_wanted_duplicates_need_no_advice(self, served: Sandbox) -> None:
        """
        With --duplicates once the run is a success and says nothing more.
        """
        file = payments(good(1), good(1))
        result = confirm(file, "--base-url", served.url, "--duplicates", "once")

        assert 0 == result.exit_code
        assert "What to do next" not in result.stdout

    def test_standard_input_may_be_json_lines(self, served: Sandbox) -> None:
        """
        - reads standard input, tells the format by itself, and keeps its journal in this folder.
        """
        row = (
            '{"caseId": "c", "amount": 1.10, "paymentDate": "2026-01-05", "extra": 1,'
            ' "validUntil": "2026-02-05", "status": "PAID"}\n'
        )
        result = subprocess.run(
            [sys.executable, "-m", "carevalidate_async", "confirm", "-", "--base-url", served.url],
            input=row,
            capture_output=True,
            text=True,
            check=False,
        )

        assert 0 == result.returncode
        assert b'"amount":1.10' in served.bodies[0]
        assert "Ignored, since no field is called so: extra" in result.stderr
        assert re.search(r"Journal: stdin\.127.0.0.1-\d+\.journal", result.stdout)

    def test_extra_columns_are_told_once(self, served: Sandbox) -> None:
        """
        A column that no field has is ignored with one warning.
        """
        file = payments(good(1).replace("\n", ",x\n"), header=HEADER.replace("\n", ",note\n"))
        result = confirm(file, "--base-url", served.url)

        as_json = confirm(file, "--base-url", served.url, "--json")
        (note, _) = map(json.loads, as_json.stdout.splitlines())
        ignored = "Ignored, since no field is called so: note"

        assert 0 == result.exit_code
        assert 1 == result.stderr.count("note")
        assert ("note", ignored) == (note["event"], note["text"])
        assert ignored in as_json.stderr

    def test_many_problems_are_counted_not_listed(self, served: Sandbox) -> None:
        """
        A file of nothing but bad rows does not flood the terminal.
        """
        many = confirm(payments(*["x,y\n"] * 30), "--base-url", served.url)
        one_more = confirm(payments(*["x,y\n"] * 21), "--base-url", served.url)

        assert voice.SHOWN_PROBLEMS == many.stderr.count("too few cells")
        assert "... and 10 more rows that need a look" in many.stderr
        assert "... and 1 more row that needs a look" in one_more.stderr

    def test_no_personal_data_is_shown(self, served: Sandbox) -> None:
        """
        Neither messages nor the summary repeat what a row says of a person.
        """
        served.script(Fault.HTML(status=400, body="no someone@example.com"))
        header = HEADER.replace("\n", ",email,phone_number,description\n")
        tail = ",someone@example.com,+15550100200,private\n"
        file = payments(
            good(1).replace("\n", tail),
            good(2).replace(".50", ".509").replace("\n", tail),
            header=header,
        )
        result = confirm(file, "--base-url", served.url)

        assert 1 == result.exit_code
        for text in ("someone", "0100200", "private"):
            assert text not in result.output
            assert text.encode() not in next(pathlib.Path().glob("*.journal")).read_bytes()

    def test_options_reach_the_client(
        self, served: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The timeout is the client's; attempts, rate, concurrency and patience are the run's own.
        """
        given: dict[str, Any] = {}

        class Run(file_run.FileRun):
            def __init__(self, *args: Any, **options: Any) -> None:
                given.update(options)
                super().__init__(*args, **options)

        class Care(CareValidate):
            def __init__(self, *args: Any, **options: Any) -> None:
                given.update(options)
                super().__init__(*args, **options)

        monkeypatch.setattr("carevalidate_async._run.file_run.FileRun", Run)
        monkeypatch.setattr("carevalidate_async.CareValidate", Care)
        result = confirm(
            payments(good(1)),
            *("--base-url", served.url, "--attempt-timeout", "7", "--max-outage", "8", "--fixed"),
            *("--max-attempts", "9", "--rate", "50", "--concurrency", "200", "--format", "csv"),
        )

        bounds = file_run.Bounds(concurrency=200, rate=50, adaptive=False, asks=9, max_outage=8)
        assert 0 == result.exit_code
        assert (7, 200) == (given["attempt_timeout"], given["max_connections"])
        assert bounds == given["bounds"]

    def test_an_attempt_that_times_out_is_followed_by_others(self, served: Sandbox) -> None:
        """
        A payment gets as many attempts as the options say, each within its time.
        """
        served.script(Fault.HANG, Fault.REFUSE, Fault.REFUSE)
        options = ("--attempt-timeout", "0.1", "--max-attempts", "4", "--json")
        result = confirm(payments(good(1)), "--base-url", served.url, *options)

        assert 0 == result.exit_code
        assert 4 == document(result)["attempts"] == served.received

    def test_a_refused_key_is_a_wrong_configuration(self, served: Sandbox) -> None:
        """
        With a key that the vendor refuses, nothing is sent and the exit status is 2.
        """
        result = CliRunner(env={"CAREVALIDATE_API_KEY": "wrong"}).invoke(
            cli.cli, ["confirm", payments(good(1), good(2)), "--base-url", served.url, "--json"]
        )

        assert 2 == result.exit_code
        assert 2 == document(result)["not_sent"]
        assert "Error: the vendor refuses the API key (401 AuthenticationError)" in result.stderr
        assert "not sent: not on record" in result.stderr


class TestDryRun:
    def test_each_row_says_what_would_be_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A rehearsal needs no key, sends nothing, keeps nothing, and says so.
        """
        monkeypatch.delenv("CAREVALIDATE_API_KEY")
        file = payments(good(1), good(2))
        result = confirm(file, "--environment", "staging", "--dry-run", "--rejects", "r")

        assert 0 == result.exit_code
        assert re.search(
            r"^dry run: line 2: would send PAID 1.50 USD under cv1-[0-9a-f]{40}$",
            result.stdout,
            re.MULTILINE,
        )
        assert "dry run: nothing was sent" == result.stdout.splitlines()[-1]
        assert re.search(r"would be sent +2\n", result.stdout)
        assert "What to do next" not in result.stdout
        assert ["payments.csv"] == listing()

    def test_what_would_fail_is_a_failure(self) -> None:
        """
        A rehearsal's exit status says whether any row needs a person.
        """
        result = confirm(payments(good(1), "x,y\n"), "--sandbox", "--dry-run")

        assert 1 == result.exit_code
        assert "invalid: refused here" in result.stdout

    def test_with_json_the_object_is_still_the_last_line(self) -> None:
        """
        What would be sent is an event a row before it.
        """
        result = confirm(payments(good(1)), "--sandbox", "--dry-run", "--json")
        event, found = map(json.loads, result.stdout.splitlines())

        assert (1, None) == (found["not_sent"], found["journal"])
        assert 0 <= event.pop("at_s")
        assert 44 == len(event.pop("key"))
        assert {"event": "would_send", "line": 2, "status": "PAID", "amount": 1.5} == event
        assert "dry run: nothing was sent" in result.stderr


class TestRefused:
    """Exit status 2: the command or its configuration is wrong, and nothing was sent."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["absent.csv"], "does not exist"),
            (["."], "is a directory"),
            (["payments.csv", "--sandbox", "--environment", "staging"], "give one of"),
            (["payments.csv", "--concurrency", "0"], "0 is not in the range"),
            (["payments.csv", "--rate", "0"], "0.0 is not in the range"),
            (["payments.csv", "--rate", "nan"], "--rate must be a number"),
            (["payments.csv", "--sandbox", "--rejects", "/dev/full"], "No space left on device"),
            (["payments.csv", "--sandbox", "--journal", "/dev/null"], "not a regular file"),
            (["/proc/self/mem", "--sandbox"], "/proc/self/mem: Input/output error"),
            (["payments.csv", "--duplicates", "all"], "is not one of"),
            (["payments.csv", "--base-url", "http://example.com"], "plain http"),
            (["payments.csv", "--base-url", "nonsense"], "absolute"),
            (["payments.csv", "--sandbox", "--journal", "payments.csv"], "the same file"),
            (["payments.csv", "--sandbox", "--rejects", "./payments.csv"], "the same file"),
            (["payments.csv", "--sandbox", "--rejects", "r", "--journal", "r"], "the same file"),
            (["payments.csv", "--sandbox", "--journal", "no/j"], "No such file"),
            (["payments.csv", "--sandbox", "--rejects", "no/r"], "No such file"),
            (["payments.csv", "--sandbox", "--journal", "text"], "not a database"),
            (["text", "--sandbox"], "columns are missing: case_id, amount, payment_date"),
            (["empty", "--sandbox"], "it is empty"),
        ],
    )
    def test_the_reason_is_one_line(self, arguments: list[str], message: str) -> None:
        """
        What is wrong is said in a line on standard error, and no journal is left behind.
        """
        payments(good(1))
        pathlib.Path("text").write_text("just a text that is long enough for no database\n" * 9)
        pathlib.Path("empty").touch()
        result = confirm(*arguments)

        assert 2 == result.exit_code
        assert message in result.stderr
        assert "Traceback" not in result.output
        assert {"payments.csv", "text", "empty"} >= set(listing())

    def test_a_missing_key_is_found_before_anything_is_made(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Without a key in the environment there is no run and no journal.
        """
        monkeypatch.delenv("CAREVALIDATE_API_KEY")
        result = confirm(payments(good(1)), "--environment", "staging")

        assert 2 == result.exit_code
        assert "CAREVALIDATE_API_KEY" in result.stderr
        assert ["payments.csv"] == listing()

    def test_a_wrong_environment_variable_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        An environment that does not exist is a wrong configuration.
        """
        monkeypatch.setenv("CAREVALIDATE_ENVIRONMENT", "test")
        result = confirm(payments(good(1)))

        assert 2 == result.exit_code
        assert "environment must be one of" in result.stderr

    def test_a_journal_of_another_target_is_refused(self, served: Sandbox) -> None:
        """
        A journal made with the sandbox is not believed about staging.
        """
        confirm(payments(good(1)), "--sandbox", "--journal", "j")
        result = confirm(payments(good(1)), "--environment", "staging", "--journal", "j")

        assert 2 == result.exit_code
        assert "belongs to sandbox" in result.stderr

    def test_a_file_that_cannot_be_opened_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A file that vanishes between two looks is no traceback.
        """
        payments(good(1))

        def fail(*_: object, **__: object) -> None:
            raise FileNotFoundError(2, "No such file or directory")

        monkeypatch.setattr("builtins.open", fail)
        result = confirm("payments.csv", "--sandbox")
        monkeypatch.undo()

        assert 2 == result.exit_code
        assert "payments.csv: No such file" in result.stderr


class TestTargets:
    @pytest.mark.parametrize(
        ("variables", "arguments", "journal"),
        [
            ({}, [], "payments.csv.production.journal"),
            ({"CAREVALIDATE_ENVIRONMENT": "staging"}, [], "payments.csv.staging.journal"),
            ({}, ["--environment", "staging"], "payments.csv.staging.journal"),
            ({"CAREVALIDATE_BASE_URL": "http://[::1]:9"}, [], "payments.csv.-1-9.journal"),
        ],
    )
    def test_the_journals_name_tells_the_target(
        self,
        variables: dict[str, str],
        arguments: list[str],
        journal: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        The target comes from the option, the variables, or is production; its name is the file's.
        """
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        file = payments()
        result = confirm(file, *arguments, "--json")

        assert 0 == result.exit_code
        assert 0 == document(result)["rows"]
        assert journal == document(result)["journal"]


class TestRejectsAsTheyAre:
    """A rejects file that nobody corrected puts nothing on record, and says so."""

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_another_payments_key(self, served: Sandbox, form: str) -> None:
        """
        Under a key of another payment a row would count as recorded: it is refused again.
        """
        rows = [
            {**ROW, "case_id": f"g{n}", "amount": f"{n}", "idempotency_key": "k"} for n in (1, 2)
        ]
        first = confirm(self.write(form, rows), "--base-url", served.url, "--rejects", f"r.{form}")
        again = confirm(f"r.{form}", "--base-url", served.url, "--json")

        assert (1, 1) == (first.exit_code, again.exit_code)
        assert (1, 0) == (document(again)["invalid"], document(again)["already_recorded"])
        assert "(was k)" in pathlib.Path(f"r.{form}").read_text()
        assert ["g1"] == [payment.case_id for payment in served.payments]

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    @pytest.mark.parametrize("how", ["refuse", "once", "each"])
    def test_duplicates(self, served: Sandbox, form: str, how: str) -> None:
        """
        Of equal rows a person decides, by name; the same key again would be no payment of its own.
        """
        file = self.write(form, [ROW] * 3)
        confirm(file, "--base-url", served.url, "--rejects", f"r.{form}")
        again = confirm(f"r.{form}", "--base-url", served.url, "--duplicates", how, "--json")
        each = confirm(file, "--base-url", served.url, "--duplicates", "each", "--json")

        assert (1, 2) == (again.exit_code, document(again)["invalid"])
        assert (0, 3) == (each.exit_code, document(each)["confirmed"])
        assert 3 == len(served.payments)

    def write(self, form: str, rows: list[dict[str, str]]) -> str:
        if form == "jsonl":
            return payments(*(json.dumps(row) + "\n" for row in rows), name="p.jsonl", header="")
        lines = (",".join(row.values()) + "\n" for row in rows)
        return payments(*lines, name="p.csv", header=",".join(rows[0]) + "\n")


class TestSameFile:
    @pytest.mark.parametrize("option", ["--rejects", "--journal"])
    def test_standard_input(self, served: Sandbox, option: str) -> None:
        """
        A file that is read through a pipe's end is not overwritten either.
        """
        file = payments(*map(good, range(400)))
        before = pathlib.Path(file).read_bytes()
        result = run_with(f"<{file}", "confirm", "-", "--base-url", served.url, option, file)

        assert 2 == result.returncode
        assert "are the same file" in result.stderr
        assert before == pathlib.Path(file).read_bytes()
        assert 0 == served.received

    def test_a_device_is_everybodys(self, served: Sandbox) -> None:
        """
        What is no regular file can be read and written under one name.
        """
        ours, its = pty.openpty()
        os.write(ours, (HEADER + good(1)).encode() + b"\x04")
        terminal = os.ttyname(its)
        result = confirm(
            terminal, "--base-url", served.url, "--rejects", terminal, "--journal", "j"
        )
        os.close(ours)
        os.close(its)

        assert 0 == result.exit_code
        assert 1 == len(served.payments)

    def test_another_name(self, served: Sandbox) -> None:
        """
        Nor is one that has two names.
        """
        file = payments(good(1))
        pathlib.Path("other").hardlink_to(file)
        result = confirm(file, "--base-url", served.url, "--rejects", "other")

        assert 2 == result.exit_code
        assert "are the same file" in result.stderr


@pytest.mark.deep
class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_stop_finishes_what_is_in_flight(self, served: Sandbox, number: int) -> None:
        """
        Exit status 130, a journal that knows every answer, and a next run that sends the rest.
        """
        served.script(*[Fault.DELAY(seconds=0.2)] * 1000)
        file = payments(*map(good, range(3000)))
        run = start("confirm", file, "--base-url", served.url, "--concurrency", "8", "--json")
        wait_for(lambda: served.received >= 16)
        run.send_signal(number)
        out, err = run.communicate(timeout=20)
        found = json.loads(out.splitlines()[-1])
        recorded = len(served.payments)
        served.reset()
        again = confirm(file, "--base-url", served.url, "--json")

        assert 130 == run.returncode
        assert recorded == found["confirmed"]
        assert 0 == found["unknown"]
        assert "Stopping" in err
        assert "Interrupted: the same command resumes." in err
        assert "Not read, and not counted: " in err
        assert ("interrupted", False) == (found["ending"], found["whole"])
        assert 0 == again.exit_code
        assert 3000 - recorded == len(served.payments)

    def test_a_second_signal_does_not_wait(self, served: Sandbox) -> None:
        """
        Payments whose answer nobody waits for are unknown, and asked for by the next run.
        """
        served.script(*[Fault.HANG_AFTER] * 4)
        file = payments(*map(good, range(4)))
        run = start("confirm", file, "--base-url", served.url, "--json")
        wait_for(lambda: len(served.payments) >= 4)
        run.send_signal(signal.SIGINT)
        assert run.stderr is not None
        assert any("Stopping" in line for line in run.stderr)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=20)
        again = confirm(file, "--base-url", served.url, "--json")

        assert 130 == run.returncode
        assert (4, 4) == tuple(json.loads(out.splitlines()[-1])[n] for n in ("unknown", "attempts"))
        assert (0, 4) == (again.exit_code, document(again)["already_recorded"])
        assert 4 == len(served.payments)

    def test_nor_does_it_wait_for_a_name(self) -> None:
        """
        Not even for the look-up of a name, which nothing can break off.
        """
        file = payments(good(1))
        asleep = (
            "import socket, sys, time\n"
            "from carevalidate_async.__main__ import main\n"
            "def look_up(*_, **__):\n"
            "    print('looking', file=sys.stderr, flush=True)\n"
            "    time.sleep(600)\n"
            "socket.getaddrinfo = look_up\n"
            "main()"
        )
        options = ("confirm", file, "--base-url", "https://vendor.test", "--json")
        run = subprocess.Popen(
            [sys.executable, "-c", asleep, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert run.stderr is not None
        for word in ("looking", "Stopping"):
            assert any(word in line for line in run.stderr)
            run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=60)
        found = json.loads(out.splitlines()[-1])

        assert 130 == run.returncode
        assert ("interrupted", 1, 0) == tuple(found[n] for n in ("ending", "unknown", "attempts"))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signals_at_the_end_do_not_change_it(self, served: Sandbox, number: int) -> None:
        """
        Whenever more of them come, the exit status is 130 and the summary whole.
        """
        file = payments(*map(good, range(500)))
        for delay in range(0, 100, 20):
            where = ("--base-url", served.url, "--journal", f"journal-{delay}")
            run = start("confirm", file, *where, "--json")
            wait_for(lambda: served.received >= 100)
            while run.poll() is None:
                run.send_signal(number)
                time.sleep(delay / 1000 + 0.002)
            out, _ = run.communicate(timeout=20)
            served.reset()

            assert 130 == run.returncode
            found = json.loads(out.splitlines()[-1])
            assert ("interrupted", 130) == (found["ending"], found["exit_status"])

    def test_a_silent_pipe_is_no_obstacle(self, served: Sandbox) -> None:
        """
        A row that came through a pipe is sent at once, and a stop does not wait for the next one.
        """
        run = start("confirm", "-", "--base-url", served.url, "--json", stdin=subprocess.PIPE)
        assert run.stdin is not None
        run.stdin.write(HEADER + good(1))
        run.stdin.flush()
        wait_for(lambda: len(served.payments) == 1)
        run.send_signal(signal.SIGINT)
        assert 130 == run.wait(timeout=20)
        out, err = run.communicate()

        assert 1 == json.loads(out.splitlines()[-1])["confirmed"]
        assert "Fatal" not in err

    @pytest.mark.parametrize("name", ["-", "fifo"])
    def test_a_refused_key_does_not_wait_for_the_rest_of_a_pipe(
        self, served: Sandbox, name: str
    ) -> None:
        """
        A run that has to end ends, although more might come through its pipe.
        """
        os.mkfifo("fifo")
        variables = {**os.environ, "CAREVALIDATE_API_KEY": "wrong"}
        options = ("confirm", name, "--base-url", served.url, "--json")
        run = start(*options, stdin=subprocess.PIPE, env=variables)
        assert run.stdin is not None
        pipe = run.stdin if name == "-" else open(name, "w", encoding="utf-8")  # noqa: SIM115 - below
        pipe.write(HEADER + good(1))
        pipe.flush()
        assert 2 == run.wait(timeout=20)
        out, err = run.communicate()
        pipe.close()

        assert 1 == json.loads(out.splitlines()[-1])["not_sent"]
        assert "Stopping: the vendor refuses the API key (401 AuthenticationError)" in err
        assert "no further row was sent, and the rest of the input was not read" in err

    def test_a_stop_before_the_first_row_is_130_too(self) -> None:
        """
        Waiting for a header that never comes can be interrupted.
        """
        run = start("confirm", "-", "--sandbox", stdin=subprocess.PIPE)
        assert run.stdin is not None
        run.stdin.write("case_id")
        run.stdin.flush()
        wait_for(lambda: 0 == unread(run.stdin))
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=20)

        assert 130 == run.returncode
        assert "Traceback" not in err

    def test_a_run_that_was_killed_resumes(self, served: Sandbox) -> None:
        """
        After kill -9 the same command puts each payment on record exactly once.
        """
        served.script(*[Fault.DELAY(seconds=0.05)] * 100)
        file = payments(*map(good, range(200)))
        run = start("confirm", file, "--base-url", served.url, "--concurrency", "8")
        wait_for(lambda: served.received >= 40)
        run.kill()
        run.communicate()
        again = confirm(file, "--base-url", served.url, "--json")

        assert 0 == again.exit_code
        assert 200 == document(again)["rows"]
        assert 200 == len({payment.case_id for payment in served.payments}) == len(served.payments)

    def test_a_second_run_on_the_journal_is_refused(self, served: Sandbox) -> None:
        """
        While a run is at work, the same command says so and sends nothing.
        """
        served.script(Fault.HANG)
        file = payments(good(1))
        run = start("confirm", file, "--base-url", served.url)
        wait_for(lambda: served.received == 1)
        second = confirm(file, "--base-url", served.url)
        run.kill()
        run.communicate()

        assert 2 == second.exit_code
        assert "another run is at work" in second.stderr
        assert 1 == served.received


@pytest.mark.deep
class TestStreams:
    """What nobody can read changes neither what a run does nor its exit status."""

    @pytest.mark.parametrize(
        "redirections",
        [">/dev/full", "2>/dev/full", ">/dev/full 2>&1", ">&-", "2>&-", "<&- >&- 2>&-"],
    )
    @pytest.mark.parametrize("arguments", [[], ["--json"]])
    def test_a_run_ends_as_ever(
        self, served: Sandbox, redirections: str, arguments: list[str]
    ) -> None:
        """
        Every row is on record, so the exit status is 0, whatever became of the summary.
        """
        file = payments(good(1), good(2))
        result = run_with(redirections, "confirm", file, "--base-url", served.url, *arguments)

        assert 0 == result.returncode
        assert 2 == len(served.payments)
        assert "Traceback" not in result.stderr
        assert (">/dev/full" == redirections) is ("output cannot be written" in result.stderr)

    def test_a_reader_that_left_ends_nothing(self, served: Sandbox) -> None:
        """
        A pipe to ``head`` breaks neither a run nor a rehearsal.
        """
        file = payments(*map(good, range(3000)))
        for more in (["--base-url", served.url], ["--sandbox", "--dry-run"]):
            read, write = os.pipe()
            os.close(read)
            run = subprocess.run(
                [sys.executable, "-m", "carevalidate_async", "confirm", file, *more],
                stdout=write,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            os.close(write)

            assert 0 == run.returncode
            assert "3,000 of 3,000 rows" in run.stderr
            assert "rror" not in run.stderr

    def test_a_terminal_that_closes_ends_nothing(self, served: Sandbox) -> None:
        """
        Under nohup a run goes on when its terminal's window is closed.
        """
        served.script(*[Fault.DELAY(seconds=0.01)] * 500)
        file = payments(*map(good, range(500)))
        ours, its = pty.openpty()
        run = subprocess.Popen(
            [sys.executable, "-m", "carevalidate_async", "confirm", file, "--base-url", served.url],
            stdin=its,
            stdout=its,
            stderr=its,
            env={**os.environ, "PYTHONUNBUFFERED": "", "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(its)
        wait_for(lambda: served.received >= 100)
        os.close(ours)

        assert 0 == run.wait(timeout=20)
        assert 500 == len(served.payments)

    def test_a_closed_standard_input_is_named(self) -> None:
        """
        Where there is no standard input, - is a wrong configuration.
        """
        result = run_with("<&-", "confirm", "-", "--sandbox")

        assert 2 == result.returncode
        assert "Error: standard input: Bad file descriptor\n" == result.stderr

    @pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
    def test_a_name_that_is_no_text_is_shown_as_well_as_it_can(self, encoding: str) -> None:
        """
        A file name in another encoding does not break the summary.
        """
        name = os.fsdecode(b"caf\xe9-") + "\u20ac.csv"
        payments(good(1), name=name)
        result = run_with(
            "", "confirm", name, "--sandbox", "--json", PYTHONIOENCODING=encoding, PYTHONUTF8="1"
        )
        found = json.loads(result.stdout.splitlines()[-1])

        assert 0 == result.returncode
        assert 1 == found["confirmed"]
        assert "caf\ufffd-\u20ac.csv" in found["journal"]

    def test_a_rejects_file_that_breaks_ends_the_run_with_its_counts(
        self, served: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Rows that cannot be written for a person are told as trouble, not as a traceback.
        """
        from carevalidate_async._files.rejects import Rejects

        monkeypatch.setattr(Rejects, "flush", lambda _: None)
        file = payments('{"case_id": ""}\n', name="payments.jsonl", header="")
        result = confirm(file, "--base-url", served.url, "--rejects", "/dev/full", "--json")

        assert 1 == result.exit_code
        assert 1 == document(result)["invalid"]
        assert (
            "Error: the rejects file is not whole: [Errno 28] No space left on device: '/dev/full'"
            in result.stderr
        )


class TestSandbox:
    def test_it_runs_until_it_is_interrupted(self) -> None:
        """
        Its URL is the first line, it serves at once, and an interrupt ends it well.
        """
        server = start("sandbox", "--api-key", "it's", "--seed", "1")
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        how = server.stdout.readline()
        result = CliRunner(env={"CAREVALIDATE_API_KEY": "it's"}).invoke(
            cli.cli, ["confirm", payments(good(1)), "--base-url", url]
        )
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=20)

        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        assert (
            f"""CAREVALIDATE_API_KEY='it'"'"'s' carevalidate confirm FILE --base-url {url}""" in how
        )
        assert 0 == result.exit_code
        assert "1 requests, 1 payments on record" in out
        assert 0 == server.returncode

    def test_a_port_that_is_taken_is_named(self, served: Sandbox) -> None:
        """
        A sandbox that cannot listen says where.
        """
        port = served.url.rpartition(":")[2]
        result = CliRunner().invoke(cli.cli, ["sandbox", "--port", port])

        assert 2 == result.exit_code
        assert f"cannot listen on 127.0.0.1:{port}" in result.stderr


def run_as_main() -> None:
    """Do what ``python -m carevalidate_async`` does."""
    # By its path: a package that brings pytest a plugin is loaded by pytest, in whose way of
    # loading runpy finds no module.
    (package,) = carevalidate_async.__path__
    runpy.run_path(f"{package}/__main__.py", run_name="__main__")


class TestCommand:
    def test_help_is_fast_and_names_every_command(self) -> None:
        """
        Help imports neither aiohttp.web, rich nor the journal.
        """
        code = (
            "import sys\n"
            "from carevalidate_async.__main__ import main\n"
            "sys.argv = ['carevalidate', '--help']\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "slow = {'aiohttp.web', 'rich', 'carevalidate_async.journal'}\n"
            "print(sorted(slow & set(sys.modules)))\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )

        for name in ("confirm", "sandbox", "intent", "case-payment", "update-user"):
            assert re.search(rf"^  {name} ", result.stdout, re.MULTILINE)
        assert "[]" == result.stdout.splitlines()[-1]

    def test_a_process_of_its_own_looks_for_garbage_now_and_then(self) -> None:
        """
        Not as often as Python does by itself, which took a tenth of a long run.
        """
        show = (
            "import gc, runpy, sys\n"
            "try:\n"
            "    runpy.run_module('carevalidate_async', run_name='__main__')\n"
            "finally:\n"
            "    print(gc.get_threshold()[0])"
        )
        command = [sys.executable, "-c", show, "--version"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout

        assert 10_000 <= int(shown.splitlines()[-1])
        assert 10_000 > gc.get_threshold()[0]

    def test_without_the_extra_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        Without click there is one line and exit status 2.
        """
        monkeypatch.setitem(sys.modules, "click", None)
        monkeypatch.delitem(sys.modules, "carevalidate_async.cli")
        monkeypatch.delattr("carevalidate_async.cli")
        with pytest.raises(SystemExit) as ended:
            run_as_main()

        assert 2 == ended.value.code
        assert (
            "The command line is an extra: pip install 'carevalidate-async[cli]'\n"
            == capsys.readouterr().err
        )

    def test_an_interrupt_while_it_loads_is_130(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Nothing has begun yet, and no traceback is shown.
        """

        class Interrupted:
            def find_spec(self, name: str, *_: object) -> None:
                if name == "carevalidate_async.cli":
                    raise KeyboardInterrupt

        monkeypatch.setattr("sys.meta_path", [Interrupted(), *sys.meta_path])
        monkeypatch.delitem(sys.modules, "carevalidate_async.cli")
        monkeypatch.delattr("carevalidate_async.cli")
        with pytest.raises(SystemExit) as ended:
            run_as_main()

        assert 130 == ended.value.code

    def test_another_missing_module_is_not_mistaken_for_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Only click's absence leads to the hint.
        """
        monkeypatch.setitem(sys.modules, "carevalidate_async._commands.confirm", None)
        monkeypatch.delitem(sys.modules, "carevalidate_async.cli")
        monkeypatch.delattr("carevalidate_async.cli")
        with pytest.raises(ModuleNotFoundError, match="confirm"):
            run_as_main()


def summed_up(capsys: pytest.CaptureFixture[str], rows: int, **facts: Any) -> str:
    """Return what a person reads of a run of so many rows."""
    counts = Counts(rows=rows, confirmed=rows)
    summary = Summary(counts=counts, elapsed=40.0, duplicates=Duplicates.REFUSE, **facts)
    voice.show_summary(summary, sys.stdout, journal="j", rejects=None, report=None)
    return capsys.readouterr().out


class TestSummary:
    def test_a_slow_run_has_a_rate(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        Fewer rows than one a second are not none.
        """
        assert "10 rows in 40.0 s (0.25 rows/s), 0 attempts" in summed_up(capsys, 10)

    @pytest.mark.parametrize(
        ("facts", "unread"),
        [
            ({"whole": True}, None),
            ({"whole": False}, "what else the input may have"),
            ({"whole": False, "estimated_rows": 10}, "what else the input may have"),
            ({"whole": False, "estimated_rows": 11}, "about 1 row of about 11"),
            ({"whole": False, "estimated_rows": 5000}, "about 4,990 rows of about 5,000"),
        ],
    )
    @pytest.mark.parametrize("ended", [{"interrupted": True}, {"stopped_by": "the disk is gone"}])
    def test_says_how_much_was_not_read(
        self,
        capsys: pytest.CaptureFixture[str],
        facts: dict[str, Any],
        unread: str | None,
        ended: dict[str, Any],
    ) -> None:
        """
        Of a file that was read to its end nothing is said to be unread, however the run ended.
        """
        told = re.findall(
            "Not read, and not counted: (.*)", summed_up(capsys, 10, **facts, **ended)
        )

        assert ([] if unread is None else [unread]) == told

    def test_a_file_without_rows_is_called_so(self, capsys: pytest.CaptureFixture[str]) -> None:
        """
        That no row failed is no news where there was none.
        """
        empty = "There was nothing to send: the input has no rows"

        assert empty in summed_up(capsys, 0).splitlines()
        assert empty not in summed_up(capsys, 0, whole=False)
        assert empty not in summed_up(capsys, 1)

    def test_a_name_forges_no_line(self) -> None:
        """
        A file's name may hold whatever it likes; of a line's end, and of what a terminal would
        carry out, one sees the spelling.
        """
        name = payments(good(1), "x,y\n", name="a\nError: b\x1b[31m\u202ec.csv")
        bad = payments(name="a\nError: d", header="case_id\n")
        options = ("--sandbox", "--report", "p\nError: q", "--rejects", "r\nError: s")
        found = [
            confirm(name, *options, "--journal", "j\nError: k"),
            confirm(payments(good(2)), "--sandbox", "--journal", "j\nError: k"),
            confirm(bad, "--sandbox"),
            confirm(name, "--sandbox", "--journal", name),
            confirm(name, "--sandbox", "--report", "no\nError: t/p"),
            confirm(name, "--sandbox", "--rejects", "no\nError: u/r"),
            CliRunner().invoke(cli.cli, ["status", "j\nError: k"]),
            CliRunner().invoke(
                cli.cli, ["export", "j\nError: k", "--state", "confirmed", "--file", name]
            ),
        ]
        lines = [line for result in found for line in result.output.split("\n")]
        spelled = r"a\nError: b\x1b[31m\u202ec.csv"

        assert [1, 0, 2, 2, 2, 2, 1, 1] == [result.exit_code for result in found]
        assert [] == [line for line in lines if re.match("Error: [bdkqstu]", line)]
        assert [] == [line for line in lines if not line.isprintable()]
        assert r"Journal: j\nError: k" in lines
        assert r"Report: p\nError: q" in lines
        assert r"Rows to be corrected: r\nError: s" in lines
        assert any(spelled in line for line in found[1].stderr.splitlines())


def sight(done: int, *, total: int | None = None) -> Sight:
    """Return a run ten seconds of which have confirmed so many rows."""
    recent = Span(begin=0.0, seconds=10.0, rows={"confirmed": done})
    counts = Counts(rows=done, confirmed=done)
    return Sight(counts=counts, total=total, failed=0, retries=0, seconds=10.0, recent=recent)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class TestDisplay:
    def test_plain_lines_come_now_and_then(self) -> None:
        """
        Without a terminal there is a line each five seconds and one at the end.
        """
        now = 0.0
        stream = io.StringIO()
        display = progress.Plain(stream, clock=lambda: now)
        with display:
            for now in (1.0, 4.9, 5.0, 6.0, 10.0):
                display.update(partial(sight, int(now * 10), total=400_000))

        assert [
            "50 of 400,000 rows, 5 rows/s, 22 h 13 min left · 50 on record",
            "100 of 400,000 rows, 10 rows/s, 11 h 6 min left · 100 on record",
            "100 of 400,000 rows, 10 rows/s, 11 h 6 min left · 100 on record",
        ] == stream.getvalue().splitlines()

    @pytest.mark.parametrize(
        ("total", "left"),
        [(None, ""), (10, ""), (100, ", 90 s left"), (1000, ", 16 min 30 s left")],
    )
    def test_the_time_left_is_told_when_it_is_known(self, total: int | None, left: str) -> None:
        """
        From the rate of late follows the time left; without a total there is none.
        """
        of = "" if total is None else f" of {total:,}"
        assert (
            f"10{of} rows, 1 rows/s{left.replace('90 s', '1 min 30 s')}"
            == in_words(sight(10, total=total))[0]
        )

    def test_all_there_is_to_know_is_told(self) -> None:
        """
        Outcomes, retries, how long answers take, what is allowed, and why it waits.
        """
        seen = Sight(
            counts=Counts(rows=20, confirmed=9, already_recorded=1, rejected=2, not_sent=3),
            total=None,
            failed=5,
            retries=1,
            seconds=10.0,
            recent=Span(
                begin=0.0,
                seconds=10.0,
                rows={"confirmed": 9},
                earlier={"already_recorded": 6},
                latency=Latency(p50=0.012, p95=0.3, p99=2.0),
                limit=64,
                rate=81.25,
            ),
            waiting="the vendor asked to wait 12 s",
        )

        assert [
            "15 rows, 1.5 rows/s",
            "10 on record, 2 rejected, 3 not sent",
            "limit 64, at most 81.2/s, 1 retry",
            "answers p50 12 ms p95 300 ms p99 2 s",
            "waiting: the vendor asked to wait 12 s",
        ] == in_words(seen)

    @pytest.mark.parametrize(
        ("rows", "paused", "told"),
        [
            (20, 0.0, "20 of 100 rows, 2 rows/s, 40 s left"),
            (20, 5.0, "20 of 100 rows, 4 rows/s, 20 s left"),
            (4, 0.0, "4 of 100 rows, 0.4 rows/s, 4 min left"),
            (4, 9.9, "4 of 100 rows, 4 rows/s, 24 s left"),
            (0, 10.0, "0 of 100 rows, 0 rows/s"),
        ],
    )
    def test_a_pause_makes_no_rate_slower(self, rows: int, paused: float, told: str) -> None:
        """
        A rate is that of the time in which the run did not wait, but not of a mere moment.
        """
        seen = sight(rows, total=100)

        assert (
            told == in_words(attrs.evolve(seen, recent=attrs.evolve(seen.recent, paused=paused)))[0]
        )

    @pytest.mark.parametrize("facts", [{"waiting": "the vendor is down"}, {"ending": True}])
    def test_who_waits_or_ends_has_no_time_left(self, facts: dict[str, Any]) -> None:
        """
        Nobody knows how long an outage is, and a run that ends does not come to its last row.
        """
        assert "5 of 10 rows, 0.5 rows/s" == in_words(attrs.evolve(sight(5, total=10), **facts))[0]

    def test_in_a_rehearsal_rows_would_be_sent(self) -> None:
        """
        What a rehearsal passes over is not called unsent.
        """
        seen = attrs.evolve(sight(0), counts=Counts(rows=3, not_sent=2, invalid=1), rehearsal=True)

        assert "0 on record, 1 invalid, 2 would be sent" == in_words(seen)[1]

    def test_news_does_not_wait(self) -> None:
        """
        A plain line that is news comes at once, and the next one five seconds later.
        """
        stream = io.StringIO()
        now = 0.0
        display = progress.Plain(stream, clock=lambda: now)
        for now, at_once in ((1.0, True), (5.9, False), (6.0, False)):
            display.update(partial(sight, int(now * 10)), at_once=at_once)

        assert ["10 rows", "60 rows"] == [
            line.partition(",")[0] for line in stream.getvalue().splitlines()
        ]

    def test_nothing_done_has_no_rate(self) -> None:
        """
        Before anything has happened there is nothing to divide by, and nothing to show.
        """
        stream = io.StringIO()
        with progress.Plain(stream):
            pass
        nothing = Sight(
            counts=Counts(),
            total=9,
            failed=0,
            retries=0,
            seconds=0,
            recent=Span(begin=0, seconds=0),
        )

        assert "" == stream.getvalue()
        assert ["0 of 9 rows, 0 rows/s", "0 on record"] == in_words(nothing)

    def test_a_broken_stream_does_not_break_the_run(self) -> None:
        """
        A pipe that nobody reads any more is no reason to stop.
        """

        class Broken(io.StringIO):
            tried = 0

            def write(self, text: str) -> int:
                self.tried += 1
                raise BrokenPipeError

        stream = Broken()
        with progress.Plain(stream) as display:
            display.update(partial(sight, 1))
            display.say("hello")

        assert 2 == stream.tried

    def test_a_terminal_gets_a_live_display(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        On a terminal the rows, the rate, the outcomes and the time left are shown live, and
        messages stand above them as they are.
        """
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        stream = Terminal()
        display = progress.show(stream)
        assert isinstance(display, progress.Live)
        with display:
            display.say("[bold]a message[/bold]")
            display.update(partial(sight, 5, total=10))

        assert "[bold]a message[/bold]" in stream.getvalue()
        assert "50%" in stream.getvalue()
        assert "5 of 10 rows, 0.5 rows/s" in stream.getvalue()
        assert "5 on record" in stream.getvalue()

    def test_a_live_display_has_no_thread_and_leaves_standard_output_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        It looks at the run only where it is told to, and what machines read does not go through it.
        """
        monkeypatch.setenv("TERM", "xterm")
        looks = 0

        def look() -> Sight:
            nonlocal looks
            looks += 1
            return sight(5, total=10)

        now = 0.0
        terminal = Terminal()
        display = progress.Live(Console(file=terminal), clock=lambda: now)
        threads, output = threading.enumerate(), sys.stdout
        with display:
            assert (threads, output) == (threading.enumerate(), sys.stdout)
            for moment, at_once in ((1.0, 0), (1.1, 0), (1.15, 1), (1.3, 0), (1.4, 0)):
                now = moment
                display.update(look, at_once=bool(at_once))

            assert 3 == looks

    @pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
    def test_what_is_said_on_a_terminal_stays_as_it_is(
        self, monkeypatch: pytest.MonkeyPatch, encoding: str
    ) -> None:
        """
        Neither markup nor an emoji's name is taken for one, and what cannot be shown is spelled.
        """
        monkeypatch.setenv("TERM", "xterm")
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding)
        monkeypatch.setattr(stream, "isatty", lambda: True)
        with progress.Live(Console(file=stream)) as display:
            display.say("line 2: [red]:smile: caf\u00e9 \ud800")
            display.update(partial(sight, 5, total=10))
            display.say("still there")

        cafe = "caf\u00e9" if encoding == "utf-8" else r"caf\xe9"
        text = raw.getvalue().decode()
        assert rf"line 2: [red]:smile: {cafe} \ud800" in text
        assert "still there" in text

    def test_results_stand_above_where_they_are_on_a_terminal(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Results for a terminal are printed with the display, in time; those for a file are not.
        """
        monkeypatch.setenv("TERM", "xterm")
        terminal, file = Terminal(), io.StringIO()
        with progress.Live(Console(file=terminal)) as display:
            display.result("one", terminal)
            display.result("two", file)
            display.result("three", None)
            assert "one" not in terminal.getvalue()
            display.update(partial(sight, 5, total=10))
            assert "one" in terminal.getvalue()
            for number in range(progress._MOST_TOGETHER):
                display.result(f"row {number}", terminal)
            assert "row 0" in terminal.getvalue()

        assert "two\n" == file.getvalue()
        assert "two" not in terminal.getvalue()
        assert "three" not in terminal.getvalue()

    def test_a_narrow_terminal_shows_everything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        What does not fit in a line goes on in the next one.
        """
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "40")
        terminal = Terminal()
        seen = attrs.evolve(
            sight(123_456, total=1_000_000),
            retries=1_234,
            waiting="the vendor cannot be reached; trying again for up to 300 s",
            recent=Span(
                begin=0.0,
                seconds=10.0,
                latency=Latency(p50=0.012, p95=0.3, p99=2.0),
                limit=64,
                rate=81.25,
            ),
        )
        with progress.Live(Console(file=terminal)) as display:
            display.update(lambda: seen)
        shown = " ".join(terminal.getvalue().split())

        assert "limit 64, at most 81.2/s, 1,234 retries" in shown
        assert "answers p50 12 ms p95 300 ms p99 2 s" in shown
        assert "up to 300 s" in shown.replace("30 0", "300")
        assert "\u2026" not in shown

    def test_a_terminal_that_is_gone_does_not_break_the_run(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A window that is closed takes the display with it, and nothing else.
        """

        class Gone(Terminal):
            def write(self, text: str) -> int:
                raise OSError(5, "Input/output error")

        monkeypatch.setenv("TERM", "xterm")
        display = progress.show(Gone())
        assert isinstance(display, progress.Live)
        output = sys.stdout
        with display:
            display.say("a message")
            display.update(partial(sight, 5, total=10))

        assert output is sys.stdout

    def test_a_dumb_terminal_gets_plain_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A terminal that cannot move its cursor is served like none.
        """
        monkeypatch.setenv("TERM", "dumb")

        assert isinstance(progress.show(Terminal()), progress.Plain)

    def test_without_rich_there_are_plain_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        The live display is a comfort, not a need.
        """
        monkeypatch.setitem(sys.modules, "rich.console", None)

        assert isinstance(progress.show(Terminal()), progress.Plain)
