"""
Does a test fail for each small mistake that could be made in these files?

`mutants.toml` names the files, and for each the tests that have to notice. Every mutant (a copy of
a file with one change) is put into a temporary copy of the working tree, never into the tree, and
a fresh process runs those tests there until one fails. `survivors.toml` says of each mutant that
lives why it may. The exit status is 1 when too few die, or when one lives that is not explained.

The changes are mutmut's, beside some of our own. mutmut itself changes nothing but the bodies of
undecorated functions; half of this package is tables, classes and properties.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import importlib
import multiprocessing
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from mutation.changes import Mutant, mutants_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.queues import SimpleQueue

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
OURS = {"", str(ROOT), str(ROOT / "tests")}
PROCESSES = 2
# Where it is there: the journal waits for the disk at each step, in memory it need not.
MEMORY = next((path for path in ("/dev/shm",) if pathlib.Path(path).is_dir()), None)
# What the tests load and nobody changes: loaded once, before the forks.
COMMON = (
    *("_pytest.assertion.rewrite", "aiohttp.web", "attrs", "cattrs.gen", "concurrent.futures"),
    *("email.utils", "hypothesis.strategies", "jsonschema", "msgspec", "pytest_asyncio.plugin"),
    *("pytest_timeout", "sqlite3", "tenacity", "tracemalloc", "unittest.mock", "uuid"),
)
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin")


@attrs.frozen
class Subject:
    """
    A file to change.

    Attributes:
        path: From the root of the tree.

        tests: Files of tests, the most telling first.
    """

    path: str
    tests: tuple[str, ...]


class End(enum.Enum):
    """What came of tests."""

    PASSED = "alive"
    FAILED = "killed"
    LATE = "killed by time"


class FirstFailure:
    """A plugin of pytest's that ends the process at the first failure, and shrinks nothing."""

    def pytest_configure(self) -> None:
        """Let hypothesis stop at any example that fails; the tests' profile is loaded by now."""
        import hypothesis

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        house = hypothesis.settings.get_profile("house")
        hypothesis.settings.register_profile("mutants", house, phases=phases)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """End at once: nobody reads what pytest would say."""
        if report.failed:
            os._exit(1)


class Tree:
    """A copy of the working tree in which tests run, each time in a process of its own."""

    def __init__(self) -> None:
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="mutants-", dir=MEMORY))
        for name in ("carevalidate_async", "docs", "tests", "pyproject.toml", "README.md"):
            source = ROOT / name
            if source.is_dir():
                leave = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, self.root / name, ignore=leave)
            else:
                shutil.copy2(source, self.root / name)
        for module in COMMON:
            importlib.import_module(module)

    def test(self, subject: Subject, seconds: float, *, first: bool = False) -> End:
        """Run the subject's tests."""
        child = os.fork()
        if not child:
            self._test(subject, first=first)
        end = time.monotonic() + seconds
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended and time.monotonic() < end:
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        # Its children too, whom it may have left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if not ended:
            os.waitpid(child, 0)
            return End.LATE
        return End.FAILED if status else End.PASSED

    def judge(self, mutant: Mutant, subject: Subject, seconds: float) -> End:
        """Run the subject's tests on the mutant."""
        file = self.root / mutant.path
        original = file.read_bytes()
        # A change within the second leaves a size and a time that the cached bytecode would fit.
        for cached in file.parent.glob(f"__pycache__/{file.stem}.*"):
            cached.unlink()
        file.write_text(mutant.source, encoding="utf-8")
        try:
            return self.test(subject, seconds)
        finally:
            file.write_bytes(original)

    def _test(self, subject: Subject, *, first: bool) -> None:
        os.setsid()
        void = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(void, number)
        os.chdir(self.root)
        sys.path[:] = [str(self.root), *(path for path in sys.path if path not in OURS)]
        sys.dont_write_bytecode = not first
        os.environ |= {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "" if first else "1",
            "PYTHONPATH": str(self.root),
        }
        status = 3
        try:
            import pytest

            chosen = (f"-p{name}" for name in (*PLUGINS, "no:cacheprovider"))
            options = ("-x", "-q", "-Wignore::pytest.PytestAssertRewriteWarning")
            where = f"--basetemp={self.root / 'temporary'}"
            plugins = [FirstFailure()]
            status = pytest.main([*options, *chosen, where, *subject.tests], plugins=plugins)
        finally:
            sys.stdout.flush()
            os._exit(int(status))


