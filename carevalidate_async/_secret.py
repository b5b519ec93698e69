"""A credential that does not print, compare, copy or pickle itself by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, final

if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_COPIED = "a credential is not pickled or copied; give it to each process on its own"


@final
class Secret:
    """
    Holds an API key or a token; only `reveal` gives it away.

    Args:
        value: The credential.
    """

    __slots__ = ("__revealed",)

    def __init__(self, value: str) -> None:
        # In a closure: a slot is shown by whatever lists attributes, as debuggers, error reporters
        # and serializers do.
        self.__revealed: Callable[[], str] = lambda: value

    def reveal(self) -> str:
        """Return the credential itself."""
        return self.__revealed()

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NOT_COPIED)

    def __getstate__(self) -> NoReturn:  # object's own gives what the slots hold
        raise TypeError(_NOT_COPIED)
