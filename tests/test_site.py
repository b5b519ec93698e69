"""
The site that `nox -s docs` builds of docs/: what it has to hold, and that all of its links lead on.

That it builds without a warning, references of docstrings included, is seen to by that session,
which names the site in the variable SITE.
"""

from __future__ import annotations

import functools
import html.parser
import http.server
import importlib
import json
import os
import pathlib
import pkgutil
import re
import shutil
import threading
import urllib.parse
import zlib
from typing import TYPE_CHECKING, Any

import click
import pytest

import carevalidate_async
from carevalidate_async import CareValidateError, cli, errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]
SITE = pathlib.Path(os.environ.get("SITE", ""))
pytestmark = pytest.mark.skipif("SITE" not in os.environ, reason="nox -s docs builds the site")

# Attributes that make a browser fetch something by itself.
FETCHED = {("img", "src"), ("script", "src"), ("link", "href"), ("iframe", "src")}
# Relations of a link that name an address and fetch nothing.
NAMED = {"canonical", "index", "next", "prev", "search"}


class Reader(html.parser.HTMLParser):
    """
    What a page links, fetches and can be linked at.

    Attributes:
        ids: Its anchors.

        links: Where its links lead.

        fetched: What a browser fetches with it.

        words: Its text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the element names."""
        given = dict(attrs)
        self.ids |= {value for name, value in attrs if name == "id" and value}
        for name, value in attrs:
            if (tag, name) in FETCHED and not NAMED.intersection((given.get("rel") or "").split()):
                self.fetched.append(value or "")
            elif name == "href" and tag == "a":
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.words.append(data)


@functools.cache
def page(name: str) -> Reader:
    """Return what a page of the site holds."""
    reader = Reader()
    reader.feed((SITE / name).read_text(encoding="utf-8"))
    return reader


def text_of(name: str) -> str:
    """Return the text of a page, blanks made one."""
    return " ".join("".join(page(name).words).split())


