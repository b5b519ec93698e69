from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async._commands.broker import broker_troubles, client_metrics, serve_metrics
from carevalidate_async._commands.command import StopError
from carevalidate_async._commands.worker import _shared_rate
from carevalidate_async._jobs import local
from carevalidate_async._jobs.ledger import BrokerError
from carevalidate_async._jobs.local import Crew, LocalServer

if TYPE_CHECKING:
    import pathlib


class TestServer:
    async def test_is_there_for_its_program_alone(self, tmp_path: pathlib.Path) -> None:
        """
        It listens on loopback under a token of its own, and only its owner can read its folder.
        """
        async with LocalServer(tmp_path / "queue") as first:
            one = first.url
            with pytest.raises(BrokerError, match="another run is at work on"):
                async with LocalServer(tmp_path / "queue"):
                    pass
        async with LocalServer(tmp_path / "queue") as second:
            two = second.url

        assert "@127.0.0.1:" in one
        assert one.partition("@")[0] != two.partition("@")[0]
        assert 0o700 == (tmp_path / "queue").stat().st_mode & 0o777
        assert 0o600 == (tmp_path / "queue" / "server.conf").stat().st_mode & 0o777

    async def test_an_orphan_is_ended(self, tmp_path: pathlib.Path) -> None:
        """
        A server whose program was killed is ended by the next one on its folder.
        """
        first = await LocalServer(tmp_path / "queue").__aenter__()
        first._locked.close()  # as the system does for a process that is killed
        async with LocalServer(tmp_path / "queue") as second:
            async with asyncio.timeout(10):
                await first.ended()
            assert first.url != second.url

    async def test_its_end_is_noticed(self, tmp_path: pathlib.Path) -> None:
        """
        A server that ends by itself is noticed.
        """
        async with LocalServer(tmp_path / "queue") as server:
            number = int((tmp_path / "queue" / "server.pid").read_text("ascii"))
            os.kill(number, signal.SIGKILL)
            async with asyncio.timeout(10):
                await server.ended()
        assert server._process is not None
        assert -signal.SIGKILL == server._process.returncode

    @pytest.mark.parametrize(
        ("program", "why"),
        [(None, "it is in an extra"), (sys.executable, "nats-server does not start on")],
        ids=["none", "no server"],
    )
    async def test_what_is_no_server(
        self,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        program: str | None,
        why: str,
    ) -> None:
        """
        Where there is no server, or one that does not start, it says so.
        """
        monkeypatch.setattr(local, "find_server", lambda: program)

        with pytest.raises(BrokerError, match=why):
            async with LocalServer(tmp_path / "queue"):
                pass


class TestCrew:
    @staticmethod
    async def run(code: str, *, command: str = sys.executable, size: int = 1) -> Any:
        """Run processes until they have ended; return what was told, and the crew."""
        notes: list[str] = []
        ended: list[str] = []
        over = asyncio.Event()

        def end(reason: str) -> None:
            ended.append(reason)
            if len(ended) == size:
                over.set()

        crew = Crew([command, "-c", code], {}, size=size, note=notes.append, on_end=end)
        async with crew, asyncio.timeout(20):
            await over.wait()
        return notes, ended, crew.at_rest

    async def test_one_that_ends_by_itself_is_told(self) -> None:
        """
        A worker that ends by itself is not replaced, and its last words are told.
        """
        code = "import sys; sys.stderr.write('well\\n\\nno more\\n'); sys.exit(2)"
        notes, ended, at_rest = await self.run(code, size=2)

        assert {"worker 1: well", "worker 2: no more"} < {*notes}
        assert "worker 1 ended with status 2: no more" in ended
        assert at_rest

    async def test_one_that_is_killed_is_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A worker that is killed is replaced, so many times; what it held is somebody's.
        """
        monkeypatch.setattr(local, "MOST_RESTARTS", 2)
        code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        notes, ended, at_rest = await self.run(code)

        assert ["worker 1 was killed (signal 9); another one takes over"] * 2 == notes
        assert ["worker 1 ended with status -9: "] == ended
        assert not at_rest

    async def test_one_that_cannot_be_run_is_told(self) -> None:
        """
        A worker that cannot be started ends the run rather than leave it waiting.
        """
        _, ended, _ = await self.run("", command="/nowhere/python")

        assert "worker 1 cannot be run" in ended[0]


class TestExtras:
    def test_without_nats(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Without the broker's client the commands say which extra is missing.
        """
        monkeypatch.setitem(sys.modules, "nats", None)
        with pytest.raises(StopError, match=r"carevalidate-async\[cli,nats\]"), broker_troubles():
            pass

    def test_without_prometheus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Without Prometheus's client a port for metrics is refused, and the extra named.
        """
        monkeypatch.setitem(sys.modules, "prometheus_client", None)
        with pytest.raises(StopError, match="metrics"):
            # It ends before it uses what it is given.
            serve_metrics(Any, 0, Any, print)  # type: ignore[arg-type]
        monkeypatch.delitem(
            sys.modules, "carevalidate_async.integrations.prometheus", raising=False
        )
        with pytest.raises(StopError, match="metrics"):
            client_metrics(0)
        assert () == client_metrics(None)

    async def test_without_a_limiter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Without the limiter a shared rate is refused, and the extra named.
        """
        monkeypatch.setitem(sys.modules, "pyrate_limiter", None)
        monkeypatch.delitem(
            sys.modules, "carevalidate_async.integrations.shared_rate", raising=False
        )
        async with contextlib.AsyncExitStack() as stack:
            with pytest.raises(StopError, match="ratelimit"):
                await _shared_rate(stack, {"shared_rate": 5.0, "redis": "redis://127.0.0.1"})

    def test_trouble_with_the_broker_is_the_last_word(self) -> None:
        """
        What nats-py raises becomes one line.
        """
        import nats.errors

        with (
            pytest.raises(StopError, match="the broker does not do what it is asked for"),
            broker_troubles(),
        ):
            raise nats.errors.NoServersError
