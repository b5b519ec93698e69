"""A credential that does not print, compare, copy or pickle itself by accident."""

from __future__ import annotations

from typing import NoReturn, final


@final
class Secret:
    """
    Holds an API key or a token; only `reveal` gives it away.

    Args:
        value: The credential.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Return the credential itself."""
        return self.__value

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        msg = "a credential is not pickled or copied; give it to each process on its own"
        raise TypeError(msg)
