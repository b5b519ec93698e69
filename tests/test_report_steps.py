from __future__ import annotations

import asyncio
import html
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from carevalidate_async._run.counts import Counts, Summary
from carevalidate_async._run.typed import quoted
from carevalidate_async.cli import cli
from carevalidate_async.journal import Duplicates
from carevalidate_async.report import Facts
from carevalidate_async.report._steps import Step, cause, elsewhere, steps
from carevalidate_async.sandbox import Sandbox
from report_runs import HOSTILE, MadeUp

if TYPE_CHECKING:
    import pathlib

RESUME = (
    "carevalidate confirm /exports/payments.csv --base-url https://vendor.example --journal "
    "/exports/payments.csv.production.journal"
)
JOURNAL = "/exports/payments.csv.production.journal"
EXPORT = f"carevalidate export {JOURNAL} --state"


def summary(policy: Duplicates = Duplicates.REFUSE, **told: Any) -> Summary:
    """Return how a run went; names of counts are counts, all else is the summary's."""
    counts = {name: told.pop(name) for name in list(told) if hasattr(Counts(), name)}
    return Summary(
        counts=Counts(rows=sum(counts.values()), **counts),
        **{"elapsed": 75.0, "duplicates": policy, "reached": True, **told},
    )


def facts(**told: Any) -> Facts:
    return Facts(**{**MadeUp().facts, **told})


def commands(found: list[Step] | Any) -> list[str]:
    return [command for step in found for deed in step.deeds for command in deed.commands]


def advised(told: dict[str, Any], **of: Any) -> list[tuple[str, list[str]]]:
    """Return which rows a page has steps for, and the commands of each."""
    return [(step.about, commands([step])) for step in steps(summary(**told), facts(**of))]


