"""What is shipped: the wheel and the sdist are whole, nothing else is in them, and they repeat."""

from __future__ import annotations

import configparser
import email
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from trove_classifiers import classifiers

from release import dist, smokes

if TYPE_CHECKING:
    from email.message import Message

ROOT = pathlib.Path(__file__).parents[1]
EPOCH = 1_700_000_000
LEFT_AROUND = (
    "__pycache__/cli.cpython-311.pyc",
    "_commands/__pycache__/confirm.cpython-313.pyc",
    "payments.csv.production.journal",
    ".env",
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def copied(into: pathlib.Path, *, rights: int) -> list[str]:
    """Copy the repository's files, and leave around what work leaves; return the files' names."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    listed = dist.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").decode()
    names = sorted({name for name in listed.split("\0") if (ROOT / name).is_file()})
    for name in names:
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
        target.chmod(rights)
        os.utime(target, (rights, rights))  # another time for other rights
    for name in LEFT_AROUND:
        target = into / dist.PACKAGE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    return names


class Shipped:
    """A wheel and an sdist, and the names of the files that they were made of."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.names = copied(folder / "source", rights=0o644)
        self.sdist = dist.build("sdist", folder / "source", folder / "one", epoch=EPOCH)
        self.wheel = dist.build("wheel", folder / "source", folder / "one", epoch=EPOCH)

    def read(self, name: str) -> str:
        """Return a file of the wheel's metadata."""
        with zipfile.ZipFile(self.wheel) as archive:
            (path,) = (path for path in archive.namelist() if path.endswith(f".dist-info/{name}"))
            return archive.read(path).decode()

    @property
    def metadata(self) -> Message:
        return email.message_from_string(self.read("METADATA"))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return Shipped(tmp_path_factory.mktemp("dist"))


class TestContents:
    def test_wheel(self, shipped: Shipped) -> None:
        """
        A wheel has every file of the package, what is said of it, and nothing else.
        """
        version = dist.version_of(shipped.folder / "source")

        assert [] == dist.differences(shipped.wheel, dist.wheel_names(shipped.names, version))
        for name in ("py.typed", "report/report.html.jinja", "sandbox/openapi.json"):
            assert f"{dist.PACKAGE}/{name}" in dist.names_in(shipped.wheel)

    def test_sdist(self, shipped: Shipped) -> None:
        """
        An sdist has every file of the repository but what runs its checks, and nothing else.
        """
        assert [] == dist.differences(shipped.sdist, dist.sdist_names(shipped.names))

    def test_what_is_missing_or_too_much_is_named(self, shipped: Shipped) -> None:
        """
        The comparison itself can fail: a file too few, or one too many, is told.
        """
        names = dist.names_in(shipped.wheel)

        assert [f"{shipped.wheel.name} lacks x"] == dist.differences(shipped.wheel, [*names, "x"])
        assert [f"{shipped.wheel.name} has {names[0]}"] == dist.differences(
            shipped.wheel, names[1:]
        )


class TestBuild:
    def test_from_the_sdist(self, shipped: Shipped) -> None:
        """
        The wheel that is made of the sdist has the bytes of the one made of the repository.
        """
        source = dist.unpacked(shipped.sdist, shipped.folder / "unpacked")
        wheel = dist.build("wheel", source, shipped.folder / "two", epoch=EPOCH)

        assert shipped.wheel.name == wheel.name
        assert shipped.wheel.read_bytes() == wheel.read_bytes()

    def test_again(self, shipped: Shipped) -> None:
        """
        Another folder, other times and other rights of the files make the same bytes.
        """
        copied(shipped.folder / "again", rights=0o600)
        for built in (shipped.sdist, shipped.wheel):
            kind = "wheel" if built.suffix == ".whl" else "sdist"
            again = dist.build(
                kind, shipped.folder / "again", shipped.folder / "three", epoch=EPOCH
            )

            assert built.read_bytes() == again.read_bytes()


class TestMetadata:
    def test_says_what_the_project_says(self, shipped: Shipped) -> None:
        """
        Name, version, licence, summary, Python and readme stand in it as in the repository.
        """
        found = shipped.metadata
        version = dist.version_of(shipped.folder / "source")

        assert ("carevalidate-async", version) == (found["Name"], found["Version"])
        assert ("MIT", "LICENSE") == (found["License-Expression"], found["License-File"])
        assert PROJECT["requires-python"] == found["Requires-Python"]
        assert PROJECT["description"] == found["Summary"]
        assert set(PROJECT["keywords"]) == set(found["Keywords"].split(","))
        assert "text/markdown" == found["Description-Content-Type"]
        readme = (shipped.folder / "source" / "README.md").read_text(encoding="utf-8")
        assert readme == found.get_payload()

    def test_classifiers(self, shipped: Shipped) -> None:
        """
        Classifiers are known ones, sorted, and name each Python that the tests run on.
        """
        found = shipped.metadata.get_all("Classifier", [])
        noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
        (tested,) = re.findall(r"^@nox\.session\(python=\[(.+)\]\)$", noxfile, re.MULTILINE)
        pythons = [f"Programming Language :: Python :: {v}" for v in re.findall(r"3\.\d+", tested)]

        assert set(found) <= classifiers
        assert sorted(found) == found
        assert pythons == [name for name in found if re.search(r":: 3\.\d+$", name)]
        assert f">={re.findall(r'3.[0-9]+', tested)[0]}" == PROJECT["requires-python"]

    def test_extras(self, shipped: Shipped) -> None:
        """
        Every extra is there, and "all" has all the others.
        """
        extras = PROJECT["optional-dependencies"]
        in_all = {
            name for text in extras["all"] for name in re.findall(r"[a-z]+", text.partition("[")[2])
        }

        assert extras.keys() == set(shipped.metadata.get_all("Provides-Extra", []))
        assert extras.keys() - {"all"} == in_all

    def test_every_extra_is_tried(self, shipped: Shipped) -> None:
        """
        Each extra, and none, has a smoke that is run in an environment of its own before a release.
        """
        assert ["", *sorted(PROJECT["optional-dependencies"])] == smokes.extras_of(shipped.wheel)
        assert set(smokes.extras_of(shipped.wheel)) == smokes.SMOKES.keys()

    def test_entry_points_lead_somewhere(self, shipped: Shipped) -> None:
        """
        The one script that is installed, and what others find by entry points, is there.
        """
        points = configparser.ConfigParser()
        points.read_string(shipped.read("entry_points.txt"))

        assert ["carevalidate"] == list(points["console_scripts"])
        assert {"console_scripts", *PROJECT.get("entry-points", {})} == set(points.sections())
        for section in points.sections():
            for target in points[section].values():
                module, _, name = target.partition(":")
                found = importlib.import_module(module)
                assert not name or callable(getattr(found, name))

    def test_for_every_platform(self, shipped: Shipped) -> None:
        """
        One wheel is for all: it has no compiled code.
        """
        said = email.message_from_string(shipped.read("WHEEL"))

        assert ("py3-none-any", "true") == (said["Tag"], said["Root-Is-Purelib"])

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            ("asyncio.run(confirm())", ""),
            ("raise SystemExit(3)", "exit status 3"),
            ("print('odd')", "odd\n"),
        ],
    )
    def test_a_try_that_fails_is_told(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str
    ) -> None:
        """
        What a smoke prints, and a status other than 0, is wrong.
        """
        monkeypatch.setitem(smokes.SMOKES, "x", code)

        assert told == smokes.smoke("x", pathlib.Path(sys.prefix), tmp_path / "x")


