"""What a run shows on a terminal, and what is elsewhere all the same."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import IO, TYPE_CHECKING, Any

import pytest

from cli_support import HEADER, good, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carevalidate_async.sandbox import Sandbox

WIDE = 120


class Screen:
    """
    What a terminal shows of what is written to it, as far as rich writes it.

    Args:
        columns: How wide it is.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._lines: list[str] = [""]
        self._at, self._column = 0, 0

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._lines]

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[\??[0-9;]*[A-Za-z]|.", text, re.DOTALL):
            if part[0] == "\x1b":
                self._command(part[2:-1], part[-1])
            elif part == "\r":
                self._column = 0
            elif part == "\n":
                self._next_line()
            else:
                self._put(part)

    def _command(self, number: str, what: str) -> None:
        if what == "A":
            self._at = max(0, self._at - int(number or 1))
        elif what == "K":
            self._lines[self._at] = "" if number == "2" else self._lines[self._at][: self._column]

    def _put(self, character: str) -> None:
        if self._column == self._columns:
            self._next_line()
            self._column = 0
        line = self._lines[self._at].ljust(self._column)
        self._lines[self._at] = line[: self._column] + character + line[self._column + 1 :]
        self._column += 1

    def _next_line(self) -> None:
        self._at += 1
        if self._at == len(self._lines):
            self._lines.append("")


def on_terminal(
    *arguments: str, stdout: IO[bytes] | None = None, columns: int = WIDE
) -> tuple[int, list[str]]:
    """Run the command on a terminal, its output elsewhere if so wished; return what that shows."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    run = subprocess.Popen(
        [sys.executable, "-m", "carevalidate_async", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout or its,
        stderr=its,
        env={**variables, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(its)
    written = b""
    while more := _read(ours):
        written += more
    os.close(ours)
    screen = Screen(columns)
    screen.write(written.decode())
    return run.wait(timeout=20), screen.lines


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # nobody has it open any more
        return b""


@pytest.fixture
def served() -> Iterator[Sandbox]:
    with running_sandbox(api_key="test") as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """The key of the sandbox, and a folder where nothing is yet."""
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
    monkeypatch.chdir(tmp_path)


def payments(*rows: str) -> str:
    path = pathlib.Path("payments.csv")
    path.write_text(HEADER + "".join(rows))
    return str(path)


class TestEvents:
    def test_reach_standard_output_though_people_watch(self, served: Sandbox) -> None:
        """
        With a terminal for people and a file for machines each gets its own: every event is a line
        of JSON in the file, and none of them is on the terminal.
        """
        file = payments(good(1), "x,y\n", good(1), good(2).replace(".50", ".509"), good(3))
        with pathlib.Path("out").open("wb") as out:
            status, shown = on_terminal(
                *("confirm", file, "--base-url", served.url, "--json"), stdout=out
            )
        events: list[dict[str, Any]] = [
            json.loads(line) for line in pathlib.Path("out").read_text().splitlines()
        ]

        assert 1 == status
        assert [("problem", 3), ("problem", 4), ("problem", 5), (None, None)] == [
            (event.get("event"), event.get("line")) for event in events
        ]
        assert 5 == events[-1]["rows"]
        assert not [line for line in shown if "{" in line]
        assert [3, 4, 5] == [int(line.split(":")[0][5:]) for line in shown if line[:4] == "line"]

    def test_of_a_rehearsal_do_too(self) -> None:
        """
        So it is with the events of rows that would be sent.
        """
        file = payments(*map(good, range(600)))
        with pathlib.Path("out").open("wb") as out:
            status, _ = on_terminal("confirm", file, "--sandbox", "--dry-run", "--json", stdout=out)
        events = [json.loads(line) for line in pathlib.Path("out").read_text().splitlines()]

        assert (0, 600) == (status, events[-1]["not_sent"])
        assert [*range(2, 602)] == [event["line"] for event in events[:-1]]


class TestRehearsal:
    @pytest.mark.parametrize("arguments", [[], ["--json"]])
    def test_rows_stand_above_the_picture(self, arguments: list[str]) -> None:
        """
        Where results and the picture share a terminal, each row is one whole line above it, in the
        file's order, and the picture is there once.
        """
        file = payments(*map(good, range(600)), "x,y\n")
        status, shown = on_terminal("confirm", file, "--sandbox", "--dry-run", *arguments)
        rows = r"dry run: line (\d+): would send PAID \d+\.50 USD under cv1-[0-9a-f]{40}"
        if arguments:
            rows = r'\{"event":"would_send","at_s":[0-9.]+,"line":(\d+),"key":"cv1-.*'
        found = [int(match[1]) for line in shown if (match := re.fullmatch(rows, line))]
        (picture,) = (at for at, line in enumerate(shown) if line.startswith("601 of 601 rows"))

        assert 1 == status
        assert [*range(2, 602)] == found
        assert max(at for at, line in enumerate(shown) if re.search("would.send", line)) < picture
        assert ["0 on record, 1 invalid, 600 would be sent"] == shown[picture + 1 : picture + 2]
