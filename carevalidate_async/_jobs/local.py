"""A queue and workers on this machine alone, in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Self

from carevalidate_async._jobs.ledger import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

START_SECONDS = 20.0
"""How long the server has to start; it reads its streams first."""

END_SECONDS = 20.0
"""How long it has to end, before it is killed."""

MOST_RESTARTS = 10
"""How often workers are replaced that were killed, all together."""

SERVER = "nats-server"


def find_server() -> str | None:
    """Return where a NATS server is: beside this Python, where a wheel puts it, or on PATH."""
    beside = os.path.dirname(sys.executable)  # noqa: PTH120 - as os.pathsep wants it
    return shutil.which(SERVER, path=os.pathsep.join([beside, os.environ.get("PATH", "")]))


class LocalServer:
    """
    A NATS server for this program alone: on loopback, on a free port, under a token of its own.

    Args:
        folder: Where it keeps its streams; they outlive it. Only its owner can read it.

    Attributes:
        url: With the token, for processes of this program; never to be shown.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder.resolve()
        self._process: asyncio.subprocess.Process | None = None
        self._locked = contextlib.ExitStack()
        self.url = ""

    async def __aenter__(self) -> Self:
        program = find_server()
        if program is None:
            hint = "pip install 'carevalidate-async[cli,workers]'"
            raise BrokerError(f"there is no {SERVER}; it is in an extra: {hint}")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._locked.enter_context(_locked(self._folder))
        await self._end_orphan()
        token = secrets.token_urlsafe(32)
        config, ports = self._prepare(token)
        self._process = await asyncio.create_subprocess_exec(
            *(program, "-c", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # a signal to the terminal's processes is this program's
        )
        try:
            port = await self._port(ports)
        except BaseException:
            await self._end()
            self._locked.close()
            raise
        self.url = f"nats://{token}@127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()
        self._locked.close()

    async def ended(self) -> None:
        """Wait until it ends by itself, which it should not."""
        if self._process is not None:
            await self._process.wait()

    async def _end_orphan(self) -> None:
        """End a server whose program was killed: nobody else is at work on the folder."""
        with contextlib.suppress(OSError, ValueError):
            number = int((self._folder / "server.pid").read_text(encoding="ascii"))
            command = _command_of(number)
            if str(self._folder / "server.conf") in command:
                os.kill(number, signal.SIGKILL)
                while _command_of(number):  # noqa: ASYNC110 - it is no child of this process
                    await asyncio.sleep(0.02)

    def _prepare(self, token: str) -> tuple[pathlib.Path, pathlib.Path]:
        """Write what the server is to read; return that, and where it will say its port."""
        ports = self._folder / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir()
        config = self._folder / "server.conf"
        config.unlink(missing_ok=True)
        settings = {
            "listen": "127.0.0.1:-1",
            "ports_file_dir": str(ports),
            "pid_file": str(self._folder / "server.pid"),
            "authorization": {"token": token},
            "jetstream": {"store_dir": str(self._folder / "streams")},
        }
        handle = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 - an open file
            file.write(json.dumps(settings))
        return config, ports

    async def _port(self, ports: pathlib.Path) -> int:
        """Wait until the server has written where it listens."""
        process = self._process
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                while process is not None and process.returncode is None:
                    port = _written_port(ports)
                    if port is not None:
                        return port
                    await asyncio.sleep(0.02)
        told = f"{SERVER} does not start on {self._folder}"
        raise BrokerError(f"{told}; is another run at work on it?")

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """
    Keep other programs from the folder; the lock goes with this process, however it ends.

    Raises:
        BrokerError: Another one has it.
    """
    import fcntl

    handle = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BrokerError(f"another run is at work on {folder}") from None
    finally:
        os.close(handle)


def _command_of(number: int) -> str:
    """Return the command line of a process; empty where there is none."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{number}/cmdline").read_text("utf-8", "replace")
    return ""


def _written_port(folder: pathlib.Path) -> int | None:
    for file in folder.glob("*.ports"):
        with contextlib.suppress(ValueError, LookupError):  # it is half written
            url = json.loads(file.read_text(encoding="utf-8"))["nats"][0]
            return int(url.rpartition(":")[2])
    return None


class Crew:
    """
    Worker processes. One that is killed is replaced; one that ends by itself is not.

    Args:
        command: What each of them runs.

        environment: What they have for one.

        size: How many.

        note: Told what they say.

        on_end: Called with the reason once they cannot go on.

    Attributes:
        at_rest: Whether all of them have ended by themselves, so that none holds anything. One
            that was killed held what another one has not been given yet.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        size: int,
        note: Callable[[str], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._command = command
        self._environment = environment
        self._size = size
        self._note = note
        self._on_end = on_end
        self._restarts = 0
        self.at_rest = True
        self._over = asyncio.Event()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._keep(number)) for number in range(1, self._size + 1)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()
        await asyncio.gather(*self._tasks)

    def end(self) -> None:
        """Let them finish what they hold, and take nothing new; the second time, nothing."""
        self._over.set()
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    async def _keep(self, number: int) -> None:
        try:
            await self._run(number)
        except (OSError, ValueError) as error:  # it could not be started, or its words not be read
            self.at_rest = False
            self._on_end(f"worker {number} cannot be run: {error}")

    async def _run(self, number: int) -> None:
        """Run one worker, and another one for each that is killed."""
        while not self._over.is_set():
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,  # ends with this process, however it ends
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            self._processes[number] = process
            if self._over.is_set():  # meanwhile
                self.end()
            last = await self._hear(number, process)
            status = await process.wait()
            del self._processes[number]
            self.at_rest = self.at_rest and status >= 0
            if self._over.is_set():
                return
            if status >= 0 or self._restarts >= MOST_RESTARTS:
                self._on_end(f"worker {number} ended with status {status}: {last}")
                return
            self._restarts += 1
            self._note(f"worker {number} was killed (signal {-status}); another one takes over")

    async def _hear(self, number: int, process: asyncio.subprocess.Process) -> str:
        """Hand on what a worker says, to its end; return its last words."""
        last = ""
        assert process.stderr is not None  # noqa: S101 - for the type checker
        async for line in process.stderr:
            text = line.decode("utf-8", "replace").strip()
            if text:
                last = text
                if not self._over.is_set():
                    self._note(f"worker {number}: {text}")
        return last
