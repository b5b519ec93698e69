"""What `--help` promises, held against what the commands do: each example in it is run here."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from brokers import NatsServer, processes
from carevalidate_async import carevalidate, cli
from carevalidate_async._commands.manual import Manual, ManualGroup
from carevalidate_async.sandbox import Fault
from cli_support import HEADER, good, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carevalidate_async.sandbox import Sandbox

JOURNAL = "payments.csv.production.journal"
OURS = ("CAREVALIDATE_", "PLANOCORE_")
SECTIONS = ("Environment", "Files", "Exit status", "Examples", "See also")
USER = {
    "email": "user@example.com",
    "stripe_setup_id": "seti_1",
    "nmi_payment_token": "nmi-1",
    "shipping_address": {
        "address_line1": "1 Main St",
        "city": "Denver",
        "state": "CO",
        "country": "US",
        "postal_code": "80202",
    },
}


def walk(
    command: click.Command = cli.cli, path: str = ""
) -> Iterator[tuple[str, Manual | ManualGroup]]:
    """Yield every command by what is typed after the program's name, groups among them."""
    assert isinstance(command, Manual | ManualGroup), path
    yield path, command
    if isinstance(command, ManualGroup):
        for name, below in command.commands.items():
            yield from walk(below, f"{path} {name}".strip())


COMMANDS = dict(walk())
BROKERED = ["enqueue", "worker", "collect", "dead-letter list", "dead-letter replay", "dead-letter"]
# Those whose examples are run in one process, one after the other.
PLAIN = sorted(COMMANDS.keys() - {*BROKERED, "sandbox", "completion"})


@functools.cache
def help_of(path: str, columns: int = 80) -> str:
    """Return the help of a command as it is shown on a terminal of that width."""
    result = CliRunner().invoke(
        cli.cli,
        [*path.split(), "--help"],
        prog_name="carevalidate",
        max_content_width=columns,
        terminal_width=columns,
    )
    assert (0, "") == (result.exit_code, result.stderr)
    return result.stdout


def words(line: str) -> list[str]:
    """Return what follows the program's name in an example."""
    program, *rest = shlex.split(line.replace("\\\n", " "))
    assert "carevalidate" == program
    return rest


def in_shell(line: str) -> int:
    """Return the exit status of an example in bash, where the program is the one under test."""
    function = f'carevalidate() {{ {shlex.quote(sys.executable)} -m carevalidate_async "$@"; }}'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail\n{function}\n{line}"],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=50,
    )
    assert "Traceback" not in done.stderr
    return done.returncode


def run(line: str) -> int:
    """Return the exit status of an example."""
    if re.search(r"[|<>]", line):
        return in_shell(line)
    return CliRunner().invoke(cli.cli, words(line)).exit_code


@contextlib.contextmanager
def at_its_end() -> Iterator[None]:
    """Have nothing to read from standard input, however pytest was started."""
    before = os.dup(0)
    try:
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