class TestSteps:
    def test_are_told_by_risk(self) -> None:
        """
        What may have been recorded comes first, then what the same command goes on with, then what
        a person has to correct.
        """
        names = ("not_sent", "duplicates", "invalid", "rejected", "unknown", "confirmed")
        told: dict[str, Any] = {**dict.fromkeys(names, 1), "whole": False, "interrupted": True}

        assert [
            "1 unknown",
            "1 not sent",
            "the rest of the file not read",
            "1 rejected",
            "1 invalid",
            "1 duplicates",
        ] == [about for about, _ in advised(told)]

    def test_of_what_is_unknown(self) -> None:
        """
        Rows in doubt are asked for again, and those too old for that are looked up and settled.
        """
        assert [
            (
                "40 unknown",
                [
                    RESUME,
                    f"{EXPORT} unknown --output unknown.csv",
                    f"carevalidate settle {JOURNAL} KEY --as recorded",
                    f"carevalidate settle {JOURNAL} KEY --as not-recorded",
                ],
            )
        ] == advised({"unknown": 40})

    def test_say_once_how_to_go_on(self) -> None:
        """
        One command goes on with all that was not settled, so it stands there once.
        """
        told: dict[str, Any] = {"unknown": 1, "not_sent": 2, "whole": False, "estimated_rows": 30}
        found = steps(summary(**told), facts())

        assert 1 == commands(found).count(RESUME)
        assert [("2 not sent", "The same command sends them.")] == [
            (step.about, step.deeds[0].what) for step in found[1:2]
        ]
        assert "about 27 rows not read" == found[2].about

    def test_of_what_is_to_be_corrected(self) -> None:
        """
        Without a rejects file the rows are written to one of their own, which is run.
        """
        run = RESUME.replace("/exports/payments.csv ", "rejected.csv ")

        assert [
            ("2 rejected", [f"{EXPORT} rejected --output rejected.csv", run]),
            (
                "1 invalid",
                [
                    f"{EXPORT} invalid --output invalid.csv",
                    run.replace("rejected", "invalid"),
                ],
            ),
        ] == advised({"rejected": 2, "invalid": 1})

    def test_of_what_is_in_the_rejects_file(self) -> None:
        """
        The rejects file is run with the journal of the run, once for all that is in it.
        """
        run = RESUME.replace("/exports/payments.csv ", "no.csv ")

        assert [("2 rejected", [run]), ("1 invalid", [])] == advised(
            {"rejected": 2, "invalid": 1}, rejects="no.csv"
        )

    def test_of_duplicates(self) -> None:
        """
        What duplicates are is said by the command; those under one key of their own by the file.
        """
        each = advised({"duplicates": 3, "policy": Duplicates.EACH})

        assert [
            ("3 duplicates", [f"{RESUME} --duplicates once", f"{RESUME} --duplicates each"])
        ] == advised({"duplicates": 3})
        assert [("3 duplicates", [])] == each
        assert [] == advised({"duplicates": 3, "policy": Duplicates.ONCE})

    def test_keep_what_the_run_was_told(self) -> None:
        """
        The command that goes on treats duplicates, paces and rejects as the run did.
        """
        ((_, (command,)),) = advised(
            {"not_sent": 1, "policy": Duplicates.EACH}, rate=2.5, rejects="no.csv"
        )

        assert f"{RESUME} --duplicates each --rate 2.5 --rejects no.csv" == command

    @pytest.mark.parametrize(
        ("where", "target"),
        [
            ("--environment production", "https://api.care360-next.carevalidate.com"),
            ("--sandbox", "sandbox"),
            ("--base-url http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ],
    )
    def test_go_where_the_run_went(self, where: str, target: str) -> None:
        """
        A command names the vendor that the run asked.
        """
        ((_, (command,)),) = advised({"not_sent": 1}, target=target)

        assert where in command

    def test_of_standard_input(self) -> None:
        """
        Rows that came through a pipe have no name: the commands leave room for one.
        """
        ((_, (again, export, *_)),) = advised({"unknown": 1}, file="-")

        assert again.startswith("carevalidate confirm - ")
        assert again.endswith(" <FILE")
        assert " --file FILE " in export

    def test_of_json_lines(self) -> None:
        """
        What is written of a file of JSON Lines is named so.
        """
        ((_, (export, run)),) = advised({"rejected": 1}, file="payments.jsonl.gz")

        assert export.endswith("--output rejected.jsonl")
        assert run.startswith("carevalidate confirm rejected.jsonl ")

    def test_of_a_rehearsal_have_no_commands(self) -> None:
        """
        A dry run has no journal that a command could name.
        """
        told = {"unknown": 1, "invalid": 1, "duplicates": 1, "not_sent": 1, "rehearsal": True}

        assert [("1 unknown", []), ("1 invalid", []), ("1 duplicates", [])] == advised(
            told, journal=None
        )
        assert [("the rest of the file not read", [])] == advised(
            {"rehearsal": True, "whole": False}, journal=None
        )

    def test_of_nothing(self) -> None:
        """
        Nothing is to be done where every row is on record, but where something else went wrong.
        """
        assert [] == advised({"confirmed": 2})
        assert [("", [RESUME])] == advised({"confirmed": 2, "stopped_by": "the disk is full"})

    def test_begin_with_what_ended_the_run(self) -> None:
        """
        Why a run ended early is seen to before any command is typed.
        """
        assert "The run ended early: the disk is full. See to that first." == cause(
            summary(stopped_by="the disk is full")
        )
        assert cause(summary(interrupted=True)) is None


class TestElsewhere:
    @pytest.mark.parametrize(
        ("said", "told", "of"),
        [
            (["The rejects file has them all."], ["invalid"], {"rejects": "no.csv"}),
            (
                ["The rejects file has them all."],
                ["rejected", "invalid", "duplicates"],
                {"rejects": "no.csv"},
            ),
            (["Run with `--rejects PATH` for all of them."], ["invalid", "duplicates"], {}),
            (
                ["The journal has them all, and this writes them:", "unknown,not_sent"],
                ["unknown", "not_sent"],
                {"rejects": "no.csv"},
            ),
            (
                ["The journal has them all, and this writes them:", "not_sent,rejected"],
                ["not_sent", "rejected"],
                {},
            ),
            (
                [
                    "The journal has all that are unknown or rejected, and this writes them:",
                    "unknown,rejected",
                    "Run with `--rejects PATH` for all that are invalid.",
                ],
                ["unknown", "rejected", "invalid"],
                {},
            ),
            (
                [
                    "The rejects file has all that are rejected, invalid or duplicates.",
                    "The journal has all that are unknown, and this writes them:",
                    "unknown",
                ],
                ["unknown", "rejected", "invalid", "duplicates"],
                {"rejects": "no.csv"},
            ),
            (
                ["Run without `--dry-run` and with `--rejects PATH` for all of them."],
                ["invalid"],
                {"journal": None},
            ),
            (
                ["Run without `--dry-run` and with `--rejects PATH` for all that are invalid."],
                ["invalid", "unknown"],
                {"journal": None},
            ),
        ],
    )
    def test_names_what_has_them(
        self, said: list[str], told: list[str], of: dict[str, Any]
    ) -> None:
        """
        Rows that a page has no room for are where it says that they are: no journal holds a row
        that was refused here, and a dry run writes nothing.
        """
        found: list[str] = []
        counts: dict[str, Any] = dict.fromkeys(told, 9)
        for deed in elsewhere(summary(**counts), facts(**of)):
            found += [deed.what, *(shlex.split(command)[4] for command in deed.commands)]

        assert said == found


@pytest.mark.deep
class TestCommands:
    def test_ask_again_as_patiently_as_the_run_did(self) -> None:
        """
        What the run held to be too old to be sent again is not sent by its own advice.
        """
        (step,) = steps(summary(unknown=1), facts(max_key_age=3600.0))

        assert step.deeds[0].commands == [f"{RESUME} --max-key-age 1h"]

    async def test_do_what_the_page_says(self, tmp_path: pathlib.Path) -> None:
        """
        Typed as they stand on the page of a real run, the commands write the rows to be corrected,
        run them, decide about duplicates and put every payment on record once.
        """
        name = "it's <all>.csv"
        head = "case_id,amount,payment_date,valid_until,status\n"
        row = "{},{},2026-11-02,2026-12-01,PAID\n"
        rows = row.format("a", 1) + row.format("b", '"1,000"') + row.format("a", 1)
        (tmp_path / name).write_text(head + rows)

        def typed(command: str) -> subprocess.CompletedProcess[str]:
            known = (
                f'carevalidate() {{ {shlex.quote(sys.executable)} -m carevalidate_async "$@"; }}'
            )
            return subprocess.run(
                ["bash", "-c", f"{known}; {command}"],
                cwd=tmp_path,
                env={**os.environ, "CAREVALIDATE_API_KEY": "test"},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )

        async with Sandbox(api_key="test") as sandbox:
            where = f"--base-url {sandbox.url} --report run.html"
            await asyncio.to_thread(typed, f"carevalidate confirm {shlex.quote(name)} {where}")
            page = (tmp_path / "run.html").read_text()
            found = re.findall(r'<code class="command".*?>(.*?)</code>', page)
            export, run, once, each = (html.unescape(re.sub("<.*?>", "", one)) for one in found)
            written = await asyncio.to_thread(typed, export)
            corrected = (tmp_path / "invalid.csv").read_text().replace('"1,000"', "1000")
            (tmp_path / "invalid.csv").write_text(corrected)
            codes = [
                (await asyncio.to_thread(typed, command)).returncode
                for command in (run, each, once)
            ]

        assert 0 == written.returncode, written.stderr
        assert [0, 1, 1] == codes  # the invalid row is still in the file itself
        assert ["a", "a", "b"] == sorted(payment.case_id for payment in sandbox.payments)

    @pytest.mark.parametrize("policy", Duplicates)
    @pytest.mark.parametrize("rejects", [None, "no; rejects.csv"])
    @pytest.mark.parametrize("file", ["-", "it's <all>.csv", "-rf.jsonl"])
    def test_are_understood(self, policy: Duplicates, rejects: str | None, file: str) -> None:
        """
        Every command that a page can give is one that the command line knows, with all its options.
        """
        names = ("unknown", "not_sent", "rejected", "invalid", "duplicates")
        told: dict[str, Any] = dict.fromkeys(names, 1)
        run, of = summary(policy, **told), facts(file=file, rejects=rejects)
        typed = commands(steps(run, of)) + [c for d in elsewhere(run, of) for c in d.commands]

        assert typed
        for command in typed:
            words = shlex.split(command.removesuffix(" <FILE"))
            assert "carevalidate" == words[0]
            answer = CliRunner().invoke(cli, [*words[1:], "--help"])
            assert 0 == answer.exit_code, answer.output
            known = cli.commands[words[1]]
            assert isinstance(known, click.Command)
            options = {name for one in known.params for name in (*one.opts, *one.secondary_opts)}
            assert {word for word in words if word.startswith("--")} <= options

    def test_are_not_given_with_part_of_a_name(self) -> None:
        """
        A name of kilobytes is left to the reader, since a part of it is another name.
        """
        ((_, (command,)),) = advised({"not_sent": 1}, file="f" * 501, journal="j" * 501)

        assert " confirm FILE " in command
        assert command.endswith(" --journal JOURNAL")

    @pytest.mark.parametrize(
        "name",
        [
            "plain.csv",
            "it's; $(rm) `x` <all>.csv",
            "tab\tnew\nline\x1b[31m\x7f",
            "\u202egpj\xa0\x85\U000e0041 '\\",
            HOSTILE.replace("\x00", "").replace("\ud800", "\udcff\udc80"),
        ],
    )
    def test_reach_a_shell_as_they_are(self, name: str) -> None:
        """
        Whatever a file is called, what is to be typed can be seen, and means that file.
        """
        shell = shutil.which("bash")
        if shell is None:
            pytest.skip("needs bash")
        typed = quoted(name)
        said = subprocess.run(
            [shell, "-c", f"printf %s {typed}"],
            env={"LC_ALL": "C.UTF-8"},
            capture_output=True,
            check=True,
        )

        assert typed.isprintable()
        assert name.encode(errors="surrogateescape") == said.stdout
