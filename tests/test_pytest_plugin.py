"""The package's pytest plugin, in processes of its own: where users' tests run."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import aiohttp
import pytest

from carevalidate_async import pytest_plugin
from carevalidate_async.sandbox import Fault
from carevalidate_async.testing import BackgroundSandbox

SUITES = pathlib.Path(__file__).parent / "suites"
GUIDE = (SUITES.parents[1] / "docs" / "guides" / "testing.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```py\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
INI = "[pytest]\naddopts = --strict-config --strict-markers -rA\nfilterwarnings = error\n"

SAID = """\
AssertionError: 1 on record expected, 0 found: payment with case_id='case-1', amount=60, \
email=(not shown)
1. confirm_payment: case_id='case-1', amount=50, status='PAID', payment_date='2026-11-02', \
valid_until='2026-12-01', email=(not shown), phone_number=(not shown), idempotency_key='key-1'  \
<- amount is 50, email differs
1. confirm_payment: Fault.DROP_AFTER, no answer
2. confirm_payment: Fault.OK, answered 409
scripted faults that no request has met: Fault.HANG(seconds=1); requests that arrived:
the marker carevalidate_faults needs the fixture carevalidate_sandbox, or one that uses it: \
carevalidate_client, planocore_client or carevalidate_env
LookupError: its own reason
"""


def play(folder: pathlib.Path, suite: str | None, *arguments: str) -> tuple[dict[str, str], str]:
    """
    Run pytest on a suite, in *folder*, with no plugin but ours, and those in *arguments*.

    Without a suite it is run on the tests that the folder has.

    Returns:
        What became of each test, and what was printed.
    """
    (folder / "pytest.ini").write_text(INI, encoding="utf-8")
    if suite is not None:  # Here our own conftest.py would be loaded, too.
        shutil.copy(SUITES / f"{suite}.py", folder)
    variables = {
        **os.environ,
        "CAREVALIDATE_API_KEY": "of-the-machine",
        "CAREVALIDATE_ENVIRONMENT": "of-the-machine",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    variables.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "pytest", "-p", "carevalidate_async.pytest_plugin"),
            *("-p", "no:cacheprovider", *arguments, *([] if suite is None else [f"{suite}.py"])),
        ],
        capture_output=True,
        check=False,
        cwd=folder,
        encoding="utf-8",
        env=variables,
        timeout=50,
    )
    found = re.findall(r"^([A-Z]+) \S*::(test_\w+)", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return {name: outcome for outcome, name in found}, done.stdout


def rows(text: str, first: str) -> dict[str, list[str]]:
    """Return the rows of the Markdown table in *text* whose first column is headed *first*."""
    _, _, below = text.partition(f"| {first} |")
    found = {}
    for line in below.splitlines()[2:]:
        if not line.startswith("|"):
            break
        head, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found[head.strip("`")] = cells
    assert found
    return found


class TestFixtures:
    def test_pytest_alone(self, tmp_path: pathlib.Path) -> None:
        """All fixtures and markers work under pytest alone, and leave no warning behind."""
        outcomes, text = play(tmp_path, "plain")

        assert {"PASSED"} == set(outcomes.values()), text
        assert 16 == len(outcomes)

    @pytest.mark.parametrize(
        "options",
        [
            ("asyncio_mode=strict", "asyncio_default_test_loop_scope=function"),
            ("asyncio_mode=auto", "asyncio_default_test_loop_scope=session"),
        ],
    )
    def test_pytest_asyncio(self, tmp_path: pathlib.Path, options: tuple[str, ...]) -> None:
        """They work in coroutines under pytest-asyncio, a loop a test or one for all of them."""
        given = [
            f"-o{option}" for option in ("asyncio_default_fixture_loop_scope=function", *options)
        ]
        outcomes, text = play(tmp_path, "coroutines", "-p", "pytest_asyncio.plugin", *given)

        assert {"PASSED"} == set(outcomes.values()), text
        assert 5 == len(outcomes)

    def test_anyio(self, tmp_path: pathlib.Path) -> None:
        """They work under the plugin of anyio."""
        pytest.importorskip("anyio.pytest_plugin")
        outcomes, text = play(tmp_path, "on_anyio", "-p", "anyio.pytest_plugin")

        assert {"PASSED"} == set(outcomes.values()), text
        assert 3 == len(outcomes)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], str]:
    """What became of tests that fail."""
    return play(tmp_path_factory.mktemp("failing"), "failing")


class TestFailures:
    def test_outcomes(self, played: tuple[dict[str, str], str]) -> None:
        """What is wrong with the money fails a test; what is wrong with a marker, its set-up."""
        assert {
            "test_amount": "FAILED",
            "test_faults_left": "FAILED",
            "test_reason_of_its_own": "FAILED",
            "test_without_sandbox": "ERROR",
            "test_no_fault": "ERROR",
            "test_no_operation": "ERROR",
            "test_passes_after_all_that": "PASSED",
        } == played[0]

    @pytest.mark.parametrize("line", SAID.splitlines())
    def test_messages(self, played: tuple[dict[str, str], str], line: str) -> None:
        """What is said shows what is on record, what arrived, and how the two differ."""
        assert line in [told.removeprefix("E").strip() for told in played[1].splitlines()]

    def test_no_personal_data(self, played: tuple[dict[str, str], str]) -> None:
        """None of it shows an address that is on record, and no frame of ours is shown."""
        said = "\n".join(line for line in played[1].splitlines() if line.startswith("E  "))

        assert "ada@" not in said
        assert "bob@" not in said
        assert "555-0100" not in said
        assert "_background.py" not in played[1]
        assert "AssertionError" in said

    def test_misuse_is_explained(self, played: tuple[dict[str, str], str]) -> None:
        """A marker that cannot be understood says how it is to be used, or what there is."""
        assert "not as the marker is to be used: carevalidate_faults(*faults, op" in played[1]
        assert "the marker carevalidate_faults: there is no operation 'pay'; there are" in played[1]


class TestCost:
    def test_nothing_is_loaded(self, tmp_path: pathlib.Path) -> None:
        """A run that uses no fixture of ours imports nothing but the plugin's own file."""
        outcomes, text = play(tmp_path, "unconcerned")

        assert {"test_nothing_was_loaded": "PASSED"} == outcomes, text