@pytest.fixture
def sandbox(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in place of both vendors, and a folder that has the files of the examples."""
    monkeypatch.chdir(tmp_path)
    payments = f"{HEADER}{good(1)}{good(2)}"
    pathlib.Path("payments.csv").write_text(payments, encoding="utf-8")
    pathlib.Path("payments.csv.gz").write_bytes(gzip.compress(payments.encode()))
    intent = {"amount": "1.15", "payment_method_types": ["card"], "metadata": {"email": "a@b.co"}}
    for name, document in (
        ("intent.json", intent),
        ("payment.json", {"amount": "100", "description": "First visit"}),
        ("user.json", USER),
    ):
        pathlib.Path(name).write_text(json.dumps(document), encoding="utf-8")
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    with running_sandbox() as running:
        monkeypatch.setitem(carevalidate.ORIGINS, "production", running.url)
        monkeypatch.setitem(carevalidate.ORIGINS, "staging", running.url)
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        monkeypatch.setenv("PLANOCORE_TOKEN", "test")
        monkeypatch.setenv("PLANOCORE_BASE_URL", running.url)
        yield running


def in_doubt(sandbox: Sandbox) -> None:
    """Leave the journal of a run with two rows in doubt, one refused, and one on record."""
    keys = ("found", "march-rent-17", "refused", "fine")
    rows = "".join(f"{good(number).strip()},{key}\n" for number, key in enumerate(keys, 1))
    header = f"{HEADER.strip()},idempotency_key\n"
    pathlib.Path("payments.csv").write_text(header + rows, encoding="utf-8")
    pathlib.Path("found.txt").write_text("found\n", encoding="utf-8")
    lost, refused = Fault.ERROR_AFTER, Fault.HTML(status=400, body='{"success": false}')
    sandbox.script(lost, lost, refused, Fault.OK)
    once = "--concurrency 1 --fixed --max-attempts 1 --max-outage 0"
    assert 1 == run(f"carevalidate confirm payments.csv {once}")


@pytest.mark.parametrize("path", COMMANDS)
class TestPage:
    def test_has_the_sections_that_apply(self, path: str) -> None:
        """
        There is a synopsis, a paragraph on what it does, the options, and then the sections in the
        order of a manual's page, none of them empty.
        """
        shown = help_of(path)
        command = COMMANDS[path]
        titles = re.findall(r"^(\S[^:\n]*):$", shown, re.MULTILINE)
        wanted = [
            title
            for title, there in zip(
                SECTIONS,
                (command.environment, command.files, True, True, command.see_also),
                strict=True,
            )
            if there
        ]

        assert shown.startswith(f"Usage: carevalidate {path}".strip())
        assert re.search(r"\A.*\n(?:  .*\n)*\n  [A-Z][^\n]+", shown)
        assert wanted == titles[-len(wanted) :]
        assert command.statuses
        assert command.examples

    def test_fits_a_terminal(self, path: str) -> None:
        """
        No line is longer than 80 columns, and none of what a group says of its commands is cut.
        """
        shown = help_of(path)

        assert [] == [line for line in shown.splitlines() if len(line) > 80]
        assert not re.search(r"\w\.\.\.$", shown, re.MULTILINE)

    def test_options_say_what_they_take(self, path: str) -> None:
        """
        Each option has a text, numbers have a name for what they count, and defaults are told.
        """
        options = [param for param in COMMANDS[path].params if isinstance(param, click.Option)]

        assert [] == [option.name for option in options if not option.help]
        numbers = [o for o in options if isinstance(o.type, click.types.IntParamType)]
        numbers += [o for o in options if isinstance(o.type, click.types.FloatParamType)]
        assert [] == [option.name for option in numbers if option.metavar is None]
        valued = [o for o in options if not o.is_flag and not o.multiple and not o.required]
        assert [] == [
            option.name
            for option in valued
            if option.to_info_dict()["default"] is not None
            and not option.show_default
            and "Default:" not in (option.help or "")
        ]

    def test_exit_statuses(self, path: str) -> None:
        """
        Success, a wrong command, and being interrupted each have their status.
        """
        command = COMMANDS[path]
        shown = help_of(path).partition("\nExit status:\n")[2].partition("\n\n")[0]
        common = {0, 2} if path == "dead-letter" else {0, 2, 130}

        assert common <= command.statuses.keys()
        assert sorted(command.statuses) == [
            int(found) for found in re.findall(r"^  (\d+) ", shown, re.MULTILINE)
        ]

    def test_refers_to_commands_that_exist(self, path: str) -> None:
        """
        What is to be seen also is there, and is another command.
        """
        others = COMMANDS[path].see_also

        assert set(others) <= COMMANDS.keys() - {path, ""}
        for name in others:
            assert f"\n  carevalidate {name}\n" in help_of(path)

    def test_whole_on_the_site(self, path: str) -> None:
        """
        The text that the site is made of has every section, and every example as a block.
        """
        command = COMMANDS[path]
        text = f"{command.epilog}\n"

        for line in command.examples.values():
            block = textwrap.indent(f"$ {line}", "    ")
            assert f".. code-block:: console\n\n{block}\n" in text
        for name in (*command.environment, *command.files, *map(str, command.statuses)):
            assert f"\n``{name}``\n    " in text
        for name in command.see_also:
            assert f"``carevalidate {name}``" in text


class TestGroups:
    @pytest.mark.parametrize("path", ["", "dead-letter"])
    def test_list_each_command_once(self, path: str) -> None:
        """
        Every command of a group stands in one chapter of its help.
        """
        group = COMMANDS[path]
        assert isinstance(group, ManualGroup)
        listed = [name for names in group.chapters.values() for name in names]

        assert sorted(group.commands) == sorted(listed)
        for name in listed:
            assert 1 == len(re.findall(rf"^  {name} ", help_of(path), re.MULTILINE))

    def test_list_the_variables_of_their_commands(self) -> None:
        """
        The program's own help has every variable of this package that any command reads.
        """
        below = {
            name
            for path, command in COMMANDS.items()
            if path
            for name in command.environment
            if name.startswith(OURS)
        }

        assert below == COMMANDS[""].environment.keys()


class TestExamples:
    def test_all_are_run(self) -> None:
        """
        No command is left out of the tests below.
        """
        assert {*PLAIN, *BROKERED, "sandbox", "completion"} == COMMANDS.keys()

    @pytest.mark.parametrize("path", PLAIN)
    def test_work(
        self, path: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
    ) -> None:
        """
        Each example does what it says against a sandbox; a status that it ends with is told.
        """
        command = COMMANDS[path]
        if path in {"status", "export", "settle"}:
            in_doubt(sandbox)
        ended = {}
        for line in command.examples.values():
            with monkeypatch.context() as here:
                if re.search(r"[|<>]", line):  # another process
                    here.setenv("CAREVALIDATE_BASE_URL", sandbox.url)
                ended[line] = run(line)

        usual = 1 if path == "status" else 0  # rows are in doubt
        assert dict.fromkeys(command.examples.values(), usual) == ended
        if path == "export":
            written = {
                name: (tmp_path / name).read_text() for name in ("again.csv", "corrected.csv")
            }
            assert {"again.csv": 3, "corrected.csv": 2} == {
                name: text.count("\n") for name, text in written.items()
            }

    def test_of_a_queue(
        self, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A file is queued, confirmed, collected and cleared away by the examples, in this order.
        """
        with NatsServer(tmp_path / "streams") as server, processes() as started:
            monkeypatch.setenv("CAREVALIDATE_BROKER", server.url)
            meant = {
                "nats://127.0.0.1:4222": server.url,
                "--environment staging": f"--base-url {sandbox.url}",
            }

            def lines(path: str) -> list[str]:
                found = list(COMMANDS[path].examples.values())
                for said, here in meant.items():
                    found = [line.replace(said, here) for line in found]
                return found

            assert [0, 0] == [run(line) for line in lines("enqueue")]
            for line in lines("worker"):
                variables = {**os.environ, "CAREVALIDATE_BASE_URL": sandbox.url}
                if "--base-url" in line:
                    del variables["CAREVALIDATE_BASE_URL"]
                program = [sys.executable, "-m", "carevalidate_async", *words(line)]
                started.append(subprocess.Popen(program, env=variables))
            *first, last = lines("collect")
            assert [0] * len(first) == [run(line) for line in first]
            for path in ("dead-letter list", "dead-letter replay", "dead-letter"):
                assert {0} == {run(line) for line in lines(path)}
            assert 0 == run(last)
            for process in started:
                process.send_signal(signal.SIGTERM)
            assert [0, 0] == [process.wait(30) for process in started]

    def test_of_the_sandbox(self) -> None:
        """
        Each runs until it is interrupted, which is its success.
        """
        with processes() as started:
            for line in COMMANDS["sandbox"].examples.values():
                program = [sys.executable, "-m", "carevalidate_async", *words(line)]
                process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
                started.append(process)
                assert process.stdout is not None
                assert process.stdout.readline().startswith("http://127.0.0.1:")
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=30)
                assert 0 == process.returncode

    def test_of_completion(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Each puts a script where the help says that the shell looks.
        """
        monkeypatch.setenv("HOME", str(tmp_path))
        command = COMMANDS["completion"]
        for folder in command.files:
            pathlib.Path(folder).expanduser().mkdir(parents=True)

        assert {0} == {in_shell(line) for line in command.examples.values()}
        for folder in command.files:
            (script,) = pathlib.Path(folder).expanduser().iterdir()
            assert "_CAREVALIDATE_COMPLETE" in script.read_text(encoding="utf-8")


class TestVariables:
    @pytest.mark.parametrize("path", sorted(COMMANDS.keys() - {"", "dead-letter"}))
    def test_are_those_that_are_read(
        self, path: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
    ) -> None:
        """
        A command reads the variables that its help names, and no other one of this package.
        """
        monkeypatch.delenv("PLANOCORE_BASE_URL")
        monkeypatch.setattr("carevalidate_async.planocore.ORIGIN", sandbox.url)
        read: set[str] = set()
        find = type(os.environ).__getitem__

        def noted(environ: Any, name: str) -> str:
            read.add(name)
            return find(environ, name)

        if path in {"status", "export", "settle"}:
            in_doubt(sandbox)
        if path == "sandbox":
            # Taken: it ends when it would begin to serve.
            lines = [f"carevalidate sandbox --port {sandbox.url.rpartition(':')[2]}"]
        elif path == "worker":
            lines = ["carevalidate worker --while-stdin"]
        elif path == "completion":
            lines = ["carevalidate completion bash"]
        else:
            lines = [x for x in COMMANDS[path].examples.values() if not re.search(r"[|<>]", x)]
        with contextlib.ExitStack() as stack, monkeypatch.context() as here:
            stack.enter_context(at_its_end())
            if path in BROKERED:
                server = stack.enter_context(NatsServer(tmp_path / "streams"))
                here.setenv("CAREVALIDATE_BROKER", server.url)
                if path in {"collect", "dead-letter list", "dead-letter replay"}:
                    assert 0 == run("carevalidate enqueue payments.csv --job november")
                    lines = [f"{line} --now" if path == "collect" else line for line in lines]
            here.setattr(type(os.environ), "__getitem__", noted)
            for line in lines:
                run(line)

        told = COMMANDS[path].environment
        assert {name for name in told if name.startswith(OURS)} == {
            name for name in read if name.startswith(OURS)
        }

    def test_temporary_files(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
    ) -> None:
        """
        The commands that say so make their temporary files where TMPDIR says.
        """
        in_doubt(sandbox)
        made: list[str] = []
        make = tempfile.mkdtemp

        def noted(*args: Any, **options: Any) -> str:
            made.append(make(*args, **options))
            return made[-1]

        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(tempfile, "mkdtemp", noted)
        run("carevalidate confirm payments.csv --sandbox")
        run(f"carevalidate export {JOURNAL} --state rejected")

        assert {"confirm", "export"} == {
            path for path, command in COMMANDS.items() if "TMPDIR" in command.environment
        }
        assert [tmp_path] * 2 == [pathlib.Path(folder).parent for folder in made]
