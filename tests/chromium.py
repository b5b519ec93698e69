"""A real browser: needs what the dependency group `browser` installs, and a Chromium on PATH."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

driver: Any = pytest.importorskip(
    "playwright.sync_api", reason="needs the dependency group browser", exc_type=ImportError
)
axe: Any = pytest.importorskip(
    "axe_playwright_python.sync_playwright",
    reason="needs the dependency group browser",
    exc_type=ImportError,
)
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
MARKS = [
    pytest.mark.skipif(BROWSER is None, reason="needs a Chromium on PATH"),
    pytest.mark.timeout(180),  # the first start of a browser takes its time
]
WIDTHS = {"desktop": 1280, "phone": 390, "narrow": 360}
WIDE = "() => document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
"""How many pixels a page is wider than its window."""


@contextlib.contextmanager
def running_chromium() -> Iterator[Any]:
    """Give a browser, as long as the context lasts."""
    with driver.sync_playwright() as playwright:
        # Chromium's sandbox refuses to be run by root, as containers do.
        options = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
        yield browser
        browser.close()


def objections(page: Any, *, contrast: bool = True) -> str:
    """
    Return what axe finds to object to, nothing where that is nothing.

    Args:
        page: What it looks at.

        contrast: Whether at how text stands out, too, which takes most of its time.
    """
    rules = {"color-contrast": {"enabled": contrast}}
    # What it finds to be good it would describe at length, node by node.
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], "rules": rules})
    return found.generate_report() if found.violations_count else ""


def sized(width: str, scheme: str = "light") -> dict[str, Any]:
    """Return the options of a window of that width, where people like it light or dark."""
    return {"viewport": {"width": WIDTHS[width], "height": 900}, "color_scheme": scheme}
