"""A run's page, written before the run and after it."""

from __future__ import annotations

import contextlib
import errno
import html
import os
import pathlib
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from carevalidate_async._run.groups import Group, Listed
from carevalidate_async.report._figures import figures
from carevalidate_async.report._page import harmless, page
from carevalidate_async.report._steps import cause, elsewhere, steps
from carevalidate_async.report._wording import (
    Place,
    ending,
    extent,
    glance,
    headline,
    places,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carevalidate_async._run.counts import Summary
    from carevalidate_async._run.course import Course
    from carevalidate_async.report._facts import Facts

_Told: TypeAlias = tuple[Group, Sequence[Listed]]

_SHOWN = 20  # rows that need a person and stand there at once; the rest unfolds
_MOST_BYTES = 220_000  # of the rows that need a person, and of the examples
_ROW_BYTES = 190  # of a row, besides its reason and its key


def begin_report(path: str, facts: Facts) -> None:
    """
    Put a page at *path* that says that a run has begun and not ended.

    So that a path that cannot be written is found before anything is sent, and no page of an
    earlier run passes for that of one that was killed.

    Raises:
        OSError: It cannot be written there.
    """
    where = pathlib.Path(path)
    if not _is_special(where):
        status = facts.journal and facts.commands().status()
        _write(where, page(facts=facts, running=True, status=status))
    elif not os.access(where, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def write_report(
    path: str, *, summary: Summary, course: Course, facts: Facts, ended: datetime | None = None
) -> str | None:
    """
    Write the page of a run that has ended; a page that was there is replaced in one step.

    Only its owner can read it. Of a run of any length it has less than a megabyte.

    Args:
        path: Where. What is no regular file, such as a pipe, is written as it is.

        summary: How the run went.

        course: What happened when in it.

        facts: What it was asked to do.

        ended: When it ended; None for now.

    Returns:
        Why there is no such page, in one sentence; None where there is one. It is not
        raised, since it changes nothing about the payments.
    """
    try:
        told = _told(summary, course, facts, ended or datetime.now(UTC))
        _write(pathlib.Path(path), page(facts=facts, running=False, **told))
    except OSError as error:
        return f"the report {path} was not written: {error.strerror or error}"
    except Exception as error:  # noqa: BLE001 - a mistake of the page's is no mistake of the run's
        return f"the report {path} could not be made ({type(error).__name__})"
    return None


def _told(summary: Summary, course: Course, facts: Facts, ended: datetime) -> dict[str, Any]:
    """Return what the page says of a run that has ended."""
    budget = _Budget(_MOST_BYTES)
    stand = places(summary)
    whole = course.whole()
    groups = course.groups()
    told = [(group, list(budget.afford(group.examples))) for group in groups]
    listed = list(budget.afford(course.listed()))
    return {
        "summary": summary,
        "headline": headline(summary),
        "ending": ending(summary),
        "extent": extent(summary),
        "glance": glance(summary, whole),
        "cause": cause(summary),
        "steps": steps(summary, facts),
        "places": stand,
        "bar": _bar([(place.name, place.count) for place in stand]),
        "figures": figures(course, facts.began, stand),
        "pauses": course.pauses(),
        "whole": whole,
        "troubles": _by_outcome(told, stand),
        "shown": listed[:_SHOWN],
        "folded": listed[_SHOWN:],
        "wanting": sum(place.count for place in stand if place.needs_a_look),
        "elsewhere": elsewhere(summary, facts),
        "ended": ended,
    }


def _by_outcome(told: Sequence[_Told], stand: Sequence[Place]) -> Sequence[_Trouble]:
    """Return what went wrong under the places of its rows, in their order."""
    found = []
    for place in stand:
        groups = [one for one in told if one[0].outcome == place.name]
        if groups:
            left = place.count - sum(group.count for group, _ in groups)
            found.append(_Trouble(title=place.title, count=place.count, left=left, groups=groups))
    others = [one for one in told if one[0].outcome is None]
    if others:
        count = sum(group.count for group, _ in others)
        found.append(_Trouble(title="of further kinds", count=count, left=0, groups=others))
    return found


@attrs.frozen(kw_only=True)
class _Trouble:
    """
    What went wrong with the rows of one place.

    Attributes:
        title: What people call the place.

        count: Its rows.

        left: Those of them that are in no group.

        groups: What they met, the most frequent first, with examples.
    """

    title: str
    count: int
    left: int
    groups: Sequence[_Told]


class _Budget:
    """
    How much of what comes from outside a page has room for.

    Args:
        size: Bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = size

    def afford(self, rows: Iterable[Listed]) -> Iterator[Listed]:
        """Yield rows as long as there is room for them."""
        for row in rows:
            texts = html.escape(f"{harmless(row.reason)}{harmless(row.key)}")
            self._left -= len(texts.encode()) + _ROW_BYTES
            if self._left < 0:
                return
            yield row


def _bar(counts: Sequence[tuple[str, int]]) -> Sequence[tuple[str, float, float]]:
    """Return where in a bar, in percent, each outcome begins, and how wide it is."""
    # However few rows an outcome has, it is seen.
    total = sum(count for _, count in counts)
    widths = [max(100 * count / total, 1.0) for _, count in counts]
    left, found = 0.0, []
    for (name, _), width in zip(counts, widths, strict=True):
        part = 100 * width / sum(widths)
        found.append((name, round(left, 2), round(part, 2)))
        left += part
    return found


def _is_special(path: pathlib.Path) -> bool:
    """Tell whether there is something at *path* that is neither a file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _write(path: pathlib.Path, content: bytes) -> None:
    if _is_special(path):
        path.write_bytes(content)
        return
    target = path.resolve()  # the file that a link leads to, not the link
    handle, name = tempfile.mkstemp(prefix=".report-", dir=target.parent)  # its owner's alone
    beside = pathlib.Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(handle)
        beside.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
