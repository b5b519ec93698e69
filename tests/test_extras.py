"""What is an extra and is not installed says so, by the name of the extra."""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from carevalidate_async._extra import needs

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "carevalidate_async"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"].keys()
# `__main__` says it for the command line; pytest itself loads its plugin.
OWN_WAY = {"cli": "No module named 'click'", "pytest_plugin": "No module named 'pytest'"}
OWN = ("aiohttp", "attrs", "cattrs", "msgspec", "tenacity")
# Imports what stands on each line of the input, in an interpreter that finds only this package, its
# own dependencies, and what those need; prints what each import says.
ALONE = """
import importlib, importlib.metadata, re, sys

def brought_by(name, seen):
    if name not in seen:
        seen.add(name)
        for text in importlib.metadata.requires(name) or ():
            if "extra ==" not in text:
                needed = re.match(r"[\\w.-]+", text)[0]
                try:
                    brought_by(needed.lower(), seen)
                except importlib.metadata.PackageNotFoundError:
                    seen.discard(needed.lower())  # for another Python or platform
    return seen

own = set()
for name in sys.argv[1].split():
    brought_by(name, own)
allowed = {"carevalidate_async", *sys.stdlib_module_names}
for name in own:
    for file in importlib.metadata.files(name):
        allowed.add(file.parts[0].partition(".")[0])

class Alone:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in allowed or name.startswith("_"):
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Alone, sys.meta_path)
for name in sys.stdin.read().split():
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(name, type(error).__name__, error, sep="\\t")
    else:
        print(name, "", "", sep="\\t")
"""


@functools.cache
def needing() -> dict[str, set[str]]:
    """Return the modules that name an extra which they need, and which."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "needs(" in text else ():
            match node:
                case ast.Call(func=ast.Name(id="needs"), args=[ast.Constant(value=str(extra))]):
                    found.setdefault(name, set()).add(extra)
    return found


def public_modules() -> list[str]:
    """Return the modules that others may import, all of them without an underscore."""
    names = (path.relative_to(ROOT).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    return sorted(
        ".".join(parts).removesuffix(".__init__")
        for parts in names
        if not any(part.startswith("_") and part != "__init__" for part in parts)
    )


class TestModules:
    def test_say_which_extra_they_need(self) -> None:
        """
        Without any extra, each public module can be imported, or says what to install for it.
        """
        told = subprocess.run(
            [sys.executable, "-c", ALONE, " ".join(OWN)],
            capture_output=True,
            check=True,
            cwd=ROOT,
            input="\n".join(public_modules()),
            text=True,
            timeout=50,
        ).stdout.splitlines()
        failed = {
            name: (kind, text) for name, kind, text in (line.split("\t") for line in told) if kind
        }
        own_way = {name: failed.pop(f"carevalidate_async.{name}")[1] for name in OWN_WAY}

        assert len(public_modules()) == len(told)
        assert OWN_WAY == own_way
        assert failed.keys() == {
            *(name for name in needing() if "._" not in name),
            "carevalidate_async.report",  # by way of a file of its own
        }
        for name, (kind, text) in failed.items():
            (extra,) = needing().get(name, {"cli"})
            assert "ModuleNotFoundError" == kind, name
            assert text.endswith(f"an extra has it: pip install 'carevalidate-async[{extra}]'")

    def test_name_extras_that_exist(self) -> None:
        """
        Whatever the code says to install is an extra of the metadata.
        """
        named = {
            extra
            for path in PACKAGE.rglob("*.py")
            for several in re.findall(
                r"carevalidate-async\[([a-z,]+)\]", path.read_text(encoding="utf-8")
            )
            for extra in several.split(",")
        }

        assert named
        assert set() == named.union(*needing().values()) - EXTRAS


class TestNeeds:
    def test_keeps_the_library_and_the_cause(self) -> None:
        """
        The error names the library as Python's own does, and has that one as its cause.
        """
        with pytest.raises(ModuleNotFoundError, match=r"\[metrics\]'$") as caught, needs("metrics"):
            # That there is none is the point.
            import no_such_library  # type: ignore[import-not-found]  # noqa: F401

        assert "no_such_library" == caught.value.name
        assert "No module named 'no_such_library'" == str(caught.value.__cause__)

    def test_a_mistake_of_our_own_is_no_missing_extra(self) -> None:
        """
        What this package itself does not have is not blamed on an extra.
        """
        with pytest.raises(ModuleNotFoundError) as caught, needs("metrics"):
            # As above.
            import carevalidate_async.no_such_file  # type: ignore[import-not-found]  # noqa: F401

        assert "extra" not in str(caught.value)
