from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import coverage
import hypothesis
import pytest
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar

from asking import Asker
from calls import AT_ONCE
from carevalidate_async import CareValidate
from carevalidate_async.planocore import Planocore
from carevalidate_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

collect_ignore = ["user_project"]  # test_user_project.py runs it, in an environment of its own.

# A busy machine is no reason to fail, and what failed once fails again.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("house")

# A shell's background job ignores interrupts, one under nohup hangups, and so would the commands
# that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no coverage in deep tests: it doubles their time, and the others cover as much."""
    for item in items:
        if item.get_closest_marker("deep") is not None:
            item.add_marker("no_cover")


def pytest_runtest_call(item: pytest.Item) -> None:
    """Stop what measures this process besides pytest-cov, which stops itself in such tests."""
    if item.get_closest_marker("deep") is not None:
        # A worker of pytest-xdist is a subprocess, which coverage measures of its own accord.
        while (running := coverage.Coverage.current()) is not None:
            running.stop()


@pytest.fixture(autouse=True)
def untraced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure none in what deep tests start, either."""
    if request.node.get_closest_marker("deep") is not None:
        for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
            monkeypatch.delenv(name, raising=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how large the fault matrix and the storm were that passed."""
    sums: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, number in report.user_properties:
            sums[name] += number
            sums["combinations"] += name == "faults_struck"
    if sums["combinations"]:
        terminalreporter.write_line(
            "fault matrix: {combinations} combinations as stated, {faults_struck} faults "
            "consumed".format_map(sums)
        )
    if sums["calls"]:
        terminalreporter.write_line(
            "random faults: {calls} calls told the truth, {faults_met} faults met, {cancelled} "
            "calls cancelled".format_map(sums)
        )


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Both vendors, on loopback, with the key and the token "test"."""
    async with Sandbox(api_key="test", token="test") as running:
        yield running


@pytest.fixture
async def plain_http() -> AsyncIterator[ClientSession]:
    """A session of aiohttp that does only what it is told."""
    timeout = ClientTimeout(total=5)
    async with ClientSession(timeout=timeout, cookie_jar=DummyCookieJar()) as session:
        session._retry_connection = False  # aiohttp would send a PUT twice, unasked.
        yield session


@pytest.fixture
def asker(plain_http: ClientSession, sandbox: Sandbox) -> Asker:
    """Asks the sandbox without the package."""
    return Asker(plain_http, sandbox)


@pytest.fixture
async def care(sandbox: Sandbox) -> AsyncIterator[CareValidate]:
    """A client of the sandbox that retries without delay."""
    async with CareValidate("test", base_url=sandbox.url, retry=AT_ONCE) as client:
        yield client


@pytest.fixture
async def plano(sandbox: Sandbox) -> AsyncIterator[Planocore]:
    """A client of planocore's side of the sandbox that retries without delay."""
    async with Planocore("test", base_url=sandbox.url, retry=AT_ONCE) as client:
        yield client


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """
    Name a case by what its bytes are, not by the bytes.

    Archives hold the time at which they were made, and all processes have to name a case alike.
    """
    return argname if isinstance(val, bytes) else None
