"""
What a change breaks for who uses the package, since the last tag.

`python -m release.api` compares the files as they are with those of the last tag, whose name begins
with v: the text with griffe, which sees what moved or changed its kind, and what importing shows
with `surface.py`. A break that is meant stands in breaks.toml with its reason; one that stands
there and is none any more is an error, too. Without a tag there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

from release import dist
from release.surface import OPTIONAL, REQUIRED

SURFACE = pathlib.Path(__file__).with_name("surface.py")


def last_tag(root: pathlib.Path) -> str | None:
    """Return the last version's tag that leads to what is checked out; None where there is none."""
    found = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v*"],
        capture_output=True,
        check=False,
        cwd=root,
        text=True,
    )
    return found.stdout.strip() or None


def surface_of(folder: pathlib.Path, package: str) -> dict[str, str]:
    """Return what others rely on of a version, which is imported in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", str(SURFACE), str(folder), package],
        check=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def surface_breaks(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """Return what *new* breaks of *old*, by path."""
    broken = {}
    for path, was in old.items():
        now = new.get(path)
        if now is None:
            owner = _owner(path)
            if not owner or owner in new:  # or it is told of that
                broken[path] = "is not there any more"
        elif now != was and (was, now) != (REQUIRED, OPTIONAL):
            broken[path] = f"was {was}, is {now}"
    for path, now in new.items():
        if path not in old and now == REQUIRED and _owner(path) in old:
            broken[path] = "is new, and required"
    return broken


def _owner(path: str) -> str:
    """Return the path of what a fact belongs to, such as a class; empty where it stands alone."""
    if path.endswith((")", "]")):
        return path[: max(path.rfind("("), path.rfind("["))]
    if path.startswith("$"):
        head = re.split(r",|=| exits with ", path)[0]
        return head if head != path else path.rpartition(" ")[0]
    return path.rpartition(".")[0]


def text_breaks(old: pathlib.Path, new: pathlib.Path, package: str) -> dict[str, str]:
    """Return what griffe finds broken among the public names, by path."""
    import griffe

    before, after = (griffe.load(package, search_paths=[folder]) for folder in (old, new))
    found: dict[str, list[str]] = {}
    for breakage in griffe.find_breaking_changes(before, after):
        found.setdefault(breakage.obj.path, []).append(breakage.kind.value)
    return {path: "; ".join(sorted(set(kinds))) for path, kinds in found.items()}


def verdict(broken: dict[str, str], meant: dict[str, str]) -> list[str]:
    """Return a line for each break that nobody meant, and for each that was meant and is none."""
    return [
        *(f"{path}: {what}" for path, what in sorted(broken.items()) if path not in meant),
        *(
            f"{path}: is no break, take it out of breaks.toml"
            for path in sorted(meant)
            if path not in broken
        ),
    ]


def compare(
    root: pathlib.Path, tag: str, package: str, meant: dict[str, str], *, text: bool = True
) -> list[str]:
    """
    Compare what lies at *root* with a tag of its repository.

    Args:
        root: The repository.

        tag: Or any commit.

        package: The name of the package there.

        meant: Reasons of breaks that are meant, by path.

        text: Whether to have griffe compare, too.

    Returns:
        What is wrong, one line each.
    """
    with tempfile.TemporaryDirectory() as name:
        old = pathlib.Path(name)
        dist.committed(old, ref=tag, root=root)
        broken = text_breaks(old, root, package) if text else {}
        broken |= surface_breaks(surface_of(old, package), surface_of(root, package))
    return verdict(broken, meant)


def main(arguments: list[str]) -> int:
    """Compare, and tell what is broken."""
    parser = argparse.ArgumentParser(prog="python -m release.api", description=__doc__)
    parser.add_argument("--against", metavar="TAG", help="default: the last tag")
    parser.add_argument("--root", type=pathlib.Path, default=dist.ROOT)
    parser.add_argument("--package", default=dist.PACKAGE)
    parser.add_argument("--meant", type=pathlib.Path, default=SURFACE.with_name("breaks.toml"))
    given = parser.parse_args(arguments)
    tag = given.against or last_tag(given.root)
    if tag is None:
        print("There is no tag of a version yet: nothing was compared, and nothing can be broken.")
        return 0
    meant = tomllib.loads(given.meant.read_text(encoding="utf-8"))
    wrong = compare(given.root, tag, given.package, meant)
    print(*wrong or [f"Nothing is broken that {tag} had."], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
