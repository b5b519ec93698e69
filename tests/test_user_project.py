"""An imaginary user's project, where only the package's wheel and pytest are installed."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.deep  # The wheel is the same on each Python, and so is the plugin.

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = ROOT / "tests" / "user_project"
ABSENT = ["aioresponses", "anyio", "click", "faststream", "pytest_asyncio", "rich", "uvloop"]


def start(*arguments: str | pathlib.Path, cwd: pathlib.Path) -> tuple[int, str]:
    """Return the exit status of a process that sees nothing of ours, and what it printed."""
    ours = ("CAREVALIDATE_", "COV", "PIP_", "PYTEST_", "PYTHON", "VIRTUAL_ENV")
    done = subprocess.run(
        list(map(str, arguments)),
        check=False,
        cwd=cwd,
        encoding="utf-8",
        env={name: value for name, value in os.environ.items() if not name.startswith(ours)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=50,
    )
    return done.returncode, done.stdout


def needed(requirements: Iterable[str]) -> dict[str, metadata.Distribution]:
    """Return what is installed here of *requirements*, and of theirs, without any extra."""
    found: dict[str, metadata.Distribution] = {}
    left = [Requirement(text) for text in requirements]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not wanted or name in found:
            continue
        found[name] = distribution = metadata.distribution(name)
        assert requirement.specifier.contains(distribution.version, prereleases=True)
        left += map(Requirement, distribution.requires or ())
    return found


def copy(distribution: metadata.Distribution, to: pathlib.Path) -> None:
    """Copy what a distribution has installed, except for commands and compiled files."""
    for file in distribution.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = to.joinpath(*file.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(distribution.locate_file(file)), target)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """
    An interpreter of an environment with the wheel, pytest, and what the two need.

    It is made of what is installed here, so that no index is asked.
    """
    folder = tmp_path_factory.mktemp("user")
    command = ("-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    assert 0 == start(sys.executable, *command, cwd=ROOT)[0]
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", symlinks=os.name != "nt")
    interpreter = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = pathlib.Path(start(interpreter, "-c", code, cwd=folder)[1].strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (info,) = packages.glob("carevalidate_async-*.dist-info")
    requires = metadata.Distribution.at(info).requires or []
    for distribution in needed([*requires, "pytest"]).values():
        copy(distribution, packages)
    return interpreter


@pytest.fixture
def project(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the user's project."""
    return shutil.copytree(PROJECT, tmp_path / "project")


class TestUserProject:
    def test_alone(self, python: pathlib.Path, project: pathlib.Path) -> None:
        """Its environment has what the wheel says it needs and pytest, and nothing else of ours."""
        there = ["aiohttp", "attrs", "carevalidate_async", "pytest"]
        look = f"[name for name in {[*there, *ABSENT]} if util.find_spec(name)]"
        code = f"import json; from importlib import util; print(json.dumps({look}))"
        status, text = start(python, "-c", code, cwd=project)

        assert (0, there) == (status, json.loads(text))

    def test_passes(self, python: pathlib.Path, project: pathlib.Path) -> None:
        """Its tests pass as they stand: pytest finds the plugin by itself."""
        status, text = start(python, "-m", "pytest", "-p", "no:cacheprovider", cwd=project)

        assert 0 == status, text
        assert re.search(r"^=+ 8 passed in ", text, re.MULTILINE)
        assert re.search(r"^plugins: carevalidate-async-", text, re.MULTILINE)

    def test_a_new_key_for_each_try_is_found_out(
        self, python: pathlib.Path, project: pathlib.Path
    ) -> None:
        """Were its keys made anew for each run, what a run leaves in doubt would be there twice."""
        path = project / "src" / "clinic_billing" / "confirming.py"
        code = path.read_text(encoding="utf-8")
        line = '        idempotency_key=derive_idempotency_key("invoice", invoice.number),\n'
        assert line in code
        path.write_text(code.replace(line, ""), encoding="utf-8")

        status, text = start(python, "-m", "pytest", "-p", "no:cacheprovider", cwd=project)

        assert 1 == status
        assert re.search(r"^=+ 1 failed, 7 passed in ", text, re.MULTILINE), text
        assert "FAILED tests/test_confirming.py::test_job_that_runs_again" in text

    def test_switched_off(self, python: pathlib.Path, project: pathlib.Path) -> None:
        """`-p no:carevalidate` leaves nothing of the package in a run."""
        (project / "tests" / "test_none.py").write_text(
            "import sys\n\ndef test_none():\n    assert 'carevalidate_async' not in sys.modules\n",
            encoding="utf-8",
        )
        run = ("-m", "pytest", "-p", "no:cacheprovider", "tests/test_none.py")

        assert 0 == start(python, *run, "-p", "no:carevalidate", cwd=project)[0]
        assert 1 == start(python, *run, cwd=project)[0]
