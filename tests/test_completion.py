"""Completion in real shells: what the printed script offers where the tab key is pressed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from carevalidate_async import cli

if TYPE_CHECKING:
    import pathlib

SHELLS = {
    "bash": [
        *("bash", "--norc", "--noprofile", "-c"),
        # Done as readline does: it calls the function that is registered for the command.
        """
        . "$1"
        COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9
        read -ra COMP_WORDS <<<"$2"
        [[ $2 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        compopt() { if [[ $* == *default* ]]; then echo FILES; fi }
        complete -p carevalidate >/dev/null || exit 3
        function=$(complete -p carevalidate | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        "$function" carevalidate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        for word in "${COMPREPLY[@]}"; do echo "$word"; done
        """,
        "bash",
    ],
    "zsh": [
        *("zsh", "--no-rcs", "-c"),
        """
        # The functions of zsh's completion that the script calls print what they are given.
        compdef() { }
        compadd() { print -l -- ${(P)@[-1]} }
        _describe() { print -l -- ${${(P)3}%%:*} }
        _path_files() { print FILES }
        words=(${(z)2}); [[ $2 == *' ' ]] && words+=('')
        CURRENT=$#words
        source "$1"
        _carevalidate_completion || true
        """,
        "zsh",
    ],
    "fish": [
        *("fish", "--no-config", "-c"),
        # Its own builtin does what the tab key does.
        'source $argv[1]; complete --do-complete "$argv[2]"',
    ],
}
TYPED = {
    "carevalidate ": {"confirm", "status", "dead-letter", "completion", "update-payment-method"},
    "carevalidate dead-letter ": {"list", "replay"},
    "carevalidate confirm --du": {"--duplicates"},
    "carevalidate confirm --environment ": {"production", "staging"},
    "carevalidate dead-letter replay --state ": {"unknown", "rejected", "all"},
    "carevalidate export --state re": {"rejected"},
    "carevalidate export --state unknown,not": {"unknown,not_sent"},
}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> list[str]:
    """The words that start a shell which reads the script, before what is typed in it."""
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"this machine has no {name}")
    result = CliRunner().invoke(cli.cli, ["completion", name])
    assert (0, "") == (result.exit_code, result.stderr)
    script = tmp_path / f"completion.{name}"
    script.write_text(result.stdout, encoding="utf-8")
    return [*SHELLS[name], str(script)]


def offered(shell: list[str], typed: str, folder: pathlib.Path) -> list[str]:
    """Return what a shell offers after what is *typed*, with the program under test on PATH."""
    program = folder / "bin" / "carevalidate"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m carevalidate_async "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    done = subprocess.run(
        [*shell, typed],
        capture_output=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        text=True,
        timeout=50,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]  # what for, says fish


class TestShells:
    def test_offer_what_can_come_next(self, shell: list[str], tmp_path: pathlib.Path) -> None:
        """
        Commands, options and values are offered, and nothing that does not go on what is typed.
        """
        for typed, wanted in TYPED.items():
            if "fish" in shell[0] and "," in typed:
                continue  # click's script for fish splits what is offered at its commas
            found = offered(shell, typed, tmp_path)
            begun = typed.rpartition(" ")[2]

            assert wanted <= set(found), typed
            assert [] == [word for word in found if not word.startswith(begun)], typed

    @pytest.mark.parametrize("typed", ["confirm pay", "status pay", "confirm x.csv --rejects pay"])
    def test_offer_files(self, shell: list[str], tmp_path: pathlib.Path, typed: str) -> None:
        """
        Where a file is wanted, the shell is told to complete files as it does.
        """
        (tmp_path / "payments.csv").touch()

        found = offered(shell, f"carevalidate {typed}", tmp_path)
        assert found in (["FILES"], ["payments.csv"])


class TestCompleting:
    def test_loads_little(self) -> None:
        """
        The tab key waits for no client, no journal and no server.
        """
        code = (
            "import sys\n"
            "from carevalidate_async.__main__ import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "slow = {'aiohttp', 'asyncio', 'attrs', 'rich', 'carevalidate_async.journal'}\n"
            "print(sorted(slow & set(sys.modules)))\n"
        )
        variables = {
            "_CAREVALIDATE_COMPLETE": "bash_complete",
            "COMP_WORDS": "carevalidate confirm --dup",
            "COMP_CWORD": "2",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env={**os.environ, **variables},
            text=True,
        )

        assert ["plain,--duplicates", "[]"] == done.stdout.splitlines()

    def test_another_shell(self) -> None:
        """
        A shell that it does not know is a wrong command, and those that it knows are named.
        """
        result = CliRunner().invoke(cli.cli, ["completion", "tcsh"])

        assert 2 == result.exit_code
        assert "'bash', 'zsh', 'fish'" in result.stderr
