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

TOGETHER = 2
"""Contenders that play between two turns of the one they are compared with."""

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

    def cpu_by(self, others: Sequence[Turn]) -> float:
        """Return the CPU time of a call by that of the *others*."""
        base = statistics.mean(other.cpu / other.calls for other in others)
        return self.cpu / self.calls / base

    def rate_by(self, others: Sequence[Turn]) -> float:
        """Return the calls per second by those of the *others*."""
        base = statistics.mean(other.calls / other.seconds for other in others)
        return self.calls / self.seconds / base


@attrs.define
class Played:
    """
    What one contender did.

    Attributes:
        name: The contender's.

        turns: One a round; none where it could not play.

        ratios: Its CPU time of a call by bare aiohttp's, right before and after each turn.

        rates: Its calls per second by bare aiohttp's, likewise.

        why_not: Why it could not.
    """

    name: str
    turns: list[Turn] = attrs.Factory(list)
    ratios: list[float] = attrs.Factory(list)
    rates: list[float] = attrs.Factory(list)
    why_not: str | None = None

    @property
    def cpu(self) -> float:
        """Median of the CPU time of a call, in microseconds."""
        return statistics.median(1e6 * turn.cpu / turn.calls for turn in self.turns)

    @property
    def rate(self) -> float:
        """Median of the calls per second."""
        return statistics.median(turn.calls / turn.seconds for turn in self.turns)


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

    def play(self, calls: int) -> Turn | None:
        """Take one turn, unless it cannot."""
        if self.played.why_not is not None:
            return None
        told = _pipe(self._process.stdin)
        told.write(f"{max(1, int(calls * self.contender.share))}\n")
        told.flush()
        found = self._heard()
        return None if found is None else Turn(found["calls"], found["cpu"], found["seconds"])

    def note(self, turn: Turn, base: Sequence[Turn]) -> None:
        """Keep a turn, and how it compares."""
        self.played.turns.append(turn)
        self.played.ratios.append(turn.cpu_by(base))
        self.played.rates.append(turn.rate_by(base))

    def _heard(self) -> dict[str, Any] | None:
        line = _pipe(self._process.stdout).readline()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        last = _pipe(self._process.stderr).read().strip().splitlines()[-1:]
        self.played.why_not = last[0] if last else "it ended"
        self.played.turns.clear()
        return None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def play(
    base: Contender,
    contenders: Sequence[Contender],
    setting: Setting,
    *,
    calls: int,
    rounds: int,
) -> list[Played]:
    """
    Let all of them play in turns, in the reverse order every other round.

    A machine is faster and slower by the minute, so *base*, whom they are compared with, plays
    between them, and each is compared with what *base* did right before and after.
    """
    with contextlib.ExitStack() as stack:
        pem = stack.enter_context(_certificate()) if setting.tls else None
        options = ["--core", str(_CORES[-1]), *(["--certificate", pem] if pem else [])]
        url = stack.enter_context(stub.running(*options))
        first, *workers = (
            stack.enter_context(contextlib.closing(Worker(contender, url, setting, pem)))
            for contender in (base, *contenders)
        )
        for number in range(rounds):
            order = workers if number % 2 == 0 else workers[::-1]
            around = _base_turn(first, calls)
            for group in _groups(order):
                turns = [(worker, worker.play(calls)) for worker in group]
                before, around = around, _base_turn(first, calls)
                for worker, turn in turns:
                    if turn is not None:
                        worker.note(turn, [before, around])
        return [worker.played for worker in workers]


def _groups(workers: Sequence[Worker]) -> Iterator[Sequence[Worker]]:
    for at in range(0, len(workers), TOGETHER):
        yield workers[at : at + TOGETHER]


def _base_turn(base: Worker, calls: int) -> Turn:
    turn = base.play(calls)
    if turn is None:
        raise RuntimeError(f"{base.played.name} cannot play: {base.played.why_not}")
    return turn


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
