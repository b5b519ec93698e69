"""Tests that use none of it: they may not pay for it."""

from __future__ import annotations

import sys


def test_nothing_was_loaded() -> None:
    ours = {name for name in sys.modules if name.startswith("carevalidate_async")}

    assert {
        "carevalidate_async",
        "carevalidate_async._version",
        "carevalidate_async.pytest_plugin",
    } == ours
    assert set() == {"aiohttp", "attrs", "cattrs", "msgspec", "tenacity"} & sys.modules.keys()
