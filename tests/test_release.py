"""How a release gets its number, and that RELEASING.md names what is there."""

from __future__ import annotations

import ast
import datetime as dt
import importlib
import pathlib
import re
import shutil
import tomllib

import pytest

from release import dist, version

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "RELEASING.md").read_text(encoding="utf-8")
DAY = dt.date(2026, 11, 2)
WHO = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
CHANGELOG = """# Changelog

## [Unreleased]

### Fixed

- Something.

## [1.2.3] - 2026-01-05

- Before.
"""


@pytest.fixture
def repository(tmp_path: pathlib.Path) -> pathlib.Path:
    """A repository that has changed since its version 1.2.3."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    for name, text in (
        ("CHANGELOG.md", CHANGELOG),
        (f"{dist.PACKAGE}/_version.py", '__version__ = "1.2.3"\n'),
        ("tests/release/breaks.toml", "# What is meant.\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    dist.git("init", "--quiet", root=tmp_path)
    commit(tmp_path, "v1.2.3")
    return tmp_path


def commit(root: pathlib.Path, tag: str) -> None:
    """Commit all there is, and tag it."""
    dist.git("add", ".", root=root)
    dist.git(*WHO, "commit", "--quiet", "--message", "A commit", root=root)
    dist.git("tag", tag, root=root)


class TestPrepare:
    def test_makes_the_files_those_of_the_release(self, repository: pathlib.Path) -> None:
        """
        The number is written, what was unreleased has its number and day, and no break is meant
        any more; once that is committed and tagged, nothing is missing.
        """
        breaks = repository / "tests/release/breaks.toml"
        breaks.write_text('# What is meant.\n"shop.buy" = "why"\n', encoding="utf-8")
        version.prepare(repository, "2.0.0", DAY)

        text = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
        assert "2.0.0" == dist.version_of(repository)
        assert "## [Unreleased]\n\n## [2.0.0] - 2026-11-02\n\n### Fixed\n\n- Something." in text
        assert "# What is meant.\n" == breaks.read_text(encoding="utf-8")

        commit(repository, "v2.0.0")
        assert [] == version.missing(repository)

    @pytest.mark.parametrize(
        ("number", "told"),
        [
            ("1.2", "1.2 is not three numbers, as 1.2.0 is"),
            ("v1.3.0", "v1.3.0 is not three numbers, as 1.2.0 is"),
            ("1.2.3", "1.2.3 does not come after v1.2.3"),
            ("1.2.2", "1.2.2 does not come after v1.2.3"),
        ],
    )
    def test_a_number_that_is_none(self, repository: pathlib.Path, number: str, told: str) -> None:
        """
        A number that is not one, or does not come after the last, changes nothing.
        """
        with pytest.raises(version.NotReadyError, match=f"^{re.escape(told)}$"):
            version.prepare(repository, number, DAY)

        assert b"" == dist.git("status", "--porcelain", root=repository)

    @pytest.mark.parametrize(
        ("last", "number", "may"),
        [
            ((1, 2, 3), (1, 3, 0), False),
            ((1, 2, 3), (2, 0, 0), True),
            ((0, 1, 9), (0, 1, 10), False),
            ((0, 1, 9), (0, 2, 0), True),
            ((0, 9, 0), (1, 0, 0), True),
        ],
    )
    def test_which_numbers_may_break(
        self, last: tuple[int, ...], number: tuple[int, ...], *, may: bool
    ) -> None:
        """
        The first number says that something public is broken, before 1.0 the second.
        """
        assert may is version._may_break(last, number)

    def test_breaks_need_their_number(self, repository: pathlib.Path) -> None:
        """
        A break that is meant is refused under a number that promises none.
        """
        breaks = repository / "tests/release/breaks.toml"
        breaks.write_text('"shop.buy" = "why"\n', encoding="utf-8")

        with pytest.raises(version.NotReadyError, match=r"1\.3\.0 is too close to v1\.2\.3$"):
            version.prepare(repository, "1.3.0", DAY)

    def test_nothing_to_release(self, repository: pathlib.Path) -> None:
        """
        Without a word in the changelog there is no release.
        """
        changelog = repository / "CHANGELOG.md"
        changelog.write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.3]\n", encoding="utf-8")

        with pytest.raises(version.NotReadyError, match="nothing below Unreleased"):
            version.prepare(repository, "1.2.4", DAY)


class TestMissing:
    def test_all_of_it_is_told(
        self, repository: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        A tag, a section, and commits that are missing are all told, and the status is 1.
        """
        (repository / dist.PACKAGE / "_version.py").write_text('__version__ = "1.2.4"\n')

        assert 1 == version.main([], repository)
        assert [
            "the tag of HEAD should be v1.2.4; it has v1.2.3",
            "CHANGELOG.md has no dated section for 1.2.4",
            "CHANGELOG.md has changes that are unreleased",
            "some changes are not committed",
        ] == capsys.readouterr().out.splitlines()

    def test_a_number_on_the_command_line(
        self, repository: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        It is written, or refused with the reason and status 1.
        """
        assert 1 == version.main(["1.0.0"], repository)
        assert "1.0.0 does not come after v1.2.3\n" == capsys.readouterr().out
        assert 0 == version.main(["1.2.4"], repository)
        assert "1.2.4" == dist.version_of(repository)


class TestPage:
    def test_commands_are_there(self) -> None:
        """
        Each session, module and file of this repository that the page has typed exists.
        """
        typed = re.findall(r"^\$ (.*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
        tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
        sessions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        named = {line.split()[2] for line in typed if line.startswith(".venv/bin/nox -s")}
        modules = re.findall(r"python -m (release\.\w+)", "\n".join(typed))

        assert {"api", "audit", "package", "version"} == named
        assert set() == named - sessions
        assert ["release.smokes"] == modules
        for module in modules:
            assert callable(importlib.import_module(module).main)
        assert ".ci/run" in typed

    def test_what_it_names_of_this_package(self) -> None:
        """
        The version before the first release is a number that can be released, and the changelog
        and the list of breaks are as the recipe needs them.
        """
        assert version.FORM.fullmatch(dist.version_of(ROOT))
        text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        assert 1 == text.count(version.UNRELEASED)
        breaks = (ROOT / "tests/release/breaks.toml").read_text(encoding="utf-8")
        assert all(isinstance(reason, str) for reason in tomllib.loads(breaks).values())
