"""
Give a release its number, or tell what is missing for the one that the files have.

`python -m release.version 1.2.0` writes the number, dates the changelog's section of what is
unreleased, and empties the list of breaks that are meant, since the next ones are counted from this
release. Without a number it changes nothing.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
import tomllib
from typing import TYPE_CHECKING

from release import api, dist

if TYPE_CHECKING:
    import pathlib

FORM = re.compile(r"(\d+)\.(\d+)\.(\d+)")
UNRELEASED = "## [Unreleased]\n"


class NotReadyError(Exception):
    """The files cannot be made a release of; the message says why, and nothing was changed."""


def prepare(root: pathlib.Path, version: str, day: dt.date) -> None:
    """
    Make the files those of a release, which is then to be committed and tagged.

    Args:
        root: The repository.

        version: Three numbers with dots.

        day: Of the release, in the changelog.

    Raises:
        NotReadyError: It is no number of a version after the last one, or its first numbers
            promise more than the breaks keep, or nothing has changed.
    """
    tag = api.last_tag(root)
    parts = _parts(version)
    if tag is not None and parts <= _parts(tag.removeprefix("v")):
        raise NotReadyError(f"{version} does not come after {tag}")
    breaks = root / "tests/release/breaks.toml"
    kept = breaks.read_text(encoding="utf-8")
    if tomllib.loads(kept) and tag is not None and not _may_break(_parts(tag[1:]), parts):
        raise NotReadyError(f"breaks.toml names breaks, for which {version} is too close to {tag}")
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    if not unreleased(text):
        raise NotReadyError("CHANGELOG.md says nothing below Unreleased")
    heading = f"## [{version}] - {day.isoformat()}\n"
    changelog.write_text(text.replace(UNRELEASED, f"{UNRELEASED}\n{heading}", 1), encoding="utf-8")
    comments = [line for line in kept.splitlines(keepends=True) if line.startswith("#")]
    breaks.write_text("".join(comments), encoding="utf-8")
    file = root / dist.PACKAGE / "_version.py"
    before = f'__version__ = "{dist.version_of(root)}"'
    code = file.read_text(encoding="utf-8")
    file.write_text(code.replace(before, f'__version__ = "{version}"'), encoding="utf-8")


def missing(root: pathlib.Path) -> list[str]:
    """Return what keeps HEAD from being the release that its files say it is."""
    version = dist.version_of(root)
    tags = dist.git("tag", "--points-at", "HEAD", "--list", "v*", root=root).decode().split()
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    wrong = []
    if tags != [f"v{version}"]:
        wrong.append(f"the tag of HEAD should be v{version}; it has {', '.join(tags) or 'none'}")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE):
        wrong.append(f"CHANGELOG.md has no dated section for {version}")
    if unreleased(text):
        wrong.append("CHANGELOG.md has changes that are unreleased")
    if dist.git("status", "--porcelain", root=root):
        wrong.append("some changes are not committed")
    return wrong


def unreleased(changelog: str) -> str:
    """Return what the changelog says of changes since the last release."""
    return changelog.partition(UNRELEASED)[2].partition("\n## ")[0].strip()


def _parts(version: str) -> tuple[int, ...]:
    found = FORM.fullmatch(version)
    if found is None:
        raise NotReadyError(f"{version} is not three numbers, as 1.2.0 is")
    return tuple(map(int, found.groups()))


def _may_break(last: tuple[int, ...], now: tuple[int, ...]) -> bool:
    """Tell whether a version may break what the last one had: before 1.0, each second number."""
    return now[0] > last[0] or (last[0] == 0 and now[1] > last[1])


def main(arguments: list[str], root: pathlib.Path = dist.ROOT) -> int:
    """Write the number that the arguments give, or look whether all is there."""
    if not arguments:
        wrong = missing(root)
        print(*wrong or [f"HEAD is version {dist.version_of(root)}."], sep="\n")
        return 1 if wrong else 0
    try:
        prepare(root, arguments[0], dt.datetime.now(dt.UTC).date())
    except NotReadyError as error:
        print(error)
        return 1
    print(f"The files are those of {arguments[0]}: look at them, commit them, and tag the commit.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
