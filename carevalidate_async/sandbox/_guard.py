"""
Who may ask for the page and its data: this machine's browser, on the page itself.

The sandbox listens on loopback, yet every web page that a browser has open can send requests there.
So the page's endpoints look at what a browser says about who asks, which a page cannot forge:

- `Host` must be a name of loopback. A foreign name that was made to lead here (DNS rebinding) would
  make its page the same origin as this one.
- `Origin`, where there is one, must be the page's own, and `Sec-Fetch-Site` must not tell of
  another site. Only `/` itself, which holds no data, may be linked to from elsewhere.
- What changes something takes `application/json` alone, which a foreign page cannot send unasked.

The vendors' operations are no part of this.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


def objection(headers: Mapping[str, str], *, document: bool) -> str | None:
    """
    Return why a request is refused, None where it may be served.

    Args:
        headers: Its headers; names in any case.

        document: Whether it is for the page itself, rather than for what the page loads.
    """
    host = headers.get("Host", "")
    if not _HOST.fullmatch(host):
        return "the page is served to names of this machine's loopback alone"
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        return "another origin asks"
    site = headers.get("Sec-Fetch-Site", "same-origin")
    if not document and site not in {"same-origin", "none"}:
        return "another site asks"
    return None


def is_json(headers: Mapping[str, str]) -> bool:
    """Tell whether a body says that it is JSON."""
    kind = headers.get("Content-Type", "").partition(";")[0]
    return kind.strip().lower() == "application/json"
