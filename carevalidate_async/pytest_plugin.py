"""
Fixtures and markers for the tests of what uses the package; pytest loads them by itself.

They need pytest alone: no fixture is a coroutine, so tests may be plain functions that call
`asyncio.run`, or coroutines under pytest-asyncio or anyio's plugin.

| fixture | scope | gives |
|---|---|---|
| `carevalidate_sandbox` | test | the sandbox, a `BackgroundSandbox` with nothing on record |
| `carevalidate_client` | test | a `CareValidate` that talks to it |
| `planocore_client` | test | a `Planocore` that talks to it |
| `carevalidate_env` | test | the sandbox; clients that read the environment talk to it, too |
| `carevalidate_delays` | test | the delays between attempts that were not waited for, in seconds |
| `carevalidate_url` | session | the sandbox's address, for what is set up once |
| `carevalidate_sandbox_options` | session | arguments of `Sandbox`; override it to change them |

In a test that uses the sandbox no retry waits, and no client of the package reaches another host.

| marker | meaning |
|---|---|
| `carevalidate_faults(*faults, operation=None, all_met=True)` | what the test's requests meet |
| `carevalidate_waits` | retries of the test wait as they would in production |

A fault is given by its name, or as a `Fault`: ``"DROP_AFTER"``, ``Fault.HTML(status=200)``.
To type checkers, one `Fault` and nothing else looks like a function to be marked.

``-p no:carevalidate`` switches it off. A run that uses none of it imports nothing but this file and
the package's own, which loads nothing.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from carevalidate_async.carevalidate import CareValidate
    from carevalidate_async.planocore import Planocore
    from carevalidate_async.testing import BackgroundSandbox

_FAULTS = "carevalidate_faults"
_WAITS = "carevalidate_waits"
_SANDBOX = "carevalidate_sandbox"
_USE_OF_FAULTS = (
    f"{_FAULTS}(*faults, operation=None, all_met=True): what the test's requests to the sandbox "
    "meet, one each, in order; unless all_met is False, the test fails where one is left."
)
_USE_OF_WAITS = f"{_WAITS}: let the retries of this test wait as they would in production."
_running = pytest.StashKey["BackgroundSandbox"]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for line in (_USE_OF_FAULTS, _USE_OF_WAITS):
        config.addinivalue_line("markers", line)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse faults of a test that has no sandbox: they would be met by nobody, unnoticed."""
    if item.get_closest_marker(_FAULTS) and _SANDBOX not in getattr(item, "fixturenames", ()):
        pytest.fail(
            f"the marker {_FAULTS} needs the fixture {_SANDBOX}, or one that uses it: "
            "carevalidate_client, planocore_client or carevalidate_env",
            pytrace=False,
        )


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Fail a test that passed but has not met all of its faults; one that failed ends before."""
    sandbox = item.stash.get(_running, None)
    marks = [*item.iter_markers(_FAULTS)]
    if sandbox is None or not marks:
        return
    if all(mark.kwargs.get("all_met", True) for mark in marks):
        wrong = ""
        try:
            sandbox.assert_script_met()
        except AssertionError as error:
            wrong = str(error)
        if wrong:
            pytest.fail(wrong, pytrace=False)


@pytest.fixture(scope="session")
def carevalidate_sandbox_options() -> dict[str, Any]:
    """
    Arguments of the `Sandbox`, by name.

    Override it, in a ``conftest.py`` or for a module or class, to serve another one::

        @pytest.fixture(scope="session")
        def carevalidate_sandbox_options():
            return {"users": ["ada@patients.example"]}
    """
    return {}


@pytest.fixture(scope="session")
def _carevalidate_sandboxes() -> Iterator[Callable[[dict[str, Any]], BackgroundSandbox]]:
    """What gives the session's sandbox with these options: one for each that a test asks for."""
    from carevalidate_async.sandbox import Sandbox
    from carevalidate_async.testing import BackgroundSandbox

    running: list[tuple[dict[str, Any], BackgroundSandbox]] = []

    def serve(options: dict[str, Any]) -> BackgroundSandbox:
        for those, sandbox in running:
            if those == options:
                return sandbox.start()  # A test before may have closed it.
        sandbox = stack.enter_context(BackgroundSandbox(Sandbox(**options)))
        running.append(({**options}, sandbox))
        return sandbox

    with contextlib.ExitStack() as stack:
        yield serve


@pytest.fixture(scope="session")
def carevalidate_url(
    _carevalidate_sandboxes: Callable[[dict[str, Any]], BackgroundSandbox],
    carevalidate_sandbox_options: dict[str, Any],
) -> str:
    """
    The sandbox's address, the same for all tests of the session.

    For applications that are set up once. Their tests use ``carevalidate_sandbox`` besides, so that
    each begins with nothing on record.
    """
    return _carevalidate_sandboxes(carevalidate_sandbox_options).url