class TestGuide:
    def test_samples(self, tmp_path: pathlib.Path) -> None:
        """Each sample of docs/guides/testing.md passes as it stands."""
        count = 0
        for number, text in enumerate(SAMPLES):
            if "stream_writer" in text and aiohttp.__version__.startswith("3.13."):
                continue  # As the page says.
            (tmp_path / f"test_{number}.py").write_text(text, encoding="utf-8")
            count += len(re.findall(r"def test_", text))
        options = "asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function"
        given = [f"-o{option}" for option in options]
        _, said = play(tmp_path, None, "-p", "pytest_asyncio.plugin", *given)

        assert count
        assert f"= {count} passed in" in said, said

    def test_fixtures(self) -> None:
        """The fixtures of the page and of the plugin's docstring are those that there are."""
        there = {
            name
            for name, value in vars(pytest_plugin).items()
            if name.startswith(("carevalidate_", "planocore_")) and not isinstance(value, str)
        }

        assert there == rows(GUIDE, "fixture").keys()
        assert rows(pytest_plugin.__doc__ or "", "fixture") == rows(GUIDE, "fixture")

    def test_faults(self) -> None:
        """The faults are those of the sandbox, in its words."""
        assert [fault.name for fault in (Fault.OK, *Fault.EVERY)] == list(rows(GUIDE, "fault"))
        told = "\n".join(line.strip() for line in (Fault.__doc__ or "").splitlines())
        assert rows(told, "fault") == rows(GUIDE, "fault")

    def test_assertions(self) -> None:
        """So are the assertions."""
        there = {name for name in vars(BackgroundSandbox) if name.startswith("assert_")}

        assert there == {call.partition("(")[0] for call in rows(GUIDE, "assertion")}
