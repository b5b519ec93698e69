"""The turns that contenders take, and what was measured in them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

import attrs

from benchmarks.compare import stub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.compare.contender import Contender

_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


@attrs.frozen
class Setting:
    """
    How a table is played.

    Attributes:
        concurrency: Calls in flight at once.

        tls: Whether the stub speaks TLS.

        loop: ``asyncio`` or ``uvloop``.
    """

    concurrency: int = 64
    tls: bool = False
    loop: str = "asyncio"

    def __str__(self) -> str:
        tls = ", TLS" if self.tls else ""
        loop = f", {self.loop}" if self.loop != "asyncio" else ""
        return f"{self.concurrency} at once{tls}{loop}"


@attrs.frozen
class Turn:
    """One turn: the calls, and what they took in all, in seconds."""

    calls: int
    cpu: float
    seconds: float


@attrs.define
class Played:
    """
    What one contender did.

    Attributes:
        name: The contender's.

        turns: One a round; none where it could not play.

        why_not: Why it could not.
    """

    name: str
    turns: list[Turn] = attrs.Factory(list)
    why_not: str | None = None

    @property
    def cpu(self) -> float:
        """Median of the CPU time of a call, in microseconds."""
        return statistics.median(1e6 * turn.cpu / turn.calls for turn in self.turns)

    @property
    def rate(self) -> float:
        """Median of the calls per second."""
        return statistics.median(turn.calls / turn.seconds for turn in self.turns)

    def ratios(self, base: Played) -> list[float]:
        """Return, round by round, its CPU time of a call by that of *base*."""
        pairs = zip(self.turns, base.turns, strict=True)
        return [(a.cpu / a.calls) / (b.cpu / b.calls) for a, b in pairs]

    def rates(self, base: Played) -> list[float]:
        """Return, round by round, its calls per second by those of *base*."""
        pairs = zip(self.turns, base.turns, strict=True)
        return [(a.calls / a.seconds) / (b.calls / b.seconds) for a, b in pairs]


class Worker:
    """A contender's process."""

    def __init__(self, contender: Contender, url: str, setting: Setting, pem: str | None) -> None:
        self.contender = contender
        self.played = Played(contender.name)
        command = [sys.executable, "-m", "benchmarks.compare.worker", contender.name, url]
        command += ["--concurrency", str(setting.concurrency), "--loop", setting.loop]
        command += ["--core", str(_CORES[0])]
        command += ["--authority", pem] if pem else []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._heard()

    def play(self, calls: int) -> None:
        """Take one turn, unless it cannot."""
        if self.played.why_not is None:
            told = _pipe(self._process.stdin)
            told.write(f"{max(1, int(calls * self.contender.share))}\n")
            told.flush()
            found = self._heard()
            if found is not None:
                self.played.turns.append(Turn(found["calls"], found["cpu"], found["seconds"]))

    def _heard(self) -> dict[str, Any] | None:
        line = _pipe(self._process.stdout).readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        last = _pipe(self._process.stderr).read().strip().splitlines()[-1:]
        self.played.why_not = last[0] if last else "it ended"
        self.played.turns.clear()
        return None

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def play(
    contenders: Sequence[Contender], setting: Setting, *, calls: int, rounds: int
) -> list[Played]:
    """Let all of them play in turns, in the reverse order every other round."""
    with contextlib.ExitStack() as stack:
        pem = stack.enter_context(_certificate()) if setting.tls else None
        options = ["--core", str(_CORES[-1]), *(["--certificate", pem] if pem else [])]
        url = stack.enter_context(stub.running(*options))
        workers = []
        for contender in contenders:
            worker = Worker(contender, url, setting, pem)
            stack.callback(worker.end)
            workers.append(worker)
        for number in range(rounds):
            for worker in workers if number % 2 == 0 else reversed(workers):
                worker.play(calls)
        return [worker.played for worker in workers]


@contextlib.contextmanager
def _certificate() -> Iterator[str]:
    import trustme

    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    with contextlib.ExitStack() as stack:
        whole = stack.enter_context(leaf.private_key_and_cert_chain_pem.tempfile())
        with pathlib.Path(whole).open("ab") as file:
            file.write(authority.cert_pem.bytes())
        yield whole
