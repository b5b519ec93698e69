"""
Build the wheel and the sdist from what is committed, and hold them against the repository.

`python -m release.dist` builds into dist/ from the files of HEAD, whatever else lies around, and
leaves there only what passed. The time of the commit stands for the time of the build, so that
anybody who builds the same commit with the same hatchling gets the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = "carevalidate_async"
UNSHIPPED = (".ci/",)
"""What of the repository is in no sdist."""


def git(*arguments: str, root: pathlib.Path = ROOT) -> bytes:
    """Return what git prints."""
    return subprocess.run(["git", *arguments], check=True, cwd=root, stdout=subprocess.PIPE).stdout


def committed(into: pathlib.Path, *, ref: str = "HEAD", root: pathlib.Path = ROOT) -> list[str]:
    """Put the files of a commit below *into*; return their names."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", ref, root=root))) as archive:
        archive.extractall(into, filter="data")
        return sorted(member.name for member in archive if member.isfile())


def build(kind: str, source: pathlib.Path, into: pathlib.Path, *, epoch: int) -> pathlib.Path:
    """
    Build the project that lies at *source*.

    Args:
        kind: ``wheel`` or ``sdist``.

        source: Its folder; nothing is written there.

        into: Where to put what is built.

        epoch: Seconds since 1970 that the files are said to be of.
    """
    into.mkdir(parents=True, exist_ok=True)
    before = set(into.iterdir())
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)],
        check=True,
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        stdout=subprocess.DEVNULL,
    )
    (built,) = set(into.iterdir()) - before
    return built


def unpacked(sdist: pathlib.Path, into: pathlib.Path) -> pathlib.Path:
    """Unpack an sdist below *into*; return its one folder."""
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    (folder,) = into.iterdir()
    return folder


def names_in(built: pathlib.Path) -> list[str]:
    """Return the names of the files in a wheel, or in an sdist, without the sdist's folder."""
    if built.suffix == ".whl":
        with zipfile.ZipFile(built) as archive:
            return sorted(archive.namelist())
    with tarfile.open(built) as archive:
        return sorted(name.partition("/")[2] for name in archive.getnames())


def wheel_names(tracked: list[str], version: str) -> list[str]:
    """Return the files that a wheel must have, and no other: the package's, and what is said."""
    info = f"{PACKAGE}-{version}.dist-info"
    said = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    ours = [name for name in tracked if name.startswith(f"{PACKAGE}/")]
    return sorted([*ours, *(f"{info}/{name}" for name in said)])


def sdist_names(tracked: list[str]) -> list[str]:
    """Return the files that an sdist must have, and no other."""
    return sorted(["PKG-INFO", *(name for name in tracked if not name.startswith(UNSHIPPED))])


def differences(built: pathlib.Path, wanted: list[str]) -> list[str]:
    """Return a sentence for each file that is missing or too much."""
    found = names_in(built)
    return [
        *(f"{built.name} lacks {name}" for name in wanted if name not in found),
        *(f"{built.name} has {name}" for name in found if name not in wanted),
        *(f"{built.name} has {name} twice" for name in set(found) if found.count(name) > 1),
    ]


def version_of(source: pathlib.Path) -> str:
    """Return the version that the project at *source* has."""
    text = (source / PACKAGE / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found, "no version"
    return found[1]


def main() -> int:
    """Build, compare, and put what passed into dist/."""
    into = ROOT / "dist"
    # First, so that nobody takes what an earlier build left for what this one passed.
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(into)
    if git("status", "--porcelain"):
        print("What is built is HEAD: the changes that are not committed are not in it.")
    epoch = int(git("log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tracked = committed(folder / "source")
        sdist = build("sdist", folder / "source", folder / "built", epoch=epoch)
        made = [sdist]
        wrong = differences(sdist, sdist_names(tracked))
        if not wrong:
            # From the sdist, as those do who take it; and once more, from the repository's files.
            source = unpacked(sdist, folder / "unpacked")
            wheel = build("wheel", source, folder / "built", epoch=epoch)
            made.append(wheel)
            again = [
                build(kind, folder / "source", folder / "again", epoch=epoch)
                for kind in ("sdist", "wheel")
            ]
            wrong += differences(wheel, wheel_names(tracked, version_of(source)))
            wrong += [
                f"{one.name} is other bytes when it is built again"
                for one, other in zip(made, again, strict=True)
                if one.read_bytes() != other.read_bytes()
            ]
        print(*wrong, sep="\n", end="\n" if wrong else "")
        if wrong:
            return 1
        into.mkdir()
        for built in made:
            shutil.copy(built, into)
            print(f"{hashlib.sha256(built.read_bytes()).hexdigest()}  dist/{built.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
