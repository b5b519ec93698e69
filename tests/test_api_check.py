"""The check for breaks of the public API, on a small package whose last version has a tag."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING

import pytest

from release import api, dist, surface

if TYPE_CHECKING:
    import pathlib

PROJECT = """
[project]
name = "shop"
requires-python = ">=3.11"

[project.optional-dependencies]
cli = ["click"]

[project.scripts]
shop = "shop.cli:cli"
"""
SHOP = '''
"""A shop."""

import enum
import typing

import attrs

from shop._private import helper

__all__ = ["Cart", "Colour", "Options", "buy", "helper"]


class Colour(enum.Enum):
    """Colours."""

    RED = "red"
    BLUE = "blue"


class Options(typing.TypedDict, total=False):
    """Options."""

    rate: float
    colour: str


@attrs.frozen(kw_only=True)
class Cart:
    """A cart."""

    size: int
    label: str = ""


def buy(cart, times=1, *, fast=False):
    """Buy."""
'''
CLI = '''
"""The command line."""

import click


@click.group()
def cli():
    """Shop."""


@cli.command()
@click.argument("what")
@click.option("--times", default=1)
@click.option("--colour", type=click.Choice(["red", "blue"]))
def buy(what, times, colour):
    """Buy."""


buy.statuses = {0: "bought", 1: "not bought"}
'''
PRIVATE = '''
"""Nobody else's business."""


def helper(name):
    """Help."""


def other():
    """Help otherwise."""
