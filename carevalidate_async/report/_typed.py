"""Commands to type about a run, with the names that it had, quoted for a shell."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import attrs

from carevalidate_async.carevalidate import ORIGINS
from carevalidate_async.journal import Duplicates
from carevalidate_async.report._facts import Facts

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 500  # characters of a name; of a longer one a page shows a part, which would be another
_BYTES = range(0xDC80, 0xDD00)  # how Python spells those of a name that are no text


@attrs.frozen(kw_only=True)
class Commands:
    """
    Commands about a run and its journal.

    Attributes:
        facts: What the run was asked to do.

        journal: Its journal.

        duplicates: What it did, or is to do, with duplicates.
    """

    facts: Facts
    journal: str
    duplicates: Duplicates = Duplicates.REFUSE

    def again(self, duplicates: str | None = None) -> str:
        """Return the run's own command, with another way to treat *duplicates*."""
        facts, policy = self.facts, duplicates or self.duplicates.value
        options = [] if policy == "refuse" else ["--duplicates", policy]
        if facts.rate is not None:
            options += ["--rate", f"{facts.rate:.12g}"]
        if facts.rejects is not None:
            options += ["--rejects", _named(facts.rejects, "PATH")]
        return self._confirm(facts.file, *options)

    def corrected(self, file: str) -> str:
        """Return the command that runs a file of rows that were corrected."""
        return self._confirm(file)

    def export(self, states: Sequence[str]) -> str:
        """Return the command that writes the rows in these states."""
        source = ["--file", "FILE"] if self.facts.file == "-" else []
        output = ["--output", self.exported(states)]
        return _typed("export", self._journal, "--state", ",".join(states), *source, *output)

    def exported(self, states: Sequence[str]) -> str:
        """Return the name of the file that `export` writes."""
        return f"{'-'.join(states)}{'.jsonl' if '.json' in self.facts.file.lower() else '.csv'}"

    def status(self) -> str:
        """Return the command that says where the rows are, and what to do next."""
        return _typed("status", self._journal)

    def settle(self, finding: str) -> str:
        """Return the command that says of a payment what a person found out."""
        return _typed("settle", self._journal, "KEY", "--as", finding)

    @property
    def _journal(self) -> str:
        return _named(self.journal, "JOURNAL")

    def _confirm(self, file: str, *options: str) -> str:
        target = self.facts.target
        names = [name for name, origin in ORIGINS.items() if origin == target]
        where = ["--environment", *names] if names else ["--base-url", _named(target, "URL")]
        where = ["--sandbox"] if target == "sandbox" else where
        said = _typed("confirm", _named(file, "FILE"), *where, "--journal", self._journal, *options)
        return f"{said} <FILE" if file == "-" else said


def _named(name: str, otherwise: str) -> str:
    if len(name) > _LONGEST:
        return otherwise
    return f"./{name}" if name.startswith("-") and name != "-" else name  # it is no option


def _typed(*words: str) -> str:
    return " ".join(["carevalidate", *map(quoted, words)])


def quoted(word: str) -> str:
    """
    Return *word* as a shell reads it.

    What cannot be seen is spelled out as bash, zsh and ksh read it, so that it can be typed.
    """
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_spelled, word))}'"


def _spelled(one: str) -> str:
    code = ord(one)
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    if one in "\\'":
        return f"\\{one}"
    if one.isprintable():
        return one
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