@pytest.fixture
def carevalidate_delays(request: pytest.FixtureRequest) -> Iterator[list[float]]:
    """
    The delays between attempts, in seconds, that would have been waited for by now.

    Retries do not wait in a test that has this fixture, as every test with ``carevalidate_sandbox``
    does, unless it is marked ``carevalidate_waits``; the list stays empty then.
    """
    from carevalidate_async.testing import no_waiting

    if request.node.get_closest_marker(_WAITS) is not None:
        yield []
        return
    with no_waiting() as delays:
        yield delays


@pytest.fixture
def carevalidate_sandbox(
    request: pytest.FixtureRequest,
    _carevalidate_sandboxes: Callable[[dict[str, Any]], BackgroundSandbox],
    carevalidate_sandbox_options: dict[str, Any],
    carevalidate_delays: list[float],  # noqa: ARG001  # For its effect.
) -> Iterator[BackgroundSandbox]:
    """
    The sandbox, with nothing on record and with the faults of the test's markers.

    Under it no client of the package reaches another host than this one; see
    `carevalidate_async.testing.only_loopback`.
    """
    from carevalidate_async.testing import only_loopback

    sandbox = _carevalidate_sandboxes(carevalidate_sandbox_options)
    sandbox.reset()
    for mark in reversed([*request.node.iter_markers(_FAULTS)]):  # Those of the class come first.
        _script(sandbox, mark)
    request.node.stash[_running] = sandbox
    with only_loopback():
        yield sandbox
    sandbox.reset()


@pytest.fixture
def carevalidate_client(
    carevalidate_sandbox: BackgroundSandbox, carevalidate_sandbox_options: dict[str, Any]
) -> Iterator[CareValidate]:
    """
    A client of the sandbox for any event loop, one after the other; closed after the test.

    For other options there is ``carevalidate_client.with_options(attempt_timeout=0.1)``.
    """
    from carevalidate_async.carevalidate import CareValidate

    key = _key(carevalidate_sandbox_options)
    client = CareValidate(key, base_url=carevalidate_sandbox.url, transport="auto")
    yield client
    carevalidate_sandbox.close_client(client)


@pytest.fixture
def planocore_client(
    carevalidate_sandbox: BackgroundSandbox, carevalidate_sandbox_options: dict[str, Any]
) -> Iterator[Planocore]:
    """A client of planocore's side of the sandbox, as ``carevalidate_client`` is of the other."""
    from carevalidate_async.planocore import Planocore

    token = carevalidate_sandbox_options.get("token", "test")
    client = Planocore(token, base_url=carevalidate_sandbox.url, transport="auto")
    yield client
    carevalidate_sandbox.close_client(client)


@pytest.fixture
def carevalidate_env(
    carevalidate_sandbox: BackgroundSandbox, carevalidate_sandbox_options: dict[str, Any]
) -> Iterator[BackgroundSandbox]:
    """
    The sandbox, for code that makes its clients by itself.

    All variables ``CAREVALIDATE_...`` and ``PLANOCORE_...`` of the machine are out of sight, and
    those of the key, the token and the addresses are the sandbox's. The names ``production`` and
    ``staging`` mean the sandbox, too.
    """
    from carevalidate_async import carevalidate, planocore

    url = carevalidate_sandbox.url
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith(("CAREVALIDATE_", "PLANOCORE_")):
                patch.delenv(name)
        patch.setenv("CAREVALIDATE_API_KEY", _key(carevalidate_sandbox_options))
        patch.setenv("CAREVALIDATE_BASE_URL", url)
        patch.setenv("PLANOCORE_TOKEN", carevalidate_sandbox_options.get("token", "test"))
        patch.setenv("PLANOCORE_BASE_URL", url)
        patch.setattr(carevalidate, "ORIGINS", dict.fromkeys(carevalidate.ORIGINS, url))
        patch.setattr(planocore, "ORIGIN", url)
        yield carevalidate_sandbox


def _key(options: Mapping[str, Any]) -> str:
    keys = options.get("api_key", "test")
    return keys if isinstance(keys, str) else next(iter(keys))


def _script(sandbox: BackgroundSandbox, mark: pytest.Mark) -> None:
    from carevalidate_async.sandbox import Fault

    by_name = {fault.name: fault for fault in (Fault.OK, *Fault.EVERY)}
    known = [by_name.get(given) if isinstance(given, str) else given for given in mark.args]
    faults = [fault for fault in known if isinstance(fault, Fault)]
    if not known or known != faults or mark.kwargs.keys() - {"operation", "all_met"}:
        names = ", ".join(by_name)
        pytest.fail(
            f"not as the marker is to be used: {_USE_OF_FAULTS} Faults are {names}", pytrace=False
        )
    try:
        sandbox.script(*faults, operation=mark.kwargs.get("operation"))
    except ValueError as error:
        pytest.fail(f"the marker {_FAULTS}: {error}", pytrace=False)
