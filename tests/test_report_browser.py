"""
The report in a real browser: needs what the dependency group `browser` installs, and a Chromium.

`REPORT_SCREENSHOTS=folder` keeps the pictures for a person to look at.
"""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async.report import Facts, begin_report
from chromium import MARKS, WIDE, WIDTHS, objections, running_chromium, sized
from report_runs import RUNS, MadeUp

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = MARKS

SCHEMES = ("light", "dark")

# Of each element with a text of its own: its colour on its ground, by the formula of WCAG 2.
CONTRASTS = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, alpha = 1] = parts(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  return [...document.body.querySelectorAll("*")]
    .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((one) => one.getClientRects().length)
    .map((one) => {
      const style = getComputedStyle(one);
      const color = one instanceof SVGElement ? style.fill : style.color;
      const [dark, bright] = [light(parts(color)), light(ground(one))].sort((a, b) => a - b);
      return [(bright + 0.05) / (dark + 0.05), one.textContent.trim().slice(0, 40)];
    });
}"""
# Of each plot, its texts and where they stand: left, top, right, bottom.
TEXTS = """() => [...document.querySelectorAll("svg.plot")].map((plot) =>
  [...plot.querySelectorAll("text")]
    .filter((text) => text.getClientRects().length)
    .map((text) => [text, text.getBoundingClientRect()])
    .map(([text, box]) => [text.textContent, box.left, box.top, box.right, box.bottom]))"""
OPEN = "() => document.querySelectorAll('details').forEach((one) => { one.open = true; })"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """The page of each made-up run, and of one that has just begun."""
    folder = tmp_path_factory.mktemp("reports")
    paths = {name: folder / f"{name}.html" for name in [*RUNS, "begun"]}
    for name, run in RUNS.items():
        assert run().write(paths[name]) is None
    begin_report(str(paths["begun"]), Facts(**MadeUp().facts))
    return paths


@pytest.fixture
def pictures(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = pathlib.Path(os.environ.get("REPORT_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def show(chromium: Any, reports: dict[str, pathlib.Path]) -> Iterator[Any]:
    """Open the page of a run as somebody would see it; nothing may go wrong meanwhile."""
    contexts: list[Any] = []
    wrong: list[str] = []
    asked: list[str] = []
    files: set[str] = set()

    def opened(name: str, **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        files.add(reports[name].as_uri())
        page.goto(reports[name].as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [] == wrong
    assert files == set(asked)


@pytest.mark.parametrize("name", [*RUNS, "begun"])
class TestEveryPage:
    @pytest.mark.parametrize(("width", "scheme"), [("desktop", "light"), ("phone", "dark")])
    def test_is_accessible(
        self, show: Any, pictures: pathlib.Path, name: str, width: str, scheme: str
    ) -> None:
        """
        On a desk in the light, and on a phone in the dark, axe finds nothing to object to.
        """
        page = show(name, **sized(width, scheme))
        page.screenshot(path=pictures / f"{name}-{width}-{scheme}.png", full_page=True)
        page.evaluate(OPEN)

        assert "" == objections(page, contrast=False)  # test_can_be_read looks at that

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_can_be_read(self, show: Any, name: str, scheme: str) -> None:
        """
        All text stands out from its ground as WCAG AA asks for, the text in drawings too.
        """
        page = show(name, **sized("desktop", scheme))
        page.evaluate(OPEN)
        contrasts = page.evaluate(CONTRASTS)

        assert contrasts
        assert [] == [text for ratio, text in contrasts if ratio < 4.5]

    def test_fits_a_phone(self, show: Any, name: str) -> None:
        """
        Nothing has to be scrolled sideways, however small the phone and long the names.
        """
        page = show(name, **sized("narrow"))

        assert 0 >= page.evaluate(WIDE)

        page.evaluate(OPEN)

        assert 0 >= page.evaluate(WIDE)

    def test_can_be_printed(self, show: Any, pictures: pathlib.Path, name: str) -> None:
        """
        On paper everything is unfolded, dark on white, and no plot is cut.
        """
        page = show(name, **sized("desktop", "dark"))
        page.emulate_media(media="print")
        tables, figures = page.locator("table").all(), page.locator("figure").all()

        assert all(table.bounding_box()["height"] > 0 for table in tables)
        assert {"avoid"} >= {
            figure.evaluate("one => getComputedStyle(one).breakInside") for figure in figures
        }
        assert "rgb(255, 255, 255)" == page.evaluate(
            "() => getComputedStyle(document.body).backgroundColor"
        )
        # A page that is long takes a minute to print.
        for form in () if name == "restless" else ("A4", "Letter"):
            printed = page.pdf(path=pictures / f"{name}-{form}.pdf", format=form)
            assert printed.startswith(b"%PDF")


class TestPlots:
    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize("name", ["ordinary", "eventful", "brief", "short", "restless"])
    def test_are_there(self, show: Any, name: str, width: str) -> None:
        """
        Each plot has a size, each of its panels too, and each shape in them.
        """
        page = show(name, **sized(width))
        plots, shapes = page.locator("svg.plot").all(), page.locator("svg.plot path").all()

        assert len(plots) >= 3
        for plot in plots:
            box = plot.bounding_box()
            assert box["width"] > 250
            assert box["height"] > 60
        assert all(
            max(box["width"], box["height"]) > 1 for box in (s.bounding_box() for s in shapes)
        )

    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize(
        "name", ["ordinary", "eventful", "interrupted", "brief", "short", "restless"]
    )
    def test_texts_do_not_meet(self, show: Any, name: str, width: str) -> None:
        """
        No two texts of a plot stand in one place, and none leaves the page.
        """
        page = show(name, **sized(width))
        plots = page.evaluate(TEXTS)

        for texts in plots:
            for (one, left, top, right, bottom), *others in (
                texts[at:] for at in range(len(texts))
            ):
                assert 0 <= left < right <= WIDTHS[width], one
                # The boxes of two lines touch, their letters do not.
                meeting = [
                    other[0]
                    for other in others
                    if left < other[3]
                    and other[1] < right
                    and top < other[4] - 3
                    and other[2] < bottom - 3
                ]
                assert [] == meeting, one


class TestWithoutScripts:
    def test_unfolds(self, show: Any) -> None:
        """
        Where scripts are turned off nothing is missing: the numbers unfold by themselves.
        """
        page = show("ordinary", java_script_enabled=False)
        table = page.locator(".numbers").first

        assert not table.is_visible()

        page.locator("summary").first.click()

        assert table.is_visible()
