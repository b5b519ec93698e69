"""Commands to type about a file and its journal, quoted for a shell."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import attrs

from carevalidate_async._run.ages import DEFAULT_KEY_AGE, read_age, written_age
from carevalidate_async.carevalidate import ORIGINS
from carevalidate_async.journal import Duplicates

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 500  # characters of a name; of a longer one a page shows a part, which would be another
_BYTES = range(0xDC80, 0xDD00)  # how Python spells those of a name that are no text


@attrs.frozen(kw_only=True)
class Commands:
    """
    Commands about a journal.

    Attributes:
        target: Where its payments go: an origin, or the word sandbox.

        journal: Its name.

        max_key_age: Seconds that a key in doubt may be old and still be sent again; None for any
            age.
    """

    target: str
    journal: str
    max_key_age: float | None = attrs.field(factory=lambda: read_age(DEFAULT_KEY_AGE))

    def confirm(
        self,
        file: str,
        *,
        duplicates: Duplicates | None = None,
        rate: float | None = None,
        rejects: str | None = None,
    ) -> str:
        """Return the command that runs a file, - for standard input."""
        names = [name for name, origin in ORIGINS.items() if origin == self.target]
        where = ["--environment", *names] if names else ["--base-url", _named(self.target, "URL")]
        where = ["--sandbox"] if self.target == "sandbox" else where
        how = []
        if duplicates not in {None, Duplicates.REFUSE}:
            how += ["--duplicates", str(duplicates)]
        if self.max_key_age != read_age(DEFAULT_KEY_AGE):
            how += ["--max-key-age", written_age(self.max_key_age)]
        if rate is not None:
            how += ["--rate", f"{rate:.12g}"]
        if rejects is not None:
            how += ["--rejects", _named(rejects, "PATH")]
        said = _typed("confirm", _named(file, "FILE"), *where, "--journal", self._journal, *how)
        return f"{said} <FILE" if file == "-" else said

    def export(self, states: Sequence[str], *, output: str, file: str | None = None) -> str:
        """Return the command that writes the rows in these states, of a file that is named."""
        source = [] if file is None else ["--file", _named(file, "FILE")]
        which = ("--state", ",".join(states))
        return _typed("export", self._journal, *which, *source, "--output", output)

    def status(self) -> str:
        """Return the command that says where the rows are, and what to do next."""
        return _typed("status", self._journal)

    def settle(self, finding: str) -> str:
        """Return the command that says of a payment what a person found out."""
        return _typed("settle", self._journal, "KEY", "--as", finding)

    @property
    def _journal(self) -> str:
        return _named(self.journal, "JOURNAL")


def ending_like(file: str | None) -> str:
    """Return how the name of a file ends that has rows of *file*."""
    return ".jsonl" if file and ".json" in file.lower() else ".csv"


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