def settings() -> tuple[dict[str, Any], list[Subject]]:
    """Return what `mutants.toml` says."""
    told = tomllib.loads((HERE / "mutants.toml").read_text(encoding="utf-8"))
    return told, [Subject(file["path"], tuple(file["tests"])) for file in told["file"]]


def explained(paths: list[str]) -> Counter[str]:
    """Return the names of the mutants that may live, each as often as it may."""
    told = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8"))
    return Counter(
        f"{group['file']} {name}"
        for group in told.get("survivors", ())
        if group["file"] in paths
        for name in group["mutants"]
    )


def tasks(subjects: Iterable[Subject], seconds: float) -> Iterator[tuple[Mutant, Subject, float]]:
    """Yield all mutants of all subjects."""
    # All at once, for the tree may change while the mutants are judged.
    read = [(each, (ROOT / each.path).read_text(encoding="utf-8")) for each in subjects]
    for subject, source in read:
        for mutant in mutants_of(subject.path, source):
            yield mutant, subject, seconds


class Worker:
    """What a process of the pool keeps: its tree, and how long each subject's tests may take."""

    tree: Tree
    limits: ClassVar[dict[str, float]] = {}


def begin(trees: SimpleQueue[str]) -> None:
    """Make the process's tree, and say where it is."""
    Worker.tree = Tree()
    trees.put(str(Worker.tree.root))


def judge(task: tuple[Mutant, Subject, float]) -> tuple[Mutant, End]:
    """Tell what became of a mutant."""
    mutant, subject, seconds = task
    if subject.path not in Worker.limits:
        begun = time.monotonic()
        # Unchanged they pass, and leave bytecode behind that makes the others faster.
        if Worker.tree.test(subject, seconds, first=True) is not End.PASSED:
            raise RuntimeError(f"without any change fails: pytest {' '.join(subject.tests)}")
        Worker.limits[subject.path] = min(seconds, 10 + 8 * (time.monotonic() - begun))
    return mutant, Worker.tree.judge(mutant, subject, Worker.limits[subject.path])


def report(made: Counter[str], alive: list[Mutant], may_live: Counter[str], least: float) -> bool:
    """Print the scores and the survivors; tell whether all is well."""
    lives = Counter(mutant.path for mutant in alive)
    for path, total in (*made.items(), ("all", made.total())):
        killed = total - (lives[path] if path in made else lives.total())
        say(f"{killed:5} of {total:5} killed, {killed / total:7.2%}  {path}")
    names = Counter(f"{mutant.path} {mutant.name}" for mutant in alive)
    for title, some in (
        ("Alive, not explained", names - may_live),
        ("Explained, but dead or gone", may_live - names),
    ):
        if some:
            say(f"\n{title}:")
        for name in some.elements():
            say(f"  {name}")
    score = 1 - lives.total() / made.total()
    return score >= least and not names - may_live


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Judge all mutants, or those of the files that are named."""
    told, subjects = settings()
    parser = argparse.ArgumentParser(description=__doc__)
    paths = [subject.path for subject in subjects]
    parser.add_argument("paths", nargs="*", metavar="path", help=", ".join(paths))
    chosen = parser.parse_args().paths or paths
    if unknown := sorted({*chosen} - {*paths}):
        parser.error(f"not in mutants.toml: {', '.join(unknown)}")
    subjects = [subject for subject in subjects if subject.path in chosen]
    made: Counter[str] = Counter()
    alive: list[Mutant] = []
    fresh = multiprocessing.get_context("spawn")
    trees = fresh.SimpleQueue()
    try:
        with fresh.Pool(PROCESSES, begin, (trees,)) as pool:
            for mutant, end in pool.imap_unordered(judge, tasks(subjects, told["seconds"])):
                made[mutant.path] += 1
                if end is End.PASSED:
                    alive.append(mutant)
                if end is not End.FAILED:
                    say(f"{end.value}: {mutant.path} {mutant.name}")
    finally:
        while not trees.empty():
            shutil.rmtree(trees.get(), ignore_errors=True)
    may_live = explained(chosen)
    return 0 if report(made, alive, may_live, told["least"] / 100) else 1


if __name__ == "__main__":
    sys.exit(main())