class TestRelease:
    def test_is_built_of_what_is_committed(self, tmp_path: pathlib.Path) -> None:
        """
        A file that lies around is in no release, and a build that fails leaves no old one to be
        taken for it.
        """
        if shutil.which("git") is None or not (ROOT / ".git").exists():
            pytest.skip("needs a git checkout")
        repository(tmp_path)
        (tmp_path / dist.PACKAGE / "stray.py").touch()
        done = release(tmp_path)

        assert 0 == done.returncode, done.stdout + done.stderr
        assert "HEAD: the changes that are not committed are not in it" in done.stdout
        wheel, sdist = sorted((tmp_path / "dist").iterdir())
        assert [] == [name for name in dist.names_in(wheel) if "stray" in name]
        told = [line.split()[1] for line in done.stdout.splitlines() if "dist/" in line]
        assert [f"dist/{sdist.name}", f"dist/{wheel.name}"] == told

        (tmp_path / "unshipped.txt").touch()
        dist.git("add", "unshipped.txt", root=tmp_path)
        commit(tmp_path)
        done = release(tmp_path)

        assert 1 == done.returncode
        assert [f"{sdist.name} lacks unshipped.txt"] == done.stdout.splitlines()[1:]
        assert not (tmp_path / "dist").exists()


def repository(folder: pathlib.Path) -> None:
    """Make a small repository of a package of that name."""
    settings = {"name": "x", "requires": PROJECT["requires-python"]}
    (folder / "pyproject.toml").write_text(
        f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "carevalidate-async"
requires-python = "{settings["requires"]}"
license-files = ["LICENSE"]
dynamic = ["version"]
scripts = {{ x = "{dist.PACKAGE}:main" }}

[tool.hatch.version]
path = "{dist.PACKAGE}/_version.py"

[tool.hatch.build.targets.sdist]
include = ["/{dist.PACKAGE}", "/tests"]
""",
        encoding="utf-8",
    )
    (folder / "LICENSE").write_text("MIT\n", encoding="utf-8")
    (folder / ".gitignore").write_text("/dist/\n", encoding="utf-8")
    (folder / dist.PACKAGE).mkdir()
    (folder / dist.PACKAGE / "__init__.py").touch()
    (folder / dist.PACKAGE / "_version.py").write_text('__version__ = "1.2"\n', encoding="utf-8")
    (folder / "tests" / "release").mkdir(parents=True)
    for name in ("__init__.py", "dist.py"):
        shutil.copy(pathlib.Path(dist.__file__).with_name(name), folder / "tests" / "release")
    dist.git("init", "--quiet", root=folder)
    dist.git("add", ".", root=folder)
    commit(folder)


def commit(folder: pathlib.Path) -> None:
    """Commit what was added."""
    who = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
    dist.git(*who, "commit", "--quiet", "--message", "A commit", root=folder)


def release(folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run the build of a release there."""
    variables: dict[str, Any] = {**os.environ, "PYTHONPATH": str(folder / "tests")}
    return subprocess.run(
        [sys.executable, "-P", "-m", "release.dist"],
        capture_output=True,
        check=False,
        cwd=folder,
        env=variables,
        text=True,
    )
