"""The hint at the extra that brings a library which is not installed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """
    Name the extra that has what the imports in this block need.

    Args:
        extra: Of this package, as its metadata names it.

    Raises:
        ModuleNotFoundError: What could not be imported, and how to install it; ``name`` is that of
            the first error, which is its cause.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] == __name__.partition(".")[0]:
            raise  # a mistake of this package's own, which no extra mends
        hint = f"pip install 'carevalidate-async[{extra}]'"
        raise ModuleNotFoundError(f"{error}; an extra has it: {hint}", name=error.name) from error
