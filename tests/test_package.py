"""What the package promises as a package: light to import, whole, and described truthfully."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import inspect
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import carevalidate_async
from carevalidate_async import errors

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "carevalidate_async"
FIRST_CALL = """
import asyncio, datetime, decimal, sys
from carevalidate_async import CareValidate, PaymentConfirmation, PaymentStatus

async def answer(reader, writer):
    await reader.readuntil(b"}")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 16\\r\\n\\r\\n" + b'{"success":true}')
    await writer.drain()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    day = datetime.date(2026, 11, 2)
    payment = PaymentConfirmation(
        case_id="c", amount=decimal.Decimal("1.50"), payment_date=day, valid_until=day,
        status=PaymentStatus.PAID,
    )
    async with CareValidate("k", base_url=url) as care:
        before = set(sys.modules)
        await care.confirm_payment(payment)
        print(sorted(set(sys.modules) - before))

asyncio.run(main())
"""
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What `import carevalidate_async` must not cost: a server, the extras, the sandbox.
HEAVY = [
    "aiofastnet",
    "aiohttp.web",
    "carevalidate_async.sandbox",
    "click",
    "faststream",
    "jinja2",
    "nats",
    "opentelemetry",
    "pyarrow",
    "rich",
    "uvloop",
]
# In pieces, or this file would name them.
REGISTRIES = ["python" + "hosted", "pypi" + ".org", "npm" + "js", "deb." + "debian"]


def run(*arguments: str) -> str:
    """Return what this interpreter prints, warnings being errors; nothing on standard error."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", *arguments],
        capture_output=True,
        check=False,
        cwd=ROOT,
        encoding="utf-8",
        timeout=50,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def section(heading: str) -> str:
    """Return the README's text under a heading, to the next heading of its level."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL
    )
    assert found, heading
    return found[1]


def blocks(text: str, language: str = "[a-z]*") -> list[str]:
    """Return the contents of the fenced blocks in *text*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def tracked_files() -> list[pathlib.Path]:
    """Return the repository's files, or skip where there is no repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, check=True, cwd=ROOT, encoding="utf-8"
    )
    return [path for name in listed.stdout.split("\0") if (path := ROOT / name).is_file()]


class TestImport:
    @pytest.mark.parametrize("module", ["carevalidate_async", "carevalidate_async.planocore"])
    def test_loads_nothing_heavy(self, module: str) -> None:
        """
        Importing the package loads no server, no sandbox and nothing of the extras.
        """
        loaded = run("-c", f"import sys; from {module} import *; print(*sys.modules)").split()

        assert module in loaded
        assert [] == [name for name in HEAVY if name in loaded]

    @pytest.mark.parametrize(
        "module",
        sorted(
            ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for path in PACKAGE.rglob("*.py")
            if path.name not in {"__init__.py", "__main__.py"}
        ),
    )
    def test_each_module_stands_alone(self, module: str) -> None:
        """
        Every module imports by itself and says in its docstring what it is for.
        """
        assert importlib.import_module(module).__doc__


class TestPublicNames:
    def test_sorted(self) -> None:
        """
        `__all__` is sorted and names nothing twice.
        """
        assert sorted(set(carevalidate_async.__all__)) == list(carevalidate_async.__all__)

    def test_importable(self) -> None:
        """
        Every name of `__all__` is there.
        """
        missing = [
            name for name in carevalidate_async.__all__ if not hasattr(carevalidate_async, name)
        ]

        assert [] == missing
        assert set(carevalidate_async.__all__) <= set(dir(carevalidate_async))

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            ("from carevalidate_async import *; print(CareValidate.__name__)", "CareValidate"),
            ("import carevalidate_async as c; print(c.errors.Outcome is c.Outcome)", "True"),
            ("import carevalidate_async as c; print(c.sandbox.Sandbox.__name__)", "Sandbox"),
            ("import carevalidate_async as c; print(hasattr(c, 'json'))", "False"),
        ],
    )
    def test_loaded_when_asked_for(self, code: str, told: str) -> None:
        """
        Names and modules are there in a fresh process, whichever is asked for first.
        """
        assert f"{told}\n" == run("-c", code)

    def test_a_name_that_is_not_there(self) -> None:
        """
        The message is Python's own.
        """
        with pytest.raises(AttributeError, match=r"^module 'carevalidate_async' has no .* 'Nope'$"):
            _ = carevalidate_async.Nope  # type: ignore[attr-defined]  # type checkers know it, too

    def test_whole(self) -> None:
        """
        What the package's root holds without an underscore is a submodule or in `__all__`.
        """
        names = {
            name
            for name, value in vars(carevalidate_async).items()
            if not name.startswith("_") and name != "annotations" and not inspect.ismodule(value)
        }

        assert set() == names - set(carevalidate_async.__all__)

    def test_every_error(self) -> None:
        """
        Every error class can be caught by a name of the package's root.
        """
        names = {
            name
            for name, value in vars(errors).items()
            if inspect.isclass(value) and issubclass(value, Exception) and not name.startswith("_")
        }

        assert "CareValidateError" in names
        assert set() == names - set(carevalidate_async.__all__)

    def test_version(self) -> None:
        """
        The version in the code is the one of the installed distribution.
        """
        assert importlib.metadata.version("carevalidate-async") == carevalidate_async.__version__

    @pytest.mark.parametrize(
        "name",
        ["py.typed", "report/report.css", "report/report.html.jinja", "sandbox/openapi.json"],
    )
    def test_data_files_are_installed(self, name: str) -> None:
        """
        Files that ship beside the code are where the installed package looks for them.
        """
        assert importlib.resources.files(carevalidate_async).joinpath(name).is_file()


class TestReadme:
    @pytest.mark.parametrize("heading", ["Run it", "Test it"])
    def test_set_up_is_one_command(self, heading: str) -> None:
        """
        Each set-up section has exactly one fenced block of exactly one command line.
        """
        (block,) = blocks(section(heading))

        assert 1 == len(block.splitlines())

    @pytest.mark.parametrize("example", blocks(README, "python"))
    def test_python_examples_run(self, example: str) -> None:
        """
        Each Python example runs as it stands, needs no account, and prints the block after it.
        """
        after = README.split(example, 1)[1]

        assert blocks(after, "text")[0] == run("-c", example)

    def test_links_lead_somewhere(self) -> None:
        """
        Every relative link leads to a file of the repository.
        """
        links = re.findall(r"\]\((?!https?://|#)([^)#]+)", README)

        assert links
        assert [] == [link for link in links if not (ROOT / link).exists()]


class TestExamples:
    @pytest.mark.parametrize(
        "script", sorted((ROOT / "examples").glob("*.py")), ids=lambda script: script.name
    )
    def test_scripts_run(self, script: pathlib.Path) -> None:
        """
        Each example runs as it stands, without an account and without a warning.
        """
        assert run(str(script))


class TestRepository:
    def test_no_registry_hosts(self) -> None:
        """
        No file names a package registry's host: the installer's configuration chooses it.
        """
        naming = [
            path.relative_to(ROOT)
            for path in tracked_files()
            if any(host.encode() in path.read_bytes() for host in REGISTRIES)
        ]

        assert [] == naming

    def test_no_large_files(self) -> None:
        """
        No file is over a mebibyte.
        """
        assert [] == [path for path in tracked_files() if path.stat().st_size > 2**20]

    def test_locks_hash_everything(self) -> None:
        """
        Every pin of every lock has hashes, and nothing but pins and hashes stands there.
        """
        locks = sorted((ROOT / "constraints").glob("*.txt"))

        names = ["bench.txt", "dev.txt", "lowest.txt", "run.txt", "test.txt"]
        assert names == [lock.name for lock in locks]
        pin = r"[a-z0-9.-]+==\S+( ; [^\\\n]+)? \\\n"
        hashes = r"(    --hash=sha256:[0-9a-f]{64} \\\n)*    --hash=sha256:[0-9a-f]{64}\n"
        for lock in locks:
            assert re.fullmatch(rf"({pin}{hashes})+", lock.read_text(encoding="utf-8")), lock.name

    def test_importing_loads_little(self) -> None:
        """
        What is slow is loaded with the first client, all at once.
        """
        slow = "{'aiohttp', 'attrs', 'cattrs', 'tenacity', 'carevalidate_async.bulk'}"
        look = f"print(sorted({slow} & sys.modules.keys()))"
        code = (
            f"import sys, carevalidate_async; {look}; carevalidate_async.CareValidate('k'); {look}"
        )
        told = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.splitlines()

        assert ["[]", "['aiohttp', 'attrs', 'cattrs', 'tenacity']"] == told

    def test_the_first_call_loads_nothing(self) -> None:
        """
        It would hold the event loop up.
        """
        told = subprocess.run(
            [sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, check=True
        ).stdout

        assert "[]\n" == told

    def test_one_file_knows_tenacity(self) -> None:
        """
        Only `_retry.py` imports tenacity, so that retrying is decided in one place.
        """
        knowing = [
            path.name
            for path in PACKAGE.rglob("*.py")
            if re.search(r"^\s*(import|from) tenacity\b", path.read_text("utf-8"), re.MULTILINE)
        ]

        assert ["_retry.py"] == knowing
