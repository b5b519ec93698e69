"""
A vendor that answers without looking, in a process of its own.

It spins on its sockets rather than sleep, unless it is told to be patient: a client that wakes a
sleeping server pays for that, and the more the less it does itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import selectors
import socket
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

FAULTY = b"key-that-fails"
"""Of the requests under this API key some fail."""

FAULTS = 20
"""Every how many-th of them does."""

YES = b'{"status":200,"success":true}'
NO = b'{"status":500,"success":false,"message":"internal error"}'
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def answer(status: bytes, body: bytes) -> bytes:
    """Return a whole answer."""
    return (
        b"HTTP/1.1 %s\r\nDate: Mon, 02 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json; "
        b"charset=utf-8\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
    )


_GOOD, _BAD = answer(b"200 OK", YES), answer(b"500 Internal Server Error", NO)


class Stub:
    """
    Serves until it is killed.

    Args:
        listener: Where it listens.

        tls: Its certificate; None for none.

        patient: Whether it sleeps until something comes, for those who share its CPU.
    """

    def __init__(
        self, listener: socket.socket, tls: ssl.SSLContext | None, *, patient: bool = False
    ) -> None:
        self._listener = listener
        self._tls = tls
        self._patience = None if patient else 0.0
        self._requests = 0
        self._begun: dict[int, bytes] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Answer whoever comes."""
        self._listener.setblocking(False)  # noqa: FBT003 - its only argument
        self._selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(self._patience):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._listener:
                    self._accept()
                else:
                    self._answer(sock)

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            with contextlib.suppress(OSError):
                sock = self._tls.wrap_socket(sock, server_side=True)
        sock.setblocking(False)  # noqa: FBT003 - as above
        self._selector.register(sock, selectors.EVENT_READ)

    def _answer(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self._begun.pop(sock.fileno(), None)
            self._selector.unregister(sock)
            sock.close()
            return
        data = self._begun.pop(sock.fileno(), b"") + data
        if not _is_whole(data):
            self._begun[sock.fileno()] = data
            return
        bad = False
        if FAULTY in data:
            self._requests += 1
            bad = self._requests % FAULTS == 0
        with contextlib.suppress(OSError):
            sock.send(_BAD if bad else _GOOD)


def _is_whole(data: bytes) -> bool:
    head, _, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return length is not None and len(body) >= int(length[1])


def running(*options: str) -> AbstractContextManager[str]:
    """Start a stub, and give its URL."""
    return started([sys.executable, "-m", "benchmarks.compare.stub", *options])


@contextlib.contextmanager
def started(command: Sequence[str]) -> Iterator[str]:
    """Start a server that says its URL, and give that."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def main() -> None:
    """Say where it listens, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", help="PEM file with certificate and key")
    parser.add_argument("--core", type=int, help="CPU to run on")
    parser.add_argument("--patient", action="store_true", help="sleep rather than spin")
    options = parser.parse_args()
    pin(options.core)
    tls = None
    if options.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.certificate)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    host = "localhost" if tls else "127.0.0.1"
    scheme = "https" if tls else "http"
    print(f"{scheme}://{host}:{listener.getsockname()[1]}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        Stub(listener, tls, patient=options.patient).serve()


def pin(core: int | None) -> None:
    """Stay on one CPU, where the system lets a process choose."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


if __name__ == "__main__":
    main()
