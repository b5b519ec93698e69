"""A broker has something already, and not as it must be."""

from __future__ import annotations

__all__ = ["MismatchError"]


class MismatchError(Exception):
    """
    A stream, a consumer, a queue or a topic is there, with settings that were not asked for.

    Attributes:
        name: What is meant: its kind, and its name.

        differences: What differs, one sentence each.
    """

    def __init__(self, name: str, differences: tuple[str, ...]) -> None:
        super().__init__(name, differences)
        self.name = name
        self.differences = differences

    def __str__(self) -> str:
        """Return all in one line."""
        return f"{self.name} is not as it must be: {'; '.join(self.differences)}"
