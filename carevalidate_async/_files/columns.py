"""A file's columns: which field each one is, and what is wrong with them as a whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carevalidate_async._files.fields import ERROR_COLUMNS, FIELDS, REQUIRED, SPELLED
from carevalidate_async._files.texts import unseen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BARE = {name.replace("_", ""): name for name in FIELDS}
_SHOWN = 60  # characters of a name in a message


class Columns:
    """
    The columns of a file.

    Attributes:
        header: Their names, as the file spells them.

        fields: The field that each of them is, None for those that no field has.

        ignored: The names of those, as `shown`, our own error columns apart.
    """

    def __init__(self, header: Sequence[str]) -> None:
        self.header = tuple(header)
        self.fields = tuple(SPELLED.get(name) for name in self.header)
        self._unknown = [
            name
            for name, field in zip(self.header, self.fields, strict=True)
            if field is None and name and name not in ERROR_COLUMNS
        ]
        self.ignored = [shown(name) for name in self._unknown]

    def faults(self) -> list[str]:
        """Return what is wrong with them: rows of such a file would not say what they seem to."""
        near = near_misses(self._unknown)
        faults = [_rename(name, field) for field, name in near.items()]
        found = [field for field in self.fields if field is not None]
        twice = sorted({field for field in found if found.count(field) > 1})
        if twice:
            faults.append(f"these columns are there more than once: {', '.join(twice)}")
        missing = [name for name in REQUIRED if name not in found and name not in near]
        if missing:
            faults.append(f"these columns are missing: {', '.join(missing)}")
        return faults


def near_misses(names: Iterable[str]) -> dict[str, str]:
    """
    Return the fields that are nearly named, each with the name that was meant for it.

    A column that is meant for a field but not read would be a payment without, say, its key.
    """
    bare = {name: _bare(name) for name in names if name not in SPELLED}
    return {_BARE[plain]: name for name, plain in bare.items() if plain in _BARE}


def field_meant(name: str) -> str | None:
    """Return the field that *name* names, be it only nearly; None where it names none."""
    return SPELLED.get(name) or _BARE.get(_bare(name))


def shown(name: str) -> str:
    """Return *name* as messages have it: one may be as long as a row."""
    return name if len(name) <= _SHOWN else f"{name[: _SHOWN - 1]}\u2026"


def _bare(name: str) -> str:
    return re.sub(r"[\s_-]", "", "".join(filter(str.isprintable, name))).lower()


def _rename(name: str, field: str) -> str:
    why = f" (it {reason})" if (reason := unseen(name)) else ""
    return f'rename the column "{shown(name)}" to {field}{why}'
