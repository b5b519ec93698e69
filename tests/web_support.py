"""What the tests of web servers share: an application that is served, and its callers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import socket
import sys
from typing import TYPE_CHECKING, Any

import attrs
import uvicorn
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Callable

    from carevalidate_async.sandbox import Sandbox

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples" / "web"
SECRET = "whsec-of-a-test"
APPS = ("aiohttp_app", "fastapi_app", "litestar_app", "starlette_app")
CASE = "9f0f2f70-f536-4b1d-8ed4-c831f4a4bcab"


def paid(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return what a front end sends of a payment that was made."""
    days = {"paid_on": "2026-11-02", "valid_until": "2026-12-02"}
    return {"case_id": f"case-{number}", "amount": 49.90, **days, **changes}


@attrs.frozen
class Answer:
    """An answer of the application."""

    status: int
    kind: str
    body: dict[str, Any]
    headers: dict[str, str]


@attrs.define
class App:
    """
    An application that is served.

    Attributes:
        url: Its origin.

        http: Asks it.

        process: Runs it; None where this process does.

        log: Where its output goes.
    """

    url: str
    http: ClientSession
    process: asyncio.subprocess.Process | None = None
    log: pathlib.Path | None = None

    async def ask(
        self, path: str, body: Any, *, key: str | None = "k-1", user: str = "u-1", **headers: str
    ) -> Answer:
        """Post something."""
        headers["X-User-Id"] = user
        if key is not None:
            headers["Idempotency-Key"] = key
        async with self.http.post(self.url + path, json=body, headers=headers) as answer:
            told = await answer.json(content_type=None)
            return Answer(answer.status, answer.content_type, told, dict(answer.headers))

    def logged(self) -> str:
        """Return what it has said so far."""
        assert self.log is not None
        return self.log.read_text(encoding="utf-8")

    async def ended(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)

    async def hang_up(self, path: str, body: bytes, *, key: str, until: Callable[[], bool]) -> None:
        """Ask, and reset the connection once *until* gives True."""
        headers = {"Content-Type": "application/json", "X-User-Id": "u-1", "Idempotency-Key": key}
        _, writer = await self._send(path, body, headers)
        await happens(until)
        writer.transport.abort()

    async def post_bytes(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Ask, all of it whatever comes back meanwhile, and return the status."""
        reader, writer = await self._send(path, body, headers)
        with contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            named = b"\r\nwww-authenticate: " in head.lower()
            assert named == head.startswith(b"HTTP/1.1 401 ")
            return int(head.split()[1])

    async def _send(
        self, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "\r\n"]).encode() + body)
        return reader, writer


async def happens(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until *condition* gives True."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what it waits for may be in another process
            await asyncio.sleep(0.01)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[ClientSession]:
    """Open connections to ask an application with."""
    timeout, jar = ClientTimeout(total=40), DummyCookieJar()
    async with ClientSession(timeout=timeout, cookie_jar=jar) as http:
        http._retry_connection = False  # What asks twice is the tests.
        yield http


@contextlib.asynccontextmanager
async def example(
    name: str, sandbox: Sandbox, folder: pathlib.Path, *options: str
) -> AsyncIterator[App]:
    """Run an example as its guide says, with the credential and the address of *sandbox*."""
    command = ("-W", "error", str(EXAMPLES / f"{name}.py"), *options)
    async with run_with(command, sandbox, folder / f"{name}.log") as app:
        yield app


@contextlib.asynccontextmanager
async def run_with(
    command: tuple[str, ...], sandbox: Sandbox, log: pathlib.Path
) -> AsyncIterator[App]:
    """Run Python with *command*, which takes ``--port``, and what is said goes to *log*."""
    env = {
        **os.environ,
        "CAREVALIDATE_API_KEY": "test",
        "CAREVALIDATE_BASE_URL": sandbox.url,
        "CAREVALIDATE_WEBHOOK_SECRET": SECRET,
        "PYTHONUNBUFFERED": "1",
    }
    async with session() as http:
        app = await _started(command, env, http, log)
        while app is None:  # somebody else has taken its port meanwhile
            app = await _started(command, env, http, log)
        try:
            yield app
        finally:
            await _killed(app)


async def _started(
    command: tuple[str, ...], env: dict[str, str], http: ClientSession, log: pathlib.Path
) -> App | None:
    """Start an application and wait until it serves; None where its port was taken."""
    port = free_port()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *command, "--port", str(port)),
            stdout=output,
            stderr=output,
            env=env,
        )
    app = App(f"http://127.0.0.1:{port}", http, process, log)
    try:
        async with asyncio.timeout(30):
            while process.returncode is None and not await _healthy(app):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
    except BaseException:
        await _killed(app)
        raise
    if process.returncode is None:
        return app
    assert "address already in use" in app.logged().lower(), app.logged()
    return None


async def _killed(app: App) -> None:
    assert app.process is not None
    if app.process.returncode is None:
        app.process.kill()
        await app.process.wait()


async def _healthy(app: App) -> bool:
    try:
        async with app.http.get(f"{app.url}/health") as answer:
            return answer.status == 200
    except OSError:
        return False


@contextlib.asynccontextmanager
async def served(application: Any, **options: Any) -> AsyncIterator[App]:
    """Serve *application* in this process with uvicorn; it is shut down at the end."""
    config = uvicorn.Config(application, port=0, log_config=None, lifespan="on", **options)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]  # pytest's own
    task = asyncio.create_task(server.serve())
    await happens(lambda: server.started or task.done())
    if task.done():
        task.result()
        raise RuntimeError("the application did not start")
    port = server.servers[0].sockets[0].getsockname()[1]
    async with session() as http:
        try:
            yield App(f"http://127.0.0.1:{port}", http)
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, 30)