@functools.cache
def inventory() -> dict[str, str]:
    """Return what is documented as part of Python's world, by full name: its kind."""
    raw = (SITE / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(raw).decode().splitlines()
    found = (re.match(r"(\S+) py:(\w+) ", line) for line in lines)
    return {entry[1]: entry[2] for entry in found if entry}


def public_modules() -> Iterator[str]:
    """Yield the names of the public modules, the package first."""
    yield carevalidate_async.__name__
    for found in pkgutil.walk_packages(carevalidate_async.__path__, "carevalidate_async."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield found.name


def commands(
    group: click.Command = cli.cli, name: str = "carevalidate"
) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands, and those below them."""
    yield name, group
    for inner in getattr(group, "commands", {}).values():
        yield from commands(inner, f"{name} {inner.name}")


class TestReference:
    @pytest.mark.parametrize("module", list(public_modules()))
    def test_every_public_name_is_there(self, module: str) -> None:
        """
        Each public module, and each name that it lists, is documented, there or where it is from.
        """
        there = importlib.import_module(module)
        missing = []
        for name in getattr(there, "__all__", ()):
            value = getattr(there, name)
            home = getattr(value, "__module__", module)
            names = {f"{module}.{name}", f"{home}.{getattr(value, '__qualname__', name)}"}
            missing += [] if names & inventory().keys() else [f"{module}.{name}"]

        assert [] == missing
        # The command line has a page of its own.
        assert module in inventory() or module == "carevalidate_async.cli"

    def test_every_error_is_linked(self) -> None:
        """
        The table of errors leads to each class.
        """
        links = {link.partition("#")[2] for link in page("reference/errors.html").links}
        wanted = {
            f"carevalidate_async.{name}"
            for name in carevalidate_async.__all__
            if isinstance(kind := getattr(carevalidate_async, name), type)
            and issubclass(kind, CareValidateError)
        }

        assert len(wanted) > 15
        assert set() == wanted - links

    def test_docstrings_leave_no_markup_behind(self) -> None:
        """
        No docstring's markup is shown as it stands in the source.
        """
        left = [
            (name.name, found)
            for name in (SITE / "reference" / "api").glob("*.html")
            for found in re.findall(
                r"(?:Args|Attributes):\s|\| --- |:py:\w+:",
                text_of(f"reference/api/{name.name}"),
            )
        ]

        assert [] == left

    def test_the_tree_of_errors_is_drawn(self) -> None:
        """
        The page of the error classes has each class of the module.
        """
        told = text_of("reference/api/errors.html")
        classes = [
            name
            for name, kind in vars(errors).items()
            if isinstance(kind, type) and issubclass(kind, CareValidateError)
        ]

        assert [] == [name for name in classes if name not in told]


class TestCommandLine:
    @pytest.mark.parametrize(("name", "command"), list(commands()))
    def test_every_command_is_there(self, name: str, command: click.Command) -> None:
        """
        Each command is there with its options, and with its exit statuses where it is no group.
        """
        told = text_of("reference/cli.html")
        section = told[told.index(f"{name} [OPTIONS]") :]
        options = [word for option in command.params for word in option.opts if word[0] == "-"]

        assert [] == [option for option in options if option not in section]
        if not isinstance(command, click.Group):
            assert re.search(r"exit status", section, re.IGNORECASE)


class TestHttp:
    def test_the_whole_description_is_there(self) -> None:
        """
        Each operation of the description is there, with its path, its fields and its answers.
        """
        path = ROOT / "carevalidate_async" / "sandbox" / "openapi.json"
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        told = text_of("reference/http.html")
        wanted = set()
        for where, methods in document["paths"].items():
            for method, operation in methods.items():
                wanted |= {operation["operationId"], f"{method.upper()} {where}"}
                wanted |= {operation["summary"], *operation["responses"]}
        for schema in document["components"]["schemas"].values():
            wanted |= schema["properties"].keys()
        wanted |= {answer["description"] for answer in document["components"]["responses"].values()}

        assert len(wanted) > 50
        assert set() == {name for name in wanted if " ".join(name.split()) not in told}


class TestLinks:
    def test_all_lead_somewhere(self) -> None:
        """
        Each link within the site, its anchor included, leads to something. Links out of the site
        are not followed: that takes a network.
        """
        dead = []
        pages = {path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")}
        for name in pages:
            for link in page(name).links:
                address, _, anchor = link.partition("#")
                if urllib.parse.urlsplit(address).scheme:
                    continue
                target = os.path.normpath(pathlib.PurePosixPath(name).parent / address)
                target = name if not address else target
                there = target in pages if target.endswith(".html") else (SITE / target).exists()
                # An anchor alone is the theme's way to the top.
                known = not anchor or (there and urllib.parse.unquote(anchor) in page(target).ids)
                if not (there and known):
                    dead.append((name, link))

        assert len(pages) > 30
        assert [] == dead

    def test_nothing_is_fetched_from_elsewhere(self) -> None:
        """
        No page loads a script, a style, a font or a picture from another place.
        """
        pages = [path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")]
        foreign = re.compile(r"^(https?:)?//")
        styles = "".join(path.read_text(encoding="utf-8") for path in SITE.rglob("*.css"))

        assert [] == [
            (name, link) for name in pages for link in page(name).fetched if foreign.match(link)
        ]
        assert [] == re.findall(r"url\(\s*['\"]?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*", styles)


def _nothing(*_: object) -> None:
    """Log no request."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the site: from a file, scripts may not fetch what they search."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": _nothing})
    handler = functools.partial(quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", exc_type=ImportError)
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs a Chromium on PATH")
    with driver.sync_playwright() as playwright:
        # Chromium's sandbox refuses to be run by root, as containers do.
        options = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


class TestBrowser:
    """The site in any Chromium on PATH, by what the dependency group `browser` installs."""

    @pytest.mark.timeout(180)  # the first start of a browser takes its time
    @pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
    def test_everybody_can_read_it(
        self, chromium: Any, address: str, scheme: str, width: int
    ) -> None:
        """
        A page of each kind is no wider than the window, and axe finds nothing against WCAG 2.1 AA.
        """
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", exc_type=ImportError)
        rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
        found = {}
        context = chromium.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}
        )
        for name in ("index", "guides/tuning", "reference/api/idempotency"):
            window = context.new_page()
            window.goto(f"{address}/{name}.html")
            wider = window.evaluate(
                "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
            )
            broken = axe.Axe().run(window, options=rules).response["violations"]
            found[name] = (wider, [rule["id"] for rule in broken])
            window.close()
        context.close()

        assert dict.fromkeys(found, (0, [])) == found

    @pytest.mark.timeout(180)
    def test_search(self, chromium: Any, address: str) -> None:
        """
        The search finds a function by its name and a guide by its words, and reaches no other host.
        """
        asked: list[str] = []
        window = chromium.new_page()
        window.on("request", lambda request: asked.append(request.url))
        found = {}
        for words in ("derive_idempotency_key", "rotation secret"):
            window.goto(f"{address}/search.html?q={urllib.parse.quote(words)}")
            window.wait_for_selector("ul.search li a")
            links = window.eval_on_selector_all("ul.search li a", "all => all.map((a) => a.href)")
            found[words] = {link.partition("#")[0].removeprefix(f"{address}/") for link in links}
        window.close()

        assert "reference/api/idempotency.html" in {
            link.partition("?")[0] for link in found["derive_idempotency_key"]
        }
        assert "guides/key-rotation.html" in {
            link.partition("?")[0] for link in found["rotation secret"]
        }
        assert [] == [url for url in asked if not url.startswith(address)]