'''


FILES = {
    "pyproject.toml": PROJECT,
    "shop/__init__.py": SHOP,
    "shop/cli.py": CLI,
    "shop/_private.py": PRIVATE,
    "breaks.toml": "",
}


def written(folder: pathlib.Path) -> pathlib.Path:
    """Write the package's files; return where."""
    (folder / "shop").mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What others rely on of the package as it was."""
    return api.surface_of(written(tmp_path_factory.mktemp("before")), "shop")


@pytest.fixture
def now(tmp_path: pathlib.Path) -> pathlib.Path:
    """The same files, to be changed."""
    return written(tmp_path)


@pytest.fixture
def shop(tmp_path: pathlib.Path) -> pathlib.Path:
    """A repository of a package, whose last commit has a tag."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    written(tmp_path)
    who = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
    for arguments in (
        ("init", "--quiet"),
        ("add", "."),
        (*who, "commit", "--quiet", "--message", "The first version"),
        ("tag", "v1.0.0"),
    ):
        dist.git(*arguments, root=tmp_path)
    return tmp_path


def change(shop: pathlib.Path, name: str, old: str, new: str) -> None:
    """Change a file of the package."""
    path = shop / name
    text = path.read_text(encoding="utf-8")
    assert 1 == text.count(old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def broken(before: dict[str, str], now: pathlib.Path, **meant: str) -> list[str]:
    """Return what importing shows to be broken."""
    return api.verdict(api.surface_breaks(before, api.surface_of(now, "shop")), meant)


class TestSurface:
    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            (("shop/__init__.py", '"buy", ', ""), ["shop.buy: is not there any more"]),
            (
                ("shop/__init__.py", "    size: int\n", "    size: int\n    colour: str\n"),
                ["shop.Cart(colour): is new, and required"],
            ),
            (
                ("shop/__init__.py", '    label: str = ""\n', "    label: str\n"),
                ["shop.Cart(label): was optional, is required"],
            ),
            (
                ("shop/__init__.py", 'BLUE = "blue"', 'GREEN = "green"'),
                ["shop.Colour.BLUE: is not there any more"],
            ),
            (
                ("shop/__init__.py", 'RED = "red"', 'RED = "RED"'),
                ["shop.Colour.RED: was member 'red', is member 'RED'"],
            ),
            (
                ("shop/__init__.py", "    rate: float\n", ""),
                ["shop.Options[rate]: is not there any more"],
            ),
            (
                ("shop/__init__.py", "cart, times=1, *,", "cart, *, times=1,"),
                ["shop.buy(#1): is not there any more"],
            ),
            (
                (
                    "shop/cli.py",
                    '"--colour", type=click.Choice(["red", "blue"])',
                    '"--colour", type=click.Choice(["red"])',
                ),
                ["$ buy --colour=blue: is not there any more"],
            ),
            (
                ("shop/cli.py", '"--times", default=1', '"--times", default=2'),
                ["$ buy --times, by default: was 1, is 2"],
            ),
            (
                ("shop/cli.py", '"--times", default=1', '"--times", type=int, required=True'),
                [
                    "$ buy --times: was optional, is required",
                    "$ buy --times, by default: was 1, is None",
                ],
            ),
            (
                ("shop/cli.py", ', 1: "not bought"', ""),
                ["$ buy exits with 1: is not there any more"],
            ),
            (
                ("shop/cli.py", "@cli.command()", '@cli.command("get")'),
                ["$ buy: is not there any more"],
            ),
            (("pyproject.toml", "cli =", "shell ="), ["extra cli: is not there any more"]),
            (("pyproject.toml", ">=3.11", ">=3.12"), ["requires-python: was >=3.11, is >=3.12"]),
            (("pyproject.toml", "shop = ", "buy = "), ["scripts shop: is not there any more"]),
        ],
    )
    def test_a_break_is_told(
        self,
        before: dict[str, str],
        now: pathlib.Path,
        changed: tuple[str, str, str],
        told: list[str],
    ) -> None:
        """
        What somebody may have relied on and is gone, narrower or asks for more is told, once.
        """
        change(now, *changed)

        assert told == broken(before, now)

    def test_an_addition_is_none(self, before: dict[str, str], now: pathlib.Path) -> None:
        """
        More names, members, keys, optional parameters, options and choices break nothing, and
        neither does what is private.
        """
        change(now, "shop/__init__.py", 'BLUE = "blue"', 'BLUE = "blue"\n    GREEN = "green"')
        change(now, "shop/__init__.py", "    size: int\n", "    size: int = 1\n    age: int = 0\n")
        change(now, "shop/__init__.py", "fast=False", "fast=False, slow=False")
        change(now, "shop/__init__.py", "    rate: float\n", "    rate: float\n    more: int\n")
        change(now, "shop/cli.py", '["red", "blue"]', '["red", "blue", "green"]')
        change(now, "shop/cli.py", "def buy(", '@click.option("--fast", is_flag=True)\ndef buy(')
        change(now, "shop/_private.py", "def other(", "def another(")

        assert [] == broken(before, now)

    def test_a_break_that_is_meant(self, before: dict[str, str], now: pathlib.Path) -> None:
        """
        It passes where it stands with its reason, and a reason for what is no break does not.
        """
        change(now, "pyproject.toml", ">=3.11", ">=3.12")

        assert [] == broken(before, now, **{"requires-python": "3.11 is not supported any more"})
        assert ["extra cli: is no break, take it out of breaks.toml"] == broken(
            before, now, **{"requires-python": "as above", "extra cli": "was renamed"}
        )

    def test_knows_this_package(self) -> None:
        """
        Of this package it sees names, attrs' signatures, options, choices and exit statuses.
        """
        found = surface.facts(dist.ROOT, dist.PACKAGE)

        assert surface.REQUIRED == found["carevalidate_async.models.PaymentConfirmation(case_id)"]
        assert "member 'unknown'" == found["carevalidate_async.errors.Outcome.UNKNOWN"]
        assert surface.OPTIONAL == found["carevalidate_async.ClientOptions[deadline]"]
        assert "choice" == found["$ confirm --duplicates=once"]
        assert "exit status" == found["$ confirm exits with 130"]
        assert "entry point" == found["scripts carevalidate"]


class TestText:
    def test_a_removed_name_fails_the_check(
        self, shop: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        The command ends with 1 after a break, names it, and ends with 0 after an addition.
        """
        pytest.importorskip("griffe", reason="griffe is of the tools alone")
        command = ["--root", str(shop), "--package", "shop", "--meant", str(shop / "breaks.toml")]
        change(shop, "shop/__init__.py", "fast=False", "fast=False, slow=False")
        assert 0 == api.main(command)
        assert "Nothing is broken that v1.0.0 had.\n" == capsys.readouterr().out
        change(shop, "shop/__init__.py", "class Options", "class Choices")
        change(shop, "shop/__init__.py", '"Options"', '"Choices"')

        assert 1 == api.main(command)
        assert "shop.Options: " in capsys.readouterr().out

    def test_a_default_that_changed(self, shop: pathlib.Path) -> None:
        """
        What the text alone shows is told by griffe.
        """
        pytest.importorskip("griffe", reason="griffe is of the tools alone")
        change(shop, "shop/__init__.py", "times=1", "times=2")

        assert [] == api.compare(shop, "v1.0.0", "shop", {}, text=False)
        assert ["shop.buy: Parameter default was changed"] == api.compare(
            shop, "v1.0.0", "shop", {}
        )


class TestTags:
    def test_none(self, shop: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """
        Where no version has a tag it says so, and does not fail.
        """
        dist.git("tag", "--delete", "v1.0.0", root=shop)
        dist.git("tag", "other", root=shop)

        assert 0 == api.main(["--root", str(shop), "--package", "shop"])
        assert capsys.readouterr().out.startswith("There is no tag of a version yet")

    def test_the_last_one(self, shop: pathlib.Path) -> None:
        """
        It is compared with the newest version that leads to what is checked out.
        """
        who = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
        more = ("commit", "--quiet", "--allow-empty", "--message", "The second version")
        dist.git(*who, *more, root=shop)
        dist.git("tag", "v1.1.0", root=shop)

        assert "v1.1.0" == api.last_tag(shop)
